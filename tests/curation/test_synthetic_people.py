"""Rendered people: poses turn the right way, both sides fit their normals, numbers are people."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from geneman.camera import REFERENCE
from geneman.curation.synthetic import seeing_kernels, seeing_plain
from geneman.curation.synthetic.avatars import avatar_files, identity, read_avatar
from geneman.curation.synthetic.figure import fastened
from geneman.curation.synthetic.folds import creased
from geneman.curation.synthetic.garments import read_garment
from geneman.curation.synthetic.people import split
from geneman.curation.synthetic.photograph import image
from geneman.curation.synthetic.poses import draw_pose
from geneman.curation.synthetic.rigged import Turn
from geneman.curation.synthetic.sample import Person, draw_sample
from geneman.curation.synthetic.seeing import both_sides, posed
from geneman.curation.synthetic.shots import Shot, frame
from geneman.curation.synthetic.solids import ball, block, cylinder
from geneman.curation.synthetic.worn import draw_extras
from geneman.errors import MeshFileError, MissingComponentError
from geneman.kernels.rasterise import interpolate, rasterise
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
    moves = rig.moves(lower)
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
    framed = frame(shot, seen, seen[rig.joints[:, 0] == rig.bones.index("Head")])
    at = REFERENCE.project(framed.points)[:, :2]
    extent = at.amax(dim=0) - at.amin(dim=0)
    assert extent.max() == pytest.approx(1.8, abs=0.01)
    torch.testing.assert_close(at.amax(0) + at.amin(0), torch.zeros(2), atol=0.01, rtol=0)


def test_both_sides_have_the_normals_that_their_depth_has():
    rig = boxes()
    points = rig.vertices * 0.5 - torch.tensor([0.0, 0.0, 0.45])
    textures = Person.of(rig).textures
    edges = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    turned = REFERENCE.turn_to_camera(rig.normals).contiguous()
    for look, sign in zip(
        both_sides(points, turned, rig.surface, textures, edges, 128), (1, -1), strict=True
    ):
        depth = image(look.depth[:, None], look.pixels, 128)[..., 0]
        from_depth = sign * normals_of(depth.double().numpy()).reshape(-1, 3)[look.pixels]
        cosine = (from_depth * look.normal).sum(dim=-1)
        assert (cosine > 0.99).float().mean() > 0.65  # flat faces; the rest are edges


def test_both_sides_are_what_the_rasteriser_draws():
    rig = boxes()
    points = rig.posed(draw_pose(np.random.default_rng(4)))[0] * 0.5 - torch.tensor([0, 0, 0.45])
    edges = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    looks = both_sides(points, rig.normals, rig.surface, Person.of(rig).textures, edges, 96)
    for look, far_side in zip(looks, (False, True), strict=True):
        clip = REFERENCE.clip_coordinates(points, far_side=far_side)
        raster = rasterise(clip, rig.surface.faces, 96)
        wanted = interpolate(rig.vertices, rig.surface.faces, raster).reshape(-1, 3)
        assert len(set(look.pixels.tolist()) ^ set(raster.pixels.tolist())) < 5
        apart = (look.places - wanted[look.pixels]).abs().amax(dim=1)
        assert (apart < 1e-3).float().mean() > 0.99  # where faces meet, either may be drawn


def test_torch_alone_sees_what_the_kernels_see():
    rig, moves = boxes(), boxes().moves(draw_pose(np.random.default_rng(4)))
    for kernels, plain in zip(
        seeing_kernels.carried(rig.surface, moves),
        seeing_plain.carried(rig.surface, moves),
        strict=True,
    ):
        torch.testing.assert_close(plain, kernels, atol=1e-5, rtol=0)
    textures = Person.of(rig).textures
    textures = dataclasses.replace(
        textures, texels=torch.randint_like(textures.texels, 256), label=textures.label
    )
    extra = ball(np.array([0.3, -0.3, 1.2]), 0.1)
    surface = rig.surface.joined([fastened(extra, 0, 2)])
    points, normals = seeing_kernels.carried(surface, moves)
    at = REFERENCE.project(points * 0.5 - torch.tensor([0.0, 0.0, 0.45]))
    screen = torch.stack([(at[:, 0] + 1) * 48, (1 - at[:, 1]) * 48, 1 / at[:, 2]], dim=1)
    seen = seeing_kernels.drawn(screen, surface.faces, 96)
    also = seeing_plain.drawn(screen, surface.faces, 96)
    assert (seen == also).float().mean() > 0.998  # where faces meet, either may be drawn
    pixels = ((seen == also).all(dim=0) & (seen[0] >= 0)).nonzero()[:, 0]
    for side, facing in ((0, 1.0), (1, -1.0)):
        looks = [
            passes.read(pixels, seen[side], facing, screen, normals, surface, textures)
            for passes in (seeing_kernels, seeing_plain)
        ]
        for name in ("normal", "depth", "albedo", "places"):
            kernels, plain = (getattr(look, name) for look in looks)
            close = (plain - kernels).abs().reshape(len(pixels), -1).amax(dim=1) < 2e-3
            assert close.float().mean() > 0.99, name  # a sheet's edge may face either way
        assert (looks[0].label == looks[1].label).float().mean() > 0.99


def test_a_person_holds_and_wears_things_and_they_move_with_them():
    figure = Person.of(boxes()).figure
    pose = {"LeftArm": Turn("y", (80,)), "RightArm": Turn("y", (-80,))}
    worn = [
        surface
        for seed in range(30)
        for surface in draw_extras(np.random.default_rng(seed), figure, pose)
    ]
    assert len({float(surface.uv[0, 0]) for surface in worn}) > 4
    for surface in worn:
        points, normals = posed(surface, figure.rigged.moves(pose))
        assert points.isfinite().all()
        assert points[:, 2].amin() > -0.6  # nothing but what is held hangs lower than the feet
        torch.testing.assert_close(surface.weights.sum(dim=1), torch.ones(len(points)))
        torch.testing.assert_close(normals.norm(dim=1), torch.ones(len(points)), atol=1e-3, rtol=0)


def test_solids_face_outward():
    for solid in (
        ball(np.zeros(3), 0.1),
        block(np.zeros(3), np.array([0.1, 0.2, 0.3]), np.eye(3)),
        cylinder(np.zeros(3), 0.1, 0.2, np.eye(3)),
    ):
        corners = solid.points[solid.faces]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert (across * corners.mean(axis=1)).sum(axis=1).min() > -1e-9


def test_landmarks_lie_on_the_person_and_hidden_ones_are_said_to_be(monkeypatch):
    monkeypatch.setattr("geneman.curation.synthetic.sample.noticed", lambda marks, _: marks)
    sample = draw_sample(Person.of(boxes()), np.random.default_rng(2), 128)
    seen = sample.landmarks[sample.landmarks[:, 3] > 0.9]
    assert len(seen) > 10
    rows = ((1 - seen[:, 1]) * 64).long().clamp(0, 127)
    columns = ((seen[:, 0] + 1) * 64).long().clamp(0, 127)
    assert sample.inside[rows, columns].all()
    hips = sample.landmarks[23:25, 2].mean()
    assert hips.abs() < 1e-5


def test_folds_bend_cloth_alone_and_never_away():
    rig = boxes()
    points = rig.vertices * 0.5 - torch.tensor([0.0, 0.0, 0.45])
    turned = REFERENCE.turn_to_camera(rig.normals).contiguous()
    edges = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    look, _ = both_sides(points, turned, rig.surface, Person.of(rig).textures, edges, 64)
    cloth = look.places[:, 2] < 1.2
    made = [creased(np.random.default_rng(s), look, cloth, 0.5, 64) for s in range(8)]
    bent, left = ([one[i] for one in made] for i in range(2))
    assert all((share[~cloth] == 1).all() and (share <= 1).all() for share in left)
    assert min(share.min() for share in left) < 0.95
    assert all(torch.equal(normal[~cloth], look.normal[~cloth]) for normal in bent)
    assert max((normal - look.normal).abs().max() for normal in bent) > 0.1
    for normal in bent:
        torch.testing.assert_close(normal.norm(dim=1), torch.ones(len(normal)))
        moved = (normal - look.normal).abs().amax(dim=1) > 1e-6
        assert (normal[moved][:, 2] > 0).all()


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
    assert first.framing is second.framing
    for name in (item.name for item in dataclasses.fields(first) if item.name != "framing"):
        assert torch.equal(getattr(first, name), getattr(second, name))


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


def test_a_wardrobe_without_anny_is_refused_at_once(monkeypatch, tmp_path):
    from geneman.curation.synthetic import bodies

    monkeypatch.setattr(bodies, "find_spec", lambda _name: None)
    with pytest.raises(MissingComponentError, match=r"geneman\[train\]"):
        bodies.Wardrobe(tmp_path)


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
