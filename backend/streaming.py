# SPDX-License-Identifier: Apache-2.0
"""What happens, for any number of listeners, in memory that no listener can make grow.

The board holds the newest event of each kind and job, in the order of their sequence numbers. A
listener is a place in that order: it gets the oldest event that it has not had, as soon as it has
acknowledged enough of the earlier ones. So one that comes late gets the present state, one that
is slow misses steps and previews that newer ones have replaced, and none misses how things
stand: a job's state and artefacts are on the board for as long as the job is known.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from blender_addon.frames import Array, Buffer, Packer
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


SWEPT_BEYOND = 64
"""Places of events that are gone, beyond which the order is written anew."""
ZSTD_LEVEL = 3

Key = tuple[type, str]
"""What an event replaces: another of its type about the same job, and stage if each counts."""


@dataclass(frozen=True)
class Posted:
    """An event on the board."""

    sequence: int
    owner: str | None
    """Who may see it; None is for all."""
    body: Event
    frames: Sequence[Buffer]
    nbytes: int
    parent: str = ""
    """Id of the request that the job it is about does."""


@dataclass
class Board:
    """The newest event of each kind and job."""

    sequence: int = 0
    _living: dict[int, Posted] = field(default_factory=dict)
    """By sequence."""
    _order: list[int] = field(default_factory=list)
    """Sequences, growing; some are of events that are gone."""
    _newest: dict[str, dict[Key, int]] = field(default_factory=dict)
    """Of each job, or '', the sequence of its newest event of each kind."""
    _removed: deque[str] = field(default_factory=deque)
    _topology: int = 0
    _seen_topology: dict[str, int] = field(default_factory=dict)

    def post(
        self, owner: str | None, body: Event, frames: Sequence[Buffer] = (), *, parent: str = ""
    ) -> None:
        """Put up an event in place of an older one of its kind."""
        job, key = _place(body)
        if isinstance(body, Surface):
            whole = self._whole(body, frames)
            if whole is None:
                return
            body, frames = whole
        self._take_down(job, key)
        self.sequence += 1
        nbytes = sum(memoryview(frame).nbytes for frame in frames)
        self._living[self.sequence] = Posted(self.sequence, owner, body, frames, nbytes, parent)
        self._order.append(self.sequence)
        self._newest.setdefault(job, {})[key] = self.sequence
        if isinstance(body, JobRemoved):
            self._remember_removal(job, key)
        if len(self._order) > 2 * len(self._living) + SWEPT_BEYOND:
            self._order = list(self._living)

    def _remember_removal(self, job: str, key: Key) -> None:
        if job in self._removed:
            self._removed.remove(job)
        self._removed.append(job)
        while len(self._removed) > REMOVED_KEPT:
            oldest = self._removed.popleft()
            posted = self._at(oldest, key)
            if posted is not None and isinstance(posted.body, JobRemoved):  # not submitted anew
                self._take_down(oldest, key)

    def _whole(
        self, surface: Surface, frames: Sequence[Buffer]
    ) -> tuple[Surface, Sequence[Buffer]] | None:
        """Add the faces that a worker did not repeat, and number topologies for the session."""
        old = self._at(*_place(surface))
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
        """Take down an ended job's previews; the last step of each stage remains."""
        self._take_down_all(job, (Picture, Surface, Texture))
        self._seen_topology.pop(job, None)

    def clear(self, job: str) -> None:
        """Take down all that a job's last run told; how the job stands remains."""
        self.settle(job)
        self._take_down_all(job, (StageBegan, Step, StageEnded))

    def _take_down_all(self, job: str, kinds: tuple[type, ...]) -> None:
        for key in [key for key in self._newest.get(job, ()) if key[0] in kinds]:
            self._take_down(job, key)

    def _take_down(self, job: str, key: Key) -> None:
        places = self._newest.get(job, {})
        sequence = places.pop(key, None)
        if sequence is not None:
            del self._living[sequence]
        if not places:
            self._newest.pop(job, None)

    def _at(self, job: str, key: Key) -> Posted | None:
        sequence = self._newest.get(job, {}).get(key)
        return None if sequence is None else self._living[sequence]

    def after(self, sequence: int, owner: str) -> Posted | None:
        """Give the oldest event after a place that this owner may see."""
        for index in range(bisect_right(self._order, sequence), len(self._order)):
            posted = self._living.get(self._order[index])
            if posted is not None and posted.owner in (None, owner):
                return posted
        return None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays on the board."""
        return sum(posted.nbytes for posted in self._living.values())


def _place(body: Event) -> tuple[str, Key]:
    """Give the job that an event is about, or '', and what it replaces of it."""
    match body:
        case JobChanged(job):
            return job.id, (JobChanged, "")
        case JobRemoved(job):
            return job, (JobChanged, "")  # takes the place of what was said about the job
        case Warming() | NotReady() | Ready():
            return "", (Ready, "")  # of the workers, only how they stand now
        case StageEnded(job, stage) | Step(job, stage):
            return job, (type(body), stage)  # the next stage must not hide how this one ended
        case StageBegan(job) | Picture(job) | Surface(job) | Texture(job):
            return job, (type(body), "")
        case _:
            return "", (type(body), "")


def compressed(posted: Posted) -> Posted:
    """Give an event with each of its arrays as one zstd frame: work for a file thread."""
    packer = Packer(zstd_level=ZSTD_LEVEL)
    headers = {}
    for name in posted.body.__struct_fields__:
        header = getattr(posted.body, name)
        if isinstance(header, Array):
            headers[name] = packer.add_again(header, posted.frames[header.frame])
    body = msgspec.structs.replace(posted.body, **headers)
    return replace(posted, body=body, frames=packer.frames)


@dataclass
class Listener:
    """Somebody who follows the board."""

    identity: bytes
    owner: str
    sequence: int = 0
    zstd: bool = False
    """Whether it wants its arrays compressed."""
    waits: bool = False
    """Whether its next event is being compressed."""
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
        if self.waits or len(self._on_the_way) >= WINDOW_EVENTS:
            return None
        posted = board.after(self.sequence, self.owner)
        if posted is None:
            self.sequence = max(self.sequence, board.sequence)  # what is there is for others
            return None
        if self._on_the_way and self._bytes + posted.nbytes > WINDOW_BYTES:
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
