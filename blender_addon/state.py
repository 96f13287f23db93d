# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel shows, as plain values: fed with updates, read by `draw`, knows no bpy."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .backend_row import BackendRow, Parts, backend_row
from .environment import Environment
from .launch import Status
from .naming import stage_title
from .pending import trouble_of
from .protocol import (
    ENDED,
    Job,
    JobChanged,
    JobIs,
    JobRemoved,
    JobState,
    NotReady,
    Setting,
    StageBegan,
    StageEnded,
    Step,
    Warming,
    Welcome,
)
from .set_up_plan import SetUpStatus
from .stage_rows import RowState, Run, StageRow
from .troubles import Remedy, Trouble
from .updates import AllJobs, BackendStopping, Link, LinkChanged, News, Outcome, Update
from .wording import Say, as_written, duration

__all__ = ["BackendRow", "JobRow", "Model", "RowState", "StageRow", "duration"]

OUTCOMES_KEPT = 100


@dataclass(frozen=True)
class JobRow:
    """One line of the queue or the history."""

    job: Job
    sentence: str
    """As in 'Sculpt, 2 min left', 'Waits, 2 before it', 'Done in 4 min'."""
    fraction: float
    """Of all its stages."""
    seconds_left: float | None
    """Of the stage that runs."""
    trouble: Trouble | None = None


class Model:
    """Everything that the panel shows. Only the main thread uses it."""

    def __init__(self, say: Say = as_written) -> None:
        """Begin with nothing known; `say` gives texts in the user's language."""
        self.welcome: Welcome | None = None
        """What the connected (or last connected) backend can do."""
        self._say = say
        self._parts = Parts()
        self._backend = backend_row(self._parts, say)
        self._jobs: dict[str, Job] = {}
        self._runs: dict[str, Run] = {}
        self._troubles: OrderedDict[str, Trouble] = OrderedDict()
        self._revision = 0
        self._rows: tuple[int, tuple[JobRow, ...]] = (-1, ())

    # ---- what happens ---------------------------------------------------------------------

    def apply(self, update: Update) -> None:
        """Take an update in; arrays are of no interest here."""
        match update:
            case LinkChanged():
                self._on_link(update)
            case Outcome():
                self._on_outcome(update)
            case AllJobs(jobs):
                self._jobs = {job.id: job for job in jobs}
                self._runs = {name: run for name, run in self._runs.items() if name in self._jobs}
            case BackendStopping():
                self._see(replace(self._parts, stopping=True))
            case Warming():
                self._see(replace(self._parts, warming=update, not_ready=None))
            case NotReady(problem):
                trouble = replace(trouble_of(problem), remedy=Remedy.OPEN_LOG)
                self._see(replace(self._parts, not_ready=trouble))
            case JobChanged() | JobRemoved() | StageBegan() | Step() | StageEnded():
                self._on_news(update)
            case _:
                return
        self._revision += 1

    def _on_link(self, changed: LinkChanged) -> None:
        self.welcome = changed.welcome or self.welcome
        fresh = changed.link is not Link.CONNECTED or self._parts.link.link is not Link.CONNECTED
        parts = replace(self._parts, link=changed, welcome=changed.welcome, not_ready=None)
        self._see(replace(parts, stopping=False, warming=None) if fresh else parts)

    def _on_outcome(self, outcome: Outcome) -> None:
        if isinstance(outcome.reply, JobIs):
            self._on_news(JobChanged(outcome.reply.job))
        if outcome.trouble is None:
            return
        self._troubles[outcome.ticket] = outcome.trouble
        while len(self._troubles) > OUTCOMES_KEPT:
            self._troubles.popitem(last=False)

    def _on_news(self, news: News) -> None:
        match news:
            case JobChanged(job):
                older = self._jobs.get(job.id)
                if older is not None and older.state in ENDED and job.state not in ENDED:
                    self._runs.pop(job.id, None)  # it runs again: the last run's steps are void
                self._jobs[job.id] = job
            case JobRemoved(name):
                self._jobs.pop(name, None)
                self._runs.pop(name, None)
            case StageBegan(name):
                self._run(name).begin(news)
            case Step(name):
                self._run(name).step = news
            case StageEnded(name, stage):
                self._run(name).ended[stage] = news
            case _:
                return

    def _run(self, job: str) -> Run:
        return self._runs.setdefault(job, Run())

    def watch(
        self,
        *,
        environment: Environment | None = None,
        local: Status | None = None,
        set_up: SetUpStatus | None = None,
        remote: str = "",
    ) -> None:
        """Note how installation, launcher and set-up stand; once a tick, costs nothing.

        Args:
            environment: The one that would be started; None if there is none.
            local: The launcher's status; None if there is no launcher.
            set_up: The status of a set-up, if one was begun in this session.
            remote: The name of a backend elsewhere; empty is this machine.
        """
        parts = self._parts
        seen = (parts.environment, parts.local, parts.set_up, parts.remote)
        if seen != (environment, local, set_up, remote):
            self._see(
                replace(parts, environment=environment, local=local, set_up=set_up, remote=remote)
            )

    def _see(self, parts: Parts) -> None:
        self._parts = parts
        row = backend_row(parts, self._say)
        if row != self._backend:
            self._backend = row
            self._revision += 1

    def edited(self, job: str, stage: str) -> None:
        """Note that somebody changed a stage's result by hand: later ones are stale.

        No stage: what was changed is as it was again.
        """
        if self._run(job).edited != stage:
            self._run(job).edited = stage
            self._revision += 1

    def failed_order(self, ticket: str) -> Trouble | None:
        """Give what an order was answered with, if that was trouble, and forget it."""
        return self._troubles.pop(ticket, None)

    # ---- what is shown --------------------------------------------------------------------

    @property
    def backend(self) -> BackendRow:
        """The state sentence and its button."""
        return self._backend

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages in their order, as the backend has them."""
        return self.welcome.stages if self.welcome is not None else ()

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The backend's settings, for the form."""
        return self.welcome.settings if self.welcome is not None else ()

    @property
    def queue(self) -> Sequence[JobRow]:
        """Jobs that run or wait, in their order."""
        return [row for row in self._all() if row.job.state not in ENDED]

    @property
    def history(self) -> Sequence[JobRow]:
        """Jobs that have ended, newest first."""
        return [row for row in self._all() if row.job.state in ENDED]

    def job(self, job: str) -> JobRow | None:
        """Give one job's row."""
        return next((row for row in self._all() if row.job.id == job), None)

    def stage_rows(self, job: str) -> Sequence[StageRow]:
        """Give a job's stages; all waiting for a job that is not known."""
        found = self._jobs.get(job)
        if found is None:
            return tuple(StageRow(name, RowState.WAITING) for name in self.stages)
        return self._runs.get(job, Run()).rows(found, self.stages)

    @property
    def revision(self) -> int:
        """Grows with every change that the panel would show: redraw when it differs."""
        return self._revision

    # ---- rows of jobs ---------------------------------------------------------------------

    def _all(self) -> tuple[JobRow, ...]:
        """Give all jobs' rows: those that run, that wait in order, that ended, newest first."""
        if self._rows[0] != self._revision:
            jobs = sorted(self._jobs.values(), key=_place)
            self._rows = self._revision, tuple(self._row(job) for job in jobs)
        return self._rows[1]

    def _row(self, job: Job) -> JobRow:
        rows = self.stage_rows(job.id)
        running = next((row for row in rows if row.state is RowState.RUNNING), None)
        done = sum(row.fraction for row in rows if row.state in (RowState.DONE, RowState.RUNNING))
        return JobRow(
            job,
            self._sentence(job, running),
            fraction=done / len(rows) if rows else 0.0,
            seconds_left=running.seconds_left if running is not None else None,
            trouble=_failure(job),
        )

    def _sentence(self, job: Job, running: StageRow | None) -> str:
        say = self._say
        sentence = say("Cancelled")
        match job.state:
            case JobState.QUEUED:
                sentence = self._waiting(job)
            case JobState.RUNNING if running is not None and running.seconds_left is not None:
                left = duration(running.seconds_left, say)
                sentence = say("{}, {} left").format(say(stage_title(running.name)), left)
            case JobState.RUNNING:
                sentence = say(stage_title(job.stage)) if job.stage else say("Starts")
            case JobState.CANCELLING:
                sentence = say("Stops")
            case JobState.DONE:
                sentence = say("Done in {}").format(duration(job.seconds, say))
            case JobState.FAILED if job.failure is not None:
                sentence = trouble_of(job.failure.problem).told(say)
            case _:
                pass
        return sentence

    def _waiting(self, job: Job) -> str:
        if job.restarts:
            return self._say("Its worker died; it goes on from its last checkpoint")
        if job.position > 1:
            return self._say("Waits, {} before it").format(job.position - 1)
        return self._say("Waits, next in line")


def _failure(job: Job) -> Trouble | None:
    return trouble_of(job.failure.problem, job.failure.stage) if job.failure is not None else None


def _place(job: Job) -> tuple[int, float, float]:
    if job.state in ENDED:
        return 2, -job.changed, 0.0
    if job.state is JobState.QUEUED:
        return 1, job.position, job.created
    return 0, job.created, 0.0
