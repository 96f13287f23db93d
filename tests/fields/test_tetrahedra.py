import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geneman.errors import EmptySurfaceError
from geneman.fields import tetrahedra
from geneman.fields.tetrahedra import Lattice, band_along, band_of, evaluate
from geneman.mesh import Box, Mesh
from geneman.topology import topology
from tests.synthetic import BOX, figure_sdf

CUBE = Box((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))


def sphere(radius, centre=(0.03, -0.05, 0.02)):
    return lambda points: (points - points.new_tensor(centre)).norm(dim=-1) - radius


def torus(points):
    ring = points[:, :2].norm(dim=-1) - 0.6
    return torch.stack([ring, points[:, 2]], dim=-1).norm(dim=-1) - 0.2


def extract(distance, resolution, box=CUBE):
    band = band_along(distance, Lattice(box, resolution))
    return band.surface(evaluate(distance, band.points))


def test_a_sphere_is_a_sphere():
    mesh = extract(sphere(0.7), 40)
    found = topology(mesh)
    assert found.watertight
    assert found.components == 1
    assert found.euler == 2
    assert found.volume == pytest.approx(4 / 3 * math.pi * 0.7**3, rel=5e-3)
    away = sphere(0.7)(mesh.vertices).abs()
    assert away.max() < 0.1 * (2 / 40)  # linear interpolation errs by curvature times h squared


def test_a_torus_has_a_hole():
    found = topology(extract(torus, 40))
    assert found.watertight
    assert found.euler == 0


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000))
def test_any_smooth_function_gives_a_watertight_surface(seed):
    generator = torch.Generator().manual_seed(seed)
    waves = torch.randn(6, 3, generator=generator) * 3
    shift, height = torch.rand(2, 6, generator=generator) * 6

    def lumps(points):
        bumps = (torch.sin(points @ waves.T + shift) * height).sum(dim=1)
        return (points.norm(dim=-1) - 0.6 + bumps * 0.02) / 1.5

    found = topology(extract(lumps, 24))
    assert found.watertight
    assert found.degenerate_faces == 0


def test_what_reaches_the_box_is_closed_there():
    mesh = extract(sphere(1.3), 16)
    assert topology(mesh).watertight
    assert mesh.vertices.abs().max() <= 1


def test_the_band_grows_with_the_area_and_not_with_the_volume():
    coarse, fine = (len(band_along(sphere(0.7), Lattice(CUBE, n)).cells) for n in (32, 64))
    assert 3.2 < fine / coarse < 5


def test_the_band_is_the_whole_lattice_where_the_surface_is():
    lattice = Lattice(CUBE, 12)
    axes = [torch.arange(side) for side in lattice.shape]
    everything = band_of(
        torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3), lattice
    )
    whole = everything.surface(evaluate(torus, everything.points))
    banded = extract(torus, 12)

    def corners(mesh: Mesh):
        return sorted(map(tuple, mesh.vertices.mul(1e4).round().tolist()))

    assert corners(whole) == corners(banded)
    assert len(whole.faces) == len(banded.faces)


def test_tetrahedra_are_right_handed_and_fill_space_once():
    lattice = Lattice(CUBE, 4)
    axes = [torch.arange(side) for side in lattice.shape]
    band = band_of(torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3), lattice)
    a, b, c, d = band.points[band.tets.long()].unbind(dim=1)
    volumes = (torch.linalg.cross(b - a, c - a) * (d - a)).sum(dim=-1) / 6
    # Each of the 3 * 3 * 4 * 4 shared sides has two pyramids on it, a third of half a cell each.
    assert len(volumes) == 4 * 144
    torch.testing.assert_close(volumes, torch.full_like(volumes, 0.5**3 / 12))
    ends = band.edges.long()[band.tet_edges.long()].sort(dim=-1).values
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    own = torch.stack([band.tets.long()[:, list(pair)] for pair in pairs], 1).sort(dim=-1).values
    assert torch.equal(ends, own)
    assert len(torch.unique(band.edges.sort(dim=1).values, dim=0)) == len(band.edges)


def test_a_band_is_built_again_from_its_cells():
    band = band_along(torus, Lattice(CUBE, 16))
    again = band_of(band.cells.flip(0), band.lattice)
    assert torch.equal(again.tets, band.tets)
    assert torch.equal(again.points, band.points)


def test_no_surface_passes_the_rim():
    band = band_along(torus, Lattice(CUBE, 20))
    assert evaluate(torus, band.points)[band.rim].abs().min() > 0.099  # a cell


def test_a_steep_distance_is_closed_too():
    found = topology(extract(lambda points: 9 * sphere(0.7)(points) ** 3 + torus(points), 32))
    assert found.watertight


def test_gradients_reach_the_values_and_say_how_volume_grows():
    band = band_along(sphere(0.7), Lattice(CUBE, 32))
    values = evaluate(sphere(0.7), band.points).requires_grad_()
    mesh = band.surface(values)
    a, b, c = mesh.vertices[mesh.faces].unbind(dim=1)
    ((torch.linalg.cross(a, b) * c).sum() / 6).backward()
    # Lowering a distance by d moves the surface outward by d: the slope is minus the area.
    assert values.grad.sum().item() == pytest.approx(-4 * math.pi * 0.7**2, rel=0.02)


def test_the_figure_is_one_closed_piece():
    found = topology(extract(figure_sdf, 96, BOX.padded(0.02)))
    assert found.watertight
    assert found.components == 1


def test_a_shape_without_a_surface_is_an_error():
    with pytest.raises(EmptySurfaceError, match="no surface inside its box"):
        band_along(lambda points: torch.ones_like(points[:, 0]), Lattice(CUBE, 16))


@pytest.mark.parametrize("resolution", [8, 40])
def test_numbering_by_flags_and_by_sorting_join_the_same_band(resolution, monkeypatch):
    lattice = Lattice(CUBE, resolution)
    flags = band_along(sphere(0.7), lattice)
    monkeypatch.setattr(tetrahedra, "SPARSE", 0)
    sorting = band_of(flags.cells, lattice)
    for name in ("cells", "points", "corners", "rim", "edges", "tets", "tet_edges"):
        assert torch.equal(getattr(flags, name), getattr(sorting, name))
