"""The table of jobs: only legal moves, and nothing that was told is ever lost."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from backend.ballast import BALLAST_BYTES
from backend.jobs import MOVES, IllegalMoveError, JobTable
from backend.schema import REQUESTS, SCHEMA, VERSION
from backend.specs import Spec
from blender_addon.frames import new_token
from blender_addon.protocol import Artefact, Failure, JobState, Kind, Problem

SPEC = Spec(photo="photo.png")
ENDINGS = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@pytest.fixture
def table(tmp_path: Path) -> JobTable:
    return JobTable(tmp_path / "jobs.sqlite")


def add(table: JobTable, owner: str = "me") -> str:
    job = new_token()
    assert table.add(job, owner=owner, label="x", spec=SPEC, request=new_token())
    return job


def state(table: JobTable, job: str) -> JobState:
    entry = table.get(job)
    assert entry is not None
    return entry.state


def test_jobs_start_in_the_order_in_which_they_came_and_each_once(table: JobTable) -> None:
    jobs = [add(table) for _ in range(5)]
    claimed = [entry.id for _ in range(5) if (entry := table.claim("cpu"))]
    assert claimed == jobs
    assert table.claim("cpu") is None


def test_a_job_that_is_sent_twice_is_one_job(table: JobTable) -> None:
    job = add(table)
    assert not table.add(job, owner="me", label="y", spec=SPEC, request="r")
    assert [entry.label for entry in table.all()] == ["x"]


def test_a_re_run_that_is_asked_twice_runs_once(table: JobTable) -> None:
    job = add(table)
    table.claim("cpu")
    table.move(job, JobState.DONE)
    assert table.again(job, SPEC, "request 1")
    table.claim("cpu")
    table.move(job, JobState.DONE)
    assert not table.again(job, SPEC, "request 1")
    assert state(table, job) is JobState.DONE
    assert table.again(job, SPEC, "request 2")
    table.claim("cpu")
    table.move(job, JobState.DONE)
    assert not table.again(job, SPEC, "request 1")  # however old it is
    assert state(table, job) is JobState.DONE
    table.remove(job)
    assert not table.knows_request(job, "request 1")


def test_all_jobs_are_described_as_each_is_alone(table: JobTable) -> None:
    mine, theirs, last = add(table), add(table, "you"), add(table)
    table.claim("cpu")
    artefacts = [Artefact("b/1", 1, "0"), Artefact("a/1", 2, "1")]
    table.end_stage(mine, "a", seconds=1.0, start=None, artefacts=artefacts)
    for owner, jobs in ((None, [theirs, last, mine]), ("me", [last, mine]), ("you", [theirs])):
        found = table.describe_all(owner)
        assert [job for _, job in found] == [table.describe(job) for job in jobs]
        assert [entry for entry, _ in found] == table.all(owner) == [table.get(job) for job in jobs]
    assert [job.id for _, job in table.describe_all(state=JobState.QUEUED)] == [theirs, last]
    assert [job.position for _, job in table.describe_all("me", JobState.QUEUED)] == [2]


@pytest.mark.parametrize("start", list(JobState))
@pytest.mark.parametrize("to", list(JobState))
def test_exactly_the_legal_moves_are_possible(
    tmp_path: Path, start: JobState, to: JobState
) -> None:
    table = JobTable(tmp_path / "jobs.sqlite")
    job = add(table)
    table._db.execute("UPDATE jobs SET state = ?", (start.value,))
    if to in MOVES[start]:
        table.move(job, to)
        assert state(table, job) is to
    else:
        with pytest.raises(IllegalMoveError):
            table.move(job, to)
        assert state(table, job) is start


def test_a_waiting_job_goes_where_it_is_moved(table: JobTable) -> None:
    a, b, c = (add(table) for _ in range(3))
    table.reorder(c, 1)
    assert table.waiting() == [c, a, b]
    table.reorder(c, 99)
    assert table.waiting() == [a, b, c]
    described = table.describe(b)
    assert described is not None
    assert described.position == 2
    table.claim("cpu")
    with pytest.raises(IllegalMoveError):
        table.reorder(a, 1)


def test_an_ended_job_can_be_removed_with_its_artefacts_and_no_other(table: JobTable) -> None:
    job = add(table)
    with pytest.raises(IllegalMoveError):
        table.remove(job)
    table.claim("cpu")
    table.end_stage(job, "a", seconds=1.0, start=None, artefacts=[Artefact("a/b", 1, "0")])
    table.move(job, JobState.DONE)
    assert table.artefacts(job)
    table.remove(job)
    assert table.get(job) is None
    assert table.artefacts(job) == ()


def test_a_failure_is_kept_until_the_next_run(table: JobTable) -> None:
    job = add(table)
    table.claim("cpu")
    failure = Failure(Problem(Kind.CRASH, "It died."), "sculpt")
    table.move(job, JobState.FAILED, failure=failure)
    found = table.get(job)
    assert found is not None
    assert found.failure == failure
    table.again(job, SPEC, "again")
    found = table.get(job)
    assert found is not None
    assert found.failure is None


def test_a_dead_servers_jobs_wait_again_and_count_the_restart(tmp_path: Path) -> None:
    table = JobTable(tmp_path / "jobs.sqlite")
    running, cancelling, waiting = (add(table) for _ in range(3))
    table.claim("cpu"), table.claim("cpu")
    table.move(cancelling, JobState.CANCELLING)
    again = JobTable(tmp_path / "jobs.sqlite")
    assert dict(again.recover()) == {
        running: JobState.QUEUED,
        cancelling: JobState.CANCELLED,
    }
    assert again.waiting() == [running, waiting]  # its turn is not lost
    entry = again.get(running)
    assert entry is not None
    assert entry.restarts == 1


def test_a_newer_table_is_refused(tmp_path: Path) -> None:
    table = JobTable(tmp_path / "jobs.sqlite")
    table._db.execute("PRAGMA user_version = 99")
    table.close()
    with pytest.raises(sqlite3.DatabaseError, match="version 99"):
        JobTable(tmp_path / "jobs.sqlite")


WRITER = """
import sys
from pathlib import Path
from backend.jobs import JobTable
from backend.specs import Spec
from blender_addon.frames import new_token
table = JobTable(Path(sys.argv[1]))
while True:
    job = new_token()
    table.add(job, owner="me", label="x", spec=Spec(photo="p"), request="r")
    sys.stdout.write(job + "\\n")
    sys.stdout.flush()
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")
def test_what_was_told_survives_kill_9(tmp_path: Path) -> None:
    told: list[str] = []
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "jobs.sqlite")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told.append(writer.stdout.readline().strip())
            time.sleep(0.1)
            writer.send_signal(signal.SIGKILL)
            told += [line.strip() for line in writer.stdout if line.endswith("\n")]
    kept = {entry.id for entry in JobTable(tmp_path / "jobs.sqlite").all()}
    assert len(told) > 3
    assert kept >= set(told)
    assert len(kept - set(told)) <= 3  # written, but killed before it could be told


class TableAgainstList(RuleBasedStateMachine):
    """The table does what a plain list would, whatever is asked and however often it reopens."""

    @initialize()
    def open(self) -> None:
        self.table = JobTable(Path(":memory:"))
        self.states: dict[str, JobState] = {}
        self.queue: list[str] = []

    @rule()
    def submit(self) -> None:
        job = f"{len(self.states):032x}"
        assert self.table.add(job, owner="me", label="x", spec=SPEC, request="first")
        self.states[job] = JobState.QUEUED
        self.queue.append(job)

    @rule()
    def claim(self) -> None:
        entry = self.table.claim("cpu")
        assert (entry.id if entry else None) == (self.queue[0] if self.queue else None)
        if entry:
            self.states[self.queue.pop(0)] = JobState.RUNNING

    @rule(data=st.data(), to=st.sampled_from([s for s in JobState if s is not JobState.QUEUED]))
    def move(self, data: st.DataObject, to: JobState) -> None:
        if not self.states:
            return
        job = data.draw(st.sampled_from(sorted(self.states)))
        if to in MOVES[self.states[job]]:
            self.table.move(job, to)
            self.states[job] = to
            if job in self.queue:
                self.queue.remove(job)
        else:
            with pytest.raises(IllegalMoveError):
                self.table.move(job, to)

    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        ended = [job for job, state in self.states.items() if state in ENDINGS]
        if ended:
            job = data.draw(st.sampled_from(sorted(ended)))
            self.table.again(job, SPEC, new_token())
            self.states[job] = JobState.QUEUED
            self.queue.append(job)

    @rule(data=st.data(), position=st.integers(1, 5))
    def reorder(self, data: st.DataObject, position: int) -> None:
        if self.queue:
            job = data.draw(st.sampled_from(sorted(self.queue)))
            self.table.reorder(job, position)
            self.queue.remove(job)
            self.queue.insert(position - 1, job)

    @rule()
    def die(self) -> None:
        back = [job for job, state in self.table.recover() if state is JobState.QUEUED]
        for job, found in self.states.items():
            if found is JobState.CANCELLING:
                self.states[job] = JobState.CANCELLED
        for job in back:
            self.states[job] = JobState.QUEUED
        self.queue = [*reversed(back), *self.queue]

    @invariant()
    def both_agree(self) -> None:
        assert {entry.id: entry.state for entry in self.table.all()} == self.states
        assert self.table.waiting() == self.queue


TestTable = TableAgainstList.TestCase
TestTable.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


SCHEMAS = {2: SCHEMA.replace(REQUESTS, "")}
SCHEMAS[1] = SCHEMAS[2].replace(",\n  device TEXT NOT NULL DEFAULT '', stages BLOB", "")


@pytest.mark.parametrize("version", range(1, VERSION))
def test_an_older_table_is_brought_up_to_date_with_its_jobs(tmp_path: Path, version: int) -> None:
    old, known = tmp_path / "old.sqlite", "b" * 32
    with contextlib.closing(sqlite3.connect(old)) as db:
        db.executescript(SCHEMAS[version])
        db.execute(f"PRAGMA user_version = {version}")
        line = (known, "me", "x", "done", 1, msgspec.msgpack.encode(SPEC), "first", 0.0, 0.0)
        columns = "id, owner, label, state, place, spec, request, created, changed"
        db.execute(f"INSERT INTO jobs ({columns}) VALUES ({', '.join('?' * len(line))})", line)
        db.commit()
    with contextlib.closing(JobTable(old)) as table:
        assert not table.again(known, SPEC, "first")  # what it was asked before is known
        add(table)
        entry = table.claim("cuda:1")
        assert entry is not None
        assert (entry.device, entry.stages) == ("cuda:1", ())
        assert {one.id for one in table.all()} == {known, entry.id}
    with contextlib.closing(JobTable(old)) as table:
        assert len(table.all()) == 2


def test_a_full_disk_costs_the_ballast_not_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = JobTable(tmp_path / "jobs.sqlite")
    table.take_ballast()
    ballast = tmp_path / "jobs.ballast"
    assert ballast.stat().st_size == BALLAST_BYTES
    table.add("a" * 32, owner="me", label="x", spec=Spec(photo="photo.png"), request="r")
    full = SimpleNamespace(free=0)
    monkeypatch.setattr("backend.ballast.disk_usage", lambda _: full)
    table.reorder("a" * 32, 1)
    assert not ballast.exists()
    assert table.waiting() == ["a" * 32]
