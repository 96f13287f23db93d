# SPDX-License-Identifier: Apache-2.0
"""The table of jobs: what was asked for and how it stands, on disk before anybody is told.

SQLite with a write-ahead log and full synchronisation: a change that returned survives kill -9
and power loss, one that did not has not happened. Only the moves in `MOVES` exist.

    queued ──> running ──> done
      ^  │      │ │ └────> failed            done, failed, cancelled ──> queued   (re-run)
      │  └──────┼─┼──────> cancelled         running ──> queued   (its worker or server ended)
      └─────────┘ └─> cancelling ──> cancelled, done, failed
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from backend.ballast import BALLAST_BYTES
from backend.schema import opened
from backend.specs import Spec
from blender_addon.protocol import Artefact, Failure, Job, JobState, StageIs

MOVES: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
    JobState.RUNNING: frozenset(
        {JobState.QUEUED, JobState.CANCELLING, JobState.DONE, JobState.FAILED}
    ),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.DONE, JobState.FAILED}),
    JobState.DONE: frozenset({JobState.QUEUED}),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}
"""Where a job may go from where it is."""

Artefacts = Iterable[Artefact]
_CHOSEN = "(?1 IS NULL OR owner = ?1) AND (?2 IS NULL OR state = ?2)"
"""Of all jobs those of one owner, if one is named, in one state, if one is named."""


class Entry(msgspec.Struct, frozen=True):
    """One line of the table."""

    id: str
    owner: str
    """The client's public key."""
    label: str
    state: JobState
    place: int
    """Waiting jobs start in this order."""
    spec: Spec
    request: str
    """Id of the message that last changed what is to be done."""
    stage: str
    restarts: int
    created: float
    changed: float
    seconds: float
    failure: Failure | None
    bytes: int
    """Of its folder, as last counted."""
    device: str
    stages: tuple[StageIs, ...]

    @property
    def edited(self) -> frozenset[str]:
        """The stages whose results were made by hand, or are about to be."""
        return frozenset(s.name for s in self.stages if s.edited) | set(self.spec.handmade)


class IllegalMoveError(Exception):
    """A job was to go where it cannot go from where it is; nothing has changed."""

    def __init__(self, job: str, state: JobState | None, wanted: JobState) -> None:
        self.state = state
        super().__init__(f"job {job} cannot go from {state} to {wanted}")


class JobTable:
    """The table in one file; one process at a time, which the store's lock sees to."""

    def __init__(self, path: Path) -> None:
        """Open the table, or make it.

        Raises:
            sqlite3.DatabaseError: The file is no table of ours, or of a newer version.
        """
        self._db = opened(path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """Let some changes happen together or not at all."""
        self._db.relieve()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.rollback()
            raise
        self._db.execute("COMMIT")

    def take_ballast(self) -> None:
        """Keep some disk in reserve, if there is none; a full disk gives none."""
        file = self._db.ballast
        if file is not None and not file.exists():
            with contextlib.suppress(OSError):
                file.write_bytes(bytes(BALLAST_BYTES))

    # ---- looking --------------------------------------------------------------------------

    def get(self, job: str) -> Entry | None:
        """Give one job."""
        row = self._db.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
        return _entry(row) if row else None

    def all(self, owner: str | None = None, state: JobState | None = None) -> list[Entry]:
        """Give all jobs, or a client's, or those in one state.

        The waiting come in their order, then the others, newest first.
        """
        rows = self._db.execute(
            f"SELECT * FROM jobs WHERE {_CHOSEN} "
            "ORDER BY state != 'queued', CASE state WHEN 'queued' THEN place END, created DESC, id",
            (owner, state),
        )
        return [_entry(row) for row in rows]

    def waiting(self) -> list[str]:
        """Give the ids of the waiting jobs in their order."""
        rows = self._db.execute("SELECT id FROM jobs WHERE state = 'queued' ORDER BY place")
        return [row["id"] for row in rows]

    def usage(self, owner: str) -> tuple[int, int, int]:
        """Give a client's jobs that have not ended, its jobs, and the bytes of all."""
        row = self._db.execute(
            "SELECT coalesce(sum(state IN ('queued', 'running', 'cancelling')), 0) AS open, "
            "count(*) AS every, coalesce(sum(bytes), 0) AS bytes FROM jobs WHERE owner = ?",
            (owner,),
        ).fetchone()
        return row["open"], row["every"], row["bytes"]

    def counts(self) -> dict[str, int]:
        """Give the number of jobs in each state."""
        rows = self._db.execute("SELECT state, count(*) AS n FROM jobs GROUP BY state")
        found = {row["state"]: row["n"] for row in rows}
        return {state.value: found.get(state.value, 0) for state in JobState}

    def artefacts(self, job: str) -> tuple[Artefact, ...]:
        """Give the finished files of a job."""
        rows = self._db.execute(
            "SELECT name, size, sha256 FROM artefacts WHERE job = ? ORDER BY name", (job,)
        )
        return tuple(Artefact(**row) for row in rows)

    def knows_request(self, job: str, request: str) -> bool:
        """Say whether a request has changed what this job is to do, now or earlier."""
        found = self._db.execute("SELECT 1 FROM requests WHERE job = ? AND id = ?", (job, request))
        return found.fetchone() is not None

    def describe(self, job: str) -> Job | None:
        """Give a job as clients see it."""
        entry = self.get(job)
        if entry is None:
            return None
        waiting = self.waiting() if entry.state is JobState.QUEUED else []
        position = waiting.index(job) + 1 if waiting else 0
        return _described(entry, position, self.artefacts(job))

    def describe_all(
        self, owner: str | None = None, state: JobState | None = None
    ) -> list[tuple[Entry, Job]]:
        """Give jobs as `all` does, and each as clients see it."""
        places = {job: place for place, job in enumerate(self.waiting(), 1)}
        made: dict[str, list[Artefact]] = {}
        rows = self._db.execute(
            "SELECT job, name, size, sha256 FROM artefacts "
            f"WHERE job IN (SELECT id FROM jobs WHERE {_CHOSEN}) ORDER BY job, name",
            (owner, state),
        )
        for job, *facts in rows:
            made.setdefault(job, []).append(Artefact(*facts))
        return [
            (entry, _described(entry, places.get(entry.id, 0), tuple(made.get(entry.id, ()))))
            for entry in self.all(owner, state)
        ]

    # ---- changing -------------------------------------------------------------------------

    def add(self, job: str, *, owner: str, label: str, spec: Spec, request: str) -> bool:
        """Append a job to the queue; nothing happens, and False is given, if its id is known."""
        now = time.time()
        with self._together():
            done = self._db.execute(
                "INSERT OR IGNORE INTO jobs (id, owner, label, state, place, spec, request, "
                "created, changed) VALUES (?, ?, ?, 'queued', "
                "(SELECT coalesce(max(place), 0) + 1 FROM jobs), ?, ?, ?, ?)",
                (job, owner, label, msgspec.msgpack.encode(spec), request, now, now),
            )
            if done.rowcount == 1:
                self._db.execute("INSERT INTO requests VALUES (?, ?)", (job, request))
        return done.rowcount == 1

    def claim(self, device: str) -> Entry | None:
        """Take the next waiting job: from here on it runs on this device."""
        row = self._db.execute(
            "UPDATE jobs SET state = 'running', changed = ?, device = ?, failure = NULL "
            "WHERE id = (SELECT id FROM jobs WHERE state = 'queued' ORDER BY place LIMIT 1) "
            "RETURNING *",
            (time.time(), device),
        ).fetchall()
        return _entry(row[0]) if row else None

    def move(
        self,
        job: str,
        to: JobState,
        *,
        failure: Failure | None = None,
        restarts: int | None = None,
    ) -> None:
        """Let a job go to another state; one that goes back to the queue is next.

        Raises:
            IllegalMoveError: It cannot go there from where it is.
        """
        sources = [state.value for state, targets in MOVES.items() if to in targets]
        told = msgspec.msgpack.encode(failure) if failure else None
        done = self._db.execute(
            "UPDATE jobs SET state = ?1, changed = ?, failure = ?, "
            "restarts = coalesce(?, restarts), place = CASE ?1 WHEN 'queued' "
            "THEN (SELECT min(place) FROM jobs) - 1 ELSE place END "
            f"WHERE id = ? AND state IN ({', '.join('?' * len(sources))})",
            (to.value, time.time(), told, restarts, job, *sources),
        )
        if done.rowcount != 1:
            entry = self.get(job)
            raise IllegalMoveError(job, entry.state if entry else None, to)

    def again(self, job: str, spec: Spec, request: str) -> bool:
        """Put an ended job at the end of the queue with something else to do.

        Gives False, and changes nothing, if this very request has done so before, however long ago.

        Raises:
            IllegalMoveError: The job has not ended.
        """
        if self.knows_request(job, request):
            return False
        with self._together():
            done = self._db.execute(
                "UPDATE jobs SET state = 'queued', spec = ?, request = ?, changed = ?, "
                "restarts = 0, failure = NULL, stage = '', "
                "place = (SELECT max(place) + 1 FROM jobs) "
                "WHERE id = ? AND state IN ('done', 'failed', 'cancelled')",
                (msgspec.msgpack.encode(spec), request, time.time(), job),
            )
            if done.rowcount != 1:
                known = self.get(job)
                raise IllegalMoveError(job, known.state if known else None, JobState.QUEUED)
            self._db.execute("INSERT INTO requests VALUES (?, ?)", (job, request))
        return True

    def reorder(self, job: str, position: int) -> None:
        """Let a waiting job be `position`-th (from 1) among the waiting.

        Raises:
            IllegalMoveError: It does not wait.
        """
        order = self.waiting()
        if job not in order:
            entry = self.get(job)
            raise IllegalMoveError(job, entry.state if entry else None, JobState.QUEUED)
        order.remove(job)
        order.insert(position - 1, job)
        with self._together():
            rows = ((place, one) for place, one in enumerate(order, 1))
            self._db.executemany("UPDATE jobs SET place = ? WHERE id = ?", rows)

    def begin_stage(self, job: str, stage: str) -> None:
        """Note which stage runs."""
        self._db.execute("UPDATE jobs SET stage = ? WHERE id = ?", (stage, job))

    def know_stages(self, job: str, stages: tuple[StageIs, ...]) -> None:
        """Note how a job's stages stand on disk."""
        told = msgspec.msgpack.encode(stages)
        self._db.execute("UPDATE jobs SET stages = ? WHERE id = ?", (told, job))

    def end_stage(
        self, job: str, stage: str, *, seconds: float, start: str | None, artefacts: Artefacts
    ) -> None:
        """Note a stage's result; `start` is where a restart would have to begin by force.

        No seconds means that the result was there before: only progress forgives restarts.
        """
        entry = self.get(job)
        if entry is None:
            return
        spec = msgspec.msgpack.encode(msgspec.structs.replace(entry.spec, start=start))
        with self._together():
            self._db.execute(
                "UPDATE jobs SET seconds = seconds + ?1, spec = ?2, "
                "restarts = CASE WHEN ?1 > 0 THEN 0 ELSE restarts END WHERE id = ?3",
                (seconds, spec, job),
            )
            self._db.execute(
                "DELETE FROM artefacts WHERE job = ? AND name GLOB ?", (job, f"{stage}/*")
            )
            self._db.executemany(
                "INSERT INTO artefacts VALUES (?, ?, ?, ?)",
                ((job, a.name, a.size, a.sha256) for a in artefacts),
            )

    def count_bytes(self, job: str, size: int) -> None:
        """Note how much of the disk a job takes."""
        self._db.execute("UPDATE jobs SET bytes = ? WHERE id = ?", (size, job))

    def remove(self, job: str) -> None:
        """Forget an ended job.

        Raises:
            IllegalMoveError: It has not ended.
        """
        done = self._db.execute(
            "DELETE FROM jobs WHERE id = ? AND state IN ('done', 'failed', 'cancelled')", (job,)
        )
        if done.rowcount != 1:
            entry = self.get(job)
            raise IllegalMoveError(job, entry.state if entry else None, JobState.CANCELLED)

    def recover(self) -> list[tuple[str, JobState]]:
        """Settle what a server that died left open; give the jobs and what became of them."""
        settled = []
        for entry in sorted(self.all(), key=lambda e: -e.place):  # each goes to the very front
            if entry.state is JobState.RUNNING:
                self.move(entry.id, JobState.QUEUED, restarts=entry.restarts + 1)
                settled.append((entry.id, JobState.QUEUED))
            elif entry.state is JobState.CANCELLING:
                self.move(entry.id, JobState.CANCELLED)
                settled.append((entry.id, JobState.CANCELLED))
        return settled


def _described(entry: Entry, position: int, artefacts: tuple[Artefact, ...]) -> Job:
    return Job(
        id=entry.id,
        label=entry.label,
        state=entry.state,
        position=position,
        stage=entry.stage,
        stages=entry.stages,
        device=entry.device,
        restarts=entry.restarts,
        created=entry.created,
        changed=entry.changed,
        seconds=entry.seconds,
        failure=entry.failure,
        artefacts=artefacts,
    )


def _entry(row: sqlite3.Row) -> Entry:
    values = dict(row)
    values["spec"] = msgspec.msgpack.decode(values["spec"], type=Spec)
    values["state"] = JobState(values["state"])
    if values["failure"] is not None:
        values["failure"] = msgspec.msgpack.decode(values["failure"], type=Failure)
    told = values["stages"]
    values["stages"] = msgspec.msgpack.decode(told, type=tuple[StageIs, ...]) if told else ()
    return Entry(**values)
