import numpy as np
import pytest
import skimage.data

from geneman.preprocess.backdrop import fit_backdrop

SIZE = 96


@pytest.fixture
def places():
    steps = (np.arange(SIZE) + 0.5) / SIZE
    return np.stack(np.meshgrid(steps, steps), axis=-1).astype(np.float32)


def wall(places, noise=0.0):
    """A studio wall that darkens to a corner."""
    x, y = places[..., 0], places[..., 1]
    light = 0.8 - 0.2 * x - 0.1 * y * y
    light = light + np.random.default_rng(0).normal(0, noise, light.shape)
    return np.stack([light, light * 0.95, light * 0.9], -1).astype(np.float32)


def test_a_studio_wall_is_explained_though_a_stranger_stands_in_it(places):
    colour = wall(places, noise=0.01)
    colour[10:40, 10:30] = (0.1, 0.1, 0.6)  # a sixteenth of the picture
    everywhere = np.ones((SIZE, SIZE), bool)
    backdrop = fit_backdrop(colour, places, everywhere)
    off = np.linalg.norm(backdrop.colours(places) - wall(places), axis=-1)
    assert off.max() < 0.02
    assert 0.005 < backdrop.noise < 0.03


def test_a_shadow_is_no_thing_and_a_thing_is(places):
    colour = wall(places)
    backdrop = fit_backdrop(colour, places, np.ones((SIZE, SIZE), bool))
    colour[:30] *= 0.7  # a shadow
    colour[60:] = (0.5, 0.1, 0.6)
    colour[40:50] *= 0.2  # black glasses
    whole, solid = backdrop.difference(colour, places)
    assert whole[:30].min() > 0.15
    assert solid[:30].max() < 0.05
    assert solid[60:].min() > 0.3
    assert solid[40:50].min() > 0.5
    assert max(whole[52:58].max(), solid[52:58].max()) < 0.02


def test_a_busy_background_is_not_plain(places):
    busy = skimage.data.coffee()[:SIZE, :SIZE].astype(np.float32) / 255
    noise = np.random.default_rng(0).random((SIZE, SIZE, 3)).astype(np.float32)
    for colour in (noise, busy + 0.3 * noise):
        assert fit_backdrop(colour, places, np.ones((SIZE, SIZE), bool)) is None


def test_too_little_background_says_nothing(places):
    few = np.zeros((SIZE, SIZE), bool)
    few[0, :50] = True
    assert fit_backdrop(wall(places), places, few) is None
