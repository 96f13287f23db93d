import math
from dataclasses import replace

import numpy as np
import pytest
import skimage.metrics
import torch

from geneman.evaluation.metrics import (
    mask_iou,
    normal_angle,
    psnr,
    reference_fidelity,
    shape_accuracy,
    ssim,
    surface_samples,
)
from geneman.mesh import Mesh
from tests.textured import textured_figure, view_of


def everywhere(size):
    return torch.ones(size, size, dtype=torch.bool)


def test_psnr_equals_its_definition_over_the_chosen_pixels_only():
    a, b = torch.rand(2, 16, 16, 3)
    where = torch.rand(16, 16) > 0.5
    errors = [
        (a[i, j, c].item() - b[i, j, c].item()) ** 2
        for i in range(16)
        for j in range(16)
        for c in range(3)
        if where[i, j]
    ]
    assert psnr(a, b, where=where) == pytest.approx(-10 * math.log10(sum(errors) / len(errors)))


def test_psnr_has_a_ceiling_and_knows_nothing_of_no_pixels():
    a = torch.rand(4, 4, 3)
    assert psnr(a, a, where=everywhere(4)) == 100
    assert math.isnan(psnr(a, a, where=~everywhere(4)))


def test_ssim_is_that_of_scikit_image():
    a = torch.rand(40, 40, 3)
    b = (a + 0.2 * torch.rand(40, 40, 3)).clamp(0, 1)
    gray = [(x.double().numpy() @ np.array([0.299, 0.587, 0.114])) for x in (a, b)]
    expected = skimage.metrics.structural_similarity(
        *gray, data_range=1.0, gaussian_weights=True, use_sample_covariance=False
    )
    assert ssim(a, b, where=everywhere(40)) == pytest.approx(expected, abs=1e-6)
    assert ssim(a, a, where=everywhere(40)) == pytest.approx(1)


def test_iou_counts_areas():
    a, b = torch.zeros(2, 4, 4, dtype=torch.bool)
    assert mask_iou(a, b) == 1
    a[:2], b[1:3] = True, True
    assert mask_iou(a, b) == pytest.approx(4 / 12)
    assert mask_iou(a, ~a) == 0


@pytest.mark.parametrize("degrees", [0.0, 1e-4, 30.0, 90.0, 180.0])
def test_normal_angle_is_the_angle(degrees):
    turned = math.radians(degrees)
    a = torch.tensor([0.0, 0, 1]).expand(3, 3, 3)
    b = torch.tensor([math.sin(turned), 0, math.cos(turned)]).expand(3, 3, 3)
    found = normal_angle(a, b, where=everywhere(3))
    assert found == pytest.approx(degrees, rel=1e-4, abs=1e-5)


def test_a_figure_is_faithful_to_its_own_photo():
    figure = textured_figure()
    found = reference_fidelity(view_of(figure, 1024), figure)
    assert found.psnr > 45
    assert found.mask_iou > 0.995
    assert found.normal_deg < 0.5


def test_a_wrong_colour_costs_exactly_its_error():
    figure = textured_figure()
    grey = replace(figure, albedo=torch.full((8, 8, 3), 0.5))
    lighter = replace(figure, albedo=torch.full((8, 8, 3), 0.6))
    # Pixels on the outline are mixed with white on both sides, which lessens the error.
    found = reference_fidelity(view_of(grey, 1024), lighter).psnr
    assert 20 <= found < 20.3


def test_missing_parts_cost_fidelity():
    figure = textured_figure()
    narrow = replace(
        figure,
        mesh=Mesh(figure.mesh.vertices * torch.tensor([0.9, 1.0, 1.0]), figure.mesh.faces),
    )
    whole, missing = (reference_fidelity(view_of(figure), t) for t in (figure, narrow))
    assert missing.psnr < whole.psnr - 10
    assert missing.mask_iou == pytest.approx(0.9, abs=0.01)


def test_a_turned_away_person_has_other_normals():
    figure = textured_figure()
    mesh = Mesh(figure.mesh.vertices * torch.tensor([-1.0, -1.0, 1.0]), figure.mesh.faces)
    turned = reference_fidelity(view_of(figure), replace(figure, mesh=mesh))
    # A figure of revolution looks the same from behind, but for its colours.
    assert turned.normal_deg < 1
    assert turned.psnr < 20


def test_a_surface_equals_itself_up_to_its_sampling():
    figure = textured_figure().mesh
    found = shape_accuracy(figure, figure, generator=torch.Generator().manual_seed(0))
    assert found.chamfer < 0.004
    assert found.normal_consistency > 0.98
    assert found.f_score > 0.999


def test_chamfer_and_f_score_of_parallel_planes_are_their_distance():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]])
    plane = Mesh(corners, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    behind = Mesh(corners + torch.tensor([0.0, 0.05, 0]), plane.faces)
    found = shape_accuracy(plane, behind, generator=torch.Generator().manual_seed(0))
    assert found.chamfer == pytest.approx(0.05, rel=0.01)
    assert found.f_score == 0
    assert found.normal_consistency == pytest.approx(1)


def test_samples_lie_on_the_surface_evenly():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 0, 3], [0, 0, 3]])
    generator = torch.Generator().manual_seed(0)
    mesh = Mesh(corners, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    points, normals = surface_samples(mesh, 20_000, generator)
    torch.testing.assert_close(points.mean(0), torch.tensor([0.5, 0, 1.5]), atol=0.02, rtol=0)
    third = (points[:, 2] < 1).float().mean().item()
    assert third == pytest.approx(1 / 3, abs=0.01)
    assert (normals == torch.tensor([0.0, -1, 0])).all()
