import numpy as np
import pytest
from PIL import Image

from geneman.errors import MapError
from geneman.preprocess.given_maps import GivenMaps, read_maps

SIZE = (90, 80)  # width, height


@pytest.fixture
def inside():
    mask = np.zeros(SIZE[::-1], bool)
    mask[10:70, 20:60] = True
    return mask


def saved(values, path):
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


def test_a_mask_is_the_same_in_every_form(inside, tmp_path):
    white = inside.astype(np.uint8) * 255
    forms = {
        "bool.npy": inside,
        "share.npy": inside.astype(np.float32),
        "bits.npy": inside.astype(np.uint8),
        "bytes.npy": white,
        "grey.png": white,
        "deep.png": inside.astype(np.uint16) * 65535,
        "one_bit.png": inside,
        "colours.png": np.repeat(white[..., None], 3, -1),
        "alpha.png": np.dstack([np.zeros((*inside.shape, 3), np.uint8), white]),
    }
    for name, values in forms.items():
        maps = read_maps(GivenMaps(mask=saved(values, tmp_path / name)), SIZE)
        np.testing.assert_array_equal(maps.mask, inside, err_msg=name)


def test_normals_and_depths_are_decoded(inside, tmp_path):
    codes = np.zeros((*inside.shape, 3), np.uint8)
    codes[inside] = (255, 128, 128)
    deep = np.where(inside, 40_000, 0).astype(np.uint16)
    given = GivenMaps(
        normal=saved(codes, tmp_path / "normal.png"), depth=saved(deep, tmp_path / "depth.png")
    )
    maps = read_maps(given, SIZE)
    np.testing.assert_allclose(maps.normal[20, 30], [1, 0, 0], atol=0.005)
    assert maps.depth[20, 30] == pytest.approx(40_000 / 65_535)
    np.testing.assert_array_equal(maps.support, inside)
    far = read_maps(GivenMaps(depth=saved(deep / 7.0, tmp_path / "depth.npy")), SIZE)
    assert far.depth[20, 30] == pytest.approx(40_000 / 7, rel=1e-6)
    np.testing.assert_array_equal(far.support, inside)


def test_recentred_maps_may_have_another_size(tmp_path):
    mask = np.zeros((200, 200), bool)
    mask[10:190, 70:130] = True
    maps = read_maps(GivenMaps(mask=saved(mask, tmp_path / "mask.npy")), SIZE)
    assert maps.size == (200, 200)


@pytest.mark.parametrize("box", [(0, 200, 0, 200), (10, 190, 0, 60), (50, 150, 70, 130)])
def test_a_mask_of_another_size_that_is_not_recentred_is_refused(box, tmp_path):
    mask = np.zeros((200, 200), bool)
    mask[box[0] : box[1], box[2] : box[3]] = True
    path = saved(mask, tmp_path / "mask.npy")
    with pytest.raises(MapError, match="maps of 200 x 200 for a photo of 90 x 80: export") as error:
        read_maps(GivenMaps(mask=path), SIZE)
    assert str(error.value).count(". ") == 0


def test_an_empty_mask_is_refused(tmp_path):
    path = saved(np.zeros(SIZE[::-1], bool), tmp_path / "mask.npy")
    with pytest.raises(MapError, match=r"must mark the person, but got the empty mask mask\.npy"):
        read_maps(GivenMaps(mask=path), SIZE)


def test_maps_of_two_sizes_are_refused(inside, tmp_path):
    mask = saved(inside, tmp_path / "mask.npy")
    normal = saved(np.zeros((40, 45, 3), np.uint8), tmp_path / "normal.png")
    with pytest.raises(MapError, match=r"one size, but got 45 x 40 in normal\.png beside"):
        read_maps(GivenMaps(mask=mask, normal=normal), SIZE)


def test_landmarks_must_be_33_points_of_4_numbers(tmp_path):
    path = saved(np.zeros((33, 3)), tmp_path / "landmarks.npy")
    with pytest.raises(MapError, match=r"the shape 33 x 4, but got 33 x 3 in landmarks\.npy"):
        read_maps(GivenMaps(landmarks=path), SIZE)


def test_what_is_not_finite_is_refused(tmp_path):
    path = saved(np.full(SIZE[::-1], np.nan), tmp_path / "depth.npy")
    with pytest.raises(MapError, match=r"finite numbers, but got NaN or infinity in depth\.npy"):
        read_maps(GivenMaps(depth=path), SIZE)


def test_pickles_and_texts_are_no_arrays(tmp_path):
    pickled, text = tmp_path / "pickled.npy", tmp_path / "text.npy"
    np.save(pickled, np.array([{"run": "me"}], dtype=object), allow_pickle=True)
    text.write_text("a mask")
    words = saved(np.array(["a", "b"]), tmp_path / "words.npy")
    for path in (pickled, text, words):
        with pytest.raises(MapError, match="one array of numbers"):
            read_maps(GivenMaps(mask=path), SIZE)


def test_missing_files_folders_and_texts_are_refused(tmp_path):
    letter = tmp_path / "mask.png"
    letter.write_text("This is a letter.")
    for path, words in (
        (tmp_path / "no.png", "which is not there"),
        (tmp_path, "which is a folder"),
        (letter, r"The mask must be a PNG, but got mask\.png, which is none"),
    ):
        with pytest.raises(MapError, match=words):
            read_maps(GivenMaps(mask=path), SIZE)


def test_nothing_given_is_nothing_known():
    maps = read_maps(GivenMaps(), SIZE)
    assert (maps.size, maps.support, maps.landmarks) == (None, None, None)
