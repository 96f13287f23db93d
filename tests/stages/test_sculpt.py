import dataclasses

import pytest
import torch

from geneman.camera import REFERENCE
from geneman.errors import EmptySurfaceError
from geneman.fields.networks import (
    EncodingConfig,
    FieldConfig,
    RadianceConfig,
    RadianceField,
    lattice,
)
from geneman.fields.shape import largest_component
from geneman.fields.signed_distance import shape_of
from geneman.mesh import Mesh
from geneman.priors.bundle import Priors
from geneman.priors.bundled.inflation import Inflation
from geneman.progress import MeshPreview, StepDone, silent
from geneman.renderers.raster import render, surface
from geneman.schedule import Constant, Switch
from geneman.stages import sculpt
from geneman.stages.sculpt import SculptConfig
from geneman.topology import topology
from geneman.training.checkpoints import FileCheckpoints, NoCheckpoints
from tests.synthetic import BOX, figure_mesh, figure_sdf, figure_view

CPU = torch.device("cpu")
PRIORS = Priors(shape=Inflation())
QUICK = SculptConfig(
    steps=14,
    learning_rate=Constant(5e-3),
    field=FieldConfig(EncodingConfig(levels=4, log2_table=14, growth=1.5), width=16),
    open_levels=Constant(4),
    resolution=Constant(48),
    size=96,
    initial_resolution=48,
    distance_weight=1.0,
    consistency_weight=Constant(100.0),
    laplacian_weight=Constant(500.0),
    preview_every=5,
)


def field_of(density):
    """A real field that has learnt a density: kept in the grid that its network adds to."""
    box = BOX.padded(0.05)
    points = lattice(box, shape_of(box, 80))
    before = torch.log(torch.expm1(density(points.reshape(-1, 3)).clamp(min=1e-4)))
    config = RadianceConfig(EncodingConfig(levels=1, log2_table=8, base=4), width=4)
    grid = before.reshape(points.shape[:3])
    return RadianceField(config, box, torch.Generator().manual_seed(0), grid)


def fog(points):
    """What a NeRF may have seen of the figure: too fat, and bumpy."""
    bumps = 0.004 * torch.sin(points * 60).prod(dim=-1)
    return 50 * torch.sigmoid((0.006 + bumps - figure_sdf(points)) / 0.006)


def run(config=QUICK, priors=PRIORS, report=silent, checkpoints=None, field=None, view=None):
    return sculpt.run(
        view or figure_view(128),
        field or field_of(fog),
        priors=priors,
        config=config,
        report=report,
        generator=torch.Generator().manual_seed(0),
        checkpoints=checkpoints or NoCheckpoints(),
        device=CPU,
    )


def judged(mesh, size=128):
    """Mean angle to the given normals in degrees, on both sides, and the mask's overlap."""
    view = figure_view(size)
    angles = []
    for normal, far_side in ((view.normal, False), (view.hidden.normal, True)):
        drawn = render(surface(mesh), REFERENCE, size, far_side=far_side)
        seen = drawn.raster.triangle >= 0
        cosines = (drawn.normal * normal).sum(dim=-1)[seen & (view.mask > 0.99)]
        angles.append(torch.rad2deg(torch.acos(cosines.clamp(-1, 1))).mean().item())
    overlap = (seen & view.inside).sum() / (seen | view.inside).sum()
    return *angles, overlap.item()


def events_of(config, **given):
    events = []
    mesh = run(config, report=events.append, **given)
    return mesh, events


def test_sculpting_brings_both_sides_and_the_outline_to_the_photos():
    before = judged(run(dataclasses.replace(QUICK, steps=0)))
    mesh = run(dataclasses.replace(QUICK, steps=24))
    front, back, overlap = judged(mesh)
    assert front < 0.6 * before[0]
    assert back < 0.6 * before[1]
    assert front < 10
    assert overlap > max(0.94, before[2])  # a lattice of 48 cells
    found = topology(mesh)
    assert found.watertight
    assert found.components == 1


def test_without_steps_the_mesh_is_the_nerfs_surface():
    mesh = run(dataclasses.replace(QUICK, steps=0, initial_blur=0.0, initial_resolution=96))
    assert (figure_sdf(mesh.vertices) - 0.006).abs().mean() < 3e-3


class KilledError(Exception):
    """Stands for kill -9."""


def test_a_killed_run_ends_with_the_same_bits(tmp_path):
    # The lattice changes on the way, and the band with it.
    config = dataclasses.replace(QUICK, steps=8, resolution=Switch(before=32, after=40, at=3))
    whole = run(config)
    for stop in (2, 5):
        checkpoints = FileCheckpoints(tmp_path / f"{stop}.safetensors", interval=0.0)

        def kill(event, stop=stop):
            if isinstance(event, StepDone) and event.step == stop:
                raise KilledError

        with pytest.raises(KilledError):
            run(config, checkpoints=checkpoints, report=kill)
        again = run(config, checkpoints=checkpoints)
        assert torch.equal(again.vertices, whole.vertices)
        assert torch.equal(again.faces, whole.faces)


def test_previews_and_losses_are_told():
    _, events = events_of(dataclasses.replace(QUICK, steps=6))
    previews = [event for event in events if isinstance(event, MeshPreview)]
    assert [event.step for event in previews] == [0, 5]
    assert all(len(event.faces) > 100 for event in previews)
    even, odd = [event.losses for event in events if isinstance(event, StepDone)][:2]
    assert set(even) == {"mask", "normal", "consistency", "laplacian"}
    assert set(odd) == {"mask", "hidden", "distance", "consistency", "laplacian"}


class Flat:
    """A judge that wants pictures to be one colour; remembers what it was shown."""

    def __init__(self, colour):
        self.colour, self.shown, self.orbits, self.noise = colour, [], [], []

    def condition(self, view):
        return self

    def __call__(self, images, orbits, *, noise, generator):
        self.shown.append(images.detach())
        self.orbits.extend(orbits)
        self.noise.append(noise)
        return (images - self.colour).square().sum() + 0 * torch.rand((), generator=generator)


def test_priors_judge_normals_and_depth_from_drawn_cameras():
    normal, depth = Flat(0.5), Flat(1.0)
    config = dataclasses.replace(QUICK, steps=6, normal_noise=Switch(before=0.8, after=0.2, at=4))
    _, events = events_of(config, priors=Priors(shape=Inflation(), normal=normal, depth=depth))
    losses = [event.losses for event in events if isinstance(event, StepDone)]
    assert {"normal_guidance", "depth_guidance", "distance"} <= set(losses[1])
    assert "normal_guidance" not in losses[0]
    assert normal.noise == [(0.02, 0.8), (0.02, 0.8), (0.02, 0.2)]
    assert normal.orbits == depth.orbits
    assert len({orbit.azimuth_deg for orbit in normal.orbits}) == 3
    assert not any("hidden" in terms for terms in losses)
    for picture in normal.shown + depth.shown:
        assert picture.shape == (1, 96, 96, 3)
        assert picture.min() >= 0
        assert picture.max() <= 1
    assert depth.shown[0].max() == pytest.approx(1)  # the nearest point is white


def test_guidance_moves_the_surface():
    def guided(weight):
        config = dataclasses.replace(QUICK, steps=4, guidance_weight=weight)
        return run(config, priors=Priors(shape=Inflation(), normal=Flat(0.5)))

    assert not torch.equal(guided(1.0).vertices[:99], guided(0.0).vertices[:99])


def test_a_perceptual_distance_compares_normal_pictures():
    def distance(a, b):
        return (a - b).abs().mean()

    priors = Priors(shape=Inflation(), perceptual=distance)
    _, events = events_of(dataclasses.replace(QUICK, steps=1), priors=priors)
    [losses] = [event.losses for event in events if isinstance(event, StepDone)]
    assert 0 < losses["perceptual"] < 100


def test_an_empty_nerf_is_an_error():
    nothing = field_of(lambda points: torch.zeros_like(points[:, 0]))
    with pytest.raises(EmptySurfaceError, match="nowhere as dense"):
        run(field=nothing)


def test_the_largest_component_stays():
    figure, crumb = figure_mesh(32), figure_mesh(16)
    faces = torch.cat([crumb.faces, figure.faces + len(crumb.vertices)])
    both = Mesh(torch.cat([crumb.vertices + 2, figure.vertices]), faces)
    kept = largest_component(both)
    assert torch.equal(kept.vertices, figure.vertices)
    assert torch.equal(kept.faces, figure.faces.long())


def test_defaults_are_the_released_recipes():
    config = SculptConfig()
    assert config.steps == 3000
    assert config.learning_rate(0) == 2e-5
    assert (config.normal_weight, config.perceptual_weight) == (3000, 100)
    assert (config.mask_weight, config.distance_weight) == (1, 1500)
    assert [config.consistency_weight(step) for step in (1999, 2000)] == [0, 1000]
    assert [config.laplacian_weight(step) for step in (1999, 2000)] == [0, 5000]
    assert [config.normal_noise(step) for step in (1999, 2000)] == [0.80, 0.21]
    assert [config.depth_noise(step) for step in (1999, 2000)] == [0.81, 0.11]
    assert [int(config.open_levels(step)) for step in (0, 250, 500, 2250)] == [8, 8, 9, 16]
    encoding = config.field.encoding
    assert (encoding.levels, encoding.log2_table, encoding.base) == (16, 19, 16)
    assert encoding.layout().resolutions[-1] in (2047, 2048)
