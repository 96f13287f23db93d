# SPDX-License-Identifier: Apache-2.0
"""What the server tells those who follow, and how they follow.

Part of `protocol.py`, which gives every name on: import from there.
"""

import msgspec

from .frames import Array, Token
from .protocol_jobs import Count, Job, Name, Placement, Problem, Welcome


class Follow(msgspec.Struct, frozen=True, tag="follow"):
    """Send me what happens to my jobs, beginning with how things stand.

    A client that returns names the session and the last sequence it has; then it gets only what
    changed since. With another session it gets everything.
    """

    session: str = ""
    since: Count = 0
    zstd: bool = False
    """Send arrays compressed, for a slow line; where the server cannot, they come raw."""


class Received(msgspec.Struct, frozen=True, tag="received"):
    """I have everything up to this sequence; send on. Due after each event or a few."""

    sequence: Count


Feed = Follow | Received


class Warming(msgspec.Struct, frozen=True, tag="warming"):
    """A worker compiles its kernels: minutes at the first start, moments later. `Ready` follows."""

    device: str
    done: Count
    """Kernel modules; equal to `of` at the end."""
    of: Count


class NotReady(msgspec.Struct, frozen=True, tag="not_ready"):
    """No worker can start; the server tries again from time to time. Jobs may wait for it."""

    problem: Problem


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
    """The surface so far, in the scene's frame (see `MeshFrame`)."""

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
    placement: Placement | None = None
    """Of `finish`: the vertices are in metres, and how they came there. None: in the scene."""
    normal_map: Array | None = None
    """S S 3, `u1`, laid out as the albedo: tangent space (MikkTSpace on `vertices`, smooth; green
    up), no sRGB. None: the mesh has none, or the server is older than 1.3."""


class Stopping(msgspec.Struct, frozen=True, tag="stopping"):
    """The server stops; running jobs go on at its next start."""


OfStage = StageBegan | Step | StageEnded | Picture | Surface | Texture
"""What a worker tells about a job."""
Event = Warming | NotReady | Ready | JobChanged | JobRemoved | Stopping | OfStage
