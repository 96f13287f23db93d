"""The camera of somebody who stands is as high as it was; of others it stays level."""

from dataclasses import replace

import pytest
import torch

from geneman.camera import REFERENCE, Orbit
from geneman.preprocess.standing import HIGHEST_DEG, LOWEST_DEG, standing_camera
from geneman.view import Framing, HiddenSide, ReferenceView
from tests.synthetic import figure_view


def photographed(elevation_deg: float) -> ReferenceView:
    """The standing figure, by a camera that nobody knows the height of."""
    return replace(figure_view(128, Orbit(elevation_deg=elevation_deg)), camera=REFERENCE)


def moved(view: ReferenceView, point: int, across: float, up: float) -> ReferenceView:
    landmarks = view.landmarks.clone()
    landmarks[point, 0] += across
    landmarks[point, 1] += up
    return replace(view, landmarks=landmarks)


@pytest.mark.parametrize("elevation", [-6.0, 0.0, 8.0, 20.0])
def test_the_cameras_height_is_found(elevation: float):
    level = standing_camera(photographed(0.0)).elevation_deg
    assert level == pytest.approx(0.0, abs=1.5), "its trunk is nearly above its feet"
    found = standing_camera(photographed(elevation))
    assert found.elevation_deg - level == pytest.approx(elevation, abs=1.0)
    assert replace(found, elevation_deg=0.0) == REFERENCE


@pytest.mark.parametrize(("tilt", "bound"), [(1.5, HIGHEST_DEG), (-1.5, LOWEST_DEG)])
def test_what_no_camera_sees_is_bounded(tilt: float, bound: float):
    view = photographed(0.0)
    up = torch.linspace(0.5, -0.5, view.size)[:, None]
    depth, hidden = view.depth - tilt * up, view.hidden
    there = HiddenSide(hidden.depth - tilt * up, hidden.normal, hidden.colour)
    assert standing_camera(replace(view, depth=depth, hidden=there)).elevation_deg == bound


@pytest.mark.parametrize(
    ("what", "view"),
    [
        ("half a body", replace(photographed(8.0), framing=Framing.HALF_BODY)),
        ("a lifted foot", moved(photographed(8.0), 28, 0.0, 0.25)),
        ("a sitter's knees", moved(moved(photographed(8.0), 25, 0.0, 0.3), 26, 0.0, 0.3)),
        ("a bow to the side", moved(moved(photographed(8.0), 11, 0.5, 0.0), 12, 0.5, 0.0)),
        ("no landmarks", replace(photographed(8.0), landmarks=torch.zeros(33, 4))),
        ("feet that the mask misses", replace(photographed(8.0), mask=torch.zeros(128, 128))),
    ],
)
def test_nobody_who_does_not_stand_is_straightened(what: str, view: ReferenceView):
    assert standing_camera(view) == REFERENCE, what
