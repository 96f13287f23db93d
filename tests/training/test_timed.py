"""A training by the clock: how long its learning rate lasts."""

import pytest

from geneman.training.timed import Timed


def test_the_learning_rate_stays_and_falls_to_a_hundredth_at_the_end(monkeypatch):
    clock = Timed(minutes=1.0, write_every=1.0)
    for seconds, cool_down, left in ((0, 0.5, 1), (29, 0.5, 1), (45, 0.5, 0.5), (60, 0.5, 0.01)):
        monkeypatch.setattr("time.monotonic", lambda s=seconds: clock.began + s)
        assert clock.cooled(cool_down) == pytest.approx(left)
        assert clock.cooled(0.0) == 1.0
