import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geneman.preprocess.recentring import FILL, Frame, continued, unit


def rectangle(shape, top, bottom, left, right):
    inside = np.zeros(shape, bool)
    inside[top:bottom, left:right] = True
    return inside


def span(inside):
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


@given(st.integers(0, 60), st.integers(8, 60), st.integers(0, 60), st.integers(8, 60))
def test_the_longest_side_fills_nine_tenths_and_is_centred(top, height, left, width):
    inside = rectangle((120, 130), top, top + height, left, left + width)
    square = Frame.around(inside, 256).cover(inside.astype(np.float32)) > 0.5
    y0, y1, x0, x1 = span(square)
    assert max(y1 - y0, x1 - x0) == pytest.approx(FILL * 256, abs=1.5)
    assert (y0 + y1) / 2 == pytest.approx(128, abs=1)
    assert (x0 + x1) / 2 == pytest.approx(128, abs=1)


def test_recentring_twice_changes_nothing():
    inside = rectangle((300, 200), 30, 260, 70, 150)
    first = Frame.around(inside, 256).cover(inside.astype(np.float32))
    again = Frame.around(first > 0.5, 256)
    assert again.scale == pytest.approx(1, abs=0.01)
    assert (again.x, again.y) == pytest.approx((0, 0), abs=1)


def test_points_and_pixels_go_the_same_way():
    inside = rectangle((300, 200), 30, 260, 70, 150)
    frame = Frame.around(inside, 512)
    dot = np.zeros((300, 200), np.float32)
    dot[100:104, 90:94] = 1
    square = frame.cover(dot)
    rows, columns = np.indices(square.shape) + 0.5
    where = [(columns * square).sum() / square.sum(), (rows * square).sum() / square.sum()]
    (x, y) = frame.points(np.array([[92.0, 102.0]], np.float32))[0]
    assert ((x + 1) * 256, (1 - y) * 256) == pytest.approx(where, abs=0.05)


@pytest.mark.parametrize("scale", [0.2, 0.9, 1.7])
def test_resampling_keeps_the_mean(scale):
    rng = np.random.default_rng(0)
    picture = rng.random((400, 400)).astype(np.float32)
    frame = Frame(scale, 40.3, 41.7, round(400 * scale) + 80)
    assert frame.cover(picture).sum() / scale**2 == pytest.approx(picture.sum(), rel=2e-3)


def test_a_scale_of_one_copies_pixels():
    picture = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(Frame(1.0, 0.0, 0.0, 64).colours(picture), picture, atol=1e-6)


def test_a_reduced_picture_has_the_same_place():
    frame = Frame(0.3, 5.0, -7.0, 100)
    place = np.array([[40.0, 80.0]], np.float32)
    np.testing.assert_allclose(frame.points(place), frame.of_larger(3).points(3 * place), atol=1e-6)
    np.testing.assert_allclose(frame.points(place), frame.resized(200).points(place), atol=1e-6)


def test_nothing_from_outside_the_mask_bleeds_in():
    inside = rectangle((100, 100), 20, 80, 30, 70)
    values = np.where(inside, 5.0, -1000.0).astype(np.float32)
    np.testing.assert_allclose(Frame(1.3, 3.0, 4.0, 140).inside_map(values, inside), 5, atol=1e-4)


def test_continued_values_are_those_of_the_nearest_pixel_inside():
    values = np.arange(25, dtype=np.float32).reshape(5, 5)
    inside = rectangle((5, 5), 1, 4, 1, 4)
    out = continued(values, inside)
    np.testing.assert_array_equal(out[inside], values[inside])
    assert out[0, 2] == values[1, 2]
    assert out[4, 4] == values[3, 3]


def test_unit_vectors_have_length_one_and_none_looks_at_the_viewer():
    vectors = np.array([[[3, 0, 4], [0, 0, 0]]], np.float32)
    np.testing.assert_allclose(unit(vectors), [[[0.6, 0, 0.8], [0, 0, 1]]], atol=1e-6)
