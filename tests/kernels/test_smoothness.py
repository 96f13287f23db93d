import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geneman.kernels import smoothness as kernels
from geneman.kernels.incidence import incidence
from tests.oracles import smoothness as oracle
from tests.synthetic import figure_mesh

OPERATIONS = ["smooth_normals", "agreement", "stand_off"]
FIGURE = figure_mesh(24)


def both(name, vertices, faces):
    """Give values and gradients along one probe, ours and those of the definition."""
    around, found = incidence(faces, len(vertices)), []
    for values, mesh, module in (
        (vertices.float(), around, kernels),
        (vertices.double(), faces, oracle),
    ):
        given_values = values.clone().requires_grad_()
        out = getattr(module, name)(given_values, mesh)
        probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
        (gradient,) = torch.autograd.grad((out * probe).sum(), [given_values])
        found.append((out.detach().double(), gradient.double()))
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_values_and_gradients_equal_their_definitions(name):
    # In units of its cells, as coordinates of about 1 make gradients of about 1.
    (ours, slope), (expected, right) = both(name, 24 * FIGURE.vertices, FIGURE.faces)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(slope, right, rtol=1e-3, atol=1e-3 * float(right.abs().max()))


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_heap_of_triangles_will_do(name, seed):
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.randn(12, 3, generator=generator)
    faces = torch.stack([torch.randperm(12, generator=generator)[:3] for _ in range(9)])
    # A corner between a triangle and its own reverse has a normal that is nothing but rounding.
    turned = {tuple(torch.roll(face, shift).tolist()) for face in faces for shift in range(3)}
    assume(not any((a, c, b) in turned for a, b, c in faces.tolist()))
    (ours, slope), (expected, right) = both(name, vertices, faces)
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(slope, right, rtol=1e-2, atol=1e-3 * float(right.abs().max()))


@pytest.mark.parametrize("name", OPERATIONS)
def test_without_triangles_there_is_no_gradient(name):
    vertices = torch.rand(4, 3).requires_grad_()
    out = getattr(kernels, name)(vertices, incidence(torch.zeros(0, 3, dtype=torch.long), 4))
    (gradient,) = torch.autograd.grad(out.sum(), [vertices])
    assert gradient.isfinite().all()


def test_a_triangle_without_area_has_no_normal_and_does_no_harm():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]).requires_grad_()
    normals = kernels.smooth_normals(vertices, incidence(torch.tensor([[0, 1, 2]]), 3))
    assert (normals == 0).all()
    (gradient,) = torch.autograd.grad(normals.sum(), [vertices])
    assert gradient.isfinite().all()
