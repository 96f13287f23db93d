# SPDX-License-Identifier: Apache-2.0
"""THE protocol between the backend and those who use it (Blender, terminal, farms).

Three sockets, each a ROUTER at the server and a DEALER at the client, all under CURVE:

    requests   `Request` -> `Reply`    submit, list, fetch ...
    control    `Control` -> `Reply`    cancel, shut down, ping: never behind an upload
    events     `Feed` -> `Event`       what happens to the jobs, with replay for who comes late

`docs/protocol.md` tells the order in which they go. How messages lie in frames: `frames.py`. What
they speak of: `protocol_jobs.py`. Events: `protocol_events.py`. Import all names from here.
Times are seconds; a moment is a Unix time and only ever shown, never compared. Paths do not occur.
"""

from typing import Annotated, Literal

import msgspec

from .frames import Array, Envelope, Token
from .protocol_events import (
    Event,
    Feed,
    Follow,
    JobChanged,
    JobRemoved,
    NotReady,
    OfStage,
    Picture,
    Ready,
    Received,
    StageBegan,
    StageEnded,
    Step,
    Stopping,
    Surface,
    Texture,
    Warming,
)
from .protocol_jobs import (
    ENDED,
    MAX_LABEL,
    Artefact,
    Camera,
    Count,
    Device,
    Failure,
    Job,
    JobState,
    Kind,
    Label,
    MeshFrame,
    Name,
    Placement,
    Problem,
    Prompt,
    Recipe,
    Seed,
    Setting,
    StageIs,
    StageState,
    Welcome,
    Wish,
)

__all__ = [
    "CONTROLS",
    "ENDED",
    "EVENTS",
    "FEEDS",
    "MAX_CHUNK_BYTES",
    "MAX_LABEL",
    "REPLIES",
    "REQUESTS",
    "Artefact",
    "Camera",
    "Cancel",
    "Chunk",
    "Control",
    "Count",
    "Device",
    "Done",
    "Edits",
    "Event",
    "Failure",
    "Feed",
    "Fetch",
    "Follow",
    "FreeMemory",
    "GetJob",
    "GetMetrics",
    "Hello",
    "Job",
    "JobChanged",
    "JobIs",
    "JobRemoved",
    "JobState",
    "Jobs",
    "Kind",
    "Label",
    "ListJobs",
    "MapName",
    "MeshFrame",
    "Metrics",
    "Move",
    "Name",
    "NotReady",
    "OfStage",
    "Picture",
    "Ping",
    "Placement",
    "Problem",
    "Prompt",
    "Ready",
    "Received",
    "Recipe",
    "Refused",
    "Remove",
    "Reply",
    "Request",
    "Rerun",
    "Seed",
    "Setting",
    "Shutdown",
    "StageBegan",
    "StageEnded",
    "StageIs",
    "StageState",
    "Step",
    "Stopping",
    "Submit",
    "Surface",
    "Texture",
    "Warming",
    "Welcome",
    "Wish",
]

MAX_CHUNK_BYTES = 2**20
"""How much of an artefact one `Fetch` may ask for."""
MapName = Literal["mask", "normal", "depth", "landmarks"]

# ---- requests ---------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first request: who is there? Answered by `Welcome`."""

    program: Label
    version: Label


class Edits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody made by hand; each takes its stage's place, and later stages run anew.

    A mesh alone is the result of `sculpt` (with texture coordinates, they are kept for the
    texture). A texture alone is painted on the result of `pixel_texture`. A mesh with texture
    coordinates and a texture is the result of `pixel_texture`, whole.
    """

    mask: Array | None = None
    """Who is the person: H W, `u1`, 255 is inside; or a file (png). Of the photo's own size, as
    prepare/photo_mask.png is."""
    vertices: Array | None = None
    """V 3, `f4`, in `frame`: with `faces`, an edited mesh."""
    faces: Array | None = None
    """F 3, `i4`, counter-clockwise from outside."""
    uv: Array | None = None
    """T 2, `f4`, in [0, 1], v up: with `uv_faces`; the texture then keeps to it."""
    uv_faces: Array | None = None
    """F 3, `i4`: indexes `uv` corner by corner."""
    mesh: Array | None = None
    """In place of these four a file: glb (y up, as the format has it), or safetensors or npz
    with arrays of these names."""
    frame: MeshFrame = MeshFrame.SCENE
    """Of the vertices. A glb's axes are turned before it counts."""
    albedo: Array | None = None
    """H W 3, `u1`, sRGB, row 0 on top (v = 1); or a file (png, jpeg, webp). Any size."""


class Submit(msgspec.Struct, frozen=True, tag="submit", omit_defaults=True):
    """Reconstruct a photo. Answered by `JobIs`; sent again with the same `job`, done once."""

    job: Token
    """The client names the job, so that it can ask again after a broken connection."""
    label: Label
    photo: Array
    """A file: png, jpeg, webp or heic."""
    preset: Name = "draft"
    recipe: Recipe = {}
    """Settings other than the preset's."""
    maps: dict[MapName, Array] = {}
    """Files (png; npz or safetensors with one array) or arrays (mask H W `u1`, normal H W 3 `f4`,
    depth H W `f4`, landmarks 33 4 `f4`)."""
    prompt: Prompt = ""
    seed: Seed = 0
    start: Name | None = None
    """The first stage to run after `prepare`, when `edits` hold what it needs."""
    until: Name | None = None
    """The last stage to run."""
    edits: Edits = Edits()


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
    recipe: Recipe = {}
    """Laid over the job's own recipe."""
    prompt: Prompt | None = None
    seed: Seed | None = None
    edits: Edits = Edits()
    discard: tuple[Name, ...] = ()
    """Stages whose results were made by hand and may now be computed again. Without it, a
    `start` at or before such a stage is refused, kind `edited`."""


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
    """Of the file, before it is compressed."""
    zstd: bool = False
    """Send the piece compressed; where the server cannot, it comes raw."""


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


class JobIs(msgspec.Struct, frozen=True, tag="job_is"):
    """How a job stands, after what was asked was done."""

    job: Job
    wish: Wish | None = None


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


REQUESTS = msgspec.msgpack.Decoder(Envelope[Request])
CONTROLS = msgspec.msgpack.Decoder(Envelope[Control])
REPLIES = msgspec.msgpack.Decoder(Envelope[Reply])
FEEDS = msgspec.msgpack.Decoder(Envelope[Feed])
EVENTS = msgspec.msgpack.Decoder(Envelope[Event])
