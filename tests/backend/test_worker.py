"""The worker's threads: what one is told, another does."""

import io
import queue
from pathlib import Path

import msgspec
import pytest

from backend import pipes
from backend.jobs import Spec
from backend.orders import Do, Stop
from backend.reconstruction import Reconstruction
from backend.worker import Stopper, read_orders
from tests.tiny_chain import CHAIN, CPU, PRIORS

JOB = "ab" * 16


def test_a_job_that_was_stopped_may_run_again_in_the_same_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would stop at its first step, be put into the queue, and so on for ever."""
    spec = Spec(photo="photo.png", preset="draft")
    pipe = io.BytesIO()
    for order in (Do(JOB, "folder", spec), Stop(JOB, checkpoint=False), Do(JOB, "folder", spec)):
        pipes.write(pipe, [msgspec.msgpack.encode(order)])
    pipe.seek(0)
    monkeypatch.setattr("backend.worker.os._exit", lambda code: None)
    jobs: queue.SimpleQueue[Do] = queue.SimpleQueue()
    stopper = Stopper()
    read_orders(pipe, jobs, stopper)
    assert jobs.qsize() == 2
    assert stopper.asked(JOB) is None


@pytest.mark.parametrize("full", [True, False])
def test_presets_for_the_full_priors_are_refused_without_their_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    monkeypatch.setenv("GENEMAN_WEIGHTS", str(tmp_path / "none"))
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "photo.png").write_bytes(b"somebody")
    steps = {name: {"steps": 2} for name in ("nerf_init", "sculpt", "latent_texture")}
    order = Do(JOB, str(tmp_path), Spec(photo="photo.png", preset="released", recipe=steps))
    program = Reconstruction(CPU, CHAIN, PRIORS, kernels=False, full=full)
    ended = program.compute(order, lambda event, frames: None, Stopper())
    if not full:  # a program that knows no other priors gives its own
        assert ended.outcome == "done", ended.failure
        return
    assert ended.outcome == "failed"
    assert "geneman weights get --preset paper" in str(ended.failure)
