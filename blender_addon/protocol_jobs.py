# SPDX-License-Identifier: Apache-2.0
"""What the protocol's messages speak of: jobs, what went wrong, settings, stages, devices.

Part of `protocol.py`, which gives every name on: import from there.
"""

import enum
from typing import Annotated, Any, Literal

import msgspec

from .frames import Token

MAX_LABEL = 200
"""Characters."""
Label = Annotated[str, msgspec.Meta(max_length=MAX_LABEL)]
"""A text that people see."""
Prompt = Annotated[str, msgspec.Meta(max_length=2000)]
Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9_]{1,40}\Z")]
"""Of a stage, preset or loss."""
Count = Annotated[int, msgspec.Meta(ge=0)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Recipe = dict[str, dict[str, Any]]
"""Settings by stage, then by dotted path ({"sculpt": {"field.width": 32}}) or nested."""


class JobState(enum.StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})
"""States that only a `Rerun` or a `Remove` leaves."""


class Kind(enum.StrEnum):
    """What sort of thing went wrong: for icons and for programs; people read the sentence."""

    INPUT = "input"
    """The photo, a file or an option breaks a rule."""
    MEMORY = "memory"
    """The device or the machine ran out of memory."""
    CRASH = "crash"
    """The worker died."""
    HANG = "hang"
    """The worker took no step for too long."""
    DISK = "disk"
    """The server's disk is full, or the client's share of it."""
    LIMIT = "limit"
    """The client asked too fast or for too much."""
    UNKNOWN_JOB = "unknown_job"
    EDITED = "edited"
    """Something made by hand would be lost; a `Rerun` with `discard` may lose it."""
    STATE = "state"
    """The job is not in a state in which that can be done."""
    PROTOCOL = "protocol"
    """The message broke the protocol."""
    STOPPING = "stopping"
    """The server is about to stop."""
    FAULT = "fault"
    """Ours."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong, for people and for programs."""

    kind: Kind
    sentence: str
    """Rule, value and remedy in one sentence."""
    remedy: str = ""
    """Only the remedy, for a button's hint; empty if the sentence has none apart."""
    traceback: str = ""
    """Of faults; without paths of the server."""


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a job failed."""

    problem: Problem
    stage: str = ""


class Artefact(msgspec.Struct, frozen=True):
    """A finished file of a job."""

    name: str
    """As in 'finish/model.glb': the stage and the file, for `Fetch`."""
    size: Count
    """Bytes."""
    sha256: str


class StageState(enum.StrEnum):
    """What a stage's result is worth."""

    DONE = "done"
    """It is what the present settings and inputs give."""
    STALE = "stale"
    """It was made from something else: an earlier stage, a setting or an input has changed."""
    MISSING = "missing"
    """There is none: it has not run yet, or an edit has made it needless."""


class StageIs(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one stage of a job stands, on the server's disk."""

    name: Name
    state: StageState
    edited: bool = False
    """Whether the result was made by hand: it stays until a `Rerun` discards or replaces it."""
    seconds: float = 0.0


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known about a job."""

    id: Token
    label: Label
    state: JobState
    position: Count = 0
    """In the queue: 1 is next; 0 is not waiting."""
    stage: str = ""
    """The stage that runs, or ran last."""
    stages: tuple[StageIs, ...] = ()
    """All stages in their order, as they stood when a stage last ended; empty before the first."""
    device: str = ""
    """Where it runs, or ran last: 'cpu', 'cuda:1', with Ray the node's name before it."""
    restarts: Count = 0
    """How often its worker died since it last finished a stage."""
    created: float = 0.0
    changed: float = 0.0
    seconds: float = 0.0
    """Of computing, all stages together."""
    failure: Failure | None = None
    artefacts: tuple[Artefact, ...] = ()


class Wish(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a job was asked to do: everything that a form needs to ask for it again."""

    preset: Name
    recipe: Recipe = {}
    """Other than the preset's, by stage and dotted path."""
    prompt: Prompt = ""
    seed: Seed = 0
    until: Name | None = None
    maps: tuple[str, ...] = ()
    """Names of the maps that were given."""


class MeshFrame(enum.StrEnum):
    """The frame in which vertices are told. In all: z up, the person faces -y."""

    SCENE = "scene"
    """That of `Surface` before `finish`: the photo's camera looks at the origin from the side of
    -y, three units away."""
    METRES = "metres"
    """That of finish/model.glb, of the same job: metres, the feet on the origin."""
    ANYWHERE = "anywhere"
    """Any size and place: brought to where its outline fills the photo's."""


class Placement(msgspec.Struct, frozen=True):
    """How `finish` went from the scene to metres: metres = (scene - floor) * metres_per_unit."""

    metres_per_unit: float
    floor: tuple[float, float, float]
    """The point of the scene that became the origin."""
    camera_elevation_deg: float = 0.0
    """Of the photo's camera, above the scene's horizon, on its arc about the scene's origin."""


class Camera(msgspec.Struct, frozen=True):
    """The camera of every photo: on the side of -y, looking at the scene's origin, z up.

    It stands level with the origin, or as far above it as `Placement` says. Its square picture is
    that of prepare/cut_out.png.
    """

    distance: float
    fov_deg: float
    """Of the whole side."""


class Setting(msgspec.Struct, frozen=True, omit_defaults=True):
    """One setting of the recipe: all that a form needs to show it and to hold its limits."""

    path: str
    """Dotted, as in 'sculpt.field.width': the stage, then the path within a `Recipe`."""
    type: Literal["bool", "int", "float", "text", "choice", "floats", "schedule"]
    """'floats' is a list of `length` numbers. 'schedule' is a number, or
    {"type": "ramp", "start", "stop", "begin", "end"} (straight between two steps), or
    {"type": "switch", "before", "after", "at"} (at a step); limits hold for each of its values."""
    default: Any
    stage: str = ""
    values: dict[str, Any] = {}
    """What each preset says."""
    optional: bool = False
    """Whether None may be given, and means that the backend finds the value itself."""
    minimum: float | None = None
    maximum: float | None = None
    above: bool = False
    """Whether the minimum itself is not allowed."""
    below: bool = False
    """Whether the maximum itself is not allowed."""
    choices: tuple[str, ...] = ()
    length: Count = 0
    limits: str = ""
    """For people, as in '>= 1, <= 10', or empty."""
    text: str = ""
    """A sentence or two for people: the tooltip."""


class Device(msgspec.Struct, frozen=True):
    """Where jobs are computed."""

    name: str
    """'cpu', 'cuda:0', ..."""
    title: str
    memory_bytes: Count
    free_bytes: Count


class Welcome(msgspec.Struct, frozen=True, tag="welcome", omit_defaults=True):
    """Who answers, and what it can do."""

    version: str
    """Of the backend's package; the protocol's own stands in the preamble."""
    capabilities: tuple[str, ...]
    """Such as 'zstd': arrays may be compressed."""
    ready: bool
    """Whether a worker has described itself; until then the rest is empty (see `Ready`)."""
    stages: tuple[str, ...] = ()
    """In the order in which they run."""
    presets: dict[str, dict[str, dict[str, Any]]] = {}
    """Every preset's settings by stage and field, quickest first."""
    preset_texts: dict[str, str] = {}
    """A sentence on each preset, for people."""
    settings: tuple[Setting, ...] = ()
    devices: tuple[Device, ...] = ()
    """One worker each."""
    camera: Camera | None = None
