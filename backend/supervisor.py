# SPDX-License-Identifier: Apache-2.0
"""Starts, watches and ends the worker, and hands it one job after the other.

Whatever becomes of the process (it ends, falls silent, takes no step, does not stop when told to)
ends in a legal move of its job: back to the front of the queue as long as restarts are left, to
`failed` with a sentence after that.
"""

import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from backend import pipes
from backend.jobs import Entry, JobTable
from backend.orders import REPORTS, Beat, Described, Do, Ended, Order, Saved, Stop, WorkerReport
from backend.store import Store
from backend.streaming import Board
from blender_addon.frames import Buffer
from blender_addon.protocol import (
    Failure,
    JobChanged,
    JobState,
    Kind,
    Problem,
    Ready,
    StageBegan,
    Welcome,
)

log = logging.getLogger("backend")

MAX_START_FAILURES = 5
MAX_PAUSE_SECONDS = 30.0
WAITING_REPORTS = 16
"""How many reports the server takes off the pipe before it has dealt with them."""


@dataclass(frozen=True)
class Patience:
    """How long the server waits for a worker, in seconds, and how often it tries again."""

    restarts: int = 3
    """Of a job, since it last finished a stage."""
    start: float = 300.0
    """From the start of the process until it has described itself: kernels may compile."""
    silence: float = 30.0
    """Without a beat: the process is stopped, or thrashes."""
    hang: float = 600.0
    """Without a step."""
    prepare: float = 180.0
    """Without a step in the first stage, which decodes what a stranger may have sent."""
    cancel: float = 1.5
    """From the wish to cancel until the process is killed."""
    idle: float = 600.0
    """Without a job: then the process ends, and with it all memory on its device."""
    checkpoint: float = 10.0
    """For the last checkpoint when the server stops."""


class Worker:
    """One worker process and the threads that serve its pipes."""

    def __init__(self, program: str, device: str, woken: Callable[[], None]) -> None:
        self.began = self.heard = self.moved = time.monotonic()
        self.ready = False
        self.job: Entry | None = None
        self.stage = ""
        self.stop_by: float | None = None
        self.verdict: Problem | None = None
        """Why it was killed, if it was."""
        self.reports: queue.Queue[list[Buffer] | None] = queue.Queue(WAITING_REPORTS)
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backend.worker", program, device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the server's to deal with
        )
        for target in (self._read, self._write):
            threading.Thread(target=target, args=(woken,), daemon=True).start()

    def order(self, order: Order) -> None:
        """Send an order; never waits."""
        self._orders.put(order)

    def end(self) -> None:
        """Close the pipe: the process leaves."""
        self._orders.put(None)

    def kill(self, verdict: Problem | None = None) -> None:
        """End the process now."""
        self.verdict = self.verdict or verdict
        self.process.kill()

    def _read(self, woken: Callable[[], None]) -> None:
        pipe: Any = self.process.stdout
        frames: list[Buffer] | None = []
        while frames is not None:
            try:
                frames = pipes.read(pipe)
            except OSError:
                frames = None
            self.reports.put(frames)
            woken()
        pipe.close()

    def _write(self, _: Callable[[], None]) -> None:
        pipe: Any = self.process.stdin
        try:
            while (order := self._orders.get()) is not None:
                pipes.write(pipe, [msgspec.msgpack.encode(order)])
            pipe.close()
        except OSError:
            return  # it is gone, as the other thread will say


@dataclass
class Supervisor:
    """Sees to it that the first waiting job runs."""

    table: JobTable
    store: Store
    board: Board
    program: str
    device: str
    woken: Callable[[], None]
    patience: Patience
    on_end: Callable[[str], None]
    """Called with each job that ended."""
    welcome: Welcome | None = None
    stage_seconds: dict[str, tuple[int, float]] = field(default_factory=dict)
    worker: Worker | None = None
    stopping: bool = False
    _failed_starts: int = 0
    _not_before: float = 0.0

    # ---- once a tick ----------------------------------------------------------------------

    def tick(self) -> None:
        """Deal with reports, look after the process, and start what waits."""
        now = time.monotonic()
        worker = self.worker
        if worker is not None:
            gone = self._take_reports(worker, now)
            if gone:
                self._bury(worker, now)
            else:
                self._watch(worker, now)
        if not self.stopping:
            self._start_next(now)

    def cancel(self, entry: Entry) -> None:
        """Stop a running job by order, and by force if it does not obey in time."""
        self.table.move(entry.id, JobState.CANCELLING)
        self.announce(entry.id)
        worker = self.worker
        if worker is not None and worker.job is not None and worker.job.id == entry.id:
            worker.order(Stop(entry.id, checkpoint=False))
            worker.stop_by = time.monotonic() + self.patience.cancel

    def stop(self) -> None:
        """Let the running job write its checkpoint, then end the process."""
        self.stopping = True
        worker = self.worker
        if worker is None:
            return
        if worker.job is None:
            worker.end()
        else:
            worker.order(Stop(worker.job.id, checkpoint=True))
        if worker.stop_by is None:
            worker.stop_by = time.monotonic() + self.patience.checkpoint

    def free(self) -> bool:
        """End the process if it is idle; say whether nothing is left."""
        if self.worker is not None and self.worker.job is None:
            self.worker.end()
        return self.worker is None or self.worker.job is None

    def limit_restarts(self, entry: Entry) -> None:
        """Fail a waiting job that has died too often, be it with its server."""
        if entry.state is JobState.QUEUED and entry.restarts > self.patience.restarts:
            self.table.move(entry.id, JobState.FAILED, failure=Failure(_crash(-1), entry.stage))

    def announce(self, job: str) -> None:
        """Put up how a job stands, and the jobs behind it if it left or joined the queue."""
        described, entry = self.table.describe(job), self.table.get(job)
        if described is not None and entry is not None:
            self.board.post(entry.owner, JobChanged(described))

    def announce_queue(self) -> None:
        """Put up every waiting job: their positions have changed."""
        for job in self.table.waiting():
            self.announce(job)

    # ---- reports --------------------------------------------------------------------------

    def _take_reports(self, worker: Worker, now: float) -> bool:
        """Deal with what came; say whether the process is gone."""
        for _ in range(4 * WAITING_REPORTS):
            try:
                frames = worker.reports.get_nowait()
            except queue.Empty:
                return False
            if frames is None:
                return True
            worker.heard = now
            self._take(worker, REPORTS.decode(frames[0]), frames[1:], now)
        self.woken()
        return False

    def _take(self, worker: Worker, report: WorkerReport, frames: list[Buffer], now: float) -> None:
        match report:
            case Beat():
                return
            case Described(welcome):
                worker.ready, self.welcome, self._failed_starts = True, welcome, 0
                log.info("worker ready", extra={"facts": {"seconds": now - worker.began}})
                self.board.post(None, Ready(welcome))
            case Saved():
                self._save(report)
            case Ended():
                self._end(worker, report)
            case _:
                if worker.job is None or worker.job.id != report.job:
                    return
                if isinstance(report, StageBegan):
                    worker.stage = report.stage
                    self.table.begin_stage(report.job, report.stage)
                    self.announce(report.job)
                self.board.post(worker.job.owner, report, frames)
        worker.moved = now

    def _save(self, saved: Saved) -> None:
        entry = self.table.get(saved.job)
        if entry is None:
            return
        start, stages = entry.spec.start, self.welcome.stages if self.welcome else ()
        if start is not None and not saved.kept and saved.stage in stages[stages.index(start) :]:
            # A restart must not force what this run has already done.
            index = stages.index(saved.stage) + 1
            start = stages[index] if index < len(stages) else None
        seconds = 0.0 if saved.kept else saved.seconds
        self.table.end_stage(saved.job, seconds=seconds, start=start, artefacts=saved.artefacts)
        if not saved.kept:
            count, total = self.stage_seconds.get(saved.stage, (0, 0.0))
            self.stage_seconds[saved.stage] = count + 1, total + seconds
        self.announce(saved.job)

    def _end(self, worker: Worker, ended: Ended) -> None:
        entry = self.table.get(ended.job)
        worker.job, worker.stop_by = None, None
        if entry is None:
            return
        match ended.outcome:
            case "done":
                state = JobState.DONE
            case "failed":
                state = JobState.FAILED
            case "stopped" if entry.state is JobState.CANCELLING:
                state = JobState.CANCELLED
            case "stopped":
                state = JobState.QUEUED
        self._settle(entry, state, failure=ended.failure)
        if self.stopping:
            worker.end()
            worker.stop_by = time.monotonic() + self.patience.cancel

    def _settle(
        self,
        entry: Entry,
        state: JobState,
        *,
        failure: Failure | None = None,
        restarts: int | None = None,
    ) -> None:
        self.table.move(entry.id, state, failure=failure, restarts=restarts)
        self.board.settle(entry.id)
        self.announce(entry.id)
        facts = {"job": entry.id, "state": state.value, "stage": entry.stage}
        if failure is not None:
            facts["kind"] = failure.problem.kind.value
        log.info("job moved", extra={"facts": facts})
        if state is not JobState.QUEUED:
            self.on_end(entry.id)

    # ---- the process ----------------------------------------------------------------------

    def _watch(self, worker: Worker, now: float) -> None:
        """End a process that shows no sign of life, no step, or no wish to stop."""
        patience = self.patience
        if worker.stop_by is not None and now > worker.stop_by:
            worker.kill()
        elif not worker.ready and now - worker.began > patience.start:
            worker.kill(_problem(Kind.HANG, "The worker did not start in time", patience.start))
        elif worker.ready and now - worker.heard > patience.silence:
            worker.kill(_problem(Kind.HANG, "The worker gave no sign of life", patience.silence))
        elif worker.job is not None:
            limit = patience.prepare if worker.stage in ("", "prepare") else patience.hang
            if now - worker.moved > limit:
                worker.kill(_problem(Kind.HANG, "The job took no step", limit))
        elif worker.ready and now - worker.moved > patience.idle:
            worker.end()

    def _bury(self, worker: Worker, now: float) -> None:
        """Deal with the end of a process."""
        worker.end()
        code = worker.process.wait()
        self.worker = None
        facts = {"code": code, "job": worker.job.id if worker.job else None}
        log.info("worker ended", extra={"facts": facts})
        if not worker.ready and worker.verdict is None and not self.stopping:
            worker.verdict = Problem(
                Kind.CRASH, f"The worker ended with code {code} before it was ready: see the log."
            )
        if not worker.ready and not self.stopping:
            self._failed_starts += 1
            self._not_before = now + min(2.0**self._failed_starts / 2, MAX_PAUSE_SECONDS)
            if self._failed_starts >= MAX_START_FAILURES:
                self._give_up(worker)
        if worker.job is not None:
            self._after_death(worker, worker.job.id, code)

    def _give_up(self, worker: Worker) -> None:
        """Tell those who wait that nothing can be computed here."""
        self._failed_starts = 0
        problem = worker.verdict or _crash(-1)
        for job in self.table.waiting():
            entry = self.table.get(job)
            if entry is not None:
                self._settle(entry, JobState.FAILED, failure=Failure(problem))

    def _after_death(self, worker: Worker, job: str, code: int) -> None:
        entry = self.table.get(job)
        if entry is None:
            return
        if entry.state is JobState.CANCELLING:
            self._settle(entry, JobState.CANCELLED)
        elif self.stopping:
            self._settle(entry, JobState.QUEUED)
        elif entry.restarts < self.patience.restarts:
            self._settle(entry, JobState.QUEUED, restarts=entry.restarts + 1)
        else:
            failure = Failure(worker.verdict or _crash(code), entry.stage)
            self._settle(entry, JobState.FAILED, failure=failure)

    def _start_next(self, now: float) -> None:
        """Give the first waiting job to the worker, and have one if any waits."""
        worker = self.worker
        if worker is None:
            if now >= self._not_before and (self.welcome is None or self.table.waiting()):
                self.worker = Worker(self.program, self.device, self.woken)
            return
        if not worker.ready or worker.job is not None or worker.process.poll() is not None:
            return
        entry = self.table.claim()
        if entry is None:
            return
        worker.job, worker.stage, worker.moved = entry, "", now
        self.board.clear(entry.id)
        worker.order(Do(entry.id, str(self.store.folder(entry.id)), entry.spec))
        self.announce(entry.id)
        self.announce_queue()


def _problem(kind: Kind, what: str, seconds: float) -> Problem:
    remedy = "run the job again, or report it if that happens twice"
    return Problem(kind, f"{what} for {seconds:.0f} seconds: {remedy}.", remedy)


def _crash(code: int) -> Problem:
    remedy = "choose a smaller preset if memory is short, and run the job again"
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return Problem(Kind.CRASH, f"The worker {how} again and again: {remedy}.", remedy)
