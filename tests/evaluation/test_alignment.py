"""Reconstructions come to the truth by the similarity that they were off by."""

import math

import pytest
import torch

from geneman.camera import REFERENCE, Orbit
from geneman.evaluation.alignment import (
    aligned,
    as_photographed,
    best_placement,
    best_similarity,
)
from geneman.mesh import Mesh
from tests.evaluation.people import CAMERA, person, photographed
from tests.synthetic import figure_mesh


def turned(degrees: float) -> torch.Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_pairs_tell_the_similarity_that_they_were_moved_by():
    torch.manual_seed(0)
    points, turn, shift = torch.randn(50, 3), turned(130), torch.tensor([1.0, -2.0, 0.5])
    found = best_similarity(points, 1.7 * points @ turn.T + shift)
    assert found.scale == pytest.approx(1.7, rel=1e-5)
    torch.testing.assert_close(found.turn, turn, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.shift, shift, atol=1e-5, rtol=0)


def test_a_mirror_image_is_no_similarity():
    torch.manual_seed(0)
    points = torch.randn(50, 3)
    found = best_similarity(points, points * torch.tensor([-1.0, 1.0, 1.0]))
    assert torch.linalg.det(found.turn).item() == pytest.approx(1.0, abs=1e-5)


def test_the_camera_alone_brings_a_person_back_up_to_perspective():
    truth = person().mesh
    found = as_photographed(photographed(person()).mesh, REFERENCE, truth, CAMERA)
    moved = found(photographed(person()).mesh.vertices)
    torch.testing.assert_close(moved, truth.vertices, atol=1e-4, rtol=0)


def test_what_is_off_by_a_similarity_comes_to_the_truth():
    truth = figure_mesh()
    # Too small, turned and moved in the photo's frame: none of it is an error of shape.
    off = 0.6 * truth.vertices @ turned(6).T + torch.tensor([0.05, 0.1, -0.03])
    mesh = Mesh(CAMERA.turn_to_camera(off) @ REFERENCE.rotation().T, truth.faces)
    found = aligned(mesh, REFERENCE, truth, CAMERA, turning=True, generator=seeded())
    apart = (found(mesh.vertices) - truth.vertices).norm(dim=1)
    assert float(apart.max()) < 0.006
    assert found.scale == pytest.approx(1 / 0.6, rel=0.005)


def test_a_scene_whose_camera_was_raised_comes_back_as_well():
    truth, raised = person().mesh, Orbit(elevation_deg=14.0)
    mesh = photographed(person()).mesh
    lower = Mesh(raised.to_world(REFERENCE.to_camera(mesh.vertices)), mesh.faces)
    moved = as_photographed(lower, raised, truth, CAMERA)(lower.vertices)
    torch.testing.assert_close(moved, truth.vertices, atol=1e-4, rtol=0)


def test_pairs_tell_scale_and_shift_of_what_must_not_turn():
    torch.manual_seed(0)
    points, turn, shift = torch.randn(50, 3), turned(40), torch.tensor([1.0, -2.0, 0.5])
    found = best_placement(points, 1.7 * points @ turn.T + shift, turn)
    assert found.scale == pytest.approx(1.7, rel=1e-5)
    torch.testing.assert_close(found.shift, shift, atol=1e-5, rtol=0)


def test_what_the_camera_sees_is_placed_but_not_turned():
    truth = figure_mesh()
    off = 0.6 * truth.vertices @ turned(6).T + torch.tensor([0.05, 0.1, -0.03])
    mesh = Mesh(CAMERA.turn_to_camera(off) @ REFERENCE.rotation().T, truth.faces)
    found = aligned(mesh, REFERENCE, truth, CAMERA, turning=False, generator=seeded())
    torch.testing.assert_close(found.turn, as_photographed(mesh, REFERENCE, truth, CAMERA).turn)
    assert found.scale == pytest.approx(1 / 0.6, rel=0.02)
