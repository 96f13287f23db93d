# SPDX-License-Identifier: Apache-2.0
"""THE protocol between the backend and those who use it (Blender, terminal, farms).

Three sockets, each a ROUTER at the server and a DEALER at the client, all under CURVE:

    requests   `Request` -> `Reply`    submit, list, fetch ...
    control    `Control` -> `Reply`    cancel, shut down, ping: never behind an upload
    events     `Feed` -> `Event`       what happens to the jobs, with replay for who comes late

`docs/protocol.md` tells the order in which they go. How messages lie in frames: `frames.py`.
Times are seconds; a moment is a Unix time and only ever shown, never compared. Paths do not occur.
"""

import enum
from typing import Annotated, Any, Literal

import msgspec

from blender_addon.frames import (
    Array,
    Envelope,
    Token,
)

Label = Annotated[str, msgspec.Meta(max_length=200)]
"""A text that people see."""
Prompt = Annotated[str, msgspec.Meta(max_length=2000)]
Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9_]{1,40}\Z")]
"""Of a stage, preset or loss."""
Count = Annotated[int, msgspec.Meta(ge=0)]

MAX_CHUNK_BYTES = 2**20
"""How much of an artefact one `Fetch` may ask for."""
MapName = Literal["mask", "normal", "depth", "landmarks"]


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


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known about a job."""

    id: Token
    label: Label
    state: JobState
    position: Count = 0
    """In the queue: 1 is next; 0 is not waiting."""
    stage: str = ""
    """The stage that runs, or ran last."""
    restarts: Count = 0
    """How often its worker died since it last finished a stage."""
    created: float = 0.0
    changed: float = 0.0
    seconds: float = 0.0
    """Of computing, all stages together."""
    failure: Failure | None = None
    artefacts: tuple[Artefact, ...] = ()


class Setting(msgspec.Struct, frozen=True):
    """One setting of the recipe, as a form shows it."""

    path: str
    """Dotted, as in 'sculpt.steps'."""
    type: str
    default: Any
    limits: str
    """As in '>= 1, <= 10', or empty."""
    text: str


class Device(msgspec.Struct, frozen=True):
    """Where jobs are computed."""

    name: str
    """'cpu' or 'cuda'."""
    title: str
    memory_bytes: Count
    free_bytes: Count


# ---- requests ---------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first request: who is there? Answered by `Welcome`."""

    program: Label
    version: Label


class Edits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody changed by hand; each takes its stage's place, later stages run anew."""

    mask: Array | None = None
    """H W, `u1`: 255 is the person; of the photo's size."""
    vertices: Array | None = None
    """V 3, `f4`, in world coordinates: with `faces`, the result of `sculpt`."""
    faces: Array | None = None
    """F 3, `i4`."""
    albedo: Array | None = None
    """H W 3, `u1`, sRGB, row 0 on top: the texture of `pixel_texture`'s result."""


class Submit(msgspec.Struct, frozen=True, tag="submit", omit_defaults=True):
    """Reconstruct a photo. Answered by `JobIs`; sent again with the same `job`, done once."""

    job: Token
    """The client names the job, so that it can ask again after a broken connection."""
    label: Label
    photo: Array
    """A file: png, jpeg, webp or heic."""
    preset: Name = "draft"
    recipe: dict[str, dict[str, Any]] = {}
    """Settings other than the preset's: stage, field, value."""
    maps: dict[MapName, Array] = {}
    """Files (png, or npz with one array) or arrays (mask H W `u1`, landmarks 33 4 `f4` ...)."""
    prompt: Prompt = ""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    until: Name | None = None
    """The last stage to run."""


class ListJobs(msgspec.Struct, frozen=True, tag="list_jobs"):
    """Give my jobs, those that wait in order. Answered by `Jobs`."""


class GetJob(msgspec.Struct, frozen=True, tag="get_job"):
    """Give one job. Answered by `JobIs`."""

    job: Token


class Rerun(msgspec.Struct, frozen=True, tag="rerun", omit_defaults=True):
    """Run an ended job again; what is still current is kept. Answered by `JobIs`."""

    job: Token
    start: Name | None = None
    """Run this stage and those after it even if nothing changed."""
    until: Name | None = None
    preset: Name | None = None
    """None keeps the preset and the recipe."""
    recipe: dict[str, dict[str, Any]] = {}
    """Laid over the job's own recipe."""
    prompt: Prompt | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    edits: Edits = Edits()


class Move(msgspec.Struct, frozen=True, tag="move"):
    """Let a waiting job be `position`-th among the waiting. Answered by `Jobs`."""

    job: Token
    position: Annotated[int, msgspec.Meta(ge=1)]


class Remove(msgspec.Struct, frozen=True, tag="remove"):
    """Forget an ended job and delete its files. Answered by `Done`."""

    job: Token


class Fetch(msgspec.Struct, frozen=True, tag="fetch"):
    """Give a piece of an artefact. Answered by `Chunk`."""

    job: Token
    name: Label
    offset: Count = 0
    length: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHUNK_BYTES)] = MAX_CHUNK_BYTES


class FreeMemory(msgspec.Struct, frozen=True, tag="free_memory"):
    """End idle workers, and with them everything they hold on their device. Answered by `Done`."""


class GetMetrics(msgspec.Struct, frozen=True, tag="get_metrics"):
    """Give the server's figures. Answered by `Metrics`."""


Request = (
    Hello | Submit | ListJobs | GetJob | Rerun | Move | Remove | Fetch | FreeMemory | GetMetrics
)


# ---- control ----------------------------------------------------------------------------------


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop a job within two seconds; its last checkpoint stays. Answered by `JobIs`."""

    job: Token


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Are you there? Answered by `Done` at once."""


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """Stop the server; running jobs go on at its next start. Answered by `Done`."""


Control = Cancel | Ping | Shutdown


# ---- replies ----------------------------------------------------------------------------------


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """Who answers, and what it can do."""

    version: str
    """Of the backend's package; the protocol's own stands in the preamble."""
    capabilities: tuple[str, ...]
    """Such as 'zstd': arrays may be compressed."""
    ready: bool
    """Whether a worker has described itself; until then the rest is empty (see `Ready`)."""
    stages: tuple[str, ...] = ()
    presets: dict[str, dict[str, dict[str, Any]]] = {}
    """Every preset's settings by stage and field."""
    settings: tuple[Setting, ...] = ()
    devices: tuple[Device, ...] = ()


class JobIs(msgspec.Struct, frozen=True, tag="job_is"):
    """How a job stands, after what was asked was done."""

    job: Job


class Jobs(msgspec.Struct, frozen=True, tag="jobs"):
    """The client's jobs: the waiting in their order, then the others, newest first."""

    jobs: tuple[Job, ...]


class Chunk(msgspec.Struct, frozen=True, tag="chunk"):
    """A piece of an artefact."""

    data: Array
    offset: Count
    artefact: Artefact


class Metrics(msgspec.Struct, frozen=True, tag="metrics"):
    """The server's figures by name, such as 'queue.length' or 'stage.sculpt.seconds'."""

    values: dict[str, float]


class Done(msgspec.Struct, frozen=True, tag="done"):
    """It is done, and there is nothing to say about it."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It was not done, and nothing has changed."""

    problem: Problem


Reply = Welcome | JobIs | Jobs | Chunk | Metrics | Done | Refused


# ---- events -----------------------------------------------------------------------------------


class Follow(msgspec.Struct, frozen=True, tag="follow"):
    """Send me what happens to my jobs, beginning with how things stand.

    A client that returns names the session and the last sequence it has; then it gets only what
    changed since. With another session it gets everything.
    """

    session: str = ""
    since: Count = 0


class Received(msgspec.Struct, frozen=True, tag="received"):
    """I have everything up to this sequence; send on. Due after each event or a few."""

    sequence: Count


Feed = Follow | Received


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """A worker has described itself: what `Hello` would now be answered."""

    welcome: Welcome


class JobChanged(msgspec.Struct, frozen=True, tag="job_changed"):
    """A job is new, or stands differently: state, position, artefacts, failure."""

    job: Job


class JobRemoved(msgspec.Struct, frozen=True, tag="job_removed"):
    """A job and its files are gone."""

    job: Token
    reason: str
    """Who did it: 'request', or the policy that did, in words."""


class StageBegan(msgspec.Struct, frozen=True, tag="stage_began"):
    """A stage is about to take its first step, or `first_step` when it goes on."""

    job: Token
    stage: Name
    steps: Count
    first_step: Count = 0


class Step(msgspec.Struct, frozen=True, tag="step"):
    """A stage has taken a step."""

    job: Token
    stage: Name
    step: Count
    steps: Count
    losses: dict[str, float]
    """Weighted terms, which add up to the total."""
    seconds_left: float
    """For this stage."""


class StageEnded(msgspec.Struct, frozen=True, tag="stage_ended"):
    """A stage has ended and its result is saved."""

    job: Token
    stage: Name
    seconds: float
    kept: bool
    """Whether the result was there before."""


class Picture(msgspec.Struct, frozen=True, tag="picture"):
    """A picture of the work so far."""

    job: Token
    stage: Name
    step: Count
    image: Array
    """H W 3, `u1`, sRGB, row 0 on top."""


class Surface(msgspec.Struct, frozen=True, tag="surface"):
    """The surface so far, in world coordinates (z up, the person faces -y)."""

    job: Token
    stage: Name
    step: Count
    topology: Count
    """Grows whenever the faces change."""
    vertices: Array
    """V 3, `f4`."""
    faces: Array | None
    """F 3, `i4`; None if they are those of the last `Surface` with this topology."""


class Texture(msgspec.Struct, frozen=True, tag="texture"):
    """The textured surface of a stage's result."""

    job: Token
    stage: Name
    vertices: Array
    """V 3, `f4`."""
    faces: Array
    """F 3, `i4`."""
    uv: Array
    """T 2, `f4`, v up."""
    uv_faces: Array
    """F 3, `i4`: indexes `uv` corner by corner."""
    albedo: Array
    """H W 3, `u1`, sRGB, row 0 on top (v = 1)."""


class Stopping(msgspec.Struct, frozen=True, tag="stopping"):
    """The server stops; running jobs go on at its next start."""


OfStage = StageBegan | Step | StageEnded | Picture | Surface | Texture
"""What a worker tells about a job."""
Event = Ready | JobChanged | JobRemoved | Stopping | OfStage

REQUESTS = msgspec.msgpack.Decoder(Envelope[Request])
CONTROLS = msgspec.msgpack.Decoder(Envelope[Control])
REPLIES = msgspec.msgpack.Decoder(Envelope[Reply])
FEEDS = msgspec.msgpack.Decoder(Envelope[Feed])
EVENTS = msgspec.msgpack.Decoder(Envelope[Event])
