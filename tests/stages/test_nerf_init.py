import dataclasses

import pytest
import torch

from geneman.camera import Orbit, pixel_grid
from geneman.fields.networks import EncodingConfig, RadianceConfig, interpolate
from geneman.mesh import Box
from geneman.priors.bundle import Priors, Surfaces
from geneman.progress import (
    Cancelled,
    ImagePreview,
    MeshPreview,
    StageStarted,
    StepDone,
    silent,
)
from geneman.renderers.occupancy import OccupancyGrid
from geneman.renderers.volume import Sampling, render
from geneman.schedule import Constant, Ramp
from geneman.stages.nerf_init import NerfInitConfig, draw_camera, run
from geneman.stages.nerf_init.targets import SURFACE_DENSITY, Targets, shape_grid
from geneman.stages.nerf_init.terms import aligned_error, decorrelation, half_transparent, roughness
from geneman.training.checkpoints import FileCheckpoints, NoCheckpoints
from tests.synthetic import BOX, figure_sdf, figure_view

CPU = torch.device("cpu")
QUICK = NerfInitConfig(
    steps=40,
    learning_rate=0.02,
    field=RadianceConfig(
        encoding=EncodingConfig(levels=6, log2_table=12, base=8, growth=1.5), width=16
    ),
    resolution=Constant(64),
    open_levels=Ramp(4, 6, 0, 20),
    rays_per_step=512,
    start_from_surfaces=True,
    ray_step=0.01,
    occupancy_resolution=16,
    reference_every=2,
    preview_every=20,
    preview_size=32,
)


class KnownShape:
    """Gives the true surfaces."""

    name = "truth"

    def surfaces(self, colour, mask, landmarks, framing, *, normal=None, depth=None):
        view = figure_view(64)
        return Surfaces(view.normal, view.depth, view.hidden)


class Greenish:
    """A prior that believes everybody to be green; keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def condition(self, view):
        return self

    def __call__(self, images, orbits, *, noise, generator):
        self.asked.append((images.shape, orbits[0], noise))
        return 1e4 * (images - torch.tensor([0.0, 1, 0])).square().mean()


def fit(config=QUICK, *, priors=None, report=silent, checkpoints=None, seed=0):
    return run(
        figure_view(64),
        priors=priors or Priors(shape=KnownShape()),
        config=config,
        report=report,
        generator=torch.Generator().manual_seed(seed),
        checkpoints=checkpoints or NoCheckpoints(),
        device=CPU,
    )


def look(field, camera=None):
    rays = (camera or Orbit()).rays(pixel_grid(64).reshape(-1, 2))
    with torch.no_grad():
        seen = render(field, rays, OccupancyGrid(field.box, 8), Sampling(0.01))
    return seen.colour.reshape(64, 64, 3), seen.opacity.reshape(64, 64)


def error_inside(seen, wanted, mask):
    return (seen - wanted)[mask].square().mean().item()


@pytest.fixture(scope="module")
def fitted():
    events = []
    return fit(report=events.append), events


def test_the_field_looks_like_the_photo_from_the_front_and_like_the_hidden_side_from_behind(fitted):
    view, (field, _) = figure_view(64), fitted
    colour, opacity = look(field)
    covered = opacity > 0.5
    assert (covered & view.inside).sum() / (covered | view.inside).sum() > 0.9
    assert error_inside(colour, view.colour, view.inside) < 0.02
    back = figure_view(64, Orbit(azimuth_deg=180))
    colour, _ = look(field, Orbit(azimuth_deg=180))
    both = back.inside & view.inside.flip(1)
    swapped = error_inside(colour, view.colour.flip(1), both)
    assert error_inside(colour, back.colour, both) < 0.7 * swapped


def test_the_density_cut_at_the_threshold_is_the_person(fitted):
    field, _ = fitted
    low, size = torch.tensor(BOX.minimum), torch.tensor(BOX.size)
    points = low + size * torch.rand(20_000, 3, generator=torch.Generator().manual_seed(1))
    distance = figure_sdf(points)
    solid = field.density(points) > SURFACE_DENSITY
    assert solid[distance < -0.015].all()
    assert not solid[distance > 0.03].any()


def test_the_first_surface_and_picture_are_told_before_the_first_step_ends(fitted):
    _, events = fitted
    kinds = [type(event) for event in events]
    first = kinds.index(StepDone)
    assert kinds[:first] == [StageStarted, MeshPreview, ImagePreview]
    assert kinds.count(MeshPreview) == 1
    seen = events[1]
    assert (seen.stage, seen.step) == ("nerf_init", 0)
    assert len(seen.faces) > 1000
    # It is the person: what the view believes of both sides, closed.
    assert figure_sdf(seen.vertices).abs().mean() < 0.01
    extent = seen.vertices.amax(dim=0) - seen.vertices.amin(dim=0)
    assert (extent <= torch.tensor(BOX.size) + 0.02).all()


def test_a_blob_is_no_person_to_be_shown():
    events = []
    fit(dataclasses.replace(QUICK, start_from_surfaces=False, steps=1), report=events.append)
    assert not any(isinstance(event, MeshPreview) for event in events)


def test_every_step_and_some_pictures_are_reported(fitted):
    _, events = fitted
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.step for event in steps] == list(range(40))
    assert {"rgb", "mask", "depth"} <= set(steps[0].losses)
    assert {"hidden_colour", "metric_depth", "hull"} <= set(steps[1].losses)
    pictures = [event for event in events if isinstance(event, ImagePreview)]
    assert [event.step for event in pictures] == [0, 20]
    assert pictures[0].image.shape == (32, 32, 3)


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bits(fitted, tmp_path):
    def stop(event):
        if isinstance(event, StepDone) and event.step == 22:
            raise Cancelled

    checkpoints = FileCheckpoints(tmp_path / "state.safetensors", interval=0.0)
    with pytest.raises(Cancelled):
        fit(report=stop, checkpoints=checkpoints)
    again = fit(checkpoints=FileCheckpoints(tmp_path / "state.safetensors", interval=1e9), seed=99)
    for name, value in fitted[0].state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert again.encoding.open_levels == fitted[0].encoding.open_levels == 6


def test_priors_are_asked_about_other_views_and_believed():
    prior = Greenish()
    config = dataclasses.replace(
        QUICK, steps=16, resolution=Constant(24), guidance_2d=Constant(1), progressive_until=8
    )
    names = []

    def note(event):
        if isinstance(event, StepDone):
            names.append(set(event.losses))

    priors = Priors(shape=KnownShape(), image=prior)
    pulled = fit(config, priors=priors, report=note)
    assert len(prior.asked) == 8
    assert all(shape == (1, 24, 24, 3) for shape, _, _ in prior.asked)
    low, high = prior.asked[-1][2]
    assert (low, high) == (config.noise_low(15), config.noise_high(15))
    assert any(abs(orbit.azimuth_deg) > 45 for _, orbit, _ in prior.asked)
    assert "guidance_0" in names[1]
    assert "hidden_colour" not in set().union(*names)
    left = fit(config)
    view = figure_view(64)
    green = [look(f)[0][view.inside][:, 1].mean() for f in (pulled, left)]
    assert green[0] > green[1] + 0.02


def test_whole_images_from_the_blob_bring_every_paper_term():
    config = dataclasses.replace(
        QUICK,
        steps=5,
        resolution=Constant(16),
        rays_per_step=0,
        start_from_surfaces=False,
        pearson=Constant(1),
        normal=Constant(1),
    )
    losses = []

    def note(event):
        if isinstance(event, StepDone):
            losses.append(event.losses)

    fit(config, report=note)
    assert {"rgb", "mask", "depth", "pearson", "normal", "normal_smoothness", "opaque"} <= set(
        losses[0]
    )
    assert {"orientation", "normal_smoothness_3d", "metric_depth"} <= set(losses[0])
    assert losses[4]["rgb"] < losses[0]["rgb"]


def test_the_first_shape_crosses_the_threshold_at_the_surfaces():
    view = figure_view(128)
    box = view.bounds()
    grid = shape_grid(view, box)
    low, size = torch.tensor(box.minimum), torch.tensor(box.size)
    points = low + size * torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0))
    distance = figure_sdf(points)
    solid = interpolate(grid, box, points) > SURFACE_DENSITY
    clear = distance.abs() > 0.012
    assert (solid == (distance < 0))[clear].float().mean() > 0.995


def test_cameras_open_from_the_reference_pose_to_the_whole_range():
    generator = torch.Generator().manual_seed(0)
    config = dataclasses.replace(QUICK, progressive_until=200)
    early = [draw_camera(config, 0, generator) for _ in range(50)]
    late = [draw_camera(config, 500, generator) for _ in range(2000)]
    assert max(abs(orbit.azimuth_deg) for orbit in early) <= 0.9
    assert min(orbit.elevation_deg for orbit in late) >= -10
    assert max(orbit.elevation_deg for orbit in late) <= 45
    assert min(orbit.azimuth_deg for orbit in late) < -170
    assert max(orbit.azimuth_deg for orbit in late) > 170
    # Uniform in degrees has the mean 17.5, uniform on the sphere's band 15.5.
    mean = sum(orbit.elevation_deg for orbit in late) / len(late)
    assert 15 < mean < 18


@pytest.mark.parametrize("hidden", [False, True])
def test_rays_of_either_side_meet_that_side_first(hidden):
    view = figure_view(64)
    targets = Targets(view, CPU)
    side = targets.side(64, hidden=hidden, draws=torch.rand(200))
    rays = targets.rays(side, view.camera)
    distance = side.sign * (side.depth / side.cosine - side.start)
    points = (rays.origins + distance[:, None] * rays.directions)[side.inside]
    assert figure_sdf(points).abs().median() < 2e-3
    facing = (side.normal * rays.directions).sum(dim=-1)[side.inside]
    assert (facing < 0).float().mean() > 0.95


def test_half_the_resolution_keeps_colours_unmixed_with_the_background():
    view = figure_view(64)
    side = Targets(view, CPU).side(32, hidden=False, draws=None)
    assert side.colour[side.mask > 0].max() < 0.98
    torch.testing.assert_close(side.mask.mean(), view.mask.mean())


def test_the_hull_holds_the_person_and_not_the_corners():
    view = figure_view(64)
    targets = Targets(view, CPU)
    pixels = pixel_grid(64)[view.inside]
    assert targets.in_hull(
        view.camera.unproject(pixels, view.depth[view.inside]), view.camera
    ).all()
    corner = view.camera.unproject(torch.tensor([[-0.9, 0.9]]), torch.tensor([3.0]))
    assert not targets.in_hull(corner, view.camera).any()


def test_the_figure_is_its_mirror_image_and_a_half_is_not():
    view = figure_view(64)
    assert Targets(view, CPU).mirrored == 1
    half = view.mask * (torch.arange(64) < 32)
    assert Targets(dataclasses.replace(view, mask=half), CPU).mirrored == 0


def test_aligned_depth_forgets_scale_and_shift_and_correlation_too():
    side = Targets(figure_view(64), CPU).side(64, hidden=False, draws=None)
    assert aligned_error(0.3 * side.depth + 7, side) < 1e-8
    assert decorrelation(0.3 * side.depth + 7, side) < 1e-3
    bent = side.depth + 0.1 * side.chosen[:, 0].square()
    assert aligned_error(bent, side) > 1e-6


def test_equal_normals_are_smooth_and_neighbours_count_only_within_a_square():
    normals = torch.eye(3)[torch.tensor([0, 1])].repeat_interleave(4, dim=0)
    assert roughness(normals, 2) == 0
    normals[0] = torch.tensor([0.0, 0, 1])
    assert roughness(normals, 2) > 0


def test_a_clear_and_a_solid_pixel_are_decided_and_a_half_one_is_not(fitted):
    field, _ = fitted
    rays = Orbit().rays(torch.tensor([[0.0, 0.2], [0.95, 0.95]]))
    seen = render(
        field, rays, OccupancyGrid(Box(field.box.minimum, field.box.maximum), 8), Sampling(0.01)
    )
    assert half_transparent(seen) < 0.05
    half = dataclasses.replace(seen, opacity=torch.full((2,), 0.5))
    assert half_transparent(half) > 0.6
