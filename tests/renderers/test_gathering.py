"""Colours gathered from pictures: the truth comes back, and what nobody sees is not believed."""

import math

import pytest
import torch

from geneman.camera import Orbit
from geneman.mesh import vertex_normals
from geneman.renderers.gathering import Picture, gather
from tests.synthetic import figure_colour, figure_mesh, figure_view

MESH = figure_mesh(64)
NORMALS = vertex_normals(MESH)


def picture(azimuth, confidence=1.0, colour=None):
    view = figure_view(128, Orbit(azimuth_deg=azimuth))
    painted = view.colour if colour is None else torch.tensor(colour).expand_as(view.colour)
    return Picture(view.camera, painted.contiguous(), view.mask, confidence * view.mask)


def test_true_pictures_give_the_true_colours_where_they_are_believed():
    found = gather([picture(a) for a in (0, 90, 180, 270)], MESH, MESH.vertices, NORMALS)
    sure = found.confidence > 0.6
    assert sure.float().mean() > 0.3
    error = (found.colour - figure_colour(MESH.vertices)).abs().mean(dim=1)
    assert error[sure].median() < 0.05


def test_what_no_picture_shows_is_not_believed():
    found = gather([picture(0)], MESH, MESH.vertices, NORMALS)
    assert (found.confidence[NORMALS[:, 1] > 0.1] == 0).all()
    assert found.confidence[NORMALS[:, 1] < -0.9].mean() > 0.3
    assert found.confidence.max() <= 1


def test_the_picture_that_faces_a_point_decides():
    red, green = picture(0, colour=[1.0, 0, 0]), picture(60, colour=[0.0, 1, 0])
    found = gather([red, green], MESH, MESH.vertices, NORMALS)
    # Between 60 degrees and 0, who faces a point has four powers more weight.
    for azimuth, channel in ((-5, 0), (65, 1)):
        x, y = math.sin(math.radians(azimuth)), -math.cos(math.radians(azimuth))
        facing = NORMALS @ torch.tensor([x, y, 0.0]) > 0.98
        believed = facing & (found.confidence > 0.9)
        assert believed.sum() > 20
        assert found.colour[believed, channel].median() > 0.8


@pytest.mark.parametrize("confidence", [0.0, 0.4])
def test_a_doubtful_picture_is_believed_as_little_as_it_says(confidence):
    sure = gather([picture(0)], MESH, MESH.vertices, NORMALS).confidence
    doubtful = gather([picture(0, confidence)], MESH, MESH.vertices, NORMALS).confidence
    inside = sure > 0.3
    torch.testing.assert_close(doubtful[inside], confidence * sure[inside], atol=0.02, rtol=0)
