# SPDX-License-Identifier: Apache-2.0
"""Starts, watches and ends the workers, and hands each one job after the other.

Whatever becomes of a worker (it ends, falls silent, takes no step, does not stop when told to)
ends in a legal move of its job: back to the front of the queue as long as restarts are left, to
`failed` with a sentence after that.
"""

import logging
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from backend.jobs import Entry, JobTable
from backend.orders import REPORTS, Beat, Described, Do, Ended, Saved, Stop, Unable, WorkerReport
from backend.store import Store
from backend.streaming import Board
from backend.workers import WAITING_REPORTS, Post, Worker
from blender_addon.frames import Buffer
from blender_addon.protocol import (
    Event,
    Failure,
    JobChanged,
    JobState,
    Kind,
    NotReady,
    Problem,
    Ready,
    StageBegan,
    Warming,
    Welcome,
)

log = logging.getLogger("backend")

MAX_START_FAILURES = 5
MAX_PAUSE_SECONDS = 30.0
STOOD_STILL_SECONDS = 1.0
"""From one tick to the next: so long only if this process was stopped, or waited for a disk."""


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


@dataclass
class Supervisor:
    """Sees to it that waiting jobs run, in their order, on as many workers as there are."""

    table: JobTable
    store: Store
    board: Board
    posts: list[Post]
    woken: Callable[[], None]
    patience: Patience
    on_end: Callable[[str], None]
    """Called with each job that ended."""
    welcome: Welcome | None = None
    stage_seconds: dict[str, tuple[int, float]] = field(default_factory=dict)
    stopping: bool = False
    _positions: dict[str, int] = field(default_factory=dict)
    """Of the waiting jobs, as they were last put up."""
    _ticked: float = field(default_factory=time.monotonic)
    """When this process last looked around."""

    # ---- once a tick ----------------------------------------------------------------------

    def tick(self) -> None:
        """Deal with reports, look after the workers, and start what waits."""
        now = time.monotonic()
        self._forgive(now)
        for post in self.posts:
            worker = post.worker
            if worker is None:
                continue
            gone = self._take_reports(worker, now)
            if gone:
                self._bury(post, worker, now)
            else:
                self._watch(worker, now)
        for post in self.posts if not self.stopping else ():
            self._start_next(post, now)

    @property
    def workers(self) -> list[Worker]:
        """The workers that there are."""
        return [post.worker for post in self.posts if post.worker is not None]

    def cancel(self, entry: Entry) -> None:
        """Stop a running job by order, and by force if it does not obey in time."""
        self.table.move(entry.id, JobState.CANCELLING)
        self.announce(entry.id)
        for worker in self.workers:
            if worker.job is not None and worker.job.id == entry.id:
                worker.order(Stop(entry.id, checkpoint=False))
                worker.stop_by = time.monotonic() + self.patience.cancel

    def stop(self) -> None:
        """Let running jobs write their checkpoints, then end the workers."""
        self.stopping = True
        for worker in self.workers:
            if worker.job is None:
                worker.end()
            else:
                worker.order(Stop(worker.job.id, checkpoint=True))
            if worker.stop_by is None:
                worker.stop_by = time.monotonic() + self.patience.checkpoint

    def free(self) -> bool:
        """End the workers that are idle; say whether none is left that works."""
        for worker in self.workers:
            if worker.job is None:
                worker.end()
        return all(worker.job is None for worker in self.workers)

    def limit_restarts(self, entry: Entry) -> None:
        """Fail a waiting job that has died too often, be it with its server."""
        if entry.state is JobState.QUEUED and entry.restarts > self.patience.restarts:
            self.table.move(entry.id, JobState.FAILED, failure=Failure(_crash(-1), entry.stage))

    def announce(self, job: str) -> None:
        """Put up how a job stands."""
        described, entry = self.table.describe(job), self.table.get(job)
        if described is not None and entry is not None:
            self._positions[job] = described.position
            self._post(entry, JobChanged(described))

    def announce_queue(self) -> None:
        """Put up every waiting job whose position has changed."""
        told, self._positions = self._positions, {}
        for entry, job in self.table.describe_all(state=JobState.QUEUED):
            self._positions[job.id] = job.position
            if told.get(job.id) != job.position:
                self._post(entry, JobChanged(job))

    def _post(self, entry: Entry, body: Event, frames: Sequence[Buffer] = ()) -> None:
        self.board.post(entry.owner, body, frames, parent=entry.request)

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
            case Warming(device, done, of):
                log.info("kernels", extra={"facts": {"device": device, "done": done, "of": of}})
                self.board.post(None, report)
            case Described(welcome):
                self._introduce(worker, welcome, now)
            case Unable(problem):
                worker.verdict = problem
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
                self._post(worker.job, report, frames)
        worker.moved = now

    def _introduce(self, worker: Worker, welcome: Welcome, now: float) -> None:
        """Note what a worker can do; devices add up."""
        worker.ready = True
        for post in self.posts:
            if post.worker is worker:
                post.failed_starts = 0
        device = welcome.devices[0]
        worker.device = device.name
        known = self.welcome.devices if self.welcome else ()
        others = tuple(one for one in known if one.name != device.name)
        devices = tuple(sorted((*others, device), key=lambda one: one.name))
        self.welcome = msgspec.structs.replace(welcome, devices=devices)
        facts = {"device": device.name, "seconds": now - worker.began}
        log.info("worker ready", extra={"facts": facts})
        self.board.post(None, Ready(self.welcome))

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
        self.table.end_stage(
            saved.job, saved.stage, seconds=seconds, start=start, artefacts=saved.artefacts
        )
        self.table.know_stages(saved.job, saved.stages)
        if not saved.kept:
            count, total = self.stage_seconds.get(saved.stage, (0, 0.0))
            self.stage_seconds[saved.stage] = count + 1, total + seconds
        self.announce(saved.job)

    def _end(self, worker: Worker, ended: Ended) -> None:
        entry = self.table.get(ended.job)
        worker.job, worker.stop_by = None, None
        if entry is None:
            return
        if ended.stages:
            self.table.know_stages(ended.job, ended.stages)
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
            facts |= {"traceback": told} if (told := failure.problem.traceback) else {}
        log.info("job moved", extra={"facts": facts})
        if state is not JobState.QUEUED:
            self.on_end(entry.id)

    def _forgive(self, now: float) -> None:
        """Count no time against the workers in which this process itself stood still."""
        still, self._ticked = now - self._ticked, now
        if still > STOOD_STILL_SECONDS:
            for worker in self.workers:
                worker.heard += still
                worker.moved += still

    # ---- the process ----------------------------------------------------------------------

    def _watch(self, worker: Worker, now: float) -> None:
        """End a process that shows no sign of life, no step, or no wish to stop."""
        patience = self.patience
        if worker.stop_by is not None and now > worker.stop_by:
            worker.kill()
        elif not worker.ready and now - worker.moved > patience.start:
            worker.kill(_problem(Kind.HANG, "The worker did not start in time", patience.start))
        elif worker.ready and now - worker.heard > patience.silence:
            worker.kill(_problem(Kind.HANG, "The worker gave no sign of life", patience.silence))
        elif worker.job is not None:
            limit = patience.prepare if worker.stage in ("", "prepare") else patience.hang
            if now - worker.moved > limit:
                worker.kill(_problem(Kind.HANG, "The job took no step", limit))
        elif worker.ready and now - worker.moved > patience.idle:
            worker.end()

    def _bury(self, post: Post, worker: Worker, now: float) -> None:
        """Deal with the end of a worker."""
        worker.end()
        code = worker.exit_code() or 0
        post.worker = None
        facts = {"code": code, "job": worker.job.id if worker.job else None}
        log.info("worker ended", extra={"facts": facts})
        if not worker.ready and worker.verdict is None and not self.stopping:
            worker.verdict = Problem(
                Kind.CRASH, f"The worker ended with code {code} before it was ready: see the log."
            )
        if not worker.ready and not self.stopping:
            post.failed_starts += 1
            post.not_before = now + min(2.0**post.failed_starts / 2, MAX_PAUSE_SECONDS)
            self.board.post(None, NotReady(worker.verdict or _crash(code)))
            if all(one.failed_starts >= MAX_START_FAILURES for one in self.posts):
                self._give_up(worker)
        if worker.job is not None:
            self._after_death(worker, worker.job.id, code)

    def _give_up(self, worker: Worker) -> None:
        """Tell those who wait that nothing can be computed here."""
        for post in self.posts:
            post.failed_starts = 0
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

    def _start_next(self, post: Post, now: float) -> None:
        """Give the first waiting job to a worker that is free, and have one if any waits."""
        worker = post.worker
        if worker is None:
            wanted = self.welcome is None or self._unserved() > 0
            if now >= post.not_before and wanted:
                post.worker = post.start()
            return
        if not worker.ready or worker.job is not None or worker.exit_code() is not None:
            return
        entry = self.table.claim(worker.device)
        if entry is None:
            return
        worker.job, worker.stage, worker.moved = entry, "", now
        self.board.clear(entry.id)
        worker.order(Do(entry.id, str(self.store.folder(entry.id)), entry.spec))
        self.announce(entry.id)
        self.announce_queue()

    def _unserved(self) -> int:
        """Count the jobs that wait and have no idle or starting worker to wait for."""
        free = sum(worker.job is None for worker in self.workers)
        return len(self.table.waiting()) - free


def _problem(kind: Kind, what: str, seconds: float) -> Problem:
    remedy = "run the job again, or report it if that happens twice"
    return Problem(kind, f"{what} for {seconds:.0f} seconds: {remedy}.", remedy)


def _crash(code: int) -> Problem:
    remedy = "choose a smaller preset if memory is short, and run the job again"
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return Problem(Kind.CRASH, f"The worker {how} again and again: {remedy}.", remedy)
