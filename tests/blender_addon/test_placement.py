"""Units, metres and the photo's camera agree with the library's own."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from blender_addon.placement import (
    CAMERA,
    GUESS,
    GUESSED_METRES,
    PhotoFrame,
    camera_position,
    to_metres,
    to_units,
)
from blender_addon.protocol import Placement
from geneman.camera import REFERENCE, Orbit
from geneman.preprocess.recentring import FILL, Frame

FLAT = arrays.arrays(np.float32, 12, elements=st.floats(-2, 2, width=32))
PLACES = st.builds(
    Placement,
    st.floats(0.2, 3),
    st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1)),
)


@given(FLAT, PLACES)
def test_units_come_back_from_metres(flat: np.ndarray, placement: Placement) -> None:
    assert to_units(to_metres(flat, placement), placement) == pytest.approx(flat, abs=1e-5)


def test_the_floor_becomes_the_origin_and_lengths_are_scaled() -> None:
    placement = Placement(2.0, (1.0, 2.0, 3.0))
    moved = to_metres(np.array([1, 2, 3, 1, 2, 4], np.float32), placement)
    assert moved.tolist() == [0, 0, 0, 0, 0, 2]


def test_a_person_of_whom_nothing_is_known_is_as_tall_as_guessed() -> None:
    half = FILL * math.tan(math.radians(REFERENCE.fov_deg) / 2) * REFERENCE.distance
    ends = to_metres(np.array([0, 0, -half, 0, 0, half], np.float32), GUESS)
    assert ends.tolist() == pytest.approx([0, 0, 0, 0, 0, GUESSED_METRES])


def test_the_camera_is_the_librarys_own() -> None:
    assert (CAMERA.distance, CAMERA.fov_deg) == (REFERENCE.distance, REFERENCE.fov_deg)
    assert camera_position(Placement(1.0, (0, 0, 0))) == pytest.approx(
        tuple(REFERENCE.position().tolist())
    )
    assert camera_position(Placement(2.0, (0, 0, -0.5))) == pytest.approx((0, -6, 1))
    raised = Orbit(elevation_deg=14.0)
    assert camera_position(Placement(1.0, (0, 0, 0), 14.0)) == pytest.approx(
        tuple(raised.position().tolist()), abs=1e-6
    )


@given(
    st.integers(40, 200),
    st.integers(40, 200),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
    st.floats(0.1, 0.5),
    st.floats(0.1, 0.5),
)
def test_a_photo_seen_through_the_matched_camera_lies_where_prepare_puts_it(
    width: int, height: int, left: float, top: float, across: float, down: float
) -> None:
    """Project a world point as `prepare`'s square and as Blender's camera: the same photo pixel."""
    mask = np.zeros((height, width), np.uint8)
    x, y = int(left * width), int(top * height)
    mask[y : y + max(int(down * height), 2), x : x + max(int(across * width), 2)] = 255
    found = PhotoFrame.around(mask)
    frame = Frame.around(mask > 127, 1024)
    point = torch.tensor([[0.11, 0.2, -0.07]])
    square = REFERENCE.project(point)[0]
    inside = (square[:2] * torch.tensor([1.0, -1.0]) + 1) * frame.size / 2
    expected = (inside - torch.tensor([frame.x, frame.y])) / frame.scale
    # Blender: the longer side spans `angle`; the shift moves the frame by shares of that side.
    longest, seen = max(width, height), REFERENCE.to_camera(point)[0]
    focal = longest / 2 / math.tan(found.angle() / 2)
    right, up = found.shift
    column = width / 2 - right * longest + focal * float(seen[0] / -seen[2])
    line = height / 2 + up * longest - focal * float(seen[1] / -seen[2])
    assert (column, line) == pytest.approx(tuple(expected.tolist()), abs=1e-2)


def test_an_empty_mask_frames_nobody() -> None:
    with pytest.raises(ValueError, match="must show somebody"):
        PhotoFrame.around(np.zeros((4, 4), np.uint8))
