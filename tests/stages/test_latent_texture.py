import functools
from dataclasses import replace

import pytest
import torch

from geneman.camera import REFERENCE, Orbit
from geneman.fields.networks import EncodingConfig, FieldConfig
from geneman.mesh import vertex_normals
from geneman.priors.bundle import Priors
from geneman.priors.bundled.inflation import Inflation
from geneman.progress import Cancelled, ImagePreview, StepDone, silent
from geneman.renderers.projection import Trust, project
from geneman.stages import latent_texture
from geneman.stages.latent_texture import LatentTextureConfig
from geneman.training.checkpoints import FileCheckpoints, NoCheckpoints
from tests.synthetic import figure_colour, figure_mesh, figure_view

CPU = torch.device("cpu")
TINY = LatentTextureConfig(
    steps=60,
    render_size=96,
    points_per_step=2048,
    flank_points=4096,
    field=FieldConfig(encoding=EncodingConfig(levels=6, log2_table=12, base=8, growth=1.6)),
    encoding_rate=0.03,
    network_rate=0.01,
)


def fit(config=TINY, *, report=silent, checkpoints=None, **priors):
    return latent_texture.run(
        figure_view(128),
        figure_mesh(48),
        priors=Priors(shape=Inflation(), **priors),
        config=config,
        report=report,
        generator=torch.Generator().manual_seed(0),
        checkpoints=checkpoints or NoCheckpoints(),
        device=CPU,
    )


@functools.cache
def fitted():
    return fit()


class Tint:
    """A guidance prior that wants every render to have one colour."""

    def __init__(self, colour):
        self.colour, self.calls = torch.tensor(colour), []

    def condition(self, view):
        return self

    def __call__(self, images, orbits, *, noise, generator):
        self.calls.append((len(images), orbits, noise))
        covered = (images.detach() < 0.999).any(dim=-1, keepdim=True)
        return ((images - self.colour).square() * covered).sum() / covered.sum()


def shown(*, far_side):
    mesh = figure_mesh(48)
    found = project(
        figure_view(128),
        mesh,
        mesh.vertices,
        vertex_normals(mesh),
        trust=Trust(cosine=(0.3, 0.5)),
        far_side=far_side,
    )
    return mesh.vertices[found.confidence > 0.9]


@pytest.mark.parametrize("far_side", [False, True])
def test_both_sides_get_the_colours_that_their_pictures_show(far_side):
    points = shown(far_side=far_side)
    difference = (fitted().colour(points) - figure_colour(points)).abs().mean(dim=1)
    assert difference.median() < 0.06


def test_flanks_blend_between_the_sides_without_noise():
    mesh = figure_mesh(48)
    edges = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]]]).long()
    side = (vertex_normals(mesh)[edges, 1].abs() < 0.2).all(dim=1)
    legs = (mesh.vertices[edges, 2] < -0.02).all(dim=1) & (mesh.vertices[edges, 2] > -0.4).all(1)
    ends = mesh.vertices[edges[side & legs]]
    colours = fitted().colour(ends.reshape(-1, 3)).reshape(-1, 2, 3)
    assert len(ends) > 50
    assert (colours[:, 0] - colours[:, 1]).abs().max() < 0.1
    assert (colours - figure_colour(ends.reshape(-1, 3)).reshape(-1, 2, 3)).abs().mean() < 0.08


def test_guidance_pulls_what_the_photo_does_not_show():
    tint = Tint([0.0, 0.9, 0.9])
    config = LatentTextureConfig(
        steps=60, render_size=64, points_per_step=1024, field=TINY.field, image_weight=1000.0,
        encoding_rate=0.03, network_rate=0.01, views_per_step=2,
    )  # fmt: skip
    back = shown(far_side=True)
    colours = fit(config, image=tint).colour(back)
    assert (colours - tint.colour).abs().mean() < 0.3 * (
        figure_colour(back) - tint.colour
    ).abs().mean()


def test_guidance_gets_every_other_step_several_views_and_the_noise_of_the_step():
    image, novel = Tint([0.5, 0.5, 0.5]), Tint([0.5, 0.5, 0.5])
    config = LatentTextureConfig(steps=7, render_size=48, field=TINY.field, views_per_step=3)
    steps = []
    fit(config, report=steps.append, image=image, novel_view=novel)
    losses = [set(event.losses) for event in steps if isinstance(event, StepDone)]
    assert losses == [{"reference"}, {"image", "novel_view"}] * 3 + [{"reference"}]
    assert [call[0] for call in image.calls] == [3, 3, 3]
    orbits = [orbit for call in novel.calls for orbit in call[1]]
    assert all(-10 <= orbit.elevation_deg <= 45 for orbit in orbits)
    assert {orbit.distance for orbit in orbits} == {3.0}
    assert len({orbit.azimuth_deg for orbit in orbits}) == 9
    assert image.calls[1][2] == pytest.approx((0.7 - 0.5 * 3 / 200, 0.85 - 0.35 * 3 / 200))


def test_a_run_that_is_stopped_ends_with_the_same_bits(tmp_path):
    config = LatentTextureConfig(
        steps=12, render_size=64, points_per_step=512, flank_points=512, field=TINY.field
    )

    def stop(event):
        if isinstance(event, StepDone) and event.step == 7:
            raise Cancelled

    def kept():
        return FileCheckpoints(tmp_path / "state.safetensors", interval=0.0)

    with pytest.raises(Cancelled):
        fit(config, report=stop, checkpoints=kept())
    resumed, whole = fit(config, checkpoints=kept()), fit(config)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_previews_show_front_side_and_back():
    events = []
    config = LatentTextureConfig(steps=3, render_size=48, field=TINY.field, preview_every=2)
    fit(config, report=events.append)
    previews = [event for event in events if isinstance(event, ImagePreview)]
    assert [event.step for event in previews] == [0, 2]
    assert previews[0].image.shape == (320, 960, 3)


def test_the_mask_shrinks_by_four_pixels_of_1024():
    view = figure_view(128)
    shrunk = latent_texture._eroded(view, 128) > 0
    assert shrunk.sum() < view.inside.sum()
    assert not (shrunk & ~view.inside).any()


def test_cameras_fill_the_band():
    generator = torch.Generator().manual_seed(1)
    orbits = [latent_texture._random_orbit(LatentTextureConfig(), generator) for _ in range(400)]
    assert min(orbit.elevation_deg for orbit in orbits) == pytest.approx(-10, abs=1)
    assert max(orbit.elevation_deg for orbit in orbits) == pytest.approx(45, abs=1)
    assert {type(orbit) for orbit in orbits} == {Orbit}
    assert orbits[0].fov_deg == REFERENCE.fov_deg == 20


def test_the_photo_s_difference_is_absolute_or_squared():
    gaps = {}
    for kind in ("l1", "mse"):
        steps = []

        def report(event, steps=steps):
            if isinstance(event, StepDone):
                steps.append(event.losses["reference"])

        config = replace(TINY, reference_difference=kind, steps=1, reference_weight=1.0)
        fit(config, report=report)
        gaps[kind] = steps[0]
    # Of gaps below 1, the mean square is between the squared mean and the mean.
    assert gaps["l1"] ** 2 < gaps["mse"] < gaps["l1"] < 1
