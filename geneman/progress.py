"""What a reconstruction tells its caller while it runs.

There is one channel, `Report`, and it works both ways: a stage calls it with each event,
and the caller stops the stage by raising `Cancelled` from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor

from geneman.errors import Cancelled as Cancelled  # noqa: PLC0414 (raised from a Report)


@dataclass(frozen=True)
class StageStarted:
    """A stage is about to take its first step, or `first_step` when it goes on."""

    stage: str
    steps: int
    first_step: int = 0


@dataclass(frozen=True)
class StepDone:
    """A stage has taken a step; `losses` holds the weighted terms, which add up to the total."""

    stage: str
    step: int
    steps: int
    losses: Mapping[str, float]
    seconds_left: float
    """For this stage, estimated from the steps taken so far."""


@dataclass(frozen=True)
class ImagePreview:
    """A picture of the work so far."""

    stage: str
    step: int
    image: Float[Tensor, "h w 3"]
    """sRGB in [0, 1]."""


@dataclass(frozen=True)
class MeshPreview:
    """The surface so far."""

    stage: str
    step: int
    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]


@dataclass(frozen=True)
class ArtefactSaved:
    """A result lies on disk, whole."""

    stage: str
    path: Path


@dataclass(frozen=True)
class StageFinished:
    """A stage has ended and its result is saved; `resumed` results were there before."""

    stage: str
    seconds: float
    resumed: bool = False


Event = StageStarted | StepDone | ImagePreview | MeshPreview | ArtefactSaved | StageFinished
Report = Callable[[Event], None]


def silent(event: Event) -> None:
    """Ignore the event: the default `Report`."""
