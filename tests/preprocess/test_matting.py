import numpy as np
from scipy import ndimage

from geneman.preprocess.matting import alpha_matte, foreground_colour, without_shadow

SIZE = 64
RED, GREEN = np.array([0.8, 0.1, 0.1], np.float32), np.array([0.1, 0.7, 0.2], np.float32)


def soft_disc(radius=20.0):
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2 + 0.5
    return (radius + 2 - np.hypot(x, y)).clip(0, 4).astype(np.float32) / 4


def photo_of(alpha):
    """A red disc with a soft edge on green."""
    return alpha[..., None] * RED + (1 - alpha[..., None]) * GREEN


def test_the_matte_of_two_plain_colours_is_their_mixture():
    alpha = soft_disc()
    person = ndimage.binary_erosion(alpha == 1, iterations=4)
    background = ndimage.binary_erosion(alpha == 0, iterations=4)
    guess = np.full_like(alpha, 0.5)
    matte = alpha_matte(photo_of(alpha), person, background, guess)
    assert np.abs(matte - alpha).max() < 0.03


def test_the_guess_decides_where_colours_do_not():
    grey = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    person, background = np.zeros((2, SIZE, SIZE), bool)
    person[:, :4], background[:, -4:] = True, True
    guess = np.zeros((SIZE, SIZE), np.float32)
    guess[:, :40] = 1
    matte = alpha_matte(grey, person, background, guess)
    assert matte[:, :32].min() > 0.5
    assert matte[:, 48:].max() < 0.5


def test_nothing_unknown_needs_no_solving():
    alpha = soft_disc()
    matte = alpha_matte(photo_of(alpha), alpha > 0.5, alpha <= 0.5, alpha)
    np.testing.assert_array_equal(matte, alpha > 0.5)


def test_no_background_is_left_in_the_colours():
    alpha = soft_disc()
    colour = foreground_colour(photo_of(alpha), alpha)
    near = ndimage.binary_dilation(alpha > 0, iterations=4)
    assert np.abs(colour - RED)[near].max() < 0.02


def test_no_background_is_left_though_the_mask_is_too_wide():
    alpha = soft_disc()
    wide = (soft_disc(21.0) > 0.5).astype(np.float32)  # takes in a pixel of pure green
    colour = foreground_colour(photo_of(alpha), wide, rim=4.0)
    assert np.abs(colour - RED)[wide > 0].max() < 0.1


def test_the_inside_keeps_the_photos_own_pixels():
    rng = np.random.default_rng(0)
    photo = rng.random((SIZE, SIZE, 3)).astype(np.float32)
    alpha = soft_disc()
    deep = ndimage.binary_erosion(alpha == 1, iterations=4)
    np.testing.assert_allclose(foreground_colour(photo, alpha)[deep], photo[deep], atol=1e-6)


def test_thin_things_keep_their_middle():
    alpha = np.zeros((SIZE, SIZE), np.float32)
    alpha[30:33] = 1  # three pixels wide: nothing is far from its outline
    colour = foreground_colour(photo_of(alpha), alpha)
    assert np.abs(colour[31] - RED).max() < 0.05


def test_a_cut_outs_shadow_goes_and_a_seam_of_black_hair_stays():
    y, x = np.mgrid[:256, :256]
    hair = (np.hypot(x - 128, y - 70) < 50).astype(np.float32)
    seam = ndimage.gaussian_filter(hair, 1.0)
    shadow = np.where((y > 180) & (y < 220) & (abs(x - 160) < 60), np.float32(0.6), 0)
    body = (y >= 118) & (y < 240) & (abs(x - 128) < 30)
    alpha = np.maximum.reduce([seam, shadow, body.astype(np.float32)])
    colour = np.where(body[..., None], np.uint8(150), np.uint8(8)).repeat(3, axis=-1)
    found = without_shadow(colour, alpha)
    assert (found[(shadow > 0) & ~body] == 0).all()
    kept = (shadow == 0) | body
    assert (found[kept] == alpha[kept]).all()
