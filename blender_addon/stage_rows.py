# SPDX-License-Identifier: GPL-3.0-or-later
"""How each stage of a job stands: what the server keeps, and what the present run has told."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from .pending import trouble_of
from .protocol import Job, JobState, StageBegan, StageEnded, StageIs, Step
from .protocol import StageState as Kept
from .troubles import Trouble


class RowState(enum.StrEnum):
    """How one stage of a job is shown."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    STALE = "stale"
    """Its result is there, but something before it has changed since."""
    FAILED = "failed"


@dataclass(frozen=True)
class StageRow:
    """One line of the stage list."""

    name: str
    """As in 'nerf_init'."""
    state: RowState
    fraction: float = 0.0
    """Of its steps."""
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    """None if nobody knows yet."""
    seconds: float = 0.0
    """It took, once it is done."""
    loss: float | None = None
    """The sum of its weighted terms at the last step."""
    edited: bool = False
    """Whether its result was made by hand."""
    trouble: Trouble | None = None

    @property
    def has_result(self) -> bool:
        """Whether it can be inspected."""
        return self.state in (RowState.DONE, RowState.STALE)


@dataclass
class Run:
    """What the present (or last) run of a job has told."""

    began: dict[str, StageBegan] = field(default_factory=dict)
    step: Step | None = None
    ended: dict[str, StageEnded] = field(default_factory=dict)
    edited: str = ""
    """The first stage whose result was changed by hand since; later ones are stale."""

    def begin(self, told: StageBegan) -> None:
        """A stage begins: what an earlier attempt at it told is void."""
        self.began[told.stage], self.step = told, None
        self.ended.pop(told.stage, None)

    def rows(self, job: Job, stages: Sequence[str]) -> tuple[StageRow, ...]:
        """Give a row for each stage."""
        kept = {one.name: one for one in job.stages}
        names = [one.name for one in job.stages] or list(stages)
        order = {name: index for index, name in enumerate(names)}
        present = order.get(job.stage, -1) if job.state in _BUSY else -1
        edited = order.get(self.edited, len(names))
        return tuple(
            self._row(job, name, kept.get(name), after=0 <= present < index or index > edited)
            for name, index in order.items()
            if not (job.state is JobState.DONE and _is_needless(index, job.stages))
        )

    def _row(self, job: Job, name: str, kept: StageIs | None, *, after: bool) -> StageRow:
        """Give one row; `after` stages follow one that runs or was edited."""
        ended = self.ended.get(name)
        seconds = ended.seconds if ended else kept.seconds if kept else 0.0
        by_hand = kept is not None and kept.edited
        if ended is None and job.state in _BUSY and job.stage == name:
            return self._running(name)
        failure = job.failure if job.state is JobState.FAILED else None
        if failure is not None and failure.stage == name:
            return StageRow(name, RowState.FAILED, trouble=trouble_of(failure.problem, name))
        if ended is not None or (kept is not None and kept.state is Kept.DONE):
            found = RowState.STALE if after and not _ended_now(ended, job) else RowState.DONE
        elif kept is not None and kept.state is Kept.STALE:
            found = RowState.STALE
        elif kept is None and any(one.name.startswith(f"{name}/") for one in job.artefacts):
            found = RowState.STALE if after or job.state is JobState.FAILED else RowState.DONE
        else:
            return StageRow(name, RowState.WAITING)
        return StageRow(name, found, fraction=1.0, seconds=seconds, edited=by_hand)

    def _running(self, name: str) -> StageRow:
        began = self.began.get(name)
        if began is None:
            return StageRow(name, RowState.RUNNING)
        step = self.step if self.step is not None and self.step.stage == name else None
        if step is None:
            fraction = began.first_step / began.steps if began.steps else 0.0
            return StageRow(name, RowState.RUNNING, fraction, began.first_step, began.steps)
        taken = step.step + 1
        return StageRow(
            name,
            RowState.RUNNING,
            fraction=min(taken / step.steps, 1.0) if step.steps else 0.0,
            step=taken,
            steps=step.steps,
            seconds_left=step.seconds_left,
            loss=sum(step.losses.values()) if step.losses else None,
        )


def _is_needless(index: int, stages: Sequence[StageIs]) -> bool:
    """Say whether a stage was left out, since a later result was made by hand."""
    missing = index < len(stages) and stages[index].state is Kept.MISSING
    return missing and any(later.state is Kept.DONE for later in stages[index + 1 :])


_BUSY = (JobState.RUNNING, JobState.CANCELLING)


def _ended_now(ended: StageEnded | None, job: Job) -> bool:
    """Say whether a stage has ended in a run that still goes on."""
    return ended is not None and job.state in _BUSY
