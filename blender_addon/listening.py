# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of the wire become updates: arrays are checked and turned here, on the client's thread."""

from dataclasses import dataclass, field

import msgspec

from .arrays import (
    SurfaceArrays,
    TextureArrays,
    Topology,
    corner_uv_of,
    pixels_of,
    png_of,
    positions_of,
    topology_of,
)
from .frames import Buffer, Envelope, Message, ProtocolError, VersionError, decode
from .protocol import (
    ENDED,
    EVENTS,
    Event,
    JobChanged,
    JobRemoved,
    JobState,
    Picture,
    Ready,
    StageEnded,
    Stopping,
    Surface,
    Texture,
    Welcome,
)
from .results import mesh_file
from .updates import (
    BackendStopping,
    Inbox,
    News,
    PictureShown,
    ResultMissed,
    SurfaceShown,
    TextureShown,
)

TEXTURED = ("pixel_texture", "finish")
"""Stages that tell a texture when they end."""
_ANY = msgspec.msgpack.Decoder(Envelope[msgspec.Raw])
"""Reads what stands around a body that a newer server has invented."""


@dataclass
class Listening:
    """Where the client is in the server's story, and what it must remember of it."""

    inbox: Inbox
    live: bool = True
    session: str = ""
    sequence: int = 0
    """Of the last event that was heard."""
    welcome: Welcome | None = None
    faults: list[str] = field(default_factory=list)
    """What could not be read, newest last; at most a few."""
    _topologies: dict[str, tuple[int, Topology]] = field(default_factory=dict)
    """Of each job: the server's number and what it stands for."""
    _held: dict[str, Message[Event]] = field(default_factory=dict)
    """The newest surface of each job that was not shown, as nobody wanted to see it."""
    _running: set[str] = field(default_factory=set)
    """Jobs that we have seen run."""
    _textured: dict[str, str] = field(default_factory=dict)
    """Of each job the stage whose texture came last."""
    _missed: dict[str, str] = field(default_factory=dict)
    """Of each job the stage whose texture should have come last, but did not."""

    def hear(self, frames: list[Buffer]) -> bool:
        """Take in an event; say whether the backend has told what it can do.

        Raises:
            VersionError: The server speaks another protocol.
        """
        try:
            message = decode(frames, EVENTS)
        except VersionError:
            raise
        except ProtocolError as error:
            self._skip(frames, error)
            return False
        envelope = message.envelope
        if not self._is_new(envelope.session, envelope.sequence):
            return False
        try:
            return self._take(message)
        except ProtocolError as error:
            self._note(error)
            return False

    def _is_new(self, session: str, sequence: int) -> bool:
        if session != self.session:
            self.session, self.sequence = session, 0
            for known in (
                self._topologies,
                self._held,
                self._running,
                self._textured,
                self._missed,
            ):
                known.clear()
        if sequence <= self.sequence:
            return False
        self.sequence = sequence
        return True

    def _skip(self, frames: list[Buffer], error: ProtocolError) -> None:
        """Leave out what a newer server has invented, but acknowledge it."""
        self._note(error)
        try:
            envelope = _ANY.decode(frames[1])
        except (msgspec.DecodeError, IndexError):
            return
        self._is_new(envelope.session, envelope.sequence)

    def _note(self, error: ProtocolError) -> None:
        self.faults = [*self.faults[-4:], str(error)]

    def _take(self, message: Message[Event]) -> bool:
        match message.body:
            case Ready(welcome):
                self.welcome = welcome
                return True
            case Picture() as picture:
                if self.live:
                    pixels = pixels_of(message.array(picture.image))
                    shown = PictureShown(picture.job, picture.stage, picture.step, pixels)
                    self.inbox.put(shown)
            case Surface() as surface:
                self._on_surface(message, surface)
            case Texture() as texture:
                self._textured[texture.job] = texture.stage
                self.inbox.put(_textured(message, texture))
            case Stopping():
                self.inbox.put(BackendStopping())
            case news:
                self._pass_on(news)
        return False

    def _pass_on(self, news: News) -> None:
        match news:
            case StageEnded() as ended:
                self._on_stage_end(ended)
            case JobChanged(job) if job.state in ENDED:
                self.inbox.put(news)
                stage = self._missed.get(job.id, "")
                if any(one.name == f"{stage}/{mesh_file(stage)}" for one in job.artefacts):
                    self.inbox.put(ResultMissed(job.id, stage))
                self._forget(job.id)
                return
            case JobChanged(job) if job.state is JobState.RUNNING:
                self._running.add(job.id)
            case JobRemoved(name):
                self._forget(name)
            case _:
                pass
        self.inbox.put(news)

    def _on_stage_end(self, ended: StageEnded) -> None:
        job, stage = ended.job, ended.stage
        held = self._held.pop(job, None)
        if held is not None and isinstance(held.body, Surface) and held.body.stage == stage:
            self._show(held, held.body)
        # What a server tells again to who comes late is no miss: the scene may hold newer work.
        if stage in TEXTURED and job in self._running and not ended.kept:
            if self._textured.get(job) == stage:
                self._missed.pop(job, None)
            else:
                self._missed[job] = stage

    def _on_surface(self, message: Message[Event], surface: Surface) -> None:
        if surface.faces is not None:
            faces, vertices = message.array(surface.faces), surface.vertices.shape[0]
            _, topology = self._topologies.get(surface.job, (0, None))
            # A server tells faces again to whom it has left something out; the mesh has them.
            if topology is None or not topology.has(faces, vertices):
                topology = topology_of(faces, vertices)
            self._topologies[surface.job] = surface.topology, topology
        if self.live:
            self._show(message, surface)
        else:
            self._held[surface.job] = message

    def _show(self, message: Message[Event], surface: Surface) -> None:
        number, topology = self._topologies.get(surface.job, (0, None))
        if topology is None or number != surface.topology:
            raise ProtocolError("A surface must come with its faces first, but they are missing.")
        positions = positions_of(message.array(surface.vertices))
        if len(positions) != 3 * topology.vertices:
            raise ProtocolError(
                f"A surface of {topology.vertices} vertices must keep them, but got "
                f"{len(positions) // 3}."
            )
        arrays = SurfaceArrays(positions, topology)
        self.inbox.put(SurfaceShown(surface.job, surface.stage, surface.step, arrays))

    def _forget(self, job: str) -> None:
        for known in (self._topologies, self._held, self._textured, self._missed):
            known.pop(job, None)
        self._running.discard(job)


def _textured(message: Message[Event], texture: Texture) -> TextureShown:
    vertices = message.array(texture.vertices)
    surface = SurfaceArrays(
        positions_of(vertices), topology_of(message.array(texture.faces), len(vertices))
    )
    corner_uv = corner_uv_of(message.array(texture.uv), message.array(texture.uv_faces))
    albedo = png_of(message.array(texture.albedo))
    relief = texture.normal_map
    normal_map = None if relief is None else png_of(message.array(relief))
    arrays = TextureArrays(surface, corner_uv, albedo, normal_map)
    return TextureShown(texture.job, texture.stage, arrays, texture.placement)
