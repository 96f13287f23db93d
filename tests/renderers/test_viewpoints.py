import dataclasses
from collections import Counter

import pytest
import torch

from geneman.camera import REFERENCE
from geneman.renderers.raster import render, surface
from geneman.renderers.viewpoints import ZONES, Part, draw_camera, part_centres
from geneman.view import Framing
from tests.synthetic import JOINTS, figure_landmarks, figure_mesh

ALL = {part: (0.0, 0.0, 0.1 * index) for index, part in enumerate(Part)}


@pytest.fixture(scope="module")
def drawn():
    return render(surface(figure_mesh(64)), REFERENCE, 128)


def drawn_cameras(centres, count=2000):
    generator = torch.Generator().manual_seed(0)
    return [draw_camera(centres, generator) for _ in range(count)]


def test_centres_lie_on_the_figure_before_its_joints(drawn):
    centres = part_centres(figure_landmarks(), drawn)
    assert set(centres) == set(Part)
    for part, joint in ((Part.HEAD, "nose"), (Part.UPPER, "shoulder"), (Part.LOWER, "knee")):
        x, y, z = centres[part]
        assert z == pytest.approx(JOINTS[joint][2], abs=0.03)
        assert x == pytest.approx(0.0, abs=0.02)
        assert y < JOINTS[joint][1]


def test_parts_that_are_barely_visible_out_of_frame_or_missed_are_left_out(drawn):
    landmarks = figure_landmarks()
    landmarks[0, 3] = 0.29
    landmarks[12, 1] = 1.2
    landmarks[25, 0], landmarks[26, 0] = 0.9, 0.9
    assert set(part_centres(landmarks, drawn)) == {Part.WHOLE}


@pytest.mark.parametrize(
    ("framing", "parts"),
    [
        (Framing.FULL_BODY, set(Part)),
        (Framing.HALF_BODY, {Part.WHOLE, Part.HEAD, Part.UPPER}),
        (Framing.HEAD, {Part.WHOLE}),
    ],
)
def test_a_photo_that_shows_less_has_fewer_parts_whatever_landmarks_guess(drawn, framing, parts):
    assert set(part_centres(figure_landmarks(), drawn, framing)) == parts


def test_parts_are_visited_as_often_as_they_should():
    counts = Counter(part for part, _ in drawn_cameras(ALL))
    for part, zone in ZONES.items():
        assert counts[part] / 2000 == pytest.approx(zone.share, abs=0.03)


def test_missing_parts_hand_their_share_on():
    centres = {part: ALL[part] for part in (Part.WHOLE, Part.UPPER)}
    counts = Counter(part for part, _ in drawn_cameras(centres))
    assert counts[Part.UPPER] / 2000 == pytest.approx(0.1 / 0.8, abs=0.03)
    assert set(counts) == set(centres)


def test_cameras_keep_to_their_zone_and_fill_it():
    by_part = {part: [] for part in Part}
    for part, orbit in drawn_cameras(ALL):
        by_part[part].append(orbit)
    for part, orbits in by_part.items():
        zone = ZONES[part]
        for name in ("distance", "elevation_deg", "azimuth_deg"):
            low, high = getattr(zone, name)
            values = [getattr(orbit, name) for orbit in orbits]
            assert low <= min(values) < low + 0.1 * (high - low)
            assert high >= max(values) > high - 0.1 * (high - low)
        assert all(20 <= orbit.fov_deg <= 25 and orbit.centre == ALL[part] for orbit in orbits)


def test_the_same_seed_draws_the_same_cameras():
    first, again = (
        [dataclasses.astuple(orbit) for _, orbit in drawn_cameras(ALL, 5)] for _ in range(2)
    )
    assert first == again
