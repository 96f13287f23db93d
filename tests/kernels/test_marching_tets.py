import itertools

import pytest
import torch

from geneman.kernels.marching_tets import CORNER_PAIRS, march, zero_points

CORNERS = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
EDGES = torch.tensor(CORNER_PAIRS, dtype=torch.int32)
TETS = torch.tensor([[0, 1, 2, 3]], dtype=torch.int32)
TET_EDGES = torch.arange(6, dtype=torch.int32)[None]


def cut(values):
    ends, faces = march(values, EDGES, TETS, TET_EDGES)
    return zero_points(CORNERS, values, ends), faces


def test_one_corner_inside():
    # Values -1 at the origin and 1, 3, 1 elsewhere: the axes are cut at 1/2, 1/4, 1/2.
    vertices, faces = cut(torch.tensor([-1.0, 1.0, 3.0, 1.0]))
    torch.testing.assert_close(vertices, torch.tensor([[0.5, 0, 0], [0, 0.25, 0], [0, 0, 0.5]]))
    assert faces.tolist() == [[0, 1, 2]]  # counter-clockwise seen from (1, 1, 1)


@pytest.mark.parametrize("signs", list(itertools.product([-1.0, 1.0], repeat=4)))
def test_each_pattern_gives_triangles_that_face_outward(signs):
    values = torch.tensor(signs)
    vertices, faces = cut(values)
    inside = int((values < 0).sum())
    assert len(faces) == [0, 1, 2, 1, 0][inside]
    if len(faces) == 0:
        return
    a, b, c = vertices[faces].unbind(dim=1)
    normals = torch.linalg.cross(b - a, c - a)
    outward = CORNERS[values > 0].mean(dim=0) - CORNERS[values < 0].mean(dim=0)
    assert (normals @ outward > 0).all()


def test_vertices_move_with_the_values_as_the_gradient_says():
    values = torch.tensor([-0.4, 0.7, -0.2, 0.9], requires_grad=True)
    weights = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    vertices, _ = cut(values)
    (vertices * weights).sum().backward()
    for corner in range(4):
        step = torch.nn.functional.one_hot(torch.tensor(corner), 4) * 1e-3
        up, down = ((cut(values.detach() + s)[0] * weights).sum() for s in (step, -step))
        assert values.grad[corner].item() == pytest.approx(((up - down) / 2e-3).item(), rel=2e-2)


def test_all_outside_gives_nothing():
    vertices, faces = cut(torch.ones(4))
    assert len(vertices) == len(faces) == 0


def test_a_value_of_zero_is_outside_and_makes_no_sliver():
    vertices, faces = cut(torch.tensor([-1.0, 0.0, 0.0, 0.0]))
    assert len(faces) == 1
    assert torch.linalg.cross(vertices[1] - vertices[0], vertices[2] - vertices[0]).norm() > 0.5


def test_a_crossing_that_is_held_off_its_corner_has_no_slope():
    values = torch.tensor([-1e-4, 1.0, 1.0, 1.0]).requires_grad_()
    found = zero_points(CORNERS, values, torch.tensor([[0, 1]]))
    assert not torch.autograd.grad(found.sum(), values)[0].any()


def test_the_slope_of_tiny_values_is_a_number():
    values = torch.tensor([-1e-22, 1e-22, 1.0, 1.0]).requires_grad_()
    found = zero_points(CORNERS, values, torch.tensor([[0, 1]]))
    slope = torch.autograd.grad(found.sum(), values)[0]
    assert slope.isfinite().all()
    assert slope[:2].abs().min() > 1e20
