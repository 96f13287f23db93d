"""Sketches of views: two sheets are one closed surface that looks like the person all around."""

import pytest
import torch

from geneman.camera import REFERENCE, Orbit
from geneman.mesh import Mesh
from geneman.priors.bundled.sketch import GRID, Sheets, Side, shrunk_cover
from geneman.topology import topology
from tests.synthetic import figure_view

SIZE = 64


@pytest.fixture(scope="module")
def sheets():
    return Sheets.of_view(figure_view(256))


def test_the_surface_is_closed_and_faces_outward(sheets):
    found = topology(Mesh(sheets.points, sheets.faces))
    assert found.watertight
    assert found.volume > 0


@pytest.mark.parametrize("azimuth", [0.0, 45.0, 90.0, 180.0, -120.0])
def test_a_sketch_looks_like_the_person(sheets, azimuth):
    orbit = Orbit(azimuth, 10.0 if azimuth else 0.0)
    drawn, truth = sheets.picture(orbit, SIZE), figure_view(SIZE, orbit)
    cover, wanted = drawn[3] > 0.5, truth.mask > 0.5
    assert (cover & wanted).sum() / (cover | wanted).sum() > 0.85
    both = cover & wanted
    normal = (drawn[4:] / drawn[3].clamp_min(1e-3) * 2 - 1).movedim(0, -1)
    cosine = (normal * truth.normal).sum(dim=-1)[both]
    assert cosine.median() > 0.95


def test_layers_lie_on_white_and_on_black(sheets):
    drawn = sheets.picture(Orbit(70.0, 20.0), SIZE)
    outside = drawn[3] == 0
    assert (drawn[:3, outside] == 1).all()
    assert (drawn[4:, outside] == 0).all()
    assert 0 <= drawn.min() <= drawn.max() <= 1


def test_the_photos_own_camera_sees_the_photo_and_the_opposite_one_the_hidden_side():
    view = figure_view(256)
    red, blue = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    sides = [
        Side(side.depth, side.normal, colour.expand_as(side.normal)).shrunk(view.inside)
        for side, colour in ((view, red), (view.hidden, blue))
    ]
    both = Sheets.of(*sides, shrunk_cover(view.mask), REFERENCE)
    for azimuth, colour in ((0.0, red), (180.0, blue)):
        drawn = both.picture(Orbit(azimuth), SIZE)
        inner = drawn[:3, drawn[3] == 1]
        assert (inner - colour[:, None]).abs().mean() < 0.05


def test_a_hole_in_the_outline_is_walled_and_a_lonely_pixel_is_nothing():
    inside = torch.zeros(GRID, GRID, dtype=torch.bool)
    inside[20:100, 20:100] = True
    inside[50:60, 50:60] = False
    inside[5, 5] = True
    flat = torch.ones(GRID, GRID)
    towards = torch.tensor([0.0, 0.0, 1.0]).expand(GRID, GRID, 3)
    near, far = (Side(depth * flat, towards, towards) for depth in (2.9, 3.1))
    sheets = Sheets.of(near, far, inside, REFERENCE)
    found = topology(Mesh(sheets.points, sheets.faces))
    assert found.watertight
    assert found.volume > 0
    cover = sheets.picture(REFERENCE, GRID)[3]
    assert cover[55, 55] == 0
    assert cover[5, 5] == 0
    assert cover[30, 30] == 1
