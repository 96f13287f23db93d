"""One thread and many give the same bits: no two indices of a launch write one cell."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from geneman.camera import REFERENCE, pixel_grid
from geneman.fields.tetrahedra import Lattice, band_along, evaluate
from geneman.kernels.antialias import antialias
from geneman.kernels.compositing import accumulate, weigh
from geneman.kernels.launch import limited
from geneman.kernels.rasterise import interpolate, rasterise
from geneman.kernels.ray_march import march
from geneman.kernels.texture import footprints, read_texture
from geneman.kernels.visibility import cast, closest, hierarchy, signed_distance
from geneman.mesh import Mesh
from tests.synthetic import BOX, figure_mesh, figure_sdf

RAYS = REFERENCE.rays(pixel_grid(96).reshape(-1, 2))


def drawn() -> list[Tensor]:
    mesh = figure_mesh(96)
    vertices = mesh.vertices.clone().requires_grad_()
    clip = REFERENCE.clip_coordinates(vertices)
    raster = rasterise(clip, mesh.faces, 256)
    image = interpolate(vertices, mesh.faces, raster)
    soft = antialias(image, raster, clip, mesh.faces)
    return [raster.triangle, soft, *torch.autograd.grad(soft.sin().sum(), [vertices])]


def composited() -> list[Tensor]:
    cells = torch.rand(16, 16, 16, generator=torch.Generator().manual_seed(1)) > 0.5
    samples = march(RAYS, BOX, cells, step=0.01)
    density = (100 * samples.near.sin().abs()).requires_grad_()
    weights = weigh(density, samples)
    colours = accumulate(weights, torch.stack([samples.near, samples.far], dim=1), samples)
    gradient = torch.autograd.grad(colours.sin().sum(), [density])
    return [samples.near, samples.counts, colours, *gradient]


def extracted() -> list[Tensor]:
    band = band_along(figure_sdf, Lattice(BOX, 96))
    values = evaluate(figure_sdf, band.points).requires_grad_()
    mesh = band.surface(values)
    return [mesh.faces, mesh.vertices, *torch.autograd.grad(mesh.vertices.sin().sum(), [values])]


def textured() -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    prints = footprints(
        torch.rand(20_000, 2, generator=generator),
        3 * torch.rand(20_000, generator=generator),
        size=64,
    )
    texture = torch.rand(64, 64, 3, generator=generator).requires_grad_()
    values = read_texture(texture, prints)
    return [values, *torch.autograd.grad(values.sin().sum(), [texture])]


def asked() -> list[Tensor]:
    tree = hierarchy(figure_mesh(48))
    near = closest(RAYS.origins + 2.9 * RAYS.directions, tree)
    inside = signed_distance(RAYS.origins + 3.0 * RAYS.directions, tree)
    return [near.distance, near.face, inside, *cast(RAYS, tree)]


@pytest.mark.parametrize("work", [drawn, composited, extracted, textured, asked])
def test_one_thread_and_many_give_the_same_bits(work: Callable[[], list[Tensor]]):
    with limited(1):
        alone = work()
    for count in (2, 3, 7):
        with limited(count):
            together = work()
        for one, many in zip(alone, together, strict=True):
            assert one.numel() > 0
            assert torch.equal(one, many)


def test_the_limit_holds_only_inside():
    from geneman.kernels import launch

    before = launch._threads()[0]
    with limited(5):
        assert launch._threads()[0] == 5
    assert launch._threads()[0] == before


@pytest.mark.parametrize("count", [0, 1])
def test_a_mesh_of_no_triangle_or_one_is_drawn(count):
    vertices = torch.tensor([[-0.2, 0.0, -0.2], [0.2, 0.0, -0.2], [0.0, 0.0, 0.2]])
    mesh = Mesh(vertices.requires_grad_(), torch.tensor([[0, 1, 2]])[:count])
    clip = REFERENCE.clip_coordinates(mesh.vertices)
    raster = rasterise(clip, mesh.faces, 64)
    soft = antialias(interpolate(mesh.vertices, mesh.faces, raster), raster, clip, mesh.faces)
    (slope,) = torch.autograd.grad(soft.sum(), [vertices])
    assert (len(raster.pixels) > 0) == (count == 1)
    assert (slope != 0).any() == (count == 1)


@pytest.mark.slow
def test_five_million_triangles_are_drawn_as_the_plane_that_they_are():
    side = 1582
    grid = torch.linspace(-0.45, 0.45, side)
    x, z = torch.meshgrid(grid, grid, indexing="ij")
    vertices = torch.stack([x, 0.3 * x, z], dim=-1).reshape(-1, 3)
    number = torch.arange(side * side).reshape(side, side)
    a, b, c, d = (
        part.reshape(-1)
        for part in (number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:])
    )
    faces = torch.cat([torch.stack([a, b, c], dim=1), torch.stack([a, c, d], dim=1)])
    assert len(faces) == 2 * 1581**2  # nearly five million
    clip = REFERENCE.clip_coordinates(vertices)
    raster = rasterise(clip, faces, 256)
    assert raster.triangle.max() > 4_000_000
    seen = interpolate(vertices, faces, raster).reshape(-1, 3)[raster.pixels]
    corner = torch.tensor([[-0.45, -0.135, -0.45], [0.45, 0.135, -0.45]])
    ends = torch.stack([corner[0], corner[1], corner[1] + torch.tensor([0, 0, 0.9])])
    last = corner[0] + torch.tensor([0, 0, 0.9])
    plain = Mesh(torch.cat([ends, last[None]]), torch.tensor([[0, 1, 2], [0, 2, 3]]))
    whole = rasterise(REFERENCE.clip_coordinates(plain.vertices), plain.faces, 256)
    assert torch.equal(whole.pixels, raster.pixels)
    want = interpolate(plain.vertices, plain.faces, whole).reshape(-1, 3)[whole.pixels]
    torch.testing.assert_close(seen, want, rtol=0, atol=2e-6)
