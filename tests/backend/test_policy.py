"""What is removed of itself: only what a policy names, the oldest first, and never silently."""

import argparse
import time
from pathlib import Path

import pytest

from backend.__main__ import DAY_SECONDS, _policy
from backend.desk import Desk
from backend.jobs import JobTable
from backend.specs import Spec
from backend.store import Store
from backend.streaming import Board
from backend.supervisor import Patience, Supervisor
from blender_addon.protocol import JobRemoved, JobState

AGES = {"young": 1.0, "middle": 5.0, "old": 9.0, "waiting": 20.0}
"""Days since each job changed."""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    table, board = JobTable(tmp_path / "jobs.sqlite"), Board()
    for name, age in AGES.items():
        table.add(name, owner="me", label=name, spec=Spec(photo="p"), request="r")
        table.count_bytes(name, 10**9)
        state = JobState.QUEUED if name == "waiting" else JobState.DONE
        then = time.time() - age * DAY_SECONDS
        table._db.execute(
            "UPDATE jobs SET state = ?, changed = ? WHERE id = ?", (state, then, name)
        )
    store = Store(tmp_path)
    supervisor = Supervisor(
        table, store, board, [], lambda: None, Patience(), on_end=lambda job: None
    )
    return Desk(table, store, board, supervisor, "0")


@pytest.mark.parametrize(
    ("days", "room", "gone", "reason"),
    [
        (None, None, [], ""),
        (7.0, None, ["old"], "it ended more than 7 days ago (--keep-days)"),
        (0.5, None, ["young", "middle", "old"], "(--keep-days)"),
        (None, 2.0, ["old"], "newer jobs fill the 2 GB that are kept (--keep-gb)"),
        (None, 0.5, ["young", "middle", "old"], "(--keep-gb)"),
        (None, 100.0, [], ""),
    ],
)
def test_a_policy_takes_what_it_names_and_says_so(
    desk: Desk, days: float | None, room: float | None, gone: list[str], reason: str
) -> None:
    due = _policy(desk, argparse.Namespace(keep_days=days, keep_gb=room))
    assert [deletion.job for deletion in due()] == gone
    assert {entry.id for entry in desk.table.all()} == set(AGES) - set(gone)
    told = [posted.body for posted in desk.board._living.values()]
    assert [body.job for body in told if isinstance(body, JobRemoved)] == gone
    assert all(reason in body.reason for body in told if isinstance(body, JobRemoved))
    assert due() == []
