"""The shape prior without learning, against shapes whose thickness is known."""

import numpy as np
import pytest
import torch

from geneman.camera import REFERENCE, pixel_grid
from geneman.priors.bundled.hidden_colour import paint_hidden_side
from geneman.priors.bundled.inflation import Inflation
from geneman.priors.bundled.membranes import Slopes, integrate, membrane, resized, soap_bubble
from geneman.priors.bundled.proportions import FRAME, measure
from geneman.view import Framing
from tests.synthetic import figure_view

SIZE = 256


@pytest.fixture(scope="module")
def figure():
    return figure_view(SIZE)


def guess(view, **given):
    return Inflation().surfaces(view.colour, view.mask, view.landmarks, view.framing, **given)


def angle(a, b, inside):
    return torch.rad2deg(torch.acos((a * b).sum(-1).clamp(-1, 1)))[inside].mean().item()


def test_a_strip_becomes_a_half_cylinder():
    inside = np.zeros((200, 41), dtype=bool)
    inside[:, 5:36] = True
    bubble = soap_bubble(inside, spacing=0.5)
    x = np.arange(41) - 20
    # The pixels' outline lies between the last inside centre and the first outside one.
    circle = 0.5 * np.sqrt(np.maximum(16.0**2 - x**2, 0))
    np.testing.assert_allclose(bubble[100, 5:36], circle[5:36], rtol=0.02)


def test_a_membrane_between_two_held_columns_is_flat():
    inside = np.ones((20, 30), dtype=bool)
    target, weight = np.zeros((20, 30)), np.zeros((20, 30))
    target[:, -1], weight[:, 0], weight[:, -1] = 1.0, 1e6, 1e6
    np.testing.assert_allclose(
        membrane(inside, target, weight)[7], np.linspace(0, 1, 30), atol=1e-4
    )


def test_integrating_slopes_gives_back_the_sheet():
    y, x = np.mgrid[:40, :40] / 40.0
    sheet = np.sin(3 * x) * np.cos(2 * y)
    down, across = np.gradient(sheet)
    inside = np.hypot(x - 0.5, y - 0.5) < 0.45
    flat = np.full_like(sheet, sheet[inside].mean())
    found = integrate(inside, Slopes(across, down, np.ones_like(sheet)), flat, pull=1e-7)
    assert np.abs(found - sheet)[inside].max() < 0.01


def test_given_normals_come_back_as_relief(figure):
    surfaces = guess(figure, normal=figure.normal)
    assert torch.equal(surfaces.normal, figure.normal)
    relief = guess_normals(surfaces.depth)
    inner = inner_pixels(figure)
    flat = torch.tensor([0.0, 0.0, 1.0]).expand_as(figure.normal)
    assert angle(relief, figure.normal, inner) < 0.35 * angle(flat, figure.normal, inner)


def test_without_maps_the_relief_beats_a_flat_one(figure):
    flat = torch.tensor([0.0, 0.0, 1.0]).expand_as(figure.normal)
    inner = inner_pixels(figure)
    assert angle(guess(figure).normal, figure.normal, inner) < 0.6 * angle(
        flat, figure.normal, inner
    )


def test_depth_up_to_scale_and_shift_gives_the_same_front(figure):
    plain = guess(figure, normal=figure.normal, depth=figure.depth)
    scaled = guess(figure, normal=figure.normal, depth=40 + 9 * figure.depth)
    assert (plain.depth - scaled.depth)[figure.inside].abs().max() < 1e-4


def test_the_hidden_side_lies_behind_and_looks_away(figure):
    surfaces = guess(figure, normal=figure.normal)
    inner = inner_pixels(figure)
    assert (surfaces.hidden.depth > surfaces.depth)[figure.inside].all()
    assert (surfaces.hidden.normal[..., 2] < 0)[inner].float().mean() > 0.99
    assert torch.linalg.norm(surfaces.hidden.normal, dim=-1).sub(1).abs().max() < 1e-4


def test_the_thickness_is_about_the_figure_s(figure):
    surfaces = guess(figure, normal=figure.normal, depth=figure.depth)
    ours = (surfaces.hidden.depth - surfaces.depth)[figure.inside].mean()
    truth = (figure.hidden.depth - figure.depth)[figure.inside].mean()
    assert 0.7 < ours / truth < 1.4


def test_a_body_cut_by_the_picture_does_not_thin_out_there():
    cover, landmarks = torch.zeros(SIZE, SIZE), torch.zeros(33, 4)
    cover[40:240, 80:170] = 1
    colour = torch.full((SIZE, SIZE, 3), 0.5)
    half = Inflation().surfaces(colour, cover, landmarks, Framing.HALF_BODY)
    whole = Inflation().surfaces(colour, cover, landmarks, Framing.FULL_BODY)
    at_cut, in_middle = (235, 125), (140, 125)
    thickness = half.hidden.depth - half.depth
    assert thickness[at_cut] > 0.9 * thickness[in_middle]
    assert (whole.hidden.depth - whole.depth)[at_cut] < 0.7 * thickness[in_middle]


def test_the_same_photo_gives_the_same_bits(figure):
    first, second = guess(figure), guess(figure)
    assert torch.equal(first.depth, second.depth)
    assert torch.equal(first.hidden.colour, second.hidden.colour)


def test_proportions_follow_the_shoulders_whatever_the_scale():
    landmarks = figure_view(64).landmarks.numpy().astype(float)
    small = landmarks.copy()
    small[:, :3] *= 0.5
    assert measure(small).torso_half_depth == pytest.approx(measure(landmarks).torso_half_depth / 2)


def test_without_landmarks_an_adult_is_assumed():
    assert measure(np.zeros((33, 4))).head_centre is None


FACE = {2: (143, 110), 5: (113, 110), 7: (178, 120), 8: (78, 120), 0: (128, 125)} | {
    9: (138, 150),
    10: (118, 150),
}


def head_with_hair(hair, skin):
    """A face on a stalk: hair above and beside it, skin within, landmarks where they belong."""
    size = 256
    y, x = np.mgrid[:size, :size]
    head = np.hypot((x - 128) / 60, (y - 110) / 75) < 1
    body = (y > 170) & (np.abs(x - 128) < 100)
    colour = np.zeros((size, size, 3), dtype=np.float32)
    colour[body] = (0.1, 0.1, 0.6)
    colour[head] = hair
    colour[np.hypot((x - 128) / 42, (y - 125) / 52) < 1] = skin
    landmarks = np.zeros((33, 4), dtype=np.float32)
    for index, place in FACE.items():
        landmarks[index] = (place[0] / 128 - 1, 1 - place[1] / 128, 0, 1)
    return colour, (head | body).astype(np.float64), landmarks


def test_the_back_of_a_head_is_hair():
    hair, skin = np.array([0.2, 0.12, 0.05]), np.array([0.85, 0.65, 0.55])
    back = paint_hidden_side(*head_with_hair(hair, skin))
    assert np.abs(back[125, 128] - hair).max() < 0.1


def test_the_back_of_a_bald_head_is_skin():
    skin = np.array([0.85, 0.65, 0.55])
    back = paint_hidden_side(*head_with_hair(skin, skin))
    assert np.abs(back[125, 128] - skin).max() < 0.1


def body_in_a_jacket(middle, *, turned=False):
    """A torso whose flanks wear grey; what the front opens to is `middle`."""
    colour = np.full((256, 256, 3), 0.25, dtype=np.float32)
    cover = np.zeros((256, 256))
    cover[20:236, 60:196] = 1
    rows, columns = np.indices((256, 256))
    opening = (rows > 40) & (np.abs(columns - 128) < (150 - rows) * 0.4)
    colour[opening] = middle
    landmarks = np.zeros((33, 4), dtype=np.float32)
    reach = 0.05 if turned else 0.45
    landmarks[[11, 12], :2] = [[reach, 0.6], [-reach, 0.6]]
    landmarks[[23, 24], :2] = [[0.3 * reach, -0.6], [-0.3 * reach, -0.6]]
    landmarks[[11, 12, 23, 24], 3] = 1
    return colour, cover, landmarks


@pytest.mark.parametrize("middle", [(0.85, 0.65, 0.55), (0.95, 0.95, 0.95)], ids=["skin", "shirt"])
def test_a_neckline_is_closed_behind(middle):
    back = paint_hidden_side(*body_in_a_jacket(middle))
    np.testing.assert_allclose(back[60:150, 100:156], 0.25, atol=0.05)


def test_who_is_turned_aside_keeps_what_the_front_shows():
    back = paint_hidden_side(*body_in_a_jacket((0.85, 0.65, 0.55), turned=True))
    np.testing.assert_allclose(back[70, 128], (0.85, 0.65, 0.55), atol=0.05)


def test_who_wears_different_sides_keeps_them():
    colour, cover, landmarks = body_in_a_jacket((0.85, 0.65, 0.55))
    colour[:, 128:] = (0.1, 0.2, 0.8)
    back = paint_hidden_side(colour, cover, landmarks)
    np.testing.assert_allclose(back[190, 80], 0.25, atol=0.05)
    np.testing.assert_allclose(back[190, 176], (0.1, 0.2, 0.8), atol=0.05)


def test_a_small_print_stays_on_the_front_and_a_broad_pattern_goes_through():
    colour = np.full((256, 256, 3), 0.8, dtype=np.float32)
    cover = np.zeros((256, 256))
    cover[20:236, 60:196] = 1
    colour[:120] *= 0.5
    colour[180:188, 120:128] = (0.9, 0.0, 0.0)
    back = paint_hidden_side(colour, cover, np.zeros((33, 4), dtype=np.float32))
    np.testing.assert_allclose(back[184, 124], 0.8, atol=0.05)
    np.testing.assert_allclose(back[60, 124], 0.4, atol=0.02)


def guess_normals(depth):
    points = REFERENCE.unproject(pixel_grid(SIZE).reshape(-1, 2), depth.reshape(-1))
    down, across = torch.gradient(points.reshape(SIZE, SIZE, 3), dim=(0, 1))
    normal = torch.nn.functional.normalize(torch.linalg.cross(across, -down), dim=-1)
    return REFERENCE.turn_to_camera(normal)


def inner_pixels(view):
    outside = (~view.inside).float()[None, None]
    return torch.nn.functional.max_pool2d(outside, 7, 1, 3)[0, 0] < 0.5


def test_the_frame_is_what_the_reference_camera_sees():
    assert REFERENCE.unproject(torch.tensor([[1.0, 0.0]]), torch.tensor([3.0]))[
        0, 0
    ] == pytest.approx(FRAME / 2)


def test_resizing_keeps_a_slope_and_averages_what_is_finer():
    slope = np.linspace(0, 1, 64)[None, :].repeat(64, axis=0)
    for size in (16, 64, 200):
        found = resized(slope, size)
        inner = found[:, size // 8 : -size // 8]
        assert found.shape == (size, size)
        assert np.allclose(np.diff(inner, axis=1), np.diff(inner, axis=1).mean(), atol=1e-9)
        assert found.mean() == pytest.approx(0.5)
    checks = (np.indices((64, 64)).sum(axis=0) % 2).astype(float)
    assert np.allclose(resized(checks, 8)[1:-1, 1:-1], 0.5, atol=0.02)
    pictures = np.broadcast_to(checks[..., None], (64, 64, 3))
    assert np.array_equal(resized(pictures, 8)[..., 1], resized(checks, 8))
