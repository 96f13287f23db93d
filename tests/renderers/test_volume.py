import pytest
import torch

from geneman.camera import Orbit, Rays, pixel_grid
from geneman.fields.networks import EncodingConfig, RadianceConfig, RadianceField
from geneman.mesh import Box
from geneman.renderers.occupancy import OccupancyGrid
from geneman.renderers.volume import Sampling, render

BOX = Box((-0.3, -0.3, -0.3), (0.3, 0.3, 0.3))


class Ball:
    """Opaque inside radius 0.2; its colour is its place."""

    def density(self, points):
        return 3000.0 * torch.sigmoid((0.2 - points.norm(dim=-1)) * 2000)

    def density_and_colour(self, points):
        return self.density(points), points + 0.5

    def normal(self, points, density):
        return torch.nn.functional.normalize(points, dim=-1)


def look(volume, rays, *, occupancy=None, step=0.002, **options):
    return render(volume, rays, occupancy or OccupancyGrid(BOX, 8), Sampling(step), **options)


@pytest.mark.parametrize("camera", [Orbit(), Orbit(azimuth_deg=120, elevation_deg=20)])
def test_a_ball_is_seen_where_geometry_says(camera):
    rays = camera.rays(pixel_grid(24).reshape(-1, 2))
    seen = look(Ball(), rays, normals=True)
    nearest = -(rays.origins * rays.directions).sum(dim=-1)
    miss = (rays.origins + nearest[:, None] * rays.directions).norm(dim=-1)
    hit = miss < 0.19
    assert (seen.opacity[hit] > 0.99).all()
    assert (seen.opacity[miss > 0.21] < 0.01).all()
    distance = (nearest - (0.04 - miss.square()).clamp_min(0).sqrt())[hit]
    torch.testing.assert_close(seen.depth[hit], distance, atol=3e-3, rtol=0)
    points = rays.origins[hit] + distance[:, None] * rays.directions[hit]
    torch.testing.assert_close(seen.colour[hit], points + 0.5, atol=6e-3, rtol=0)
    torch.testing.assert_close(seen.normal[hit], points / 0.2, atol=0.05, rtol=0)
    assert (seen.over(1.0)[miss > 0.21] > 0.99).all()


def test_rays_from_behind_see_the_far_side():
    rays = Orbit().rays(torch.zeros(1, 2))
    back = Rays(rays.origins + 6 * rays.directions, -rays.directions)
    assert look(Ball(), rays).colour[0, 1] < 0.35
    assert look(Ball(), back).colour[0, 1] > 0.65


def test_an_occupancy_grid_changes_the_work_and_not_the_picture():
    rays = Orbit().rays(pixel_grid(16).reshape(-1, 2))
    occupancy = OccupancyGrid(BOX, 16)
    full = look(Ball(), rays)
    assert occupancy.cells.all()
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        occupancy.update(Ball().density, step=0.002, threshold=0.01, generator=generator)
    assert 0.1 < occupancy.cells.float().mean() < 0.35
    torch.testing.assert_close(
        look(Ball(), rays, occupancy=occupancy).over(1.0), full.over(1.0), atol=0.02, rtol=0
    )


def test_a_cell_that_has_become_empty_is_forgotten():
    occupancy = OccupancyGrid(BOX, 4)
    options = {"step": 0.002, "threshold": 0.01, "generator": torch.Generator().manual_seed(0)}
    occupancy.update(lambda points: torch.full_like(points[:, 0], 20.0), **options)
    assert occupancy.cells.all()
    for _ in range(60):
        occupancy.update(lambda points: 20.0 * (points[:, 0] > 0), **options)
    assert not occupancy.cells[:2].any()
    assert occupancy.cells[2:].all()


def test_the_picture_has_a_gradient_to_every_weight_and_nothing_to_see_is_no_fault():
    config = RadianceConfig(encoding=EncodingConfig(levels=3, log2_table=8, base=4), width=8)
    field = RadianceField(config, BOX, torch.Generator().manual_seed(0))
    rays = Orbit().rays(pixel_grid(8).reshape(-1, 2))
    jitter = torch.rand(64, generator=torch.Generator().manual_seed(0))
    seen = look(field, rays, step=0.02, jitter=jitter, normals=True)
    probe = seen.over(1.0).sum() + seen.depth.sum() + seen.normal.square().sum()
    probe.backward()
    for name, weight in field.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name
    nothing = look(field, Rays(rays.origins, -rays.directions), normals=True)
    assert nothing.opacity.sum() == 0
    assert nothing.depth.sum() == 0
