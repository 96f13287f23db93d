import numpy as np
import pytest
import skimage.data
from PIL import Image

from geneman.errors import PhotoError
from geneman.preprocess.cut_out import cut_out, find_people, in_one_piece
from geneman.preprocess.person import PersonModels
from geneman.preprocess.photo import read_photo
from tests.preprocess.photos import (
    PAPER,
    PHOTOS,
    needs_paper_examples,
    needs_person_models,
    needs_photos,
)
from tests.preprocess.test_registration import TRUE_FRAMES


@pytest.fixture(scope="module")
def models():
    return PersonModels()


@needs_person_models
@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "immunohistochemistry"])
def test_a_photo_with_nobody_in_it_is_refused(name, models):
    with pytest.raises(PhotoError, match="must show a person, but got one in which nobody"):
        cut_out(getattr(skimage.data, name)(), models)


@needs_person_models
def test_the_astronaut_is_cut_out_with_her_helmet_and_without_the_shuttle(models):
    alpha = cut_out(skimage.data.astronaut(), models).alpha
    kept = {"face": (120, 222), "suit": (350, 150), "helmet": (430, 430), "hair": (40, 225)}
    dropped = {"shuttle": (120, 430), "flag": (150, 30), "wall": (60, 330), "table": (280, 470)}
    assert {name: alpha[place] > 0.95 for name, place in kept.items()} == dict.fromkeys(kept, True)
    assert {name: alpha[place] < 0.05 for name, place in dropped.items()} == dict.fromkeys(
        dropped, True
    )


@needs_person_models
def test_of_two_people_the_larger_one_is_taken_alone(models):
    one = skimage.data.astronaut()
    small = np.asarray(Image.fromarray(one).resize((256, 256), Image.Resampling.BOX))
    photo = np.full((512, 800, 3), 200, np.uint8)
    photo[:, 280:792], photo[256:, :256] = one, small
    assert len(find_people(photo, models)) == 2
    alpha = cut_out(photo, models).alpha
    assert alpha[120, 280 + 222] > 0.95
    assert alpha[:, :256].max() < 0.05


@needs_person_models
def test_mirrored_photos_have_mirrored_mattes(models):
    photo = skimage.data.astronaut()
    alpha = cut_out(photo, models).alpha > 0.5
    mirrored = cut_out(np.ascontiguousarray(photo[:, ::-1]), models).alpha[:, ::-1] > 0.5
    assert (alpha & mirrored).sum() / (alpha | mirrored).sum() > 0.93


def test_what_is_not_connected_is_dropped_and_sure_holes_are_filled():
    alpha, person = np.zeros((2, 60, 60), np.float32)
    alpha[10:50, 10:30] = 1
    alpha[20:24, 15:19] = 0  # a hole that is person for sure
    alpha[40:44, 15:19] = 0  # a gap that is not
    alpha[10:50, 45:55] = 1  # a stranger
    person[10:39, 10:30] = 1
    whole = in_one_piece(alpha, person > 0.5)
    assert whole[20:24, 15:19].min() == 1
    assert whole[40:44, 15:19].max() == 0
    assert whole[:, 40:].max() == 0
    assert whole[10:38, 10:30].min() == 1


@needs_person_models
@needs_paper_examples
@pytest.mark.parametrize("name", TRUE_FRAMES)
def test_our_masks_agree_with_the_papers(name, models):
    own = cut_out(read_photo(PAPER / f"{name}.png").colour, models).alpha
    mine = TRUE_FRAMES[name].cover(own) > 0.5
    theirs = np.load(PAPER / f"{name}_mask.npy")
    assert (mine & theirs).sum() / (mine | theirs).sum() > 0.96


@needs_person_models
@needs_photos
def test_glasses_in_the_hand_are_kept(models):
    photo = read_photo(PHOTOS / "half_20_woman_glasses_in_hand.png").colour
    alpha = cut_out(photo, models).alpha
    dark = photo.max(axis=-1) < 100
    hand = (slice(600, 780), slice(680, 900))
    assert alpha[hand][dark[hand]].mean() > 0.8
