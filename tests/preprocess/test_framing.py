import numpy as np
import pytest

from geneman.landmarks import ANKLES, ELBOWS, HIPS, KNEES
from geneman.preprocess.framing import (
    framing_of,
    given_landmarks,
    landmarks_in,
    prompt_for,
)
from geneman.preprocess.person import Pose, Square
from geneman.preprocess.recentring import Frame
from geneman.view import Framing

MASK = np.ones((64, 64), np.float32)


def body(**seen):
    points = np.zeros((33, 4), np.float32)
    points[:, 1] = -2.0  # everything below the picture, as the models do when they guess
    points[0] = (0, 0.5, -0.3, 1)
    for indices, y, visibility in seen.values():
        points[list(indices)] = (0.1, y, 0.0, visibility)
    return points


@pytest.mark.parametrize(
    ("seen", "framing"),
    [
        ({"ankles": (ANKLES, -0.8, 0.9)}, Framing.FULL_BODY),
        ({"knees": (KNEES, -0.8, 0.9)}, Framing.FULL_BODY),
        ({"knees": (KNEES, -0.8, 0.1), "hips": (HIPS, -0.4, 0.9)}, Framing.HALF_BODY),
        ({"knees": (KNEES, -1.2, 0.9), "elbows": (ELBOWS, -0.4, 0.9)}, Framing.HALF_BODY),
        ({"hips": (HIPS, -1.5, 0.9)}, Framing.HEAD),
    ],
)
def test_framing_is_what_is_seen_inside_the_frame(seen, framing):
    assert framing_of(body(**seen), MASK) is framing


def test_without_points_the_outline_decides():
    nothing = np.zeros((33, 4), np.float32)
    slim = np.zeros((100, 100), np.float32)
    slim[5:95, 35:65] = 1
    assert framing_of(nothing, slim) is Framing.FULL_BODY
    assert framing_of(nothing, slim.T.copy()) is Framing.HALF_BODY


def test_every_framing_has_a_prompt():
    assert len({prompt_for(framing) for framing in Framing}) == len(Framing)


def test_body_points_take_methods_form():
    points = np.zeros((33, 4), np.float32)
    points[0] = (100, 40, -50, 0.9)
    region = Square((0, 0), 1)
    pose = Pose(1.0, points, np.zeros((200, 300), np.float32), region)
    landmarks = landmarks_in(Frame(2.0, 10.0, 20.0, 400), pose)
    np.testing.assert_allclose(landmarks[0], [210 / 200 - 1, 1 - 100 / 200, -0.25, 0.9])


def test_given_points_are_taken_in_the_frame_that_puts_them_on_the_person():
    frame, size = Frame(2.0, 100.0, 0.0, 400), (100, 200)
    mask = np.zeros((400, 400), np.float32)
    mask[20:380, 260:290] = 1  # right of the middle
    rng = np.random.default_rng(0)
    square = np.ones((33, 4), np.float32)
    square[:, 0], square[:, 1] = rng.uniform(0.31, 0.44, 33), rng.uniform(-0.8, 0.8, 33)
    np.testing.assert_array_equal(given_landmarks(square, mask, frame, size), square)
    photo = square.copy()
    photo[:, 0] = ((square[:, 0] + 1) * 200 - 100) / 2 / 50 - 1
    photo[:, 2] = 1
    moved = given_landmarks(photo, mask, frame, size)
    np.testing.assert_allclose(moved[:, :2], square[:, :2], atol=1e-5)
    np.testing.assert_allclose(moved[:, 2], 0.5)  # the photo's width is half the square's side
