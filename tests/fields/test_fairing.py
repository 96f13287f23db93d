import torch

from geneman.camera import REFERENCE
from geneman.fields.fairing import fair_flanks
from geneman.kernels.rasterise import rasterise
from geneman.mesh import Mesh, vertex_normals
from geneman.topology import topology
from tests.synthetic import figure_mesh

LENGTH = 0.03
OUTLINE = 0.06
"""Cosine to the ray below which a vertex of the figure may lie on its outline."""


def bumpy_figure():
    smooth = figure_mesh(96)
    rays = torch.nn.functional.normalize(REFERENCE.position() - smooth.vertices, dim=-1)
    facing = (vertex_normals(smooth) * rays).sum(-1).abs()
    # Dents: a bump here would stand out over the outline and be what the camera saw.
    noise = torch.randn(len(facing), 1, generator=torch.Generator().manual_seed(1)).abs() * -0.003
    flank = (facing > OUTLINE) & (facing < 0.2)
    noise = torch.where(flank[:, None], noise, 0.0)
    bumpy = Mesh(smooth.vertices + noise * vertex_normals(smooth), smooth.faces)
    return smooth, bumpy, facing


def roughness(mesh, chosen):
    normals = vertex_normals(mesh)
    a, b = mesh.faces[:, 0].long(), mesh.faces[:, 1].long()
    both = chosen[a] & chosen[b]
    return (1 - (normals[a] * normals[b]).sum(-1))[both].mean().item()


def test_bumps_on_the_flanks_go_and_the_rest_stays():
    smooth, bumpy, facing = bumpy_figure()
    fair = fair_flanks(bumpy, REFERENCE, LENGTH)
    flank, held = (facing > OUTLINE) & (facing < 0.12), facing > 0.7
    true, before, after = (roughness(mesh, flank) for mesh in (smooth, bumpy, fair))
    assert after - true < 0.2 * (before - true)
    moved = (fair.vertices - bumpy.vertices).norm(dim=-1)
    edge = (bumpy.vertices[bumpy.faces[:, 0]] - bumpy.vertices[bumpy.faces[:, 1]]).norm(dim=-1)
    assert moved[held].mean() < 0.03 * edge.mean()
    assert (fair.vertices - smooth.vertices).norm(dim=-1)[flank].mean() < 0.004
    assert topology(fair).watertight


def test_the_outline_that_the_camera_sees_stays():
    smooth, _, _ = bumpy_figure()
    # A pillow: flat sides that meet in a sharp edge, which fairing alone would blow up.
    flat = Mesh(smooth.vertices * torch.tensor([1.0, 0.4, 1.0]), smooth.faces)
    before, after = (
        rasterise(REFERENCE.clip_coordinates(mesh.vertices), mesh.faces, 512).triangle >= 0
        for mesh in (flat, fair_flanks(flat, REFERENCE, LENGTH))
    )
    assert (before != after).sum() < 0.002 * before.sum()


def test_a_length_of_zero_changes_nothing():
    _, bumpy, _ = bumpy_figure()
    assert fair_flanks(bumpy, REFERENCE, 0.0) is bumpy


def test_fairing_has_the_same_bits_every_time():
    _, bumpy, _ = bumpy_figure()
    first, second = (fair_flanks(bumpy, REFERENCE, LENGTH) for _ in range(2))
    assert torch.equal(first.vertices, second.vertices)
