import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geneman.kernels import antialias as module
from geneman.kernels.antialias import antialias, silhouette
from geneman.kernels.incidence import neighbours
from geneman.kernels.rasterise import rasterise


def disc(radius=0.6, centre=(0.03, -0.02), rings=20, corners=150, w=2.0):
    """A disc of many small triangles, in clip space."""
    angle = torch.arange(corners) * (2 * math.pi / corners)
    spokes = torch.stack([angle.cos(), angle.sin()], dim=1)
    points = torch.cat([spokes * (radius * (r + 1) / rings) for r in range(rings)])
    points = torch.cat([points, torch.zeros(1, 2)]) + torch.tensor(centre)
    here = torch.arange(corners)
    there = (here + 1) % corners
    faces = [torch.stack([here, there, torch.full_like(here, rings * corners)], dim=1)]
    for ring in range(1, rings):
        inner, outer = (ring - 1) * corners, ring * corners
        faces.append(torch.stack([inner + here, outer + here, outer + there], dim=1))
        faces.append(torch.stack([inner + here, outer + there, inner + there], dim=1))
    tail = torch.tensor([[0.0, w]]).expand(len(points), 2)
    return torch.cat([points * w, tail], dim=1), torch.cat(faces)


def cover(clip, faces, size):
    raster = rasterise(clip, faces, size)
    ones = (raster.triangle >= 0).float()[..., None]
    return antialias(ones, raster, clip, faces)[..., 0]


def exact_cover(size, radius=0.6, centre=(0.03, -0.02), fine=16):
    """The share of each pixel inside the disc, by many samples."""
    steps = (torch.arange(size * fine) + 0.5) * 2 / (size * fine) - 1
    y, x = torch.meshgrid(-steps, steps, indexing="ij")
    inside = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2).float()
    return inside.reshape(size, fine, size, fine).mean(dim=(1, 3))


@pytest.mark.parametrize("rings", [1, 20])
def test_a_discs_edge_has_the_shares_that_it_covers(rings):
    exact = exact_cover(64)
    shares = cover(*disc(rings=rings), 64)
    rim = (exact > 0) & (exact < 1)
    assert (shares - exact).abs()[rim].mean() < 0.05
    assert torch.equal(shares[~rim], exact[~rim])
    assert shares.sum().item() == pytest.approx(exact.sum().item(), rel=2e-3)


@pytest.mark.parametrize("rings", [1, 20])
def test_growing_a_disc_grows_its_area_by_its_rim(rings):
    size, radius = 64, 0.6
    clip, faces = disc(rings=rings)
    clip.requires_grad_()
    cover(clip, faces, size).sum().backward()
    outward = (clip.detach()[:, :2] / 2 - torch.tensor([0.03, -0.02])) / radius
    slope = (clip.grad[:, :2] * outward * 2).sum().item()
    # The area in pixels is pi r^2 (size / 2)^2; only the rim moves it.
    assert slope == pytest.approx(2 * math.pi * radius * (size / 2) ** 2, rel=0.05)
    moved = clip.grad.abs().sum(dim=1) > 0
    assert (outward.norm(dim=1)[moved] > 0.99).all()


def test_moving_a_disc_agrees_with_finite_differences():
    clip, faces = disc()
    weights = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(weights[None, None], 9, 1, 4)[0, 0]

    def judged(shift):
        moved = clip + torch.tensor([shift, 0.0, 0.0, 0.0])
        return (cover(moved, faces, 64) * smooth).sum()

    shift = torch.tensor(0.0, requires_grad=True)
    moved = clip + torch.stack([shift, *torch.zeros(3)])
    (cover(moved, faces, 64) * smooth).sum().backward()
    slope = (judged(0.02) - judged(-0.02)).item() / 0.04
    assert shift.grad.item() == pytest.approx(slope, rel=0.08, abs=0.3)


def test_the_gradient_to_w_is_that_of_perspective():
    # Moving away (w up) shrinks the disc about the frame's centre as 1 / w.
    clip, faces = disc(centre=(0.0, 0.0))
    clip.requires_grad_()
    cover(clip, faces, 64).sum().backward()
    scaled = (clip.grad[:, :2] * clip.detach()[:, :2]).sum()
    moved = (clip.grad[:, 3] * clip.detach()[:, 3]).sum()
    torch.testing.assert_close(moved, -scaled, rtol=1e-4, atol=1e-3)


def test_the_inside_of_a_smooth_surface_stays_as_it_is():
    clip, faces = disc()
    raster = rasterise(clip, faces, 64)
    image = torch.rand(64, 64, 3)
    whole = exact_cover(64) == 1
    inner = -torch.nn.functional.max_pool2d(-whole.float()[None, None], 3, 1, 1)[0, 0] == 1
    assert torch.equal(antialias(image, raster, clip, faces)[inner], image[inner])


def test_a_surface_before_another_has_soft_edges_too():
    small, faces = disc(radius=0.3, rings=4)
    large, _ = disc(radius=0.8, rings=4)
    large = large + torch.tensor([0.0, 0.0, 0.5, 0.0])
    clip, both = torch.cat([large, small]), torch.cat([faces, faces + len(large)])
    raster = rasterise(clip, both, 64)
    image = (raster.triangle >= len(faces)).float()[..., None]
    soft = antialias(image, raster, clip, both)[..., 0]
    exact = exact_cover(64, radius=0.3)
    assert (soft - exact).abs().mean() < 0.5 * (image[..., 0] - exact).abs().mean()


def test_gradients_reach_the_image():
    clip, faces = disc(corners=12, rings=1)
    raster = rasterise(clip, faces, 12)
    image = torch.rand(12, 12, 1, requires_grad=True)
    weights = torch.rand(12, 12, 1)
    (antialias(image, raster, clip, faces) * weights).sum().backward()
    slopes = torch.zeros(144)
    for pixel in range(144):  # blending is linear in the image
        unit = torch.nn.functional.one_hot(torch.tensor(pixel), 144).float().reshape(12, 12, 1)
        slopes[pixel] = (antialias(unit, raster, clip, faces) * weights).sum()
    torch.testing.assert_close(image.grad.reshape(-1), slopes)


def test_neighbours_of_two_triangles():
    faces = torch.tensor([[0, 1, 2], [3, 2, 1]])
    # Edge 0 of the first (vertices 1, 2) is edge 0 of the second; all others are borders.
    assert neighbours(faces).tolist() == [[3, -1, -1], [0, -1, -1]]


def test_an_edge_of_three_triangles_has_no_neighbours():
    faces = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    assert (neighbours(faces) == -1).all()


def test_nothing_has_no_silhouette():
    clip, faces = torch.zeros(0, 4), torch.zeros(0, 3, dtype=torch.int64)
    raster = rasterise(clip, faces, 8)
    assert len(silhouette(raster, clip, faces).near) == 0
    image = torch.rand(8, 8, 2)
    assert torch.equal(antialias(image, raster, clip, faces), image)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 40), spread=st.sampled_from([0.05, 1.0]))
def test_marking_edges_first_leaves_no_silhouette_out(seed, size, spread):
    # Heaps that touch, cross and lie behind the camera, beside walks from every pair of pixels.
    generator = torch.Generator().manual_seed(seed)
    clip = 2 * torch.rand(30, 4, generator=generator) - 1
    clip[:, 3] = 0.7 + spread * clip[:, 3]
    clip[::3, :2] = clip[:1, :2] + 0.1 * clip[::3, :2]
    faces = torch.randint(30, (40, 3), generator=generator)
    raster = rasterise(clip, faces, size)
    found = silhouette(raster, clip, faces)
    real = module.launch

    def marking_all(kernel, number, inputs, device, **options):
        if kernel is module._mark:
            inputs[-1].fill_(1)
        else:
            real(kernel, number, inputs, device, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "launch", marking_all)
        everywhere = silhouette(raster, clip, faces)
    assert torch.equal(found.near, everywhere.near)
    assert torch.equal(found.far, everywhere.far)
    assert torch.equal(found.edge, everywhere.edge)
