import pytest
import torch

from geneman.camera import REFERENCE, Orbit, pixel_grid
from geneman.mesh import Mesh, vertex_normals
from geneman.renderers.raster import render, shade, surface
from tests.synthetic import figure_mesh, figure_view

SIZE = 128


@pytest.fixture(scope="module")
def figure():
    return surface(figure_mesh(96))


def angle(a, b):
    return torch.rad2deg(torch.acos((a * b).sum(dim=-1).clamp(-1, 1)))


@pytest.mark.parametrize("camera", [REFERENCE, Orbit(azimuth_deg=70, elevation_deg=-15)])
def test_maps_of_both_sides_are_those_of_the_figure(figure, camera):
    view = figure_view(SIZE, camera)
    for far_side, normal, depth in (
        (False, view.normal, view.depth),
        (True, view.hidden.normal, view.hidden.depth),
    ):
        drawn = render(figure, camera, SIZE, far_side=far_side)
        assert (drawn.mask - view.mask).abs().mean() < 2e-3
        both = (view.mask > 0.999) & (drawn.raster.triangle >= 0)
        assert angle(drawn.normal, normal)[both].median() < 2
        assert (drawn.depth - depth)[both].abs().median() < 1e-3


def test_positions_lie_under_their_pixels(figure):
    drawn = render(figure, REFERENCE, SIZE)
    seen = drawn.raster.triangle >= 0
    at = REFERENCE.project(drawn.position[seen])
    torch.testing.assert_close(at[:, :2], pixel_grid(SIZE)[seen], atol=1e-5, rtol=0)
    torch.testing.assert_close(at[:, 2], drawn.depth[seen])


def test_a_surfaces_normals_are_the_meshs_vertex_normals(figure):
    expected = vertex_normals(figure.mesh)
    torch.testing.assert_close(figure.normals, expected, atol=1e-4, rtol=0)


def test_gradients_turn_a_patch_towards_given_normals():
    # A square that leans; the normals ask it to face the camera; the gradient unbends it.
    corners = torch.tensor(
        [[-0.3, 0.1, -0.3], [0.3, -0.1, -0.3], [0.3, -0.1, 0.3], [-0.3, 0.1, 0.3]]
    )
    corners.requires_grad_()
    drawn = render(surface(Mesh(corners, torch.tensor([[0, 1, 2], [0, 2, 3]]))), REFERENCE, 32)
    inside = drawn.raster.triangle >= 0
    assert inside.any()
    (1 - drawn.normal[inside][:, 2]).sum().backward()
    assert (corners.grad[[0, 3], 1] > 0).all()
    assert (corners.grad[[1, 2], 1] < 0).all()


def test_two_backward_passes_have_the_same_bits(figure):
    def gradient():
        vertices = figure.mesh.vertices.clone().requires_grad_()
        drawn = render(surface(Mesh(vertices, figure.mesh.faces)), REFERENCE, SIZE)
        (drawn.normal.square().sum() + drawn.position.sum() + drawn.mask.sum()).backward()
        return vertices.grad

    assert torch.equal(gradient(), gradient())


def test_an_empty_mesh_is_an_empty_picture():
    empty = surface(Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)))
    drawn = render(empty, REFERENCE, 16)
    assert (drawn.mask == 0).all()
    assert (shade(drawn) == 1).all()


def test_shading_is_brighter_towards_the_light(figure):
    drawn = render(figure, REFERENCE, SIZE)
    picture = shade(drawn)
    inside = drawn.mask == 1
    lit = drawn.normal @ torch.tensor([-0.4, 0.5, 0.8])
    order = lit[inside].argsort()
    grey = picture[inside][order, 0]
    assert (grey.diff() >= -1e-5).all()
