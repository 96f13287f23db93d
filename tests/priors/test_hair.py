"""Strands on the back of heads: where hair shows any, and nowhere else."""

import numpy as np
import pytest

from geneman.landmarks import EARS, EYES, MOUTH
from geneman.priors.bundled.hair import strands
from geneman.priors.bundled.hidden_colour import Front

SIZE = 512
SKIN, HAIR, SHIRT = ([0.8, 0.6, 0.5], [0.25, 0.15, 0.1], [0.2, 0.3, 0.7])
Y, X = np.mgrid[:SIZE, :SIZE] - SIZE / 2
HEAD, FACE = np.hypot(X / 110, (Y + 20) / 140) < 1, np.hypot(X / 70, (Y - 5) / 85) < 1
NECK = (np.abs(X) < 40) & (Y > 0) & (Y < 160)
CHEST = (Y > 150) & (np.abs(X) < 200)


def landmarks():
    """A face in the middle of the picture: 50 pixels from eyes to mouth."""
    points = np.zeros((33, 4), np.float32)
    for index, x in zip((*EYES, *EARS), (*np.linspace(-25, 25, len(EYES)), -70, 70), strict=True):
        points[index, :2] = 2 * x / SIZE, 2 * (25 if index in EYES else 10) / SIZE
    points[list(MOUTH), 1] = -2 * 25 / SIZE
    points[:, 3] = 1.0
    return points


def person(pattern, shirt=SHIRT, neck=SKIN):
    """Give a photo and the back that is believed, both H W 3."""
    photo = np.ones((SIZE, SIZE, 3))
    for where, colour in ((CHEST, shirt), (NECK, SKIN), (HEAD, HAIR)):
        photo[where] = colour
    back = photo.copy()
    back[NECK & ~HEAD] = neck
    photo = photo * (1 + pattern * (HEAD & ~FACE))[..., None]
    photo[FACE] = SKIN
    cover = (CHEST | NECK | HEAD) * 1.0
    return Front.of(photo.astype(np.float32), cover), back


def lines(strength):
    return strength * np.sin(X / 2.0)


def drawn(pattern, points=None):
    front, back = person(pattern)
    return strands(back, front, landmarks() if points is None else points)


def test_hair_gets_strands_as_strong_as_those_in_front_and_clothes_none():
    lighter = drawn(lines(0.3))
    inner = np.hypot(X / 90, (Y + 20) / 120) < 1
    deviation = np.log(lighter[inner]).std()
    assert 0.5 * 0.3 / np.sqrt(2) < deviation < 1.3 * 0.3 / np.sqrt(2)
    assert abs(np.log(lighter[inner]).mean()) < 0.3 * deviation
    assert np.abs(lighter[CHEST & ~HEAD & ~NECK] - 1).max() < 0.01


def test_weaker_strands_in_front_are_weaker_behind():
    strong, weak = (np.log(drawn(lines(s))[HEAD]).std() for s in (0.3, 0.1))
    assert weak == pytest.approx(strong / 3, rel=0.3)


@pytest.mark.parametrize("strength", [0.3, 0.1])
def test_a_hat_with_dots_gets_none(strength):
    dots = strength * (np.random.default_rng(0).random((SIZE, SIZE)) > 0.5)
    assert np.all(drawn(dots) == 1)


def test_hair_over_the_neck_leaves_a_shirt_of_its_colour_alone():
    front, back = person(lines(0.3), shirt=HAIR, neck=HAIR)
    lighter = np.log(strands(back, front, landmarks()))
    assert lighter[(Y > 120) & CHEST].std() < 0.01
    assert lighter[(Y < 50) & HEAD].std() > 0.1
    assert np.abs(np.diff(lighter, axis=0))[(Y > 60)[1:]].max() < 0.25, "no line where they end"


def test_strands_run_down_the_back_of_the_head():
    lighter = np.log(drawn(lines(0.3)))
    down, across = np.gradient(lighter)
    low = (np.abs(X) < 30) & (Y > 0) & (Y < 60)
    assert np.abs(down[low]).mean() < 0.5 * np.abs(across[low]).mean()


def test_nobody_faces_unseen_and_heads_too_small_to_show_strands_get_none():
    assert np.all(drawn(lines(0.3), np.zeros((33, 4), np.float32)) == 1)
    far, beyond, unseen = landmarks(), landmarks(), landmarks()
    unseen[list(EYES), 3] = 0.0
    far[:, :2] *= 0.1
    beyond[:, 1] += 20
    for points in (far, beyond, unseen):
        assert np.all(drawn(lines(0.3), points) == 1)


def test_a_leaning_head_has_leaning_strands():
    """A quarter turn of the picture turns the strands."""
    front, back = person(lines(0.3))
    turned = Front.of(np.rot90(front.photo).copy(), np.rot90((CHEST | NECK | HEAD) * 1.0).copy())
    points = landmarks()
    points[:, 0], points[:, 1] = -points[:, 1].copy(), points[:, 0].copy()
    lighter = np.log(strands(np.rot90(back).copy(), turned, points))
    down, across = np.gradient(np.rot90(lighter, -1))
    low = (np.abs(X) < 30) & (Y > 0) & (Y < 60)
    assert np.abs(down[low]).mean() < 0.5 * np.abs(across[low]).mean()
