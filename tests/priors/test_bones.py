"""Bones as maps: where limbs are and how near, as far as they are seen."""

import numpy as np
import pytest
import torch

from geneman.curation.synthetic.landmarks import ASTRAY, DEEPER, MISPLACED, UNFOUND, noticed
from geneman.priors.bundled.bones import MAPS, bone_maps

SIZE = 64
ARM = 4
"""Of the maps, where the arms are; their depth follows."""


@pytest.fixture
def landmarks():
    """Somebody from the front whose left forearm lies before the trunk."""
    found = torch.zeros(1, 33, 4)
    places = {11: (0.2, 0.5), 12: (-0.2, 0.5), 23: (0.15, -0.1), 24: (-0.15, -0.1)}
    places |= {13: (0.25, 0.2), 15: (-0.1, 0.2), 19: (-0.2, 0.2)}
    for number, (x, y) in places.items():
        found[0, number] = torch.tensor([x, y, 0.0, 0.95])
    found[0, [13, 15, 19], 2] = -0.3
    return found


def pixel(x, y):
    return int((1 - y) / 2 * SIZE), int((x + 1) / 2 * SIZE)


def test_a_forearm_before_the_trunk_is_where_it_is_and_as_near(landmarks):
    maps = bone_maps(landmarks, SIZE)[0]
    assert maps.shape == (MAPS, SIZE, SIZE)
    row, column = pixel(0.05, 0.2)
    assert maps[ARM, row, column] > 0.8
    assert maps[ARM + 1, row, column] / maps[ARM, row, column] == pytest.approx(-0.3, abs=1e-4)
    assert maps[ARM][pixel(0.0, -0.1)] < 0.01
    assert maps[:ARM][:, row, column].max() < maps[ARM, row, column]


def test_depths_are_counted_from_the_shoulders_wherever_those_are(landmarks):
    farther = landmarks.clone()
    farther[0, 11:23, 2] += 0.5
    torch.testing.assert_close(bone_maps(farther, SIZE), bone_maps(landmarks, SIZE))


def test_bones_whose_ends_are_not_seen_are_not_drawn(landmarks):
    landmarks[0, 15, 3] = 0.1  # the wrist
    maps = bone_maps(landmarks, SIZE)[0]
    assert maps[ARM][pixel(0.05, 0.2)] < 0.05
    assert maps[ARM][pixel(0.225, 0.35)] > 0.8  # the upper arm


def test_nobody_found_gives_empty_maps():
    assert torch.equal(bone_maps(torch.zeros(2, 33, 4), 16), torch.zeros(2, MAPS, 16, 16))


def test_mirrored_landmarks_give_mirrored_maps(landmarks):
    mirrored = landmarks * torch.tensor([-1.0, 1.0, 1.0, 1.0])
    torch.testing.assert_close(bone_maps(mirrored, SIZE), bone_maps(landmarks, SIZE).flip(-1))


def test_bones_reach_as_far_to_the_side_as_the_person_is_large(landmarks):
    small = landmarks * torch.tensor([0.5, 0.5, 0.5, 1.0])
    large = bone_maps(landmarks, SIZE)[0, ARM].sum()
    assert bone_maps(small, SIZE)[0, ARM].sum() == pytest.approx(float(large) / 4, rel=0.1)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_small_maps_show_bones_of_small_people(landmarks, size):
    small = landmarks * torch.tensor([0.1, 0.1, 0.1, 1.0])
    assert bone_maps(small, size)[0, ARM].max() > 0.5


def test_points_are_found_astray_and_sometimes_elsewhere_or_not_at_all(landmarks):
    random, count = np.random.default_rng(0), 600
    found = torch.stack([noticed(landmarks[0], random) for _ in range(count)])
    lost = (found == 0).flatten(1).all(dim=1)
    assert 0.4 * UNFOUND < lost.float().mean() < 1.8 * UNFOUND
    away = (found[..., :2].mean(dim=1) - landmarks[0, :, :2].mean(dim=0)).norm(dim=-1) > 0.1
    assert 0.3 * MISPLACED < (away & ~lost).float().mean() < 2 * MISPLACED
    errors = found[~lost & ~away] - landmarks
    assert errors[..., :2].std() == pytest.approx(2**0.5 * ASTRAY, rel=0.1)
    arm, leg = errors[:, 14, 2], errors[:, 26, 2]  # both lie at depth 0
    assert arm.std() == pytest.approx((0.3**2 + DEEPER**2) ** 0.5, rel=0.1)
    assert leg.std() == pytest.approx((0.17**2 + DEEPER**2) ** 0.5, rel=0.1)
    assert torch.corrcoef(errors[:, [14, 16], 2].T)[0, 1] > 0.8  # an arm goes astray as one
    forearm = found[~lost & ~away][:, 15, 2] - found[~lost & ~away][:, 12, 2]
    assert forearm.mean() == pytest.approx(-0.3 * np.exp(0.15 + 0.3**2 / 2), rel=0.15)
    assert torch.equal(errors[..., 3], torch.zeros(len(errors), 33))
