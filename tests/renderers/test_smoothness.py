import pytest
import torch

from geneman.mesh import Mesh
from geneman.renderers.raster import surface
from geneman.renderers.smoothness import normal_consistency, uniform_laplacian
from tests.synthetic import figure_mesh

TETRAHEDRON = Mesh(
    torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
)


def laplacian_one_vertex_at_a_time(mesh):
    """The definition."""
    total = 0.0
    for vertex, place in enumerate(mesh.vertices):
        faces = mesh.faces[(mesh.faces == vertex).any(dim=1)]
        around = [v for v in set(faces.flatten().tolist()) if v != vertex]
        total += (mesh.vertices[around].mean(dim=0) - place).norm()
    return total / len(mesh.vertices)


def test_laplacian_equals_its_definition():
    for mesh in (TETRAHEDRON, figure_mesh(16)):
        expected = laplacian_one_vertex_at_a_time(mesh)
        torch.testing.assert_close(uniform_laplacian(surface(mesh)), expected)


def test_normals_of_a_tetrahedron_disagree_as_they_should():
    seen = surface(TETRAHEDRON)
    pairs = [(a, b) for a in range(4) for b in range(a)]
    expected = sum(1 - seen.normals[a] @ seen.normals[b] for a, b in pairs) / 6
    torch.testing.assert_close(normal_consistency(seen), expected)


@pytest.mark.parametrize("roughness", [normal_consistency, uniform_laplacian])
def test_a_gradient_step_makes_a_rough_figure_smoother(roughness):
    mesh = figure_mesh(32)
    noise = torch.randn(mesh.vertices.shape, generator=torch.Generator().manual_seed(0))
    vertices = (mesh.vertices + 2e-3 * noise).requires_grad_()
    before = roughness(surface(Mesh(vertices, mesh.faces)))
    before.backward()
    step = 1e-3 * vertices.grad / vertices.grad.abs().max()
    after = roughness(surface(Mesh(vertices.detach() - step, mesh.faces)))
    assert after < before


@pytest.mark.parametrize("roughness", [normal_consistency, uniform_laplacian])
def test_size_and_place_scale_as_lengths_do(roughness):
    mesh = figure_mesh(32)
    moved = Mesh(2 * mesh.vertices + 1, mesh.faces)
    scale = 2.0 if roughness is uniform_laplacian else 1.0
    expected = scale * roughness(surface(mesh))
    torch.testing.assert_close(roughness(surface(moved)), expected, rtol=1e-3, atol=1e-6)
