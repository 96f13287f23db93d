"""Colours of the hidden side: borders that a network paints too softly, and prints."""

import numpy as np
import pytest
from scipy import ndimage

from geneman.colour import unlike
from geneman.priors.bundled.borders import sharpened
from geneman.priors.bundled.hidden_colour import Front

SHIRT, SKIN = np.array([[0.2, 0.3, 0.6]]), np.array([[0.8, 0.6, 0.5]])
SIZE = 256


def blend(share):
    return SHIRT + share[..., None] * (SKIN - SHIRT)


def wide(picture, axis):
    """Give for each line how many pixels are neither the one nor the other material."""
    across = (SKIN - SHIRT)[0]
    share = (picture - SHIRT) @ across / np.square(across).sum()
    return ((share > 0.1) & (share < 0.9)).sum(axis=axis)


@pytest.mark.parametrize("angle", [0, 30, 90])
def test_a_soft_border_becomes_narrow_and_stays_where_it_is(angle):
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    along = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    soft = blend(ndimage.gaussian_filter((along > 5) * 1.0, 5.0))
    found = sharpened(soft)
    inner = np.s_[40:-40, 40:-40]
    axis = 0 if angle == 90 else 1
    assert wide(found[inner], axis).mean() < 0.3 * wide(soft[inner], axis).mean()
    middle = np.abs(along - 5) > 4
    truth = blend((along > 5) * 1.0)
    assert np.abs(found - truth)[inner][middle[inner]].mean() < 0.02
    assert found.min() > -0.01
    assert found.max() < 0.81


def test_shades_of_one_material_and_even_slopes_stay():
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    shaded = SHIRT * (1 + 0.2 * np.sin(6 * x) * np.cos(5 * y))[..., None]
    np.testing.assert_allclose(sharpened(shaded), shaded, atol=0.01)
    slope = blend(x)
    inner = np.s_[32:-32, 32:-32]
    np.testing.assert_allclose(sharpened(slope)[inner], slope[inner], atol=0.01)


@pytest.mark.parametrize("wide", [4, 8, 12])
def test_a_belt_of_a_third_colour_keeps_it(wide):
    rows = np.arange(SIZE) - SIZE / 2
    picture = np.ones((SIZE, SIZE, 3))
    picture[rows > 0] = 0.05
    belt = np.abs(rows) < wide / 2
    picture[belt] = 0.7, 0.1, 0.1
    soft = ndimage.gaussian_filter(picture, (1.0, 0, 0))
    found = sharpened(soft)
    assert found.min() >= 0
    assert found.max() <= 1
    redness = [(image[..., 0] - image[..., 1])[belt].mean() for image in (soft, found)]
    assert redness[1] > 0.8 * redness[0]


def test_light_tells_materials_apart_less_than_hue_does():
    darker, redder = SHIRT * 0.68, SHIRT + np.array([0.2, 0.0, -0.1])
    assert np.linalg.norm(redder - SHIRT) < np.linalg.norm(darker - SHIRT)
    assert unlike(SHIRT, SHIRT) < 1e-6
    assert unlike(SHIRT, darker) < 0.5 * unlike(SHIRT, redder)
    assert unlike(SHIRT, SKIN) > 0.9


def test_what_lies_between_the_lines_of_a_print_is_not_plain():
    cover, photo = np.zeros((SIZE, SIZE)), np.broadcast_to(SHIRT, (SIZE, SIZE, 3)).copy()
    cover[20:-20, 20:-20] = 1.0
    rows, columns = np.mgrid[:SIZE, :SIZE]
    lines = ((rows % 10 < 2) | (columns % 10 < 2)) & (np.hypot(rows - 90, columns - 128) < 30)
    photo[lines] = 1.0
    plain = Front.of(photo.astype(np.float32), cover).plain()
    assert plain[75:105, 113:143].max() < 0.1
    assert plain[160:200, 60:200].min() > 0.95
