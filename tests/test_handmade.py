"""What somebody made by hand takes a stage's place, and stays until it is given up."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from geneman.artefacts import (
    load_mesh,
    load_textured,
    load_view,
    save_mesh,
    save_textured,
    save_view,
)
from geneman.errors import EditedError, InputError, MeshFileError, RunFolderError
from geneman.gltf import write_glb
from geneman.gltf_reader import read_glb
from geneman.handmade import GivenMesh, HandMade, MeshFrame, checked, with_handmade
from geneman.handmade_files import read_mesh, read_texture
from geneman.mesh import Mesh, TexturedMesh, UnwrappedMesh
from geneman.pipeline import Request, Stage, Tools, reconstruct
from geneman.presets import DRAFT
from geneman.priors.bundle import Priors
from geneman.progress import Event, StageFinished
from geneman.run_folder import RunFolder, StageState
from geneman.settings import override
from geneman.stages import finish, pixel_texture
from geneman.topology import mended
from geneman.training.checkpoints import NoCheckpoints
from tests.stages.test_pixel_texture import TINY as TINY_TEXTURE
from tests.stages.test_pixel_texture import known_field
from tests.synthetic import figure_mesh, figure_view
from tests.textured import degrees_between, embossed, textured_figure
from tests.tiny_chain import CHAIN as NUMBERS
from tests.tiny_chain import CPU, PRIORS

PAINT = np.full((32, 32, 3), (255, 0, 128), np.uint8)


def painted(_: Request, made: Mapping[str, Any], __: Any) -> TexturedMesh:
    """Stand for the texture: what the mesh brings, or else one texel for all."""
    mesh, grey = made["sculpt"], torch.full((8, 8, 3), 0.5)
    if isinstance(mesh, UnwrappedMesh):
        return TexturedMesh(Mesh(mesh.vertices, mesh.faces), mesh.uv, mesh.uv_faces, grey)
    corners = torch.tensor([[0.4, 0.4], [0.6, 0.4], [0.5, 0.6]])
    return TexturedMesh(mesh, corners, torch.arange(3).expand(len(mesh.faces), 3).clone(), grey)


def measured(_: Request, made: Mapping[str, Any], tools: Tools) -> finish.Finished:
    """Put the person on the floor in metres, and take no pictures."""
    return finish.placed(made["prepare"], mended(made["pixel_texture"]), tools["config"])


STAGES: dict[str, Stage] = NUMBERS | {
    "prepare": Stage(lambda *_: figure_view(64), save_view, load_view),
    "nerf_init": replace(NUMBERS["nerf_init"], run=lambda *_: torch.zeros(4)),
    "sculpt": Stage(lambda *_: textured_figure(rings=20, segments=24).mesh, save_mesh, load_mesh),
    "latent_texture": replace(NUMBERS["latent_texture"], run=lambda *_: torch.zeros(4)),
    "pixel_texture": Stage(painted, save_textured, load_textured),
    "finish": Stage(measured, finish.save, finish.load),
}
"""Real artefacts from stages that take no time; the last tells the real metres."""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(b"somebody")
    return path


def run(photo: Path, made: HandMade | None = None, **wish: Any) -> list[str]:
    """Run the chain beside the photo and name the stages that computed something."""
    events: list[Event] = []
    with RunFolder.locked(photo.parent / "run") as folder:
        chain = with_handmade(STAGES, made or HandMade(), folder, CPU)
        request = Request(photo, **({"recipe": DRAFT} | wish))
        reconstruct(request, folder, chain, priors=PRIORS, device=CPU, report=events.append)
    return [e.stage for e in events if isinstance(e, StageFinished) and not e.resumed]


def folder_of(photo: Path) -> RunFolder:
    return RunFolder.read(photo.parent / "run")


def sculpted(photo: Path) -> Mesh:
    return load_mesh(folder_of(photo).result("sculpt"), CPU)


def arrays(mesh: Mesh, **changes: Any) -> GivenMesh:
    return GivenMesh(**({"vertices": mesh.vertices.numpy(), "faces": mesh.faces.numpy()} | changes))


def test_a_mesh_in_metres_comes_back_to_where_it_was_sculpted(photo: Path) -> None:
    run(photo)
    before, finished = sculpted(photo), photo.parent / "run" / "model.glb"
    mesh, _ = read_mesh(finished)
    bare = HandMade(GivenMesh(mesh.vertices, mesh.faces), MeshFrame.METRES)
    assert run(photo, bare) == ["sculpt", "latent_texture", "pixel_texture", "finish"]
    after = sculpted(photo)
    # The file's vertices are sorted by place, so both sides are.
    for axis in range(3):
        torch.testing.assert_close(
            after.vertices[:, axis].sort().values, before.vertices[:, axis].sort().values
        )
    run_folder = folder_of(photo)
    assert run_folder.is_edited("sculpt")
    assert set(run_folder.states().values()) == {StageState.DONE}
    assert run(photo, bare) == []  # the same again is nothing new


def test_it_stays_whatever_is_asked_for_until_it_is_given_up(photo: Path) -> None:
    run(photo)
    small = textured_figure(height=0.5, rings=10, segments=12).mesh
    run(photo, HandMade(arrays(small)))
    changed = override(DRAFT, {"sculpt.steps": "7", "nerf_init.steps": "9"})
    assert run(photo, recipe=changed) == []
    with pytest.raises(EditedError, match="made by hand for sculpt, but got new work from nerf"):
        run(photo, start="nerf_init")
    torch.testing.assert_close(sculpted(photo).vertices, small.vertices)
    assert run(photo, start="latent_texture") == ["latent_texture", "pixel_texture", "finish"]
    assert "sculpt" in run(photo, start="nerf_init", discard=("sculpt",))
    assert not folder_of(photo).is_edited("sculpt")
    assert len(sculpted(photo).vertices) > len(small.vertices)


def test_a_painted_texture_is_kept_by_what_comes_after_and_held_against_what_comes_before(
    photo: Path,
) -> None:
    with pytest.raises(MeshFileError, match="run it up to pixel_texture first"):
        run(photo, HandMade(albedo=PAINT))
    run(photo)
    assert run(photo, HandMade(albedo=PAINT)) == ["pixel_texture", "finish"]
    with Image.open(photo.parent / "run" / "albedo.png") as albedo:
        np.testing.assert_array_equal(np.asarray(albedo), PAINT)
    assert run(photo, start="finish") == ["finish"]
    mesh = HandMade(arrays(textured_figure(rings=10, segments=12).mesh))
    with pytest.raises(EditedError, match="made by hand for pixel_texture"):
        run(photo, mesh)  # nobody would ever see it
    assert "pixel_texture" in run(photo, mesh, discard=("pixel_texture",))


def test_any_mesh_stands_where_the_photo_shows_the_person(photo: Path) -> None:
    person = figure_mesh(48)
    strange = person.vertices * 37 + torch.tensor([5.0, -80.0, 11.0])
    done = run(photo, HandMade(arrays(person, vertices=strange.numpy()), MeshFrame.ANYWHERE))
    assert "nerf_init" not in done  # nobody needs it
    assert folder_of(photo).state("nerf_init") is StageState.MISSING
    away = (sculpted(photo).vertices - person.vertices).norm(dim=1)
    assert float(away.max()) < 0.03 * 0.95  # of the person's height; the view has 64 pixels


def test_a_mesh_laid_out_flat_keeps_its_coordinates_through_the_real_texture() -> None:
    bare, smooth = figure_mesh(24), torch.Generator().manual_seed(0)
    corners = torch.arange(3 * len(bare.faces)).reshape(-1, 3)
    side = int(np.ceil(len(bare.faces) ** 0.5))
    cell = torch.stack(
        [torch.arange(len(bare.faces)) % side, torch.arange(len(bare.faces)) // side]
    )
    triangle = torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]])
    uv = ((cell.T[:, None] + triangle) / side).reshape(-1, 2)
    mesh = UnwrappedMesh(bare.vertices, bare.faces, uv, corners)
    textured = pixel_texture.run(
        figure_view(128),
        mesh,
        known_field(),
        priors=Priors(shape=PRIORS.shape),
        config=replace(TINY_TEXTURE, target_faces=500),
        report=lambda _: None,
        generator=smooth,
        checkpoints=NoCheckpoints(),
        device=CPU,
    )
    assert type(textured.mesh) is Mesh
    torch.testing.assert_close(textured.mesh.vertices, bare.vertices)
    torch.testing.assert_close(textured.uv, uv)
    assert float(textured.albedo.std()) > 0.05  # it is painted
    assert textured.normals is not None
    assert textured.normals.shape == (128, 128, 3)


def test_a_textured_mesh_stands_for_the_whole_texture_stage(photo: Path, tmp_path: Path) -> None:
    person = textured_figure(rings=10, segments=12)
    write_glb(tmp_path / "own.glb", person)
    mesh, own = read_mesh(tmp_path / "own.glb")
    assert run(photo, HandMade(mesh, MeshFrame.SCENE, own)) == [
        "prepare",
        "pixel_texture",
        "finish",
    ]
    finished = read_glb(photo.parent / "run" / "model.glb")
    assert len(finished.mesh.faces) == len(person.mesh.faces)
    torch.testing.assert_close(finished.albedo, person.albedo, atol=1 / 255, rtol=0)


def test_a_textured_mesh_brings_its_finer_normals(photo: Path, tmp_path: Path) -> None:
    person = embossed(textured_figure(rings=10, segments=12))
    write_glb(tmp_path / "own.glb", person)
    mesh, own = read_mesh(tmp_path / "own.glb")
    assert mesh.normals is not None
    made, bare = HandMade(mesh, albedo=own), HandMade(replace(mesh, normals=None), albedo=own)
    assert made.fingerprint != bare.fingerprint
    run(photo, made)
    finished = read_glb(photo.parent / "run" / "model.glb")
    assert finished.normals is not None
    assert person.normals is not None
    assert degrees_between(finished.normals, person.normals).median() < 1
    run(photo, HandMade(albedo=PAINT))
    painted_on = read_glb(photo.parent / "run" / "model.glb")
    assert painted_on.normals is not None, "paint leaves them alone"
    assert painted_on.albedo.shape == (32, 32, 3)


def test_damage_to_what_was_made_by_hand_is_never_computed_over(photo: Path) -> None:
    run(photo)
    run(photo, HandMade(albedo=PAINT))
    (folder_of(photo).result("pixel_texture") / "albedo.png").write_bytes(b"lost")
    with pytest.raises(RunFolderError, match="give it again, or let pixel_texture be computed"):
        run(photo)
    assert run(photo, discard=("pixel_texture",)) == ["pixel_texture", "finish"]


SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], np.float32)
TWO = np.array([[0, 1, 2], [0, 2, 3]])
FLAT = {"uv": SQUARE[:, ::2], "uv_faces": TWO}


@pytest.mark.parametrize(
    ("mesh", "sentence"),
    [
        (GivenMesh(SQUARE[:, :2], TWO), "must be triangles"),
        (GivenMesh(SQUARE, np.zeros((1, 4), int)), "must be triangles"),
        (GivenMesh(SQUARE, TWO[:0]), "must be triangles"),
        (GivenMesh(SQUARE, TWO + 1), "indices from 1 to 4 for 4"),
        (GivenMesh(SQUARE * np.nan, TWO), "NaN or infinity"),
        (GivenMesh(SQUARE * 0, TWO), "some extent"),
        (GivenMesh(SQUARE, TWO, FLAT["uv"] * 2, TWO), r"in \[0, 1\], but got 0 to 2"),
        (GivenMesh(SQUARE, TWO, FLAT["uv"], TWO[:1]), "three for each triangle"),
        (GivenMesh(SQUARE, TWO, FLAT["uv"], TWO - 1), "texture coordinates that exist"),
    ],
)
def test_what_is_no_mesh_is_refused(mesh: GivenMesh, sentence: str) -> None:
    with pytest.raises(MeshFileError, match=sentence):
        checked(mesh)


def test_an_inside_out_mesh_is_turned_and_spare_vertices_go() -> None:
    person = textured_figure(rings=6, segments=8).mesh
    spare = np.concatenate([person.vertices.numpy(), [[9, 9, 9]]]).astype(np.float32)
    found = checked(GivenMesh(spare, person.faces.numpy()[:, ::-1].copy()))
    assert torch.equal(found.vertices, person.vertices)
    assert torch.equal(found.faces.sort(dim=1).values, person.faces.sort(dim=1).values)
    assert torch.equal(checked(arrays(person)).faces, person.faces)
    assert not torch.equal(found.faces, torch.from_numpy(person.faces.numpy()[:, ::-1].copy()))


def test_a_mesh_far_away_or_without_metres_says_which_frame_it_is_in(photo: Path) -> None:
    far = arrays(textured_figure(height=40.0, rings=6, segments=8).mesh)
    with pytest.raises(MeshFileError, match="say in which frame it is: scene, metres, anywhere"):
        run(photo, HandMade(far))
    with pytest.raises(MeshFileError, match="one that has not been finished"):
        run(photo, HandMade(far, MeshFrame.METRES))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_meshes_come_from_array_files_too(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mesh{suffix}"
    whole = {"vertices": SQUARE, "faces": TWO} | FLAT
    if suffix == ".npz":
        np.savez(path, **whole)
    else:
        save_file({n: np.ascontiguousarray(a) for n, a in whole.items()}, path)
    mesh, texture = read_mesh(path)
    assert texture is None
    np.testing.assert_array_equal(mesh.vertices, SQUARE)
    np.testing.assert_array_equal(mesh.uv, FLAT["uv"])


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("mesh.obj", b"v 0 0 0", "must end in .glb, .npz, .safetensors"),
        ("mesh.glb", b"glTF" + bytes(40), "whole GLB 2.0"),
        ("mesh.npz", b"PK\x03\x04" + bytes(40), "a .npz mesh must hold arrays"),
        ("mesh.safetensors", bytes(40), "a .safetensors mesh must hold arrays"),
    ],
)
def test_files_that_are_no_meshes_are_refused(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_mesh(tmp_path / name)
    with pytest.raises(MeshFileError, match="a texture must be a picture"):
        read_texture(tmp_path / name)


def test_pickled_objects_are_never_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "mesh.npz", vertices=np.array([object()]), faces=TWO)
    with pytest.raises(MeshFileError, match="something else than numbers"):
        read_mesh(tmp_path / "mesh.npz")
