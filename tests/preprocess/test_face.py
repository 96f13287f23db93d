from collections import Counter

import numpy as np
import pytest
import skimage.data
from PIL import Image

from geneman.preprocess.cut_out import find_people
from geneman.preprocess.face import (
    POINTS,
    FaceModel,
    face_triangles,
    region_of_face,
    region_of_head,
    with_eyeballs,
)
from geneman.preprocess.person import PersonModels
from tests.preprocess.photos import needs_person_models

NOSE_TIP, CHIN, BROW, RIGHT_CHEEK, LEFT_CHEEK = 1, 152, 10, 234, 454


@pytest.fixture(scope="module")
def astronaut():
    return skimage.data.astronaut()


def face_of(photo):
    (pose, *_) = find_people(photo, PersonModels())
    found = FaceModel().find(photo, pose)
    assert found is not None
    return found, pose


@needs_person_models
def test_a_face_lies_where_the_body_points_say_and_its_nose_is_nearest(astronaut):
    face, pose = face_of(astronaut)
    assert face.presence > 0.99
    high = np.linalg.norm(face.points[CHIN, :2] - face.points[BROW, :2])
    np.testing.assert_allclose(face.points[NOSE_TIP, :2], pose.points[0, :2], atol=0.15 * high)
    assert face.points[NOSE_TIP, 2] == pytest.approx(
        face.points[:, 2].min(), abs=0.02 * float(high)
    )
    # A head is about as deep from the nose to the cheeks as half a face is high.
    for cheek in (RIGHT_CHEEK, LEFT_CHEEK):
        assert 0.3 < (face.points[cheek, 2] - face.points[NOSE_TIP, 2]) / high < 0.8


@needs_person_models
def test_a_face_turns_with_the_photo(astronaut):
    face, _ = face_of(astronaut)
    turned, _ = face_of(np.asarray(Image.fromarray(astronaut).rotate(20, Image.Resampling.BICUBIC)))
    angle, middle = np.radians(20), np.array([256, 256])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    wanted = (face.points[:, :2] - middle) @ turn.T + middle
    high = np.linalg.norm(face.points[CHIN, :2] - face.points[BROW, :2])
    assert np.abs(turned.points[:, :2] - wanted).mean() < 0.03 * high


@needs_person_models
def test_where_no_face_is_none_is_found(astronaut):
    _, pose = face_of(astronaut)
    assert FaceModel().find(np.full_like(astronaut, 128), pose) is None


@needs_person_models
def test_triangles_are_one_sheet_that_is_turned_one_way():
    triangles = face_triangles()
    assert triangles.shape == (852, 3)
    assert set(triangles.ravel()) == set(range(POINTS))
    edges = Counter(
        (int(a), int(b)) for t in triangles for a, b in zip(t, np.roll(t, -1), strict=True)
    )
    assert max(edges.values()) == 1  # two triangles that share an edge run it both ways
    border = [edge for edge in edges if edge[::-1] not in edges]
    edge_count = (len(edges) + len(border)) // 2
    # A disc with three holes (eyes and mouth): Euler's number is 1 - 3.
    assert POINTS - edge_count + len(triangles) == -2


@needs_person_models
def test_triangles_are_counter_clockwise_for_the_camera(astronaut):
    face, _ = face_of(astronaut)
    a, b, c = (face.points[face_triangles()[:, i], :2] for i in range(3))
    # y is down here: what is counter-clockwise on the screen has a negative area.
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert -area[area < 0].sum() > 20 * area[area > 0].sum()


def test_eyeballs_stand_an_eighth_of_the_eye_before_the_lids():
    points = np.zeros((POINTS, 3), np.float32)
    points[[33, 133, 159, 145]] = [[0, 0, 5], [8, 0, 5], [4, 2, 5], [4, -2, 5]]
    points[[263, 362, 386, 374]] = [[40, 0, 5], [24, 0, 5], [32, 2, 5], [32, -2, 5]]
    found = with_eyeballs(points)
    np.testing.assert_array_equal(found[:POINTS], points)
    np.testing.assert_allclose(found[POINTS:], [[4, 0, 4], [32, 0, 3]])


def test_the_region_of_a_face_is_level_with_its_eyes():
    points = np.zeros((POINTS, 3), np.float32)
    points[33, :2], points[263, :2] = (10, 10), (20, 20)
    points[BROW, :2], points[CHIN, :2] = (25, 0), (0, 30)
    region = region_of_face(points)
    assert region.centre == (12.5, 15)
    assert region.side == 1.5 * 30
    assert region.angle == pytest.approx(np.pi / 4)


def test_the_region_of_a_head_is_upright_on_the_way_from_mouth_to_eyes():
    body = np.zeros((33, 4), np.float32)
    body[[2, 5], :2] = [[60, 40], [60, 60]]
    body[[9, 10], :2] = [[40, 45], [40, 55]]
    region = region_of_head(body)
    assert region.centre == (50, 50)
    assert region.angle == pytest.approx(np.pi / 2)
    assert region.side == pytest.approx(1.5 * 2.8 * 20)
