"""What is read back is what was written, bit by bit."""

import dataclasses
from pathlib import Path

import pytest
import torch

from geneman.artefacts import (
    load_mesh,
    load_textured,
    load_view,
    save_mesh,
    save_textured,
    save_view,
)
from geneman.mesh import Mesh, TexturedMesh
from geneman.view import HiddenSide, ReferenceView
from tests.synthetic import figure_view
from tests.textured import degrees_between, embossed, textured_figure

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def view() -> ReferenceView:
    return figure_view(32)


def assert_same(a: object, b: object) -> None:
    for field in dataclasses.fields(a):  # type: ignore[arg-type]
        one, other = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, torch.Tensor):
            assert one.dtype == other.dtype, field.name
            assert torch.equal(one, other), field.name
        elif isinstance(one, HiddenSide | Mesh):
            assert_same(one, other)
        else:
            assert one == other, field.name


def test_a_view_comes_back_whole(tmp_path: Path, view: ReferenceView) -> None:
    spoken = dataclasses.replace(view, prompt='a "quoted" child, é')
    save_view(spoken, tmp_path)
    assert_same(spoken, load_view(tmp_path, CPU))


def test_a_mesh_comes_back_whole(tmp_path: Path) -> None:
    mesh = Mesh(torch.rand(4, 3).T.contiguous().T, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    save_mesh(mesh, tmp_path)
    assert_same(mesh, load_mesh(tmp_path, CPU))


def test_a_textured_mesh_comes_back_with_its_albedo_in_8_bits(tmp_path: Path) -> None:
    mesh = Mesh(torch.rand(3, 3), torch.tensor([[0, 1, 2]]))
    albedo = torch.randint(0, 256, (8, 8, 3)).float() / 255
    textured = TexturedMesh(mesh, torch.rand(3, 2), torch.tensor([[0, 1, 2]]), albedo)
    save_textured(textured, tmp_path)
    assert_same(textured, load_textured(tmp_path, CPU))


def test_finer_normals_come_back_and_a_folder_of_before_has_none(tmp_path: Path) -> None:
    figure = embossed(textured_figure())
    assert figure.normals is not None
    save_textured(figure, tmp_path)
    back = load_textured(tmp_path, CPU).normals
    assert back is not None
    assert degrees_between(back, figure.normals).max() < 0.8
    save_textured(dataclasses.replace(figure, normals=back), tmp_path)
    again = load_textured(tmp_path, CPU).normals
    assert again is not None
    assert degrees_between(again, back).max() < 0.3, "rounding again costs a level at most"
    (tmp_path / "normal.png").unlink()
    assert load_textured(tmp_path, CPU).normals is None


def test_the_same_artefact_gives_the_same_bytes(tmp_path: Path, view: ReferenceView) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_view(view, tmp_path / name)
    a, b = ((tmp_path / name / "view.safetensors").read_bytes() for name in "ab")
    assert a == b
