"""Views that a prior has drawn teach every stage the sides that the photo does not show."""

import dataclasses
import functools

import pytest
import torch

from geneman.camera import Orbit
from geneman.mesh import vertex_normals
from geneman.priors.bundle import Priors, ViewsPrior
from geneman.priors.bundled.inflation import Inflation
from geneman.priors.drawn_views import DrawnViews, ring
from geneman.progress import Cancelled, StepDone, silent
from geneman.renderers.raster import render, surface
from geneman.schedule import Constant
from geneman.stages import latent_texture, nerf_init, sculpt
from geneman.stages.nerf_init.drawn import DrawnTargets
from geneman.training.checkpoints import FileCheckpoints, NoCheckpoints
from tests.stages import test_latent_texture, test_nerf_init, test_sculpt
from tests.synthetic import KnownViews, figure_colour, figure_mesh, figure_view, figure_views

CPU = torch.device("cpu")
FLANK = Orbit(azimuth_deg=90)


def tools(checkpoints=None, report=silent, seed=0):
    return {
        "report": report,
        "generator": torch.Generator().manual_seed(seed),
        "checkpoints": checkpoints or NoCheckpoints(),
        "device": CPU,
    }


class Red(KnownViews):
    """Paints everybody red, on the masks that it was given."""

    def __call__(self, orbits, *, generator, normals=None, masks=None):
        self.asked.append((tuple(orbits), normals, masks))
        truth = figure_views(orbits, 64)
        red = torch.tensor([1.0, 0.0, 0.0]).expand_as(truth.colour)
        cover = truth.mask[..., None]
        return dataclasses.replace(truth, colour=red * cover + 1 - cover)


# ---- the ring -------------------------------------------------------------------------------


def test_a_ring_goes_around_the_person_and_leaves_the_photo_its_side():
    orbits = ring(5)
    assert [orbit.azimuth_deg for orbit in orbits] == [60, 120, 180, 240, 300]
    assert {orbit.elevation_deg for orbit in orbits} == {0.0, 15.0}
    assert ring(0) == ()


def test_views_are_drawn_once_and_come_back_from_a_checkpoint():
    prior = KnownViews(16, jitter=0.1)
    assert isinstance(prior, ViewsPrior)
    priors = Priors(shape=Inflation(), views=prior)
    generator = torch.Generator().manual_seed(0)
    drawn = DrawnViews.around(figure_view(64), priors, 3, generator)
    assert drawn
    assert drawn.state_dict() == {}
    first = drawn()
    assert drawn() is first
    assert len(prior.asked) == 1
    again = DrawnViews.around(figure_view(64), priors, 3, generator)
    again.load_state_dict(drawn.state_dict())
    assert torch.equal(again().colour, first.colour)
    assert len(prior.asked) == 1


def test_without_a_prior_or_without_wishes_nothing_is_drawn():
    generator = torch.Generator().manual_seed(0)
    for priors, count in (
        (Priors(shape=Inflation()), 3),
        (Priors(Inflation(), views=KnownViews()), 0),
    ):
        drawn = DrawnViews.around(figure_view(64), priors, count, generator)
        assert not drawn
        with pytest.raises(RuntimeError, match="no prior that draws"):
            drawn()


# ---- nerf_init ------------------------------------------------------------------------------


def fit(config, *, prior=None, **options):
    priors = Priors(shape=test_nerf_init.KnownShape(), views=prior)
    return nerf_init.run(figure_view(64), priors=priors, config=config, **tools(**options))


QUICK = dataclasses.replace(test_nerf_init.QUICK, views=3)


def test_targets_are_the_persons_own_colours_and_world_normals():
    orbits = (FLANK,)
    targets = DrawnTargets(figure_views(orbits), CPU)
    drawn = targets.pick(0, None)
    truth = figure_view(64, FLANK)
    inside = truth.mask.flatten() == 1
    torch.testing.assert_close(drawn.side.colour[inside], truth.colour.reshape(-1, 3)[inside])
    world = FLANK.turn_to_world(truth.normal).reshape(-1, 3)
    torch.testing.assert_close(drawn.side.normal[inside], world[inside])
    rays = FLANK.rays(drawn.side.chosen)
    torch.testing.assert_close(drawn.rays.directions, rays.directions)
    squares = targets.pick(0, torch.rand(50, generator=torch.Generator().manual_seed(0)))
    assert squares.side.patch == 2
    assert len(squares.side.mask) == 200
    assert 0.3 < squares.side.mask.mean() < 1


def test_drawn_views_teach_the_field_its_flanks():
    config = dataclasses.replace(QUICK, steps=40, view_every=1)

    def apart_from_red(prior):
        colour, opacity = test_nerf_init.look(fit(config, prior=prior), FLANK)
        return (colour - torch.tensor([1.0, 0, 0])).abs()[opacity > 0.5].mean().item()

    assert apart_from_red(Red()) < 0.85 * apart_from_red(None)


def test_each_term_of_the_views_can_be_switched_off():
    names = {"view_colour", "view_mask", "view_normal"}

    def steps(**weights):
        events = []
        config = dataclasses.replace(QUICK, steps=6, **weights)
        fit(config, prior=KnownViews(), report=events.append)
        return [event.losses for event in events if isinstance(event, StepDone)]

    seen = steps()
    assert names <= set(seen[1])
    # Guidance steps look at drawn views and at the far side in turn.
    assert ["view_colour" in losses for losses in seen] == [False, True, False, False, False, True]
    assert ["hidden_colour" in losses for losses in seen] == [False, False, False, True] + [
        False
    ] * 2
    assert all(seen[1][name] > 0 for name in names)
    off = steps(view_colour=Constant(0), view_mask=Constant(0), view_normal=Constant(0))
    assert all(off[1].get(name, 0) == 0 for name in names)
    assert not any(names & set(losses) for losses in steps(views=0))


def test_a_run_with_views_that_was_stopped_ends_with_the_same_bits(tmp_path):
    def stop(event):
        if isinstance(event, StepDone) and event.step == 6:
            raise Cancelled

    config = dataclasses.replace(QUICK, steps=10)
    whole = fit(config, prior=KnownViews(jitter=0.2))
    file = tmp_path / "state.safetensors"
    with pytest.raises(Cancelled):
        fit(
            config,
            prior=KnownViews(jitter=0.2),
            report=stop,
            checkpoints=FileCheckpoints(file, 0.0),
        )
    again = KnownViews(jitter=0.2)
    rest = fit(config, prior=again, checkpoints=FileCheckpoints(file, 1e9), seed=9)
    assert not again.asked
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name


def test_judges_without_weight_are_not_asked():
    judge = test_nerf_init.Greenish()
    config = dataclasses.replace(
        QUICK, steps=6, guidance_2d=Constant(0), guidance_3d=Constant(0), views=3
    )
    priors = Priors(test_nerf_init.KnownShape(), image=judge, novel_view=judge, views=KnownViews())
    events = []
    nerf_init.run(figure_view(64), priors=priors, config=config, **tools(report=events.append))
    assert not judge.asked
    assert any("view_colour" in e.losses for e in events if isinstance(e, StepDone))


# ---- sculpt ---------------------------------------------------------------------------------


def test_drawn_views_carve_the_flanks():
    truth = figure_view(96, FLANK)
    config = dataclasses.replace(test_sculpt.QUICK, steps=16, views=3)

    def overlap(priors):
        mesh = test_sculpt.run(config, priors)
        mask = render(surface(mesh), FLANK, 96).mask > 0.5
        return ((mask & truth.inside).sum() / (mask | truth.inside).sum()).item()

    shape = Inflation()
    assert overlap(Priors(shape, views=KnownViews(96))) > overlap(Priors(shape)) + 0.005


def test_sculpt_looks_at_views_and_at_the_hidden_side_in_turn_and_not_if_told_so():
    priors = Priors(Inflation(), views=KnownViews(), normal=test_sculpt.Flat(0.5))

    def steps(**settings):
        config = dataclasses.replace(test_sculpt.QUICK, steps=6, **settings)
        _, events = test_sculpt.events_of(config, priors=priors)
        return [event.losses for event in events if isinstance(event, StepDone)]

    off = steps(views=3, guidance_weight=0.0)
    assert ["view_normal" in losses for losses in off] == [False] * 3 + [True] + [False] * 2
    assert ["hidden" in losses for losses in off] == [False, True, False, False, False, True]
    assert not any("view_normal" in losses for losses in steps(views=0, guidance_weight=0.0))
    judged = steps(views=3)
    assert "normal_guidance" in judged[1]
    assert not any("view_normal" in losses for losses in judged)


# ---- latent_texture -------------------------------------------------------------------------


@functools.cache
def coloured(share, views=4):
    prior = Red()
    config = dataclasses.replace(test_latent_texture.TINY, views=views, view_share=share)
    return test_latent_texture.fit(config, views=prior), prior


def redness(field, orbit):
    truth = figure_view(64, orbit)
    points = orbit.unproject(
        torch.nonzero(truth.inside).flip(1) / 32 * torch.tensor([1.0, -1])
        + torch.tensor([-1.0, 1]),
        truth.depth[truth.inside],
    )
    with torch.no_grad():
        colour = field.colour(points)
    return (colour - torch.tensor([1.0, 0, 0])).abs().mean().item()


def test_coloured_views_decide_where_the_photo_shows_nothing():
    flank = Orbit(azimuth_deg=100)
    assert redness(coloured(1.0)[0], flank) < 0.5 * redness(coloured(0.0)[0], flank)
    mesh = figure_mesh(48)
    field, _ = coloured(1.0)
    front = vertex_normals(mesh)[:, 1] < -0.9
    with torch.no_grad():
        found = field.colour(mesh.vertices[front])
    assert (found - figure_colour(mesh.vertices[front])).abs().mean() < 0.1  # the photo's


def test_the_prior_is_shown_the_shape_that_it_is_to_colour():
    _, prior = coloured(1.0)
    ((orbits, normals, masks),) = prior.asked
    assert orbits == ring(4)
    truth = figure_view(256, orbits[0])
    assert ((masks[0] > 0.5) == truth.inside).float().mean() > 0.99
    both = (masks[0] > 0.5) & truth.inside
    assert ((normals[0] * 2 - 1)[both] * truth.normal[both]).sum(dim=1).mean() > 0.9
    assert (normals[0][~(masks[0] > 0)] == 0).all()


def test_no_views_are_coloured_if_none_are_wanted():
    _, prior = coloured(1.0, views=0)
    assert not prior.asked
    assert latent_texture.LatentTextureConfig().views == sculpt.SculptConfig().views == 0
