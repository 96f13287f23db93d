import functools
from dataclasses import replace

import pytest
import torch

from geneman.camera import Orbit
from geneman.fields.atlas import UvMap
from geneman.fields.networks import ColourField, EncodingConfig, FieldConfig
from geneman.fields.texels import lay_out
from geneman.kernels.texture import footprints, read_texture
from geneman.mesh import Box
from geneman.priors.bundle import Priors
from geneman.priors.bundled.inflation import Inflation
from geneman.progress import Cancelled, ImagePreview, StepDone, silent
from geneman.renderers.textured import look
from geneman.schedule import Constant
from geneman.stages import pixel_texture
from geneman.stages.pixel_texture import PixelTextureConfig, Refinement
from geneman.topology import topology
from geneman.training.checkpoints import FileCheckpoints, NoCheckpoints
from tests.synthetic import figure_colour, figure_mesh, figure_normal, figure_view
from tests.textured import degrees_between

CPU = torch.device("cpu")
EDITS = Refinement(
    steps=16,
    difference="mse",
    perceptual_weight=1.0,
    noise_low=Constant(0.5),
    noise_high=Constant(0.51),
    edit_every=8,
)
TINY = PixelTextureConfig(
    target_faces=3000,
    texture_size=256,
    normal_map_size=128,
    gutter=2,
    fit_steps=10,
    reference_size=128,
    render_size=48,
    views=4,
    uv=EDITS,
    field=EDITS,
)


def grey_field():
    """A colour field that knows nothing yet: the same grey everywhere, nearly."""
    config = FieldConfig(encoding=EncodingConfig(levels=4, log2_table=10, base=8, growth=1.6))
    box = Box.around(figure_mesh(48).vertices).padded(0.02)
    return ColourField(config, box, torch.Generator().manual_seed(0))


class KnownField(ColourField):
    """A colour field that knows the figure."""

    def colour(self, points):
        return figure_colour(points)


def known_field():
    field = grey_field()
    return KnownField(field.config, field.box, torch.Generator())


def finish(config=TINY, *, report=silent, checkpoints=None, colour=None, **priors):
    return pixel_texture.run(
        figure_view(128),
        figure_mesh(64),
        colour or grey_field(),
        priors=Priors(shape=Inflation(), **priors),
        config=config,
        report=report,
        generator=torch.Generator().manual_seed(0),
        checkpoints=checkpoints or NoCheckpoints(),
        device=CPU,
    )


@functools.cache
def finished():
    return finish()


def render(textured, orbit, size):
    seen = look(textured.mesh, orbit, size)
    atlas = UvMap(textured.uv, textured.uv_faces, 0)
    prints = seen.footprints(atlas, len(textured.albedo))
    return seen, seen.picture(read_texture(textured.albedo, prints))


class Painter:
    """An editor that repaints everything in one colour."""

    def __init__(self, colour=(0.0, 0.9, 0.9)):
        self.colour, self.calls = torch.tensor(colour), []

    def condition(self, view):
        return self

    def __call__(self, images, normals, orbits, *, noise, generator):
        assert normals.shape == images.shape
        self.calls.append((list(orbits), noise))
        covered = (normals > 0).any(dim=-1, keepdim=True)
        return torch.where(covered, self.colour, images)


class Unasked:
    """A prior whose presence alone says that the field was taught."""

    def condition(self, view):
        raise AssertionError("nobody asks for views here")


def squared_distance(a, b):
    return (a - b).square().mean()


def test_the_result_is_closed_and_its_texture_lies_in_range():
    textured = finished()
    assert topology(textured.mesh).watertight
    assert textured.uv.min() >= 0
    assert textured.uv.max() <= 1
    assert textured.albedo.shape == (256, 256, 3)
    assert textured.albedo.min() >= 0
    assert textured.albedo.max() <= 1


def test_finer_normals_are_nearer_to_the_truth_than_the_mesh_and_can_be_left_out():
    textured = finished()
    assert textured.normals.shape == (128, 128, 3)
    atlas = UvMap(textured.uv, textured.uv_faces, 0)
    texels = lay_out(textured.mesh, atlas, 128)
    truth = figure_normal(texels.points)
    finer = textured.normals.reshape(-1, 3)[texels.pixels.long()]
    assert (
        degrees_between(finer, truth).mean() < 0.8 * degrees_between(texels.normals, truth).mean()
    )
    assert finish(replace(TINY, normal_map=False)).normals is None


def test_the_input_view_shows_the_photo():
    view = figure_view(128)
    seen, picture = render(finish(colour=known_field()), view.camera, 128)
    person = view.inside & (seen.raster.triangle >= 0)
    error = (picture - view.colour)[person].square().mean()
    assert -10 * error.log10() > 28


def test_the_photos_tone_runs_into_what_it_does_not_show():
    """A grey field: the legs' flanks must be blue like the photo, not grey."""
    seen, picture = render(finished(), Orbit(azimuth_deg=60.0), 128)
    legs = (seen.points[:, 2] < -0.05) & (seen.points[:, 2] > -0.4)
    colours = picture.flatten(0, 1)[seen.pixels][legs]
    truth = figure_colour(seen.points[legs])
    assert (colours - truth).abs().mean() < 0.5 * (0.5 - truth).abs().mean()


def test_the_hidden_side_is_painted_where_no_prior_has_taught_the_field():
    """A grey field; the back's colours are known, and finer than any field of ours."""
    back = Orbit(azimuth_deg=180.0)
    config = replace(TINY, hidden_share=1.0)

    def misfit(textured):
        seen, picture = render(textured, back, 128)
        towards = (seen.directions * torch.tensor([0.0, 1.0, 0.0])).sum(dim=1) > 0.6
        wanted = figure_view(128).hidden.colour.flip(1).flatten(0, 1)[seen.pixels]
        return (picture.flatten(0, 1)[seen.pixels] - wanted)[towards].abs().mean()

    painted = misfit(finish(config))
    assert painted < 0.03
    assert painted < 0.3 * misfit(finished())
    taught = finish(config, views=Unasked())
    torch.testing.assert_close(taught.albedo, finished().albedo)
    edited = [
        finish(replace(TINY, hidden_share=share), editor=Painter()).albedo for share in (0.0, 1.0)
    ]
    torch.testing.assert_close(*edited)


def test_nothing_jumps_across_the_seams_of_the_atlas():
    textured = finished()
    corners, charts = textured.mesh.faces.flatten().long(), textured.uv_faces.flatten().long()
    pairs = torch.stack([corners, charts], dim=1).unique(dim=0)
    level = torch.zeros(len(textured.uv))
    at = read_texture(textured.albedo, footprints(textured.uv, level, size=256))
    low = torch.full((len(textured.mesh.vertices), 3), 2.0)
    high = torch.full_like(low, -1.0)
    index = pairs[:, :1].expand(-1, 3)
    low = low.scatter_reduce(0, index, at[pairs[:, 1]], "amin")
    high = high.scatter_reduce(0, index, at[pairs[:, 1]], "amax")
    assert (high - low).mean() < 0.01
    assert (high - low).quantile(0.99) < 0.12


def test_runs_with_the_same_seed_have_the_same_bits():
    assert torch.equal(finish().albedo, finished().albedo)


def test_the_colour_field_that_is_passed_in_is_left_alone():
    colour = grey_field()
    before = {name: value.clone() for name, value in colour.state_dict().items()}
    finish(replace(TINY, route="field"), colour=colour, editor=Painter())
    assert all(torch.equal(value, before[name]) for name, value in colour.state_dict().items())


@pytest.mark.parametrize(("route", "left"), [("uv", 0.5), ("field", 0.8)])
def test_both_routes_follow_the_editor_where_the_photo_is_silent(route, left):
    painter = Painter()
    config = replace(
        TINY, route=route, texel_rate=0.05, field_rate=0.05, reference_weight=1.0, reach=0.02,
        uv=replace(EDITS, steps=40), field=replace(EDITS, steps=60),
    )  # fmt: skip
    edited = finish(config, editor=painter, perceptual=squared_distance)
    back = Orbit(azimuth_deg=180.0)
    (seen, after), (_, before) = render(edited, back, 96), render(finished(), back, 96)
    covered = seen.raster.triangle >= 0
    gap_after = (after[covered] - painter.colour).abs().mean()
    gap_before = (before[covered] - painter.colour).abs().mean()
    assert gap_after < left * gap_before


def test_views_are_edited_when_new_and_at_multiples_of_edit_every():
    painter = Painter()
    config = replace(
        TINY, route="uv", views=1, reference_every=1_00, uv=replace(EDITS, edit_every=5)
    )
    finish(config, editor=painter)
    # Step 0 shows the photo; step 1 meets a new view; then 5, 10 and 15 are due.
    assert len(painter.calls) == 4
    assert {noise for _, noise in painter.calls} == {(0.5, 0.51)}


@pytest.mark.parametrize(("route", "with_editor"), [("uv", False), ("uv", True), ("field", True)])
def test_a_run_that_is_stopped_ends_with_the_same_bits(tmp_path, route, with_editor):
    config = replace(TINY, route=route, fit_steps=6, uv=replace(EDITS, steps=9), field=EDITS)
    priors = {"editor": Painter(), "perceptual": squared_distance} if with_editor else {}

    def stop(event):
        if isinstance(event, StepDone) and event.step == 4:
            raise Cancelled

    def kept():
        return FileCheckpoints(tmp_path / "state.safetensors", interval=0.0)

    with pytest.raises(Cancelled):
        finish(config, report=stop, checkpoints=kept(), **priors)
    resumed, whole = finish(config, checkpoints=kept(), **priors), finish(config, **priors)
    assert torch.equal(resumed.albedo, whole.albedo)


def test_previews_show_front_and_back():
    events = []
    finish(replace(TINY, fit_steps=3, preview_every=2), report=events.append)
    previews = [event for event in events if isinstance(event, ImagePreview)]
    assert [event.step for event in previews] == [0, 2]
    assert previews[0].image.shape == (320, 640, 3)
