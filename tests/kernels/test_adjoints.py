"""Gradients against what they must be.

Every kernel computes in float32, so torch's `gradcheck`, which wants float64, runs on the slow
definitions that the kernels are compared with elsewhere. Here the kernels themselves: where an
operation is linear, its adjoint is the one that gives <A x, y> = <x, A* y> for all x and y; where
it is not, slopes along random directions equal differences.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geneman.kernels.antialias import antialias
from geneman.kernels.compositing import accumulate, weigh
from geneman.kernels.hash_grid import HashLevels, encode
from geneman.kernels.marching_tets import zero_points
from geneman.kernels.rasterise import interpolate, rasterise
from geneman.kernels.ray_march import Samples
from geneman.kernels.scatter import gather, scatter_sum
from geneman.kernels.texture import footprints, read_texture
from tests.oracles import hash_grid as hash_grid_oracle
from tests.oracles import volume as volume_oracle

SEEDS = st.integers(0, 2**32 - 1)
property_test = settings(max_examples=10, deadline=None)
LEVELS = HashLevels.geometric(levels=4, base=3, growth=1.7, table_size=256)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def random_samples(seed, rays=6, most=5):
    generator = seeded(seed)
    counts = torch.randint(0, most + 1, (rays,), generator=generator, dtype=torch.int32)
    owners = torch.repeat_interleave(torch.arange(rays), counts)
    near = 0.1 * torch.arange(len(owners))
    far = near + 0.1 * (0.1 + torch.rand(len(owners), generator=generator))
    density = 0.5 + 10 * torch.rand(len(owners), generator=generator)
    return Samples((counts.cumsum(0) - counts).int(), counts, owners, near, far), density


def drawn(seed):
    clip = torch.rand(24, 4, generator=seeded(seed)) * 2 - 1
    clip[:, 3] = clip[:, 3] * 0.5 + 1.5
    faces = torch.arange(24).reshape(-1, 3)
    return clip, faces, rasterise(clip, faces, 20)


def encoding(seed):
    points = torch.rand(40, 3, generator=seeded(seed))
    return (LEVELS.offsets[-1], 2), lambda table: encode(points, table, LEVELS)


def accumulating_values(seed):
    samples, density = random_samples(seed)
    weights = weigh(density, samples)
    return (len(weights), 3), lambda values: accumulate(weights, values, samples)


def accumulating_weights(seed):
    samples, density = random_samples(seed)
    values = torch.randn(len(density), 3, generator=seeded(seed))
    return (len(density),), lambda weights: accumulate(weights, values, samples)


def interpolating(seed):
    _, faces, raster = drawn(seed)
    return (24, 2), lambda attributes: interpolate(attributes, faces, raster)


def antialiasing(seed):
    clip, faces, raster = drawn(seed)
    return (20, 20, 2), lambda image: antialias(image, raster, clip, faces)


def reading(seed):
    uv = torch.rand(50, 2, generator=seeded(seed))
    prints = footprints(uv, 4 * uv[:, 0], size=16)
    return (16, 16, 2), lambda texture: read_texture(texture, prints)


def scattering(seed):
    index = torch.randint(7, (50,), generator=seeded(seed))
    return (50, 2), lambda values: scatter_sum(values, index, 7)


def gathering(seed):
    index = torch.randint(7, (50,), generator=seeded(seed))
    return (7, 2), lambda values: gather(values, index)


LINEAR = [
    encoding,
    accumulating_values,
    accumulating_weights,
    interpolating,
    antialiasing,
    reading,
    scattering,
    gathering,
]


@pytest.mark.parametrize("made", LINEAR)
@property_test
@given(seed=SEEDS)
def test_the_adjoint_of_a_linear_operation_is_its_transpose(made, seed):
    shape, operation = made(seed)
    x = torch.randn(shape, generator=seeded(seed)).requires_grad_()
    out = operation(x)
    y = torch.randn(out.shape, generator=seeded(seed + 1))
    (transposed,) = torch.autograd.grad((out * y).sum(), [x])
    there = (out.detach().double() * y.double()).sum()
    back = (x.detach().double() * transposed.double()).sum()
    scale = (out.detach().double() * y.double()).abs().sum()
    torch.testing.assert_close(there, back, rtol=0, atol=float(1e-5 * scale + 1e-9))


def density_weights(seed):
    samples, density = random_samples(seed)
    return density, lambda value: weigh(value, samples)


def crossings(seed):
    generator = seeded(seed)
    values = 0.3 + torch.rand(20, generator=generator)
    values[10:] = -values[10:]
    ends = torch.stack([torch.arange(10), 10 + torch.randperm(10, generator=generator)], dim=1)
    points = torch.randn(20, 3, generator=generator)
    return values, lambda value: zero_points(points, value, ends)


def looked_up_points(seed):
    generator = seeded(seed)
    levels = HashLevels.geometric(levels=2, base=3, growth=2.0, table_size=256)
    # Off the creases between cells: a sixth of the cube is the finest cell.
    cells = torch.randint(6, (30, 3), generator=generator)
    points = (cells + 0.2 + 0.6 * torch.rand(30, 3, generator=generator)) / 6
    table = torch.randn(levels.offsets[-1], 2, generator=generator)
    return points, lambda value: encode(value, table, levels)


def blended_corners(seed):
    # One triangle over the whole picture, so that no pixel sees another when its corners move.
    generator = seeded(seed)
    corners = torch.tensor([[-4.0, -4, 0, 1], [4, -4, 0, 1], [0, 8, 0, 1]])
    clip = corners * (0.7 + 0.6 * torch.rand(3, 1, generator=generator))
    faces = torch.tensor([[0, 1, 2]])
    attributes = torch.randn(3, 2, generator=generator)
    return clip, lambda value: interpolate(attributes, faces, rasterise(value, faces, 12))


CURVED = [
    (density_weights, 1e-2),
    (crossings, 1e-3),
    (looked_up_points, 2e-3),
    (blended_corners, 5e-3),
]


@pytest.mark.parametrize(("made", "step"), CURVED)
@property_test
@given(seed=SEEDS)
def test_slopes_equal_differences(made, step, seed):
    x, operation = made(seed)
    if x.numel() == 0:
        return
    x.requires_grad_()
    out = operation(x)
    probe = torch.randn(out.shape, generator=seeded(seed + 1))
    way = torch.rand(x.shape, generator=seeded(seed + 2)) * 2 - 1
    (slope,) = torch.autograd.grad((out * probe).sum(), [x])
    with torch.no_grad():
        ahead, behind = operation(x + step * way), operation(x - step * way)
    difference = ((ahead - behind).double() * probe.double()).sum() / (2 * step)
    scale = (slope * way).abs().sum()
    torch.testing.assert_close(
        (slope.double() * way.double()).sum(), difference, rtol=0, atol=float(5e-3 * scale + 1e-3)
    )


def test_the_definitions_that_kernels_are_compared_with_pass_gradcheck():
    generator = seeded(0)
    samples, density = random_samples(3)
    near, far = samples.near.double(), samples.far.double()
    values = torch.randn(len(density), 2, generator=generator, dtype=torch.float64)

    def composited(density, values):
        parts = volume_oracle.composite(density, values, near, far, samples.rays, 6)
        return torch.cat([part.reshape(-1) for part in parts])

    given = (density.double().requires_grad_(), values.requires_grad_())
    assert torch.autograd.gradcheck(composited, given)
    levels = HashLevels.geometric(levels=2, base=2, growth=2.0, table_size=64)
    points = torch.rand(4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    table = torch.randn(levels.offsets[-1], 2, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda p, t: hash_grid_oracle.encode(p, t, levels, 2), (points, table.requires_grad_())
    )
