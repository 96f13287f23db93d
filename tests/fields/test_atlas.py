import functools

import pytest
import torch

from geneman.camera import REFERENCE
from geneman.fields.atlas import decimate, unpinched, unwrap
from geneman.kernels.rasterise import rasterise
from geneman.mesh import Mesh
from geneman.topology import topology
from tests.synthetic import figure_mesh

SIZE = 512


@functools.cache
def small_figure():
    return decimate(figure_mesh(), 4000)


@functools.cache
def charts():
    return unwrap(small_figure(), size=SIZE, gutter=3)


@functools.cache
def drawn():
    """The raster of the atlas, and the chart of each triangle."""
    atlas = charts()
    flat = torch.zeros(len(atlas.uv), 2)
    flat[:, 1] = 1
    raster = rasterise(torch.cat([atlas.uv * 2 - 1, flat], dim=1), atlas.faces, SIZE)
    label = torch.arange(len(atlas.uv))
    for _ in range(200):  # the smallest index spreads through each chart
        least = label[atlas.faces.long()].amin(dim=1, keepdim=True).expand(-1, 3)
        label = label.scatter_reduce(0, atlas.faces.flatten().long(), least.flatten(), "amin")
    return raster, label[atlas.faces[:, 0]]


def silhouette(mesh):
    return rasterise(REFERENCE.clip_coordinates(mesh.vertices), mesh.faces, 256).triangle >= 0


def test_a_decimated_mesh_is_closed_whole_outward_and_as_small_as_asked():
    found = topology(small_figure())
    assert found.watertight
    assert found.components == 1
    assert 4000 * 0.9 <= found.faces <= 4000 * 1.1
    assert found.volume == pytest.approx(topology(figure_mesh()).volume, rel=0.01)


def test_decimation_keeps_the_silhouette():
    before, after = silhouette(figure_mesh()), silhouette(small_figure())
    assert (before & after).sum() / (before | after).sum() > 0.985


def test_a_mesh_that_is_small_enough_stays():
    assert decimate(figure_mesh(), 10**6) is figure_mesh()


def test_decimation_leaves_no_spare_vertices():
    mesh = small_figure()
    assert torch.equal(mesh.faces.long().unique(), torch.arange(len(mesh.vertices)))


def test_the_atlas_lies_in_the_unit_square_with_few_charts():
    atlas = charts()
    assert atlas.uv.min() >= 0
    assert atlas.uv.max() <= 1
    assert atlas.charts < 60
    assert atlas.faces.shape == small_figure().faces.shape


def test_corners_of_the_atlas_belong_to_the_same_vertices_as_those_of_the_mesh():
    atlas, mesh = charts(), small_figure()
    vertex = torch.full((len(atlas.uv),), -1)
    vertex[atlas.faces.flatten().long()] = mesh.faces.flatten().long()
    assert torch.equal(vertex[atlas.faces.long()], mesh.faces.long())


def test_charts_neither_overlap_nor_turn_over():
    raster, _ = drawn()
    a, b, c = (charts().uv[charts().faces] * SIZE).unbind(dim=1)
    area = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    # Rounding turns slivers over; charts that are mirrored would be whole sums.
    assert area.clamp_max(0).sum().abs() < 1e-3 * area.sum()
    assert len(raster.pixels) / area.abs().sum() > 0.995
    assert area.sum() / SIZE**2 > 0.3


def test_the_gutter_keeps_charts_apart():
    raster, chart = drawn()
    label = torch.where(raster.triangle >= 0, chart[raster.triangle.long()] + 1, 0).float()
    window = 2 * 3 + 1
    highest = torch.nn.functional.max_pool2d(label[None], window, 1, 3)[0]
    lowest = -torch.nn.functional.max_pool2d(
        -torch.where(label > 0, label, torch.full_like(label, 1e9))[None], window, 1, 3
    )[0]
    assert not ((highest > 0) & (highest != lowest)).any()


def test_unwrapping_gives_the_same_bits_every_time():
    again = unwrap(small_figure(), size=SIZE, gutter=3)
    assert torch.equal(again.uv, charts().uv)
    assert torch.equal(again.faces, charts().faces)


def test_a_tetrahedron_can_be_unwrapped():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    mesh = Mesh(corners, torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]))
    atlas = unwrap(mesh, size=64, gutter=2)
    assert atlas.faces.shape == (4, 3)


TETRAHEDRON = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])


@pytest.mark.parametrize("shared", [1, 2])
def test_a_surface_that_touches_itself_is_parted(shared):
    """Two tetrahedra that share a corner, and two that share an edge."""
    one = torch.tensor([[0.0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]])
    other = one * torch.tensor([-1.0, -1.0, 1.0]) * (3 - shared)
    numbers = torch.cat([torch.arange(shared), torch.arange(4, 8 - shared)])
    both = Mesh(torch.cat([one, other[shared:]]), torch.cat([TETRAHEDRON, numbers[TETRAHEDRON]]))
    if topology(Mesh(one, TETRAHEDRON)).volume < 0:
        both = Mesh(both.vertices, both.faces.flip(-1))
    assert topology(both).odd_edges == shared - 1
    parted = unpinched(both)
    found = topology(parted)
    assert found.watertight
    assert found.components == 2
    assert len(parted.vertices.unique(dim=0)) == len(parted.vertices) == 8


def test_a_surface_that_touches_itself_nowhere_stays():
    figure = figure_mesh(32)
    assert unpinched(figure) is figure
