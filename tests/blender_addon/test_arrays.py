"""Arrays for Blender: what `foreach_set` gets must mean what the wire said."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blender_addon.arrays import (
    EditedImage,
    EditedMesh,
    SurfaceArrays,
    TextureArrays,
    corner_uv_of,
    pixels_of,
    png_of,
    positions_of,
    topology_of,
)
from blender_addon.frames import Message, ProtocolError
from blender_addon.glb import read_person
from blender_addon.orders import Again, NewJob
from blender_addon.packing import rerun_message, submit_message
from blender_addon.protocol import MeshFrame
from blender_addon.results import result_of
from blender_addon.tensors import read_tensors
from blender_addon.troubles import TroubleError
from blender_addon.updates import SurfaceShown, TextureShown
from geneman.artefacts import save_mesh, save_textured
from geneman.gltf import write_glb
from geneman.mesh import Mesh, TexturedMesh
from tests.textured import embossed, textured_figure

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], np.int32)


@st.composite
def meshes(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], int]:
    vertices = draw(st.integers(3, 12))
    index = st.integers(0, vertices - 1)
    faces = draw(st.lists(st.tuples(index, index, index).filter(lambda f: len(set(f)) == 3)))
    return np.array(faces, np.int32).reshape(-1, 3), vertices


@settings(deadline=None)
@given(meshes())
def test_edges_are_those_of_a_slow_definition(mesh: tuple[np.ndarray[Any, Any], int]) -> None:
    faces, vertices = mesh
    found = topology_of(faces, vertices)
    pairs = found.edge_verts.reshape(-1, 2)
    wanted = {frozenset((int(f[k]), int(f[(k + 1) % 3]))) for f in faces for k in range(3)}
    assert [frozenset(map(int, pair)) for pair in pairs] == list(
        dict.fromkeys(frozenset(map(int, pair)) for pair in pairs)
    )  # each once
    assert {frozenset(map(int, pair)) for pair in pairs} == wanted
    for corner, edge in enumerate(found.corner_edge):
        face, k = divmod(corner, 3)
        here, there = int(faces[face, k]), int(faces[face, (k + 1) % 3])
        assert set(map(int, pairs[edge])) == {here, there}
    assert (found.corner_vert == faces.reshape(-1)).all()
    assert (found.loop_start == 3 * np.arange(len(faces))).all()


def test_a_tetrahedron_has_six_edges_and_numbers_differ() -> None:
    first, second = topology_of(TETRAHEDRON, 4), topology_of(TETRAHEDRON, 4)
    assert (first.vertices, first.faces, first.edges) == (4, 4, 6)
    assert first.number != second.number


def test_pixels_are_turned_over_and_opaque() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 0] = 255, 51, 0  # top left
    pixels = pixels_of(image)
    rows = pixels.flat.reshape(pixels.height, pixels.width, 4)
    assert rows[1, 0].tolist() == pytest.approx([1.0, 0.2, 0.0, 1.0])
    assert not rows[0, :, :3].any()
    assert not pixels.flat.flags.writeable


def test_a_large_picture_has_a_small_one_for_the_panel() -> None:
    image = np.zeros((300, 600, 3), np.uint8)
    image[-1, 3] = 255  # of the bottom row, where Blender begins
    pixels = pixels_of(image)
    assert pixels.small is not None
    assert (pixels.small.width, pixels.small.height) == (200, 100)
    small = pixels.small.flat.reshape(100, 200, 4)
    assert small[0, 1].tolist() == [1.0, 1.0, 1.0, 1.0]
    assert pixels_of(image[:200, :200]).small is None


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(1, 6), st.randoms(use_true_random=False))
def test_an_image_comes_back_as_it_was(width: int, height: int, chance: Any) -> None:
    values = [chance.randrange(256) for _ in range(width * height * 3)]
    image = np.array(values, np.uint8).reshape(height, width, 3)
    pixels = pixels_of(image)
    again = EditedImage(pixels.width, pixels.height, pixels.flat)
    assert (again.rgb() == image).all()
    assert (again.mask() == np.where(image[..., 0] >= 128, 255, 0)).all()
    with Image.open(io.BytesIO(png_of(image))) as file:
        assert (file.format, file.mode) == ("PNG", "RGB")
        assert (np.asarray(file) == image).all()


def test_painted_values_beyond_the_range_are_held() -> None:
    flat = np.array([2.0, -1.0, 0.5, 1.0], np.float32)
    assert EditedImage(1, 1, flat).rgb().tolist() == [[[255, 0, 128]]]
    grey = EditedImage(2, 1, np.array([0.49, 0.5], np.float32), channels=1)
    assert grey.mask().tolist() == [[0, 255]]
    assert grey.rgb()[0, 1].tolist() == [128, 128, 128]


def test_corners_get_their_coordinates() -> None:
    uv = np.array([[0, 0], [1, 0], [0.5, 1]], np.float32)
    assert corner_uv_of(uv, np.array([[2, 0, 1]])).tolist() == [0.5, 1, 0, 0, 1, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: topology_of(np.array([[0, 1, 4]]), 4),
        lambda: topology_of(np.array([[0, 1, -1]]), 4),
        lambda: topology_of(np.zeros((2, 4), int), 4),
        lambda: positions_of(np.zeros((3, 2))),
        lambda: positions_of(np.array([[0, 0, np.nan]])),
        lambda: pixels_of(np.zeros((2, 2), np.uint8)),
        lambda: png_of(np.zeros((2, 2, 4), np.uint8)),
        lambda: pixels_of(np.zeros((2, 2, 3), np.float32)),
        lambda: pixels_of(np.zeros((0, 2, 3), np.uint8)),
        lambda: corner_uv_of(np.zeros((3, 2)), np.array([[0, 1, 3]])),
        lambda: corner_uv_of(np.zeros((3, 3)), np.array([[0, 1, 2]])),
        lambda: EditedImage(2, 2, np.zeros(4, np.float32)).rgb(),
    ],
)
def test_what_would_crash_blender_is_refused(wrong: Any) -> None:
    with pytest.raises(ProtocolError, match=r"\.$"):
        wrong()


# ---- on the way to the backend ----------------------------------------------------------------


def test_a_sculpted_mesh_and_a_painted_mask_are_packed(tmp_path: Path) -> None:
    mesh = EditedMesh(
        np.arange(12, dtype=np.float32),
        TETRAHEDRON.reshape(-1),
        MeshFrame.METRES,
        corner_uv=np.linspace(0, 1, 24, dtype=np.float32),
        triangle_corners=np.arange(12, dtype=np.int32),
    )
    mask = EditedImage(2, 1, np.array([1, 1, 1, 1, 0, 0, 0, 1], np.float32))
    body, frames = rerun_message("0" * 32, Again(start="latent_texture", mesh=mesh, mask=mask))
    message: Any = Message(None, frames)  # type: ignore[arg-type]
    edits = body.edits
    assert edits.frame is MeshFrame.METRES
    assert edits.vertices is not None
    assert edits.uv_faces is not None
    assert edits.mask is not None
    assert message.array(edits.vertices).tolist() == np.arange(12).reshape(4, 3).tolist()
    assert message.array(edits.uv_faces).tolist() == np.arange(12).reshape(4, 3).tolist()
    assert message.array(edits.mask).tolist() == [[255, 0]]


def test_a_mesh_without_faces_is_refused(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n")
    empty = EditedMesh(np.zeros(9, np.float32), np.zeros(0, np.int32))
    with pytest.raises(TroubleError, match="must have faces"):
        submit_message("0" * 32, NewJob(photo, mesh=empty))


# ---- results as files -------------------------------------------------------------------------


def textured() -> TexturedMesh:
    vertices = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    faces = torch.from_numpy(TETRAHEDRON)
    uv = torch.rand(5, 2, generator=torch.Generator().manual_seed(1))
    uv_faces = torch.tensor([[0, 1, 2], [2, 3, 4], [0, 2, 4], [1, 2, 3]], dtype=torch.int32)
    return TexturedMesh(Mesh(vertices, faces), uv, uv_faces, torch.rand(4, 4, 3))


def test_a_result_is_read_as_the_library_wrote_it(tmp_path: Path) -> None:
    made = textured()
    save_textured(made, tmp_path)
    arrays = read_tensors(tmp_path / "mesh.safetensors")
    assert (arrays["vertices"] == made.mesh.vertices.numpy()).all()
    assert (arrays["uv_faces"] == made.uv_faces.numpy()).all()
    shown = result_of(
        "job", "pixel_texture", tmp_path / "mesh.safetensors", tmp_path / "albedo.png"
    )
    assert isinstance(shown, TextureShown)
    assert isinstance(shown.texture, TextureArrays)
    assert shown.texture.albedo == tmp_path / "albedo.png"
    corners = made.uv[made.uv_faces.reshape(-1).long()].reshape(-1).numpy()
    assert (shown.texture.corner_uv == corners).all()
    save_mesh(made.mesh, tmp_path)
    plain = result_of("job", "sculpt", tmp_path / "mesh.safetensors", tmp_path / "albedo.png")
    assert isinstance(plain, SurfaceShown)
    assert isinstance(plain.surface, SurfaceArrays)
    assert (plain.surface.positions == made.mesh.vertices.reshape(-1).numpy()).all()


def test_a_result_with_a_normal_map_names_its_file(tmp_path: Path) -> None:
    made = embossed(textured_figure(rings=4, segments=6), size=32)
    save_textured(made, tmp_path)
    write_glb(tmp_path / "model.glb", made)
    files = tmp_path / "albedo.png", tmp_path / "normal.png"
    assert files[1].is_file()
    for stage, mesh in (("pixel_texture", "mesh.safetensors"), ("finish", "model.glb")):
        shown = result_of("job", stage, tmp_path / mesh, *files)
        assert isinstance(shown, TextureShown)
        assert (shown.texture.albedo, shown.texture.normal_map) == files


@pytest.mark.parametrize("keep", [0, 7, 40, 300])
def test_a_damaged_result_is_refused(tmp_path: Path, keep: int) -> None:
    save_textured(textured(), tmp_path)
    path = tmp_path / "mesh.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ProtocolError, match=r"mesh\.safetensors"):
        read_tensors(path)


def test_the_finished_person_is_closed_again(tmp_path: Path) -> None:
    """In the file vertices are split at seams; here faces and coordinates are the library's."""
    made = textured()
    facts = {
        "metres_per_unit": 0.5,
        "floor_units": (0.0, 0.25, -1.0),
        "height_metres": 1.7,
        "camera_elevation_deg": 9.0,
    }
    write_glb(tmp_path / "model.glb", made, extras=facts)
    person = read_person(tmp_path / "model.glb")
    assert len(person.uv) > len(person.vertices) == 4
    wanted = made.mesh.vertices.numpy()[made.mesh.faces.numpy()]
    assert (person.vertices[person.faces] == wanted).all()
    corners = made.uv.numpy()[made.uv_faces.numpy()]
    assert person.uv[person.uv_faces] == pytest.approx(corners, abs=1e-6)
    shown = result_of("job", "finish", tmp_path / "model.glb", tmp_path / "albedo.png")
    assert isinstance(shown, TextureShown)
    assert shown.placement is not None
    assert shown.placement.metres_per_unit == 0.5
    assert shown.placement.floor == (0.0, 0.25, -1.0)
    assert shown.placement.camera_elevation_deg == 9.0
    assert shown.texture.surface.topology.edges == 6


@pytest.mark.parametrize("keep", [0, 11, 20, 400, -1])
def test_a_damaged_person_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "model.glb"
    write_glb(path, textured())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ProtocolError, match=r"model\.glb"):
        read_person(path)
