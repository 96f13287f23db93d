# SPDX-License-Identifier: GPL-3.0-or-later
"""What the client's thread tells the main thread, and the bounded box in which it waits.

The box holds the newest preview of each job and kind, whatever happens meanwhile, and every
outcome. When it is full the thread stops listening and the server keeps the newest in its place.
"""

import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .arrays import Pixels, SurfaceArrays, TextureArrays
from .protocol import (
    Job,
    JobChanged,
    JobRemoved,
    NotReady,
    Placement,
    Reply,
    StageBegan,
    StageEnded,
    Step,
    Warming,
    Welcome,
)
from .troubles import Trouble


class Link(enum.StrEnum):
    """How the connection stands."""

    CLOSED = "closed"
    """Nobody asked for one."""
    CONNECTING = "connecting"
    CONNECTED = "connected"
    LOST = "lost"
    """It was there; the client tries again by itself."""
    REFUSED = "refused"
    """Wrong key or wrong protocol version: it tries again, slowly."""


@dataclass(frozen=True)
class LinkChanged:
    """The connection stands differently, or the backend has told what it can do."""

    link: Link
    trouble: Trouble | None = None
    """Why it does not work, if it does not."""
    welcome: Welcome | None = None
    """What the backend last said about itself; `ready` is false while its worker starts."""


@dataclass(frozen=True)
class Outcome:
    """What became of an order; every order gets exactly one, sooner or later."""

    ticket: str
    """As the order's method returned it."""
    reply: Reply | None = None
    """What the server said; also `Refused`, whose problem has a kind."""
    trouble: Trouble | None = None
    """Set if it was not done."""


@dataclass(frozen=True)
class AllJobs:
    """The whole list: comes at each new connection; jobs that are not in it are gone."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class PictureShown:
    """A preview picture, ready for an image."""

    job: str
    stage: str
    step: int
    pixels: Pixels


@dataclass(frozen=True)
class SurfaceShown:
    """A preview surface, ready for a mesh."""

    job: str
    stage: str
    step: int
    surface: SurfaceArrays


@dataclass(frozen=True)
class TextureShown:
    """A textured result, ready for mesh, UV layer and image."""

    job: str
    stage: str
    texture: TextureArrays
    placement: Placement | None = None
    """Of `finish`: the vertices are in metres, and how they came there."""


@dataclass(frozen=True)
class ResultMissed:
    """A job has ended, and its last texture did not come: the line or we were too slow for it.

    `Client.show` brings it.
    """

    job: str
    stage: str


@dataclass(frozen=True)
class FetchProgress:
    """How far a download is."""

    ticket: str
    job: str
    name: str
    fraction: float


@dataclass(frozen=True)
class Fetched:
    """An artefact lies whole on this machine's disk. Its `Outcome` follows."""

    ticket: str
    job: str
    name: str
    """As in 'finish/model.glb'."""
    path: Path


@dataclass(frozen=True)
class BackendStopping:
    """The server says that it stops; running jobs go on at its next start."""


News = Warming | NotReady | JobChanged | JobRemoved | StageBegan | Step | StageEnded
"""Events that are passed on as they came."""
Preview = PictureShown | SurfaceShown | TextureShown
Update = (
    LinkChanged
    | Outcome
    | AllJobs
    | News
    | Preview
    | ResultMissed
    | FetchProgress
    | Fetched
    | BackendStopping
)

MAX_BYTES = 256 * 2**20
"""Of arrays in the box; one more update may be on top, so that a large one can pass."""
MAX_UPDATES = 4096


class Inbox:
    """Updates in their order; one thread puts, another takes, and neither waits for the other."""

    def __init__(self, max_bytes: int = MAX_BYTES, max_updates: int = MAX_UPDATES) -> None:
        self._max_bytes, self._max_updates = max_bytes, max_updates
        self._waiting: dict[tuple[Any, ...], Update] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self._when_room: Callable[[], None] | None = None

    def put(self, update: Update) -> None:
        """Add an update; a newer one of the same kind and job takes an older one's place."""
        key = _key(update)
        with self._lock:
            older = self._waiting.pop(key, None)
            self._waiting[key] = update
            self._bytes += _nbytes(update) - (_nbytes(older) if older is not None else 0)

    def take(self) -> Update | None:
        """Give the oldest, or nothing."""
        with self._lock:
            if not self._waiting:
                return None
            was_full = self.full
            update = self._waiting.pop(next(iter(self._waiting)))
            self._bytes -= _nbytes(update)
            room = was_full and not self.full
        if room and self._when_room is not None:
            self._when_room()
        return update

    @property
    def full(self) -> bool:
        """Whether the thread should stop listening."""
        return self._bytes >= self._max_bytes or len(self._waiting) >= self._max_updates

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that wait."""
        return self._bytes

    def on_room(self, call: Callable[[], None]) -> None:
        """Let `call` be called, by whoever takes, when a full box has room again."""
        self._when_room = call


def _key(update: Update) -> tuple[Any, ...]:
    """Give what an update replaces: another with the same key."""
    kind = type(update)
    match update:
        case Outcome(name) | FetchProgress(name) | Fetched(name) | Warming(name):
            return kind, name
        case JobChanged(job):
            return JobChanged, job.id
        case JobRemoved(job):
            return JobChanged, job  # takes the place of what was said about the job
        case StageBegan() | Step() | StageEnded() | TextureShown():
            return kind, update.job, update.stage  # no stage hides how the one before it ended
        case PictureShown(job) | SurfaceShown(job) | ResultMissed(job):
            return kind, job
        case _:
            return (kind,)


def _nbytes(update: Update) -> int:
    match update:
        case PictureShown():
            return update.pixels.flat.nbytes
        case SurfaceShown():
            return update.surface.nbytes
        case TextureShown():
            return update.texture.nbytes
        case _:
            return 0
