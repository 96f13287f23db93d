# SPDX-License-Identifier: Apache-2.0
"""What happens, for any number of listeners, in memory that no listener can make grow.

The board holds the newest event of each kind and job, in the order of their sequence numbers. A
listener is a place in that order: it gets the oldest event that it has not had, as soon as it has
acknowledged enough of the earlier ones. So one that comes late gets the present state, one that
is slow misses steps and previews that newer ones have replaced, and none misses how things
stand: a job's state and artefacts are on the board for as long as the job is known.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from blender_addon.frames import Buffer
from blender_addon.protocol import (
    Event,
    JobChanged,
    JobRemoved,
    NotReady,
    Picture,
    Ready,
    StageBegan,
    StageEnded,
    Step,
    Surface,
    Texture,
    Warming,
)

WINDOW_BYTES = 8 * 2**20
"""On the way to one listener without its acknowledgement; a single event may be larger."""
WINDOW_EVENTS = 256
REMOVED_KEPT = 1000
"""How many removed jobs a returning listener is still told of."""


Key = tuple[type, str, str]
"""What an event replaces: another of its type, about the same job, and stage if each counts."""


@dataclass(frozen=True)
class Posted:
    """An event on the board."""

    sequence: int
    owner: str | None
    """Who may see it; None is for all."""
    body: Event
    frames: Sequence[Buffer]
    nbytes: int


@dataclass
class Board:
    """The newest event of each kind and job."""

    sequence: int = 0
    _posted: dict[Key, Posted] = field(default_factory=dict)
    _removed: deque[Key] = field(default_factory=deque)
    _topology: int = 0
    _seen_topology: dict[str, int] = field(default_factory=dict)

    def post(self, owner: str | None, body: Event, frames: Sequence[Buffer] = ()) -> None:
        """Put up an event in place of an older one of its kind."""
        key = _key(body)
        if isinstance(body, Surface):
            whole = self._whole(body, frames)
            if whole is None:
                return
            body, frames = whole
        self._posted.pop(key, None)
        self.sequence += 1
        nbytes = sum(memoryview(frame).nbytes for frame in frames)
        self._posted[key] = Posted(self.sequence, owner, body, frames, nbytes)
        if isinstance(body, JobRemoved):
            if key in self._removed:
                self._removed.remove(key)
            self._removed.append(key)
            while len(self._removed) > REMOVED_KEPT:
                oldest = self._removed.popleft()
                if isinstance(self._posted[oldest].body, JobRemoved):  # not submitted anew
                    del self._posted[oldest]

    def _whole(
        self, surface: Surface, frames: Sequence[Buffer]
    ) -> tuple[Surface, Sequence[Buffer]] | None:
        """Add the faces that a worker did not repeat, and number topologies for the session."""
        old = self._posted.get(_key(surface))
        if surface.faces is not None:
            self._topology += 1
            self._seen_topology[surface.job] = surface.topology
            return msgspec.structs.replace(surface, topology=self._topology), frames
        known = self._seen_topology.get(surface.job)
        if old is None or not isinstance(old.body, Surface) or known != surface.topology:
            return None
        whole = msgspec.structs.replace(surface, topology=old.body.topology, faces=old.body.faces)
        return whole, (frames[0], old.frames[1])

    def settle(self, job: str) -> None:
        """Take down a job's steps and previews, which matter only while it runs."""
        self._take_down(job, (Step, Picture, Surface, Texture))
        self._seen_topology.pop(job, None)

    def clear(self, job: str) -> None:
        """Take down all that a job's last run told; how the job stands remains."""
        self.settle(job)
        self._take_down(job, (StageBegan, StageEnded))

    def _take_down(self, job: str, kinds: tuple[type, ...]) -> None:
        for key in [key for key in self._posted if key[0] in kinds and key[1] == job]:
            del self._posted[key]

    def after(self, sequence: int, owner: str) -> Posted | None:
        """Give the oldest event after a place that this owner may see."""
        found = None
        for posted in self._newest():
            if posted.sequence <= sequence:
                break
            if posted.owner in (None, owner):
                found = posted
        return found

    def _newest(self) -> Iterator[Posted]:
        return reversed(self._posted.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays on the board."""
        return sum(posted.nbytes for posted in self._posted.values())


def _key(body: Event) -> Key:
    match body:
        case JobChanged(job):
            return JobChanged, job.id, ""
        case JobRemoved(job):
            return JobChanged, job, ""  # takes the place of what was said about the job
        case Warming() | NotReady() | Ready():
            return Ready, "", ""  # of the workers, only how they stand now
        case StageEnded(job, stage):
            return StageEnded, job, stage
        case StageBegan(job) | Step(job) | Picture(job) | Surface(job) | Texture(job):
            return type(body), job, ""
        case _:
            return type(body), "", ""


@dataclass
class Listener:
    """Somebody who follows the board."""

    identity: bytes
    owner: str
    sequence: int = 0
    heard: float = 0.0
    """When it last said something, by the server's monotonic clock."""
    _on_the_way: deque[tuple[int, int]] = field(default_factory=deque)
    _bytes: int = 0
    _topologies: dict[str, int] = field(default_factory=dict)

    def received(self, sequence: int) -> None:
        """Note an acknowledgement."""
        while self._on_the_way and self._on_the_way[0][0] <= sequence:
            self._bytes -= self._on_the_way.popleft()[1]

    def next(self, board: Board) -> Posted | None:
        """Give what is to be sent now, as the listener needs it, or nothing."""
        posted = board.after(self.sequence, self.owner)
        if posted is None or not self._fits(posted.nbytes):
            return None
        self.sequence = posted.sequence
        body = posted.body
        if isinstance(body, Surface):
            if self._topologies.get(body.job) == body.topology:
                slim = msgspec.structs.replace(body, faces=None)
                nbytes = memoryview(posted.frames[0]).nbytes
                posted = replace(posted, body=slim, frames=posted.frames[:1], nbytes=nbytes)
            self._topologies[body.job] = body.topology
        elif isinstance(body, JobRemoved):
            self._topologies.pop(body.job, None)
        self._on_the_way.append((posted.sequence, posted.nbytes))
        self._bytes += posted.nbytes
        return posted

    def _fits(self, nbytes: int) -> bool:
        if not self._on_the_way:
            return True
        return len(self._on_the_way) < WINDOW_EVENTS and self._bytes + nbytes <= WINDOW_BYTES
