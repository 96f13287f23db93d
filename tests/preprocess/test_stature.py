from dataclasses import replace

import pytest
import torch

from geneman.camera import REFERENCE
from geneman.mesh import Mesh
from geneman.preprocess.stature import ADULT_HEIGHT, scale_of
from geneman.view import Framing, HiddenSide, ReferenceView

HALF_FRAME = REFERENCE.distance / REFERENCE.focal


def person(head=0.125, height=0.952, framing=Framing.FULL_BODY):
    """Landmarks of an upright person: `head` is its share of the height, feet at the bottom."""
    size, floor = head * height, -height / 2
    eyes = height - size / 2
    x, y = torch.zeros(33), torch.full((33,), 0.9 * height)
    y[[2, 5]], y[[9, 10]] = eyes, eyes - 0.31 * size
    x[2], x[5] = 0.138 * size, -0.138 * size
    for left, across, up in (
        (11, 0.11, 0.82),
        (23, 0.05, 0.53),
        (25, 0.05, 0.28),
        (27, 0.05, 0.05),
    ):
        x[left], x[left + 1] = across * height, -across * height
        y[left] = y[left + 1] = up * height
    x[29], x[30] = x[27], x[28]
    y[29] = y[30] = 0.0
    landmarks = torch.stack([x / HALF_FRAME, (y + floor) / HALF_FRAME, x * 0, x * 0 + 1], -1)
    flat, colour = torch.full((4, 4), 3.0), torch.zeros(4, 4, 3)
    return ReferenceView(
        colour, flat * 0 + 1, colour, flat, HiddenSide(flat, colour, colour), landmarks, framing, ""
    )


def standing(height=0.952):
    low, high = -height / 2, height / 2
    vertices = torch.tensor([[0.0, 0, low], [0.1, 0, high], [0, 0.1, high]])
    return Mesh(vertices, torch.tensor([[0, 1, 2]]))


def metres(view, mesh, height=None):
    extent = float(mesh.vertices[:, 2].max() - mesh.vertices[:, 2].min())
    return scale_of(view, mesh, height).metres * extent


def test_an_adult_of_unknown_height_is_as_tall_as_most():
    assert metres(person(), standing()) == pytest.approx(ADULT_HEIGHT, abs=1e-4)
    assert "adult" in scale_of(person(), standing(), None).source


def test_a_known_height_is_kept():
    assert metres(person(), standing(), 1.9) == pytest.approx(1.9, abs=1e-4)
    assert scale_of(person(), standing(), 1.9).source == "given height of 1.90 m"


@pytest.mark.parametrize(("heads", "expected"), [(4.0, 0.50), (5.7, 1.12), (6.5, 1.38)])
def test_children_are_known_by_their_heads(heads, expected):
    found = metres(person(head=1 / heads), standing())
    assert found == pytest.approx(expected, rel=0.02)
    assert f"{heads:.1f} heads" in scale_of(person(head=1 / heads), standing(), None).source


def test_growing_never_shrinks():
    sizes = [metres(person(head=1 / heads), standing()) for heads in (4, 4.5, 5, 5.5, 6, 7, 8, 9)]
    assert sizes == sorted(sizes)


def test_raised_arms_do_not_count_as_height():
    reaching = standing(1.2)
    scale = scale_of(person(), reaching, 1.8)
    assert scale.metres * 0.952 == pytest.approx(1.8, rel=0.01)
    assert "along the bones" in scale.source


def test_a_body_without_landmarks_is_an_adult():
    unseen = replace(person(), landmarks=torch.zeros(33, 4))
    assert metres(unseen, standing()) == pytest.approx(ADULT_HEIGHT)


@pytest.mark.parametrize("framing", [Framing.HALF_BODY, Framing.HEAD])
def test_parts_are_measured_by_what_they_show(framing):
    view = person(framing=framing)
    scale = scale_of(view, standing(), None)
    eyes = (view.landmarks[2, :2] - view.landmarks[5, :2]).norm().item() * HALF_FRAME
    assert scale.metres * eyes <= 0.063 + 1e-6, "no ruler may come out longer than it is"
    assert scale.source.endswith("of an adult")
    taller = scale_of(view, standing(), 2 * ADULT_HEIGHT)
    assert taller.metres == pytest.approx(2 * scale.metres)
    assert taller.source.endswith("of a person of 3.40 m")


def test_looking_aside_does_not_make_a_head_smaller():
    view = person(framing=Framing.HEAD)
    hidden = view.landmarks.clone()
    hidden[11:, 3] = 0
    front = scale_of(replace(view, landmarks=hidden), standing(), None)
    aside = hidden.clone()
    aside[:, 0] *= 0.4
    turned = scale_of(replace(view, landmarks=aside), standing(), None)
    assert turned.metres == pytest.approx(front.metres, rel=0.02)
    assert turned.source == "eye to mouth of an adult"


def test_a_head_without_landmarks_has_a_usual_size():
    unseen = replace(person(framing=Framing.HEAD), landmarks=torch.zeros(33, 4))
    assert metres(unseen, standing()) == pytest.approx(0.35)
    assert "no landmarks" in scale_of(unseen, standing(), None).source
