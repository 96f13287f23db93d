import math

import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from geneman.preprocess.person import (
    PersonModels,
    Square,
    anchor_centres,
    body_region,
    cut,
    overlap,
    put_back,
)
from tests.preprocess.photos import needs_person_models

NOSE, LEFT_SHOULDER, RIGHT_SHOULDER = 0, 11, 12
LEFT_EYE, RIGHT_EYE = 2, 5


def test_anchors_are_as_many_as_the_detector_answers():
    anchors = anchor_centres()
    assert anchors.shape == (2254, 2)
    np.testing.assert_allclose(anchors[:3] * 28, [[0.5, 0.5], [0.5, 0.5], [1.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(anchors[1568], [0.5 / 14, 0.5 / 14])
    # The three layers of stride 32 share their cells: six anchors on one place.
    np.testing.assert_allclose(anchors[-6:], np.full((6, 2), 6.5 / 7))
    np.testing.assert_allclose(anchors.mean(axis=0), 0.5, atol=1e-6)


@given(st.floats(-100, 100), st.floats(-100, 100), st.floats(10, 500), st.floats(-math.pi, math.pi))
def test_from_photo_undoes_to_photo(x, y, side, angle):
    square = Square((x, y), side, angle)
    there, back = square.to_photo, square.from_photo
    np.testing.assert_allclose(there[:, :2] @ back[:, :2], np.eye(2), atol=1e-4)
    np.testing.assert_allclose(there @ [0.5, 0.5, 1], [x, y], atol=1e-2)


def test_a_body_region_turns_the_head_up():
    # The head is to the right of the hips: the body lies.
    region = body_region(np.float32([50, 60]), np.float32([90, 60]))
    assert region.centre == (50, 60)
    assert region.side == pytest.approx(2 * 40 * 1.25)
    head = region.to_photo @ [0.5, 0.1, 1]
    np.testing.assert_allclose(head, [50 + 0.4 * 100, 60], atol=1e-3)


def test_boxes_overlap_by_their_common_share():
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (2, 0, 3, 2)) == 0


def test_put_back_undoes_cut():
    y, x = np.mgrid[:200, :300]
    photo = np.stack([127 + 100 * np.sin(x / 30), y, x / 2], -1).astype(np.uint8)
    square = Square((140.0, 110.0), 128.0, 0.4)
    laid = put_back(np.ascontiguousarray(cut(photo, square, 256)[..., 0]), square, photo.shape)
    inside = put_back(np.ones((256, 256), np.float32), square, photo.shape) > 0.99
    assert inside.sum() == pytest.approx(128**2, rel=0.05)
    assert np.abs(laid - photo[..., 0] / 255)[inside].max() < 0.02


@needs_person_models
def test_the_astronaut_is_found_where_she_is():
    photo, models = skimage.data.astronaut(), PersonModels()
    (found,) = models.detect(photo)
    assert found.score > 0.7
    pose = models.pose(photo, found.region)
    assert pose.presence > 0.9
    # The places were read off the picture by eye.
    for point, place in {NOSE: (222, 122), LEFT_EYE: (240, 107), RIGHT_EYE: (204, 108)}.items():
        assert np.linalg.norm(pose.points[point, :2] - place) < 15
    assert pose.points[LEFT_SHOULDER, 0] > pose.points[NOSE, 0] > pose.points[RIGHT_SHOULDER, 0]
    assert pose.points[NOSE, 2] < pose.points[LEFT_SHOULDER, 2]  # nearer
    assert pose.cover[120, 222] > 0.9
    assert pose.cover[40, 40] < 0.1


@needs_person_models
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_poses_turn_with_their_region(turns):
    photo, models = skimage.data.astronaut(), PersonModels()
    pose = models.pose(photo, models.detect(photo)[0].region)
    turned = np.ascontiguousarray(np.rot90(photo, turns))
    x, y = pose.region.centre
    for _ in range(turns):
        x, y = y, 512 - x
    region = Square((x, y), pose.region.side, pose.region.angle - turns * math.pi / 2)
    again = models.pose(turned, region)
    place = pose.points[NOSE, :2]
    for _ in range(turns):
        place = np.array([place[1], 512 - place[0]])
    assert np.linalg.norm(again.points[NOSE, :2] - place) < 12


@needs_person_models
def test_the_segmenter_answers_for_the_box_alone():
    photo = skimage.data.astronaut()
    cover = PersonModels().segment(photo, (100, 0, 400, 512))
    assert cover[120, 222] > 0.9
    assert cover[:, :100].max() == cover[:, 400:].max() == 0
