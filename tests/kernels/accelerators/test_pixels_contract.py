import math

import numpy as np
import pytest
import torch

from geneman.camera import Orbit, pixel_grid
from geneman.errors import OptionError
from geneman.kernels.accelerators import nvdiffrast as owner
from geneman.kernels.texture import footprints
from tests.kernels.test_antialias import disc, exact_cover
from tests.kernels.test_rasterise import soup
from tests.oracles import rasterise as oracle
from tests.oracles.texture import read_one_sample_at_a_time

INSIDE = 0.05
"""Weights from which on a pixel is away from edges: nvdiffrast rounds vertices to 1/16 pixel."""


@pytest.mark.parametrize("behind", [False, True])
def test_rasterising_equals_its_definition(pixels, behind):
    clip, faces = soup(1, behind=behind)
    raster = pixels.rasterise(clip, faces, 37)
    triangle, weights, depth = oracle.rasterise(clip.double().numpy(), faces.numpy(), 37)
    same = raster.triangle.numpy() == triangle
    assert same.mean() > 0.98
    assert (triangle >= 0).mean() > 0.1
    rest = 1 - weights.sum(axis=-1)
    away = same & (weights.min(axis=-1) > INSIDE) & (rest > INSIDE) & (triangle >= 0)
    assert away.mean() > 0.1
    np.testing.assert_allclose(raster.barycentric.numpy()[away], weights[away], atol=1e-3)
    np.testing.assert_allclose(raster.depth.numpy()[away], depth[away], atol=1e-3)


def test_what_no_triangle_covers_is_told_as_such(pixels):
    clip, faces = soup(1)
    raster = pixels.rasterise(clip, faces, 37)
    empty = raster.triangle < 0
    assert 0.1 < empty.float().mean() < 0.9
    assert (raster.triangle[empty] == -1).all()
    assert (raster.depth[empty] == 1).all()
    assert (raster.barycentric[empty] == 0).all()
    assert raster.pixels.tolist() == (~empty).flatten().nonzero()[:, 0].tolist()


def test_a_dot_around_a_pixels_centre_is_seen_by_that_pixel_alone(pixels):
    at = pixel_grid(8)[2, 5]
    offsets = torch.tensor([[-0.1, -0.1], [0.1, -0.1], [0.0, 0.1]])
    clip = torch.cat([at + offsets, torch.zeros(3, 1), torch.ones(3, 1)], dim=1)
    raster = pixels.rasterise(clip, torch.tensor([[0, 1, 2]]), 8)
    assert raster.pixels.tolist() == [2 * 8 + 5]


def test_blending_is_perspective_correct(pixels):
    orbit = Orbit(azimuth_deg=30, elevation_deg=10)
    points = torch.tensor([[-0.4, 0.3, -0.4], [0.5, -0.4, -0.3], [0.0, 0.2, 0.5]])
    faces = torch.tensor([[0, 1, 2]])
    raster = pixels.rasterise(orbit.clip_coordinates(points), faces, 48)
    seen = pixels.interpolate(points, faces, raster).reshape(-1, 3)[raster.pixels]
    expected = pixel_grid(48).reshape(-1, 2)[raster.pixels]
    assert len(expected) > 150
    off = (orbit.project(seen)[:, :2] - expected).abs().amax(dim=1)
    assert (off < 1e-4).float().mean() > 0.9  # those at edges may lie a 1/16 pixel outside
    assert off.max() < 2 / 48 / 8


def test_the_far_side_is_the_farthest(pixels):
    layers = torch.tensor([[-1.0, y, z] for y in (0.2, -0.2, 0.0) for z in (-1.0, 2.0)])
    points = torch.cat([layers, layers[::2] * torch.tensor([-2.0, 1, 1])])
    faces = torch.tensor([[0, 1, 6], [2, 3, 7], [4, 5, 8]])
    near = pixels.rasterise(Orbit().clip_coordinates(points), faces, 16)
    far = pixels.rasterise(Orbit().clip_coordinates(points, far_side=True), faces, 16)
    assert near.triangle[8, 8] == 1
    assert far.triangle[8, 8] == 0


@pytest.mark.parametrize(
    "corners",
    [
        [[0.0, 0, 0, 1]] * 3,
        [[-9.0, -9, 0, -1], [9, -9, 0, -1], [0, 18, 0, -1]],
        [[-9.0, -9, 0, 1], [9, -9, 0, 1], [0, float("nan"), 0, 1]],
        [[-9.0, -9, 0, 1], [float("inf"), -9, 0, 1], [0, 18, 0, 1]],
        [[-9.0, -9, 2, 1], [9, -9, 2, 1], [0, 18, 2, 1]],
    ],
    ids=["point", "behind the camera", "not a number", "infinite", "past the far plane"],
)
def test_covers_nothing(pixels, corners):
    raster = pixels.rasterise(torch.tensor(corners), torch.tensor([[0, 1, 2]]), 15)
    assert len(raster.pixels) == 0


def test_a_broken_triangle_leaves_the_others_alone(pixels):
    whole = [[-9.0, -9, 0, 1], [9, -9, 0, 1], [0, 18, 0, 1]]
    clip = torch.tensor([*whole, [0.0, 0, 0, float("nan")]])
    raster = pixels.rasterise(clip, torch.tensor([[0, 1, 3], [0, 1, 2]]), 8)
    assert (raster.triangle == 1).all()


def test_no_triangles_give_nothing(pixels):
    clip, faces = torch.zeros(0, 4), torch.zeros(0, 3, dtype=torch.int32)
    raster = pixels.rasterise(clip, faces, 8)
    assert (raster.triangle == -1).all()
    assert (raster.depth == 1).all()
    assert (pixels.interpolate(torch.zeros(0, 3), faces, raster) == 0).all()
    image = torch.rand(8, 8, 2)
    assert torch.equal(pixels.antialias(image, raster, clip, faces), image)


def test_attributes_may_have_faces_of_their_own(pixels):
    clip = torch.tensor([[-9.0, -9, 0, 1], [9, -9, 0, 1], [0, 18, 0, 1]])
    raster = pixels.rasterise(clip, torch.tensor([[0, 1, 2]]), 8)
    uv = torch.tensor([[0.0, 0], [1, 0], [0, 1], [5, 5]])
    plain = pixels.interpolate(uv[[3, 1, 0]], torch.tensor([[0, 1, 2]]), raster)
    split = pixels.interpolate(uv, torch.tensor([[3, 1, 0]]), raster)
    torch.testing.assert_close(plain, split)
    assert plain.min() >= 0


def test_gradients_of_corners_and_attributes_equal_finite_differences(pixels):
    clip, faces = soup(3, triangles=4)
    attributes = torch.rand(12, 2, generator=torch.Generator().manual_seed(1))
    clip.requires_grad_()
    attributes.requires_grad_()
    raster = pixels.rasterise(clip, faces, 24)
    probe = torch.rand(24, 24, 2, generator=torch.Generator().manual_seed(2))
    (pixels.interpolate(attributes, faces, raster) * probe).sum().backward()
    seen = raster.triangle.flatten()[raster.pixels].tolist()
    weights = probe.reshape(-1, 2)[raster.pixels].double().numpy()
    xy = pixel_grid(24).reshape(-1, 2)[raster.pixels].double().numpy()

    def blend(corners, values):
        total = 0.0
        for (x, y), face, weight in zip(xy, seen, weights, strict=True):
            chosen = faces[face].long().numpy()
            b, _ = oracle.barycentrics(corners[chosen], x, y)
            total += (b @ values[chosen]) @ weight
        return total

    corners, values = clip.detach().double().numpy(), attributes.detach().double().numpy()
    for index in [(0, 0), (1, 1), (2, 3), (7, 3), (10, 1)]:
        step = np.zeros_like(corners)
        step[index] = 1e-6
        slope = (blend(corners + step, values) - blend(corners - step, values)) / 2e-6
        assert clip.grad[index].item() == pytest.approx(slope, rel=5e-2, abs=5e-2), index
    for index in [(0, 0), (5, 1), (9, 0)]:
        step = np.zeros_like(values)
        step[index] = 1e-3
        slope = (blend(corners, values + step) - blend(corners, values - step)) / 2e-3
        assert attributes.grad[index].item() == pytest.approx(slope, rel=1e-2, abs=1e-2), index


def cover(pixels, clip, faces, size):
    raster = pixels.rasterise(clip, faces, size)
    ones = (raster.triangle >= 0).float()[..., None]
    return pixels.antialias(ones, raster, clip, faces)[..., 0]


def test_a_coarse_discs_edge_has_the_shares_that_it_covers(pixels):
    exact = exact_cover(24)
    shares = cover(pixels, *disc(rings=1, corners=40), 24)
    rim = (exact > 0) & (exact < 1)
    assert (shares - exact).abs()[rim].mean() < 0.06
    assert shares.sum().item() == pytest.approx(exact.sum().item(), rel=0.02)


def test_growing_a_coarse_disc_grows_its_area_by_its_rim(pixels):
    # Sides of 6 pixels: of shorter ones nvdiffrast misses too many.
    clip, faces = disc(rings=1, corners=12)
    clip.requires_grad_()
    cover(pixels, clip, faces, 40).sum().backward()
    outward = (clip.detach()[:, :2] / 2 - torch.tensor([0.03, -0.02])) / 0.6
    slope = (clip.grad[:, :2] * outward * 2).sum().item()
    # A polygon of n corners has the area n / 2 sin(2 pi / n) r^2.
    assert slope == pytest.approx(12 * math.sin(math.pi / 6) * 0.6 * 20**2, rel=0.1)


def test_a_surface_before_another_has_soft_edges_too(pixels):
    small, faces = disc(radius=0.35, rings=1, corners=12)
    large, _ = disc(radius=0.9, rings=1, corners=12)
    clip = torch.cat([large + torch.tensor([0.0, 0.0, 0.5, 0.0]), small])
    both = torch.cat([faces, faces + len(large)])
    raster = pixels.rasterise(clip, both, 24)
    image = (raster.triangle >= len(faces)).float()[..., None]
    soft = pixels.antialias(image, raster, clip, both)[..., 0]
    exact = exact_cover(24, radius=0.35)
    assert (soft - exact).abs().mean() < 0.7 * (image[..., 0] - exact).abs().mean()


def test_antialiasing_is_named_only_because_small_triangles_lose_silhouettes(stand_ins):
    from geneman.kernels.antialias import antialias
    from geneman.kernels.rasterise import rasterise

    clip, faces = disc(rings=12, corners=150)
    exact, raster = exact_cover(32), rasterise(clip, faces, 32)
    ones = (raster.triangle >= 0).float()[..., None]
    rim = (exact > 0) & (exact < 1)
    ours, theirs = (f(ones, raster, clip, faces)[..., 0] for f in (antialias, owner.antialias))
    errors = [(found - exact).abs()[rim].mean().item() for found in (ours, theirs)]
    assert errors[0] < 0.06
    assert errors[1] > 2 * errors[0]


def samples(count):
    generator = torch.Generator().manual_seed(0)
    uv = torch.rand(count, 2, generator=generator) * 1.2 - 0.1  # some beyond the border
    return uv, torch.rand(count, generator=generator) * 6 - 1


@pytest.mark.parametrize("size", [1, 12, 16])
def test_reading_a_texture_and_its_adjoint_equal_the_definition(pixels, size):
    uv, level = samples(60)
    generator = torch.Generator().manual_seed(3)
    texture = torch.rand(size, size, 3, generator=generator).requires_grad_()
    probe = torch.rand(60, 3, generator=generator)
    values = pixels.read_texture(texture, footprints(uv, level, size=size))
    expected = read_one_sample_at_a_time(texture, uv, level)
    torch.testing.assert_close(values, expected, rtol=1e-3, atol=1e-3)
    got, want = (torch.autograd.grad((v * probe).sum(), texture)[0] for v in (values, expected))
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


def test_row_0_of_a_texture_is_at_the_top(pixels):
    texture = torch.arange(16.0).reshape(4, 4, 1)
    uv = torch.tensor([[0.125, 0.875], [0.875, 0.125]])
    values = pixels.read_texture(texture, footprints(uv, torch.zeros(2), size=4))
    assert values.flatten().tolist() == [0.0, 15.0]


def test_footprints_of_another_size_are_refused(pixels):
    prints = footprints(torch.rand(3, 2), torch.zeros(3), size=8)
    with pytest.raises(ValueError, match="Footprints of size 8 cannot read 16 texels"):
        pixels.read_texture(torch.rand(16, 16, 3), prints)


def test_more_triangles_than_a_float_can_number_are_refused(stand_ins, monkeypatch):
    monkeypatch.setattr(owner, "MOST_TRIANGLES", 3)
    clip, faces = soup(0, triangles=4)
    with pytest.raises(OptionError, match="needs at most 3 triangles, but got 4"):
        owner.rasterise(clip, faces, 8)
