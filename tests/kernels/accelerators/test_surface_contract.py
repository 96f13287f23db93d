import importlib
import itertools
import math

import pytest
import torch

from geneman.kernels.marching_tets import CORNER_PAIRS, zero_points
from geneman.mesh import Box
from tests.oracles.marching_tets_dense import lattice

CORNERS = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
EDGES = torch.tensor(CORNER_PAIRS, dtype=torch.int32)
TETS = torch.tensor([[0, 1, 2, 3]], dtype=torch.int32)
TET_EDGES = torch.arange(6, dtype=torch.int32)[None]


def cut(surface, values):
    ends, faces = surface.march(values, EDGES, TETS, TET_EDGES)
    return zero_points(CORNERS, values, ends), faces


def test_one_corner_inside(surface):
    # The axes are cut at 1/2, 1/4, 1/2; seen from (1, 1, 1) they come in this order.
    vertices, faces = cut(surface, torch.tensor([-1.0, 1.0, 3.0, 1.0]))
    assert len(faces) == 1
    corners = vertices[faces[0]]
    start = int(corners[:, 0].argmax())
    expected = torch.tensor([[0.5, 0, 0], [0, 0.25, 0], [0, 0, 0.5]])
    torch.testing.assert_close(corners.roll(-start, 0), expected)


@pytest.mark.parametrize("signs", list(itertools.product([-1.0, 1.0], repeat=4)))
def test_each_pattern_gives_triangles_that_face_outward(surface, signs):
    values = torch.tensor(signs)
    vertices, faces = cut(surface, values)
    inside = int((values < 0).sum())
    assert len(faces) == [0, 1, 2, 1, 0][inside]
    if len(faces):
        a, b, c = vertices[faces].unbind(dim=1)
        outward = CORNERS[values > 0].mean(dim=0) - CORNERS[values < 0].mean(dim=0)
        assert (torch.linalg.cross(b - a, c - a) @ outward > 0).all()


def test_a_value_of_zero_is_outside(surface):
    ends, faces = surface.march(torch.tensor([-1.0, 0.0, 0.0, 0.0]), EDGES, TETS, TET_EDGES)
    assert len(faces) == 1
    assert sorted(sorted(pair) for pair in ends.tolist()) == [[0, 1], [0, 2], [0, 3]]


def test_a_sphere_is_closed_faces_outward_and_has_each_crossed_edge_once(surface):
    points, tets = lattice(Box((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)), (9, 9, 9))
    values = points.norm(dim=1) - 0.7
    pairs = torch.tensor(CORNER_PAIRS)
    keys = tets[:, pairs].sort(dim=-1).values
    edges, tet_edges = torch.unique(keys.reshape(-1, 2), dim=0, return_inverse=True)
    given = (edges.int(), tets.int(), tet_edges.reshape(-1, 6).int())
    ends, faces = surface.march(values, *given)
    crossed = edges[(values[edges] < 0).sum(dim=1) == 1]
    assert sorted(sorted(pair) for pair in ends.tolist()) == crossed.tolist()
    vertices = zero_points(points, values, ends)
    rims = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    assert sorted(rims.tolist()) == sorted(rims.flip(1).tolist())
    assert len(vertices) - len(rims) // 2 + len(faces) == 2
    a, b, c = vertices[faces].unbind(dim=1)
    volume = (torch.linalg.cross(a, b) * c).sum() / 6
    assert volume.item() == pytest.approx(4 / 3 * math.pi * 0.7**3, rel=0.08)


def test_the_stand_in_gives_what_kaolins_documentation_shows(stand_ins):
    kaolin = importlib.import_module("kaolin.ops.conversions")
    sdf = torch.tensor([[-1.0, -1.0, 0.5, 0.5]])
    (vertices,), (faces,) = kaolin.marching_tetrahedra(CORNERS[None], TETS.long(), sdf)
    third = 1 / 3
    expected = [[0, 2 * third, 0], [0, 0, 2 * third], [third, 2 * third, 0], [third, 0, 2 * third]]
    torch.testing.assert_close(vertices, torch.tensor(expected))
    assert faces.tolist() == [[3, 0, 1], [3, 2, 0]]
