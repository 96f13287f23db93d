"""Events become updates: what must be remembered, and what a strange event may not do."""

from typing import Any

import numpy as np
import pytest

from blender_addon.arrays import png_of
from blender_addon.frames import Array, Envelope, Packer, VersionError, encode, new_token
from blender_addon.listening import Listening
from blender_addon.protocol import (
    Artefact,
    Job,
    JobChanged,
    JobState,
    Picture,
    StageEnded,
    Step,
    Surface,
    Texture,
)
from blender_addon.updates import Inbox, PictureShown, ResultMissed, SurfaceShown, TextureShown

A = "a" * 32
FACES = np.array([[0, 1, 2]], np.int32)
SESSION = new_token()


class Server:
    """Tells events to a listener, with sequence numbers as a server gives them."""

    def __init__(self) -> None:
        self.ear = Listening(Inbox())
        self.sequence = 0

    def tell(self, body: Any, packer: Packer | None = None, session: str = SESSION) -> list[Any]:
        self.sequence += 1
        envelope = Envelope(id=new_token(), session=session, sequence=self.sequence, body=body)
        self.ear.hear(encode(envelope, packer.frames if packer else ()))
        found = []
        while (update := self.ear.inbox.take()) is not None:
            found.append(update)
        return found

    def surface(
        self, topology: int, *, faces: bool, turned: bool = False, count: int = 3
    ) -> list[Any]:
        packer = Packer()
        vertices = packer.add(np.random.default_rng(self.sequence).random((count, 3), np.float32))
        told = FACES[:, ::-1].copy() if turned else FACES
        header = packer.add(told) if faces else None
        return self.tell(Surface(A, "sculpt", 0, topology, vertices, header), packer)

    def texture(self, stage: str) -> Any:
        packer = Packer()
        arrays = (np.zeros((3, 3), np.float32), FACES, np.zeros((3, 2), np.float32), FACES)
        vertices, faces, uv, uv_faces = (packer.add(array) for array in arrays)
        albedo = packer.add(np.zeros((2, 2, 3), np.uint8))
        return self.tell(Texture(A, stage, vertices, faces, uv, uv_faces, albedo), packer)

    def job(self, state: JobState) -> list[Any]:
        artefacts = (Artefact("finish/model.glb", 1, ""),)
        return self.tell(JobChanged(Job(A, "me", state, artefacts=artefacts)))


@pytest.fixture
def server() -> Server:
    return Server()


def test_faces_are_remembered_until_they_change(server: Server) -> None:
    (first,) = server.surface(1, faces=True)
    (second,) = server.surface(1, faces=False)
    (third,) = server.surface(2, faces=True, turned=True)
    assert isinstance(first, SurfaceShown)
    assert first.surface.topology is second.surface.topology
    assert third.surface.topology.number != first.surface.topology.number


def test_the_same_faces_told_again_are_no_new_mesh_whatever_their_number(server: Server) -> None:
    (first,) = server.surface(1, faces=True)
    (again,) = server.surface(1, faces=True)
    (renumbered,) = server.surface(2, faces=True)
    (moved,) = server.surface(2, faces=False)
    topologies = {one.surface.topology.number for one in (first, again, renumbered, moved)}
    assert len(topologies) == 1
    (other,) = server.surface(2, faces=True, turned=True)
    assert other.surface.topology.number not in topologies


def test_positions_without_their_faces_are_left_out_and_noted(server: Server) -> None:
    assert server.surface(1, faces=False) == []
    assert "must come with its faces" in server.ear.faults[-1]
    server.surface(1, faces=True)
    assert server.surface(1, faces=False, count=4) == []
    assert "must keep them" in server.ear.faults[-1]
    server.job(JobState.DONE)
    assert server.surface(1, faces=False) == []  # what an ended job had is forgotten


def test_another_session_starts_from_nothing(server: Server) -> None:
    server.surface(1, faces=True)
    server.sequence = 0
    assert server.tell(Step(A, "sculpt", 1, 2, {}, 0.0), session=new_token())
    assert server.ear.sequence == 1


def test_nothing_is_heard_twice(server: Server) -> None:
    assert server.job(JobState.RUNNING)
    server.sequence -= 1
    assert server.job(JobState.RUNNING) == []


def test_an_event_of_the_future_is_passed_over(server: Server) -> None:
    assert server.tell({"type": "hologram", "job": A}) == []
    assert server.ear.sequence == 1
    assert server.job(JobState.RUNNING)


@pytest.mark.parametrize(
    "image",
    [
        Array(0, "u1", (2, 2, 4)),
        Array(3, "u1", (2, 2, 3)),
        Array(0, "u1", (99, 99, 3)),
        Array(0, "u9", (2, 2, 3)),
        Array(0, "u1", (-1, 2, 3)),
    ],
)
def test_a_damaged_picture_does_no_harm(server: Server, image: Array) -> None:
    packer = Packer()
    packer.add(np.zeros((2, 2, 3), np.uint8))
    assert server.tell(Picture(A, "sculpt", 0, image), packer) == []
    assert server.ear.faults
    packer = Packer()
    good = packer.add(np.zeros((2, 2, 3), np.uint8))
    (shown,) = server.tell(Picture(A, "sculpt", 0, good), packer)
    assert isinstance(shown, PictureShown)


def test_another_version_is_not_passed_over(server: Server) -> None:
    frames = encode(Envelope(id=new_token(), body=Job(A, "me", JobState.DONE)))
    with pytest.raises(VersionError):
        server.ear.hear([b"GM\x09\x00", *frames[1:]])


def test_without_live_view_a_stage_shows_its_last_surface(server: Server) -> None:
    server.ear.live = False
    assert server.surface(1, faces=True) == []
    assert server.surface(1, faces=False) == []
    shown, ended = server.tell(StageEnded(A, "sculpt", 1.0, kept=False))
    assert isinstance(shown, SurfaceShown)
    assert isinstance(ended, StageEnded)
    assert isinstance(server.texture("finish")[0], TextureShown)  # results come in any case


def test_a_normal_map_comes_with_its_texture_and_older_servers_send_none(server: Server) -> None:
    (plain,) = server.texture("finish")
    assert plain.texture.normal_map is None
    packer = Packer()
    arrays = (np.zeros((3, 3), np.float32), FACES, np.zeros((3, 2), np.float32), FACES)
    headers = [packer.add(array) for array in arrays]
    albedo, relief = (packer.add(np.full((2, 2, 3), level, np.uint8)) for level in (0, 128))
    (shown,) = server.tell(Texture(A, "finish", *headers, albedo, normal_map=relief), packer)
    assert shown.texture.normal_map == png_of(np.full((2, 2, 3), 128, np.uint8))
    assert shown.texture.nbytes > plain.texture.nbytes, "it counts in the box"


def test_a_texture_that_did_not_come_is_missed(server: Server) -> None:
    server.job(JobState.RUNNING)
    server.texture("pixel_texture")
    server.tell(StageEnded(A, "pixel_texture", 1.0, kept=False))
    server.tell(StageEnded(A, "finish", 1.0, kept=False))
    assert server.job(JobState.DONE)[1:] == [ResultMissed(A, "finish")]


def test_a_texture_that_came_is_not_missed(server: Server) -> None:
    server.job(JobState.RUNNING)
    server.tell(StageEnded(A, "pixel_texture", 1.0, kept=False))  # a later one has come
    server.texture("finish")
    server.tell(StageEnded(A, "finish", 1.0, kept=False))
    assert len(server.job(JobState.DONE)) == 1


def test_who_comes_late_misses_nothing(server: Server) -> None:
    """The scene may hold newer work by then: old results must not come over it."""
    server.tell(StageEnded(A, "finish", 1.0, kept=False))
    assert len(server.job(JobState.DONE)) == 1
    server.job(JobState.RUNNING)
    server.tell(StageEnded(A, "finish", 0.0, kept=True))
    assert len(server.job(JobState.DONE)) == 1
