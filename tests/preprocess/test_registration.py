import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from geneman.preprocess.recentring import Frame
from geneman.preprocess.registration import LEAST_AGREEMENT, is_recentred, register
from tests.preprocess.photos import PAPER, needs_paper_examples

# Where the paper's photos lie under its maps: found by matching the photos to the `_fg.png`
# pictures, pixel by pixel (mean difference below 0.01).
TRUE_FRAMES = {
    "kid_003": Frame(0.920018, 25.3215, -2.3212, 1024),
    "kid_004": Frame(0.796691, -61.3163, 73.3190, 1024),
    "man_001": Frame(0.809991, 195.9971, 25.9104, 1024),
    "woman_001": Frame(0.754025, 94.6963, 7.4013, 1024),
}


def figure(height=420, width=300):
    """A patterned bottle before a patterned wall; its outline is known exactly."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    middle, half = 140 + 6 * np.sin(y / 40), 30 + 40 * (y > 150) + 12 * np.sin(y / 25)
    inside = (np.abs(x - middle) < half) & (y > 40) & (y < 390)
    wall, cloth = (ndimage.gaussian_filter(rng.random((height, width, 3)), (3, 3, 0)) for _ in "ab")
    photo = np.where(inside[..., None], 0.5 + cloth / 2, wall / 2).astype(np.float32)
    return photo, inside


def off_by(found, true, inside):
    rows, columns = np.nonzero(inside)
    places = np.stack([columns, rows], -1)[::50] + 0.5
    moved = [places * frame.scale + (frame.x, frame.y) for frame in (found, true)]
    return np.linalg.norm(moved[0] - moved[1], axis=1).mean()


def test_a_photo_finds_its_place_to_half_a_pixel_though_its_own_mask_is_poor():
    photo, inside = figure()
    true = Frame.around(inside, 512)
    given = true.cover(inside.astype(np.float32)) > 0.5
    own = ndimage.binary_dilation(inside, iterations=5)
    own[:90] = False  # the head is missing, the rest is too fat
    found = register(photo, own.astype(np.float32), given, None)
    assert off_by(found.frame, true, inside) < 0.5
    assert found.agreement > LEAST_AGREEMENT


def test_another_silhouette_does_not_agree():
    photo, inside = figure()
    other = np.zeros((512, 512), bool)
    other[200:312, 26:486] = True
    assert register(photo, inside.astype(np.float32), other, None).agreement < LEAST_AGREEMENT


def test_recentred_silhouettes_are_told_from_others():
    mask = np.zeros((100, 100), bool)
    mask[5:95, 30:70] = True
    assert is_recentred(mask)
    assert is_recentred(mask.T)
    assert not is_recentred(np.roll(mask, 4, axis=1))
    assert not is_recentred(mask[:, :90])
    assert not is_recentred(np.zeros((100, 100), bool))
    mask[:12] = False
    assert not is_recentred(mask)


@needs_paper_examples
@pytest.mark.parametrize("name", TRUE_FRAMES)
def test_the_papers_photos_find_their_place_to_a_pixel(name):
    true = TRUE_FRAMES[name]
    photo = np.asarray(Image.open(PAPER / f"{name}.png").convert("RGB"), np.float32) / 255
    given = np.load(PAPER / f"{name}_mask.npy")
    normal = np.asarray(Image.open(PAPER / f"{name}_normal.png"), np.float32) / 127.5 - 1
    # Our own cut-out agrees with the given one by 0.97 or more; this one is worse.
    back = Frame(1 / true.scale, -true.x / true.scale, -true.y / true.scale, max(photo.shape))
    own = back.cover(ndimage.binary_erosion(given, iterations=4).astype(np.float32))
    own = own[: photo.shape[0], : photo.shape[1]].copy()
    found = register(photo, own, given, normal)
    assert off_by(found.frame, true, own > 0.5) < 1.0
