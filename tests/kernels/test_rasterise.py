import numpy as np
import pytest
import torch

from geneman.camera import Orbit, pixel_grid
from geneman.kernels import rasterise as kernel
from geneman.kernels.rasterise import corner_weights, interpolate, rasterise
from tests.oracles import rasterise as oracle

NO_FACES = torch.zeros(0, 3, dtype=torch.int32)


def soup(seed, triangles=12, behind=False):
    """Random triangles in front of the camera, or through its plane."""
    generator = torch.Generator().manual_seed(seed)
    clip = torch.rand(triangles * 3, 4, generator=generator) * 2 - 1
    clip[:, 3] = clip[:, 3] * 1.5 if behind else clip[:, 3] * 0.5 + 1.5
    return clip, torch.arange(triangles * 3, dtype=torch.int32).reshape(-1, 3)


def full_screen(z=0.0):
    """One triangle that covers every pixel."""
    return torch.tensor([[-9.0, -9, z, 1], [9, -9, z, 1], [0, 18, z, 1]])


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_equals_its_definition(seed, behind):
    clip, faces = soup(seed, behind=behind)
    raster = rasterise(clip, faces, 37)
    triangle, weights, depth = oracle.rasterise(clip.double().numpy(), faces.numpy(), 37)
    same = raster.triangle.numpy() == triangle
    assert same.mean() > 0.995  # pixels on an edge may fall to either side
    assert (triangle >= 0).mean() > 0.1
    np.testing.assert_allclose(raster.barycentric.numpy()[same], weights[same], atol=2e-4)
    np.testing.assert_allclose(raster.depth.numpy()[same], depth[same], atol=2e-4)


def test_the_pixel_convention_is_the_cameras():
    # A dot just around one pixel's centre is seen by that pixel alone.
    at = pixel_grid(8)[2, 5]
    offsets = torch.tensor([[-0.01, -0.01], [0.01, -0.01], [0.0, 0.01]])
    clip = torch.cat([at + offsets, torch.zeros(3, 1), torch.ones(3, 1)], dim=1)
    raster = rasterise(clip, torch.tensor([[0, 1, 2]]), 8)
    assert raster.pixels.tolist() == [2 * 8 + 5]


def test_barycentrics_give_back_the_point_under_the_pixel():
    orbit = Orbit(azimuth_deg=30, elevation_deg=10)
    points = torch.tensor([[-0.4, 0.3, -0.4], [0.5, -0.4, -0.3], [0.0, 0.2, 0.5]])
    faces = torch.tensor([[0, 1, 2]])
    raster = rasterise(orbit.clip_coordinates(points), faces, 64)
    seen = interpolate(points, faces, raster).reshape(-1, 3)[raster.pixels]
    expected = pixel_grid(64).reshape(-1, 2)[raster.pixels]
    assert len(expected) > 300
    torch.testing.assert_close(orbit.project(seen)[:, :2], expected, atol=1e-5, rtol=0)


def test_nearest_wins_and_the_far_side_is_the_farthest():
    layers = torch.tensor([[-1.0, y, z] for y in (0.2, -0.2, 0.0) for z in (-1.0, 2.0)])
    points = torch.cat([layers, layers[::2] * torch.tensor([-2.0, 1, 1])])
    faces = torch.tensor([[0, 1, 6], [2, 3, 7], [4, 5, 8]])
    camera = Orbit()
    near = rasterise(camera.clip_coordinates(points), faces, 32)
    far = rasterise(camera.clip_coordinates(points, far_side=True), faces, 32)
    assert near.triangle[16, 16] == 1
    assert far.triangle[16, 16] == 0


def test_a_shared_edge_leaves_no_gap():
    generator = torch.Generator().manual_seed(0)
    steps = torch.linspace(-1.2, 1.2, 40)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    grid = grid + (torch.rand(grid.shape, generator=generator) - 0.5) * 0.02
    clip = torch.cat([grid, torch.zeros(len(grid), 1), torch.ones(len(grid), 1)], dim=1)
    corner = (torch.arange(39)[:, None] * 40 + torch.arange(39)).reshape(-1)
    faces = torch.cat(
        [
            torch.stack([corner, corner + 1, corner + 41], 1),
            torch.stack([corner, corner + 41, corner + 40], 1),
        ]
    )
    assert (rasterise(clip, faces, 200).triangle >= 0).all()


def test_no_triangles_cover_nothing():
    raster = rasterise(torch.zeros(0, 4), NO_FACES, 16)
    assert (raster.triangle == -1).all()
    assert (raster.depth == 1).all()
    assert (interpolate(torch.zeros(0, 3), NO_FACES, raster) == 0).all()


@pytest.mark.parametrize(
    "corners",
    [
        [[0.0, 0, 0, 1]] * 3,
        [[-1.0, -1, 0, 1], [0, 0, 0, 1], [1, 1, 0, 1]],
        [[-9.0, -9, 0, -1], [9, -9, 0, -1], [0, 18, 0, -1]],
        [[-9.0, -9, 0, 1], [9, -9, 0, 1], [0, float("nan"), 0, 1]],
        [[-9.0, -9, 2, 1], [9, -9, 2, 1], [0, 18, 2, 1]],
    ],
    ids=["point", "line", "behind the camera", "not a number", "past the far plane"],
)
def test_covers_nothing(corners):
    assert len(rasterise(torch.tensor(corners), torch.tensor([[0, 1, 2]]), 15).pixels) == 0


def test_of_two_equal_triangles_the_first_is_seen():
    clip = torch.cat([full_screen(), full_screen()])
    raster = rasterise(clip, torch.tensor([[0, 1, 2], [3, 4, 5]]), 8)
    assert (raster.triangle == 0).all()


@pytest.mark.parametrize(("tile", "block"), [(16, 1), (8, 4), (64, 64)])
def test_tiles_and_blocks_change_nothing(monkeypatch, tile, block):
    clip, faces = soup(7, triangles=40)
    expected = rasterise(clip, faces, 70)
    monkeypatch.setitem(kernel.TILE, "cpu", tile)
    monkeypatch.setitem(kernel.BLOCK, "cpu", block)
    raster = rasterise(clip, faces, 70)
    assert torch.equal(raster.triangle, expected.triangle)
    assert torch.equal(raster.barycentric, expected.barycentric)


def test_moving_corners_moves_the_interpolated_image_as_the_gradient_says():
    clip, faces = soup(3, triangles=4)
    attributes = torch.rand(12, 2, generator=torch.Generator().manual_seed(1))
    clip.requires_grad_()
    attributes.requires_grad_()
    raster = rasterise(clip, faces, 24)
    seen = raster.triangle.reshape(-1)[raster.pixels].long()
    weights = torch.rand(len(raster.pixels), 2, generator=torch.Generator().manual_seed(2))
    image = interpolate(attributes, faces, raster)
    (image.reshape(-1, 2)[raster.pixels] * weights).sum().backward()

    # The same blend by the definition, whose visible triangles are kept while corners move.
    def blend(corners, values):
        total = 0.0
        xy = pixel_grid(24).reshape(-1, 2)[raster.pixels].double().numpy()
        for (x, y), face, weight in zip(xy, seen.tolist(), weights.double().numpy(), strict=True):
            chosen = faces[face].long().numpy()
            b, _ = oracle.barycentrics(corners[chosen], x, y)
            total += (b @ values[chosen]) @ weight
        return total

    corners, values = clip.detach().double().numpy(), attributes.detach().double().numpy()
    for index in [(0, 0), (1, 1), (2, 3), (4, 0), (7, 3), (10, 1), (11, 2)]:
        step = np.zeros_like(corners)
        step[index] = 1e-6
        slope = (blend(corners + step, values) - blend(corners - step, values)) / 2e-6
        assert clip.grad[index].item() == pytest.approx(slope, rel=2e-3, abs=2e-3), index
    for index in [(0, 0), (5, 1), (9, 0)]:
        step = np.zeros_like(values)
        step[index] = 1e-3
        slope = (blend(corners, values + step) - blend(corners, values - step)) / 2e-3
        assert attributes.grad[index].item() == pytest.approx(slope, rel=1e-3, abs=1e-3), index


def test_corner_weights_add_up_to_one():
    raster = rasterise(*soup(5), 32)
    weights = corner_weights(raster)
    assert (weights >= -1e-5).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(raster.pixels)))


def test_attributes_may_have_faces_of_their_own():
    raster = rasterise(full_screen(), torch.tensor([[0, 1, 2]]), 8)
    uv = torch.tensor([[0.0, 0], [1, 0], [0, 1], [5, 5]])
    plain = interpolate(uv[[3, 1, 0]], torch.tensor([[0, 1, 2]]), raster)
    split = interpolate(uv, torch.tensor([[3, 1, 0]]), raster)
    assert torch.equal(plain, split)
