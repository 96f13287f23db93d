"""One thread and many give the same bits: no two indices of a launch write one cell."""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import pytest
import torch
import warp as wp
from torch import Tensor

from geneman import kernels
from geneman.camera import REFERENCE, pixel_grid
from geneman.fields.tetrahedra import Lattice, band_along, evaluate
from geneman.kernels.antialias import antialias
from geneman.kernels.compositing import accumulate, weigh
from geneman.kernels.hash_grid import HashLevels, encode, encode_beside
from geneman.kernels.incidence import incidence, neighbours
from geneman.kernels.launch import limited
from geneman.kernels.perceptron import perceptron
from geneman.kernels.rasterise import interpolate, rasterise
from geneman.kernels.ray_march import march
from geneman.kernels.scatter import gather, scatter_sum
from geneman.kernels.smoothness import agreement, smooth_normals, stand_off
from geneman.kernels.table_adam import Moments, Pace, TableGradients, update
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


def encoded() -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    levels = HashLevels.geometric(levels=6, base=8, growth=1.6, table_size=2**12)
    points = torch.rand(20_000, 3, generator=generator).requires_grad_()
    kept: list[Tensor] = []
    for dtype in (torch.float32, torch.bfloat16):
        table = torch.rand(levels.offsets[-1], 2, generator=generator).to(dtype).requires_grad_()
        features = encode(points, table, levels)
        kept += [features, *torch.autograd.grad(features.sin().sum(), [points, table])]
    return kept


def scattered() -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    index = torch.randint(900, (50_000,), generator=generator)
    values = torch.rand(50_000, 3, generator=generator).requires_grad_()
    summed = scatter_sum(values, index, 900)
    return [summed, *torch.autograd.grad(gather(summed, index).sin().sum(), [values])]


def learnt() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    levels = HashLevels.geometric(levels=3, base=16, growth=1.5, table_size=2**15)
    table = torch.rand(levels.offsets[-1], 2, generator=generator).requires_grad_()
    gradients, moments = TableGradients(table), replace(Moments.of(table), weights=table.detach())
    for step in range(3):
        points = torch.rand(4000, 3, generator=generator)
        encode_beside(points, table, levels, gradients).sin().sum().backward()
        if step == 1:
            gradients.clear()
        update(table, gradients, moments, Pace(1e-2, (0.9, 0.99), 1e-8))
    return [value.clone() for value in astuple(moments)]


def smoothed() -> list[Tensor]:
    mesh = figure_mesh(64)
    vertices = mesh.vertices.clone().requires_grad_()
    around = incidence(mesh.faces, len(vertices))
    normals = smooth_normals(vertices, around)
    rough = agreement(normals, around).sin().sum() + stand_off(vertices, around).sin().sum()
    gradient = torch.autograd.grad(rough, [vertices])
    return [around.starts, around.corners, neighbours(mesh.faces, around), normals, *gradient]


def answered() -> list[Tensor]:
    generator = torch.Generator().manual_seed(6)
    shapes = ((10_000, 24), (32, 24), (2, 32))
    given = [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]
    out = perceptron(*given)
    return [out, *torch.autograd.grad(out.sin().sum(), given)]


WORKS = [
    drawn,
    composited,
    extracted,
    textured,
    asked,
    encoded,
    scattered,
    learnt,
    smoothed,
    answered,
]
CUDA_ALONE = {
    "scatter._add_sorted",
    "rasterise_kernels.list_tiles",
    "hash_grid_kernels._forward",
    "hash_grid_kernels._backward_points",
    "hash_grid_kernels.backward_whole_numbers",
}


def name_of(kernel: wp.Kernel) -> str:
    return f"{kernel.module.name.rpartition('.')[2]}.{kernel.key}"


@functools.cache
def alone(work: Callable[[], list[Tensor]]) -> tuple[list[Tensor], frozenset[str]]:
    """Do the work on one thread; give what came of it, and which kernels took part."""
    launched, real = set(), wp.launch

    def noted(kernel: wp.Kernel, *args: Any, **kwargs: Any) -> Any:
        launched.add(name_of(kernel))
        return real(kernel, *args, **kwargs)

    with limited(1), pytest.MonkeyPatch.context() as patch:
        patch.setattr(wp, "launch", noted)
        return work(), frozenset(launched)


@pytest.mark.parametrize("work", WORKS)
def test_one_thread_and_many_give_the_same_bits(work: Callable[[], list[Tensor]]):
    for count in (2, 3, 7):
        with limited(count):
            together = work()
        for one, many in zip(alone(work)[0], together, strict=True):
            assert one.numel() > 0
            assert torch.equal(one, many)


def test_every_kernel_is_among_those_that_are_compared():
    names = [f"{kernels.__name__}.{m.name}" for m in pkgutil.iter_modules(kernels.__path__)]
    modules = [importlib.import_module(name) for name in names]
    every = {name_of(k) for m in modules for k in vars(m).values() if isinstance(k, wp.Kernel)}
    assert len(every) > 15
    assert every - CUDA_ALONE <= frozenset().union(*(alone(work)[1] for work in WORKS))


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
