"""Rendered people: poses turn the right way, both sides fit their normals, numbers are people."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from geneman.camera import REFERENCE
from geneman.curation.synthetic.avatars import avatar_files, identity, read_avatar
from geneman.curation.synthetic.garments import read_garment
from geneman.curation.synthetic.people import split
from geneman.curation.synthetic.poses import draw_pose
from geneman.curation.synthetic.rigged import Turn
from geneman.curation.synthetic.sample import Person, draw_sample
from geneman.curation.synthetic.shots import Shot, frame
from geneman.errors import MeshFileError
from geneman.priors.bundled.relief import normals_of
from tests.curation.rig import BONES, boxes

DATA = Path(os.environ.get("GENEMAN_DATA", Path(__file__).parents[3] / "shared/data"))
AVATARS, CLOTHES = DATA / "valid_avatars", DATA / "makehuman_cc0" / "base"
avatars = pytest.mark.skipif(
    not AVATARS.is_dir(), reason="the folder valid_avatars is absent (see GENEMAN_DATA)"
)
makehuman = pytest.mark.skipif(
    not CLOTHES.is_dir(), reason="the folder makehuman_cc0 is absent (see GENEMAN_DATA)"
)


def centre(points, rig, bone):
    return points[rig.joints[:, 0] == rig.bones.index(bone)].mean(dim=0)


def test_no_turn_leaves_everybody_where_they_are():
    rig = boxes()
    points, normals = rig.posed({})
    torch.testing.assert_close(points, rig.vertices)
    torch.testing.assert_close(normals, rig.normals)


def test_a_lowered_arm_hangs_and_its_bent_elbow_points_the_hand_forward():
    rig = boxes()
    lowered, _ = rig.posed({"LeftArm": Turn("y", (90,))})
    torch.testing.assert_close(
        centre(lowered, rig, "LeftForeArm"), torch.tensor([0.15, 0.0, 1.0]), atol=1e-5, rtol=0
    )
    bent, _ = rig.posed({"LeftArm": Turn("y", (90,)), "LeftForeArm": Turn("z", (-90,))})
    torch.testing.assert_close(
        centre(bent, rig, "LeftForeArm"), torch.tensor([0.15, -0.15, 1.15]), atol=1e-5, rtol=0
    )


def test_a_rig_that_rests_with_lowered_arms_takes_the_same_poses():
    rig = boxes()
    lower = {"LeftArm": Turn("y", (50,))}
    resting, normals = rig.posed(lower)
    moves = torch.from_numpy(rig._moves(lower)).float()
    heads = (moves[:, :, :3] @ rig.heads[:, :, None])[..., 0] + moves[:, :, 3]
    other = dataclasses.replace(
        rig, vertices=resting, normals=normals, heads=heads, straight=moves[:, :, :3].mT
    )
    pose = draw_pose(np.random.default_rng(3))
    pose = {bone: Turn(turn.axes, turn.degrees) for bone, turn in pose.items()}
    torch.testing.assert_close(other.posed(pose)[0], rig.posed(pose)[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_a_framed_person_fills_nine_tenths_of_the_square(seed):
    rig = boxes()
    points, _ = rig.posed(draw_pose(np.random.default_rng(seed)))
    shot = Shot(20.0 * seed, 5.0, 2.0, np.inf, np.inf)
    seen = shot.turn(points)
    framed = frame(shot, seen, seen[rig.joints[:, 0] == 3])
    at = REFERENCE.project(framed.points)[:, :2]
    extent = at.amax(dim=0) - at.amin(dim=0)
    assert extent.max() == pytest.approx(1.8, abs=0.01)
    torch.testing.assert_close(at.amax(0) + at.amin(0), torch.zeros(2), atol=0.01, rtol=0)


def test_both_sides_have_the_normals_that_their_depth_has():
    sample = draw_sample(Person.of(boxes()), np.random.default_rng(5), 128)
    for depth, normal, sign in (
        (sample.depth, sample.normal, 1),
        (sample.hidden_depth, sample.hidden_normal, -1),
    ):
        from_depth = sign * normals_of(depth.double().numpy())
        cosine = (from_depth * normal).sum(dim=-1)[sample.inside]
        assert (cosine > 0.99).float().mean() > 0.75  # flat faces; the rest are edges


def test_the_hidden_side_lies_behind_and_the_depth_is_centred():
    sample = draw_sample(Person.of(boxes()), np.random.default_rng(5), 128)
    inside = sample.inside
    assert (sample.hidden_depth - sample.depth)[inside].min() >= -1e-5
    middle = ((sample.hidden_depth + sample.depth) / 2)[inside].median()
    assert middle == pytest.approx(REFERENCE.distance, abs=1e-4)
    assert (sample.cover[inside] > 0.5).float().mean() > 0.9


def test_a_seed_draws_the_same_sample_twice():
    first, second = (
        draw_sample(Person.of(boxes()), np.random.default_rng(9), 64) for _ in range(2)
    )
    for item in dataclasses.fields(first):
        assert torch.equal(getattr(first, item.name), getattr(second, item.name))


def test_a_folder_without_avatars_is_refused(tmp_path):
    with pytest.raises(MeshFileError, match=r"must hold \.glb files"):
        avatar_files(tmp_path)


@avatars
def test_an_avatar_stands_upright_in_metres_with_all_bones_that_poses_turn():
    rig = read_avatar(avatar_files(AVATARS)[0])
    height = (rig.vertices[:, 2].max() - rig.vertices[:, 2].min()).item()
    assert 1.4 < height < 2.1
    assert rig.vertices[:, 2].min().abs() < 0.02
    assert set(draw_pose(np.random.default_rng(0))) <= set(rig.bones)
    left = rig.heads[rig.bones.index("LeftHand")]
    assert left[0] > 0.4
    torch.testing.assert_close(rig.weights.sum(1), torch.ones(len(rig.weights)))


@avatars
def test_nobody_is_both_trained_on_and_held_out():
    training, held_out = split(AVATARS)
    assert held_out
    assert not {identity(f) for f in training} & {identity(f) for f in held_out}


@makehuman
def test_a_garment_has_an_anchor_for_each_vertex_and_ranges_are_whole():
    garment = read_garment(
        next(iter(sorted((CLOTHES / "clothes").glob("male_casualsuit01/*.mhclo")))), 32
    )
    assert garment.faces.max() == len(garment.anchors) - 1
    assert {1643, 1663, 1664, 1686} <= set(garment.hidden.tolist()) or len(garment.hidden) > 100
    np.testing.assert_allclose(garment.shares.sum(axis=1), 1.0, atol=0.02)


@makehuman
def test_clothes_lie_close_around_the_body_that_wears_them():
    pytest.importorskip("anny")
    from geneman.curation.synthetic.bodies import Wardrobe

    wardrobe = Wardrobe(CLOTHES)
    rig = wardrobe.dressed(np.random.default_rng(2))
    body = rig.vertices[rig.uv[:, 0] < rig.skin_share]
    clothes = rig.vertices[rig.uv[:, 0] > rig.skin_share]
    distance = torch.cdist(clothes[::23], body[::5]).amin(dim=1)
    # Skin that clothes cover is not drawn: a torso's radius away is still close.
    assert distance.max() < 0.3
    assert distance.quantile(0.25) < 0.05
    assert set(draw_pose(np.random.default_rng(0))) <= set(rig.bones)
    assert len(BONES) < len(rig.bones)
