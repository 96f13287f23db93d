"""The learned shape prior with a network that has learnt nothing: what holds for any weights."""

import dataclasses

import numpy as np
import pytest
import torch

from geneman.camera import REFERENCE
from geneman.landmarks import HIPS, NOSE, SHOULDERS
from geneman.priors.bundle import ShapePrior
from geneman.priors.bundled.bones import MAPS
from geneman.priors.bundled.detail_network import DetailNetwork, DetailWidths
from geneman.priors.bundled.geometry_network import (
    Borrowing,
    GeometryNetwork,
    Widths,
    read_record,
    read_weights,
    shown,
    write_weights,
)
from geneman.priors.bundled.geometry_prior import (
    DETAIL,
    THINNEST,
    WEIGHTS,
    GeometryPrior,
    Trust,
    bundled_shape_prior,
)
from geneman.priors.bundled.hidden_colour import Front, settle, weave
from geneman.priors.bundled.inflation import Inflation
from geneman.priors.bundled.membranes import resized
from tests.synthetic import figure_view

SIZE = 192
NOBODY = np.zeros((33, 4), np.float32)


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(0)
    network = GeometryNetwork(Widths((8, 8, 16, 16), (1, 1, 1, 1))).eval()
    torch.nn.init.normal_(network.bones.weight, std=0.3)
    return GeometryPrior(network.requires_grad_(requires_grad=False))


@pytest.fixture(scope="module")
def figure():
    return figure_view(SIZE)


@pytest.fixture(scope="module")
def surfaces(prior, figure):
    return guess_of(prior, figure)


def guess_of(prior, view, **given):
    return prior.surfaces(view.colour, view.mask, view.landmarks, view.framing, **given)


def angle(a, b, inside):
    return torch.rad2deg(torch.acos((a * b).sum(-1).clamp(-1, 1)))[inside].mean().item()


def test_it_keeps_the_protocol_and_the_photos_size(prior, surfaces):
    assert isinstance(prior, ShapePrior)
    assert surfaces.normal.shape == surfaces.hidden.colour.shape == (SIZE, SIZE, 3)
    assert surfaces.depth.shape == surfaces.hidden.depth.shape == (SIZE, SIZE)


def test_the_hidden_side_lies_behind_and_the_middle_at_the_reference_distance(surfaces, figure):
    inside = figure.inside
    apart = (surfaces.hidden.depth - surfaces.depth)[inside]
    assert apart.min() > 0.9 * THINNEST
    middle = ((surfaces.depth + surfaces.hidden.depth) / 2)[inside].median()
    assert middle == pytest.approx(REFERENCE.distance, abs=0.01)


def test_normals_have_length_one_and_colours_are_colours(surfaces, figure):
    inside = figure.inside
    torch.testing.assert_close(
        surfaces.normal.norm(dim=-1)[inside], torch.ones(int(inside.sum())), atol=1e-4, rtol=0
    )
    assert surfaces.hidden.colour.min() >= 0
    assert surfaces.hidden.colour.max() <= 1
    assert (surfaces.hidden.normal[inside][:, 2] < 0).float().mean() > 0.9


def test_given_normals_are_kept_and_bend_the_relief(prior, figure):
    found = guess_of(prior, figure, normal=figure.normal)
    assert torch.equal(found.normal, figure.normal)
    from geneman.priors.bundled.relief import normals_of

    relief = normals_of(found.depth.double().numpy())
    assert angle(relief, figure.normal, figure.inside) < 12


def across(landmarks):
    return landmarks * torch.tensor([-1.0, 1.0, 1.0, 1.0])


def test_a_mirrored_photo_gets_the_mirrored_answer(prior, figure):
    found, sure = prior.ask(figure.colour, figure.mask, figure.landmarks)
    mirrored, there = prior.ask(
        figure.colour.flip(1), figure.mask.flip(1), across(figure.landmarks)
    )
    torch.testing.assert_close(mirrored.depth.flip(-1), found.depth, atol=1e-4, rtol=0)
    np.testing.assert_allclose(there[:, ::-1], sure, atol=1e-4)
    assert 0 < sure.min() <= sure.max() <= 1
    torch.testing.assert_close(
        mirrored.normal.flip(-1)[:, 0], -found.normal[:, 0], atol=1e-4, rtol=0
    )


def test_other_body_points_give_another_answer(prior, figure):
    found, nobody = (
        prior.ask(figure.colour, figure.mask, landmarks)[0].depth
        for landmarks in (figure.landmarks, torch.zeros(33, 4))
    )
    assert (found - nobody).abs().max() > 1e-3


def test_what_lies_outside_the_mask_is_never_seen():
    colour, cover = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    cover[..., 8:24] = 1
    other = torch.where(cover > 0, colour, torch.rand(1, 3, 32, 32))
    assert torch.equal(shown(colour, cover), shown(other, cover))


def test_the_hidden_side_wears_only_what_the_photo_shows(prior, figure):
    worn = (
        prior.ask(figure.colour, figure.mask, figure.landmarks)[0].hidden_colour[0].movedim(0, -1)
    )
    small = torch.from_numpy(resized(figure.colour.double().numpy(), prior.look)).float()
    cover = torch.from_numpy(resized(figure.mask.double().numpy(), prior.look)) > 0.5
    shown_there = small[cover]
    for found, limit in (
        (worn[cover].amin(0), shown_there.amin(0)),
        (-worn[cover].amax(0), -shown_there.amax(0)),
    ):
        assert (found >= limit - 0.02).all()


def test_blocks_borrow_from_those_that_offer_what_they_wish():
    lookup = Borrowing(8, 8)
    for asks in (lookup.wish, lookup.offer):
        for layer in (asks[0], asks[2]):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    photo = torch.rand(1, 4, 64, 64)
    photo[:, 3] = -1.0
    photo[:, 3, 16:48, 16:48] = 1.0
    features = torch.zeros(1, 8, 16, 16), torch.zeros(1, 8, 8, 8)
    with torch.no_grad():
        lookup.nearness.fill_(-20.0)  # nothing counts: everybody wears the mean
        mean = lookup(*features, photo, photo[:, :3])[0, :3, 20:44, 20:44]
        lookup.nearness.fill_(1e4)  # only what is in front counts
        own = lookup(*features, photo, photo[:, :3])[0, :3, 20:44, 20:44]
    wanted = photo[0, :3, 16:48, 16:48].mean(dim=(1, 2))
    torch.testing.assert_close(mean, wanted[:, None, None].expand_as(mean), atol=1e-4, rtol=0)
    blocks = torch.nn.functional.avg_pool2d(photo[:, :3], 4)
    smooth = torch.nn.functional.interpolate(blocks, scale_factor=4.0, mode="bilinear")
    torch.testing.assert_close(own, smooth[0, :, 20:44, 20:44], atol=1e-4, rtol=0)


def test_a_photo_of_nobody_borrows_nothing_and_breaks_nothing(prior):
    nobody = torch.full((1, 4, 64, 64), -1.0)
    assert prior.network(nobody, torch.zeros(1, MAPS, 16, 16)).hidden_colour.isfinite().all()


def test_where_the_attention_is_divided_most_of_it_is_worn_and_its_share_is_told():
    lookup = Borrowing(8, 8).eval()
    with torch.no_grad():
        for asks in (lookup.wish, lookup.offer):
            asks[2].weight.zero_()
            asks[2].bias.zero_()
        lookup.nearness.fill_(-20.0)  # everybody looks at everything
        photo = torch.zeros(1, 4, 64, 64)
        photo[:, 0, :, :40], photo[:, 2, :, 40:], photo[:, 3] = 1.0, 1.0, 1.0
        features = torch.zeros(1, 8, 16, 16), torch.zeros(1, 8, 8, 8)
        found = lookup(*features, photo, photo[:, :3])
        mean = lookup.train()(*features, photo, photo[:, :3])
    red, grey = torch.tensor([1.0, 0.0, 0.0, 0.625]), torch.tensor([0.625, 0.0, 0.375, 1.0])
    for seen, wanted in ((found, red), (mean, grey)):
        torch.testing.assert_close(seen[0, :, 32, 32], wanted, atol=1e-3, rtol=0)


def test_a_trunk_wears_behind_what_it_wears_in_front_where_nothing_else_is_agreed_on(figure):
    size = figure.size
    colour, cover = figure.colour.numpy(), figure.mask.double().numpy()
    grey = np.full((size, size, 3), 0.5)
    points = figure.landmarks.numpy()
    undecided, decided = (
        settle(grey, np.full((size, size), share), Front.of(colour, cover), points)
        for share in (0.2, 0.9)
    )
    assert np.abs(decided - grey).max() < 1e-2
    high, low = (size * (1 - points[[*pair], 1].mean()) / 2 for pair in (SHOULDERS, HIPS))
    trunk = np.s_[
        round(high + 0.2 * (low - high)) : round(low), int(0.47 * size) : int(0.53 * size)
    ]
    apart = [np.abs(found - colour)[trunk].mean() for found in (undecided, grey)]
    assert apart[0] < 0.4 * apart[1]
    row, column = (round(size * (1 + sign * points[NOSE, i]) / 2) for i, sign in ((1, -1), (0, 1)))
    assert np.abs(undecided - grey)[row, column].max() < 0.01, "the head's own"


def test_the_back_has_the_weave_of_what_is_worn_and_not_the_face():
    generator = np.random.default_rng(0)
    cover = np.zeros((256, 256))
    cover[40:220, 60:200] = 1.0
    shirt, skin, hair = (
        np.array([0.2, 0.3, 0.6]),
        np.array([0.8, 0.6, 0.5]),
        np.array([0.2, 0.1, 0.1]),
    )
    threads = 0.015 * generator.standard_normal((256, 256, 1))
    front, back = (
        np.broadcast_to(shirt, (256, 256, 3)).copy(),
        np.broadcast_to(shirt, (256, 256, 3)).copy(),
    )
    front[:100], back[:100] = skin, hair
    front += threads
    found = weave(back, Front.of(front.astype(np.float32), cover), NOBODY)
    below, above = np.s_[130:210, 70:190], np.s_[50:80, 70:190]
    assert np.abs(found - front)[below].mean() < 0.2 * np.abs(back - front)[below].mean()
    assert np.abs(found - back)[above].max() < 0.01


def test_a_network_that_has_earned_no_trust_changes_nothing(prior, figure):
    nothing = dataclasses.replace(prior, trust=Trust(0.0, 0.0, 0.0, 0.0))
    found, guess = (guess_of(p, figure) for p in (nothing, Inflation()))
    inside = figure.inside
    apart = found.hidden.depth - found.depth, guess.hidden.depth - guess.depth
    assert (apart[0] - apart[1])[inside].abs().mean() < 0.15 * apart[1][inside].mean()
    assert angle(found.normal, guess.normal, inside) < 4


def test_the_trust_that_was_measured_comes_with_the_weights(prior, tmp_path):
    path = tmp_path / "g.safetensors"
    record = {"trust": {"normal": 0.9, "depth": 0.4, "thickness": 0.3, "hidden_normal": 0.5}}
    write_weights(path, prior.network.widths, prior.network.state_dict(), record)
    assert GeometryPrior.from_file(path).trust == Trust(0.9, 0.4, 0.3, 0.5)


def test_without_weights_there_is_no_prior(tmp_path):
    with pytest.raises(FileNotFoundError):
        GeometryPrior.from_file(tmp_path / "geometry.safetensors")


def test_the_bundle_has_the_learned_prior_where_its_weights_are(prior, tmp_path):
    path = tmp_path / "geometry.safetensors"
    assert isinstance(bundled_shape_prior(path), Inflation)
    write_weights(path, prior.network.widths, prior.network.state_dict(), {})
    assert isinstance(bundled_shape_prior(path), GeometryPrior)


def test_shipped_weights_are_better_than_none_and_say_how_they_were_made():
    if not WEIGHTS.is_file():
        pytest.skip("this checkout ships no trained weights")
    network, record = read_weights(WEIGHTS)
    assert WEIGHTS.stat().st_size < 25e6
    assert record["validation"]["normal_deg"] < 22
    assert 0 < record["trust"]["normal"] <= 1
    view = figure_view(128)
    shipped = GeometryPrior(network, trust=Trust(**record["trust"]))
    found, guess = (guess_of(p, view) for p in (shipped, Inflation()))
    learned, unlearned = (angle(s.normal, view.normal, view.inside) for s in (found, guess))
    assert learned < unlearned + 3


def test_details_bend_the_visible_side_and_its_relief_alike_in_the_mirror(prior, figure):
    network = DetailNetwork(DetailWidths((8, 8)))
    network.leave.weight.data.normal_(0, 0.1)
    drawn = dataclasses.replace(prior, detail=network.eval())
    found, smooth = (guess_of(p, figure) for p in (drawn, prior))
    inside = figure.inside
    assert 0.5 < angle(found.normal, smooth.normal, inside) < 60
    assert (found.depth - smooth.depth)[inside].abs().max() > 1e-4
    across = torch.tensor([-1.0, 1.0, 1.0])
    smooth_normal = np.stack([*np.zeros((2, 512, 512)), np.ones((512, 512))], axis=-1)
    own = drawn.detailed(figure.colour, figure.mask, smooth_normal)
    other = drawn.detailed(figure.colour.flip(1), figure.mask.flip(1), smooth_normal)
    np.testing.assert_allclose(own, other[:, ::-1] * across.numpy(), atol=1e-4)


def test_details_come_with_the_weights_beside_them_and_change_the_priors_name(prior, tmp_path):
    path = tmp_path / "geometry.safetensors"
    write_weights(path, prior.network.widths, prior.network.state_dict(), {})
    smooth = GeometryPrior.from_file(path)
    assert smooth.detail is None
    network = DetailNetwork(DetailWidths((8, 8)))
    write_weights(tmp_path / DETAIL, network.widths, network.state_dict(), {"samples": 3})
    found = GeometryPrior.from_file(path)
    assert found.detail is not None
    assert found.detail.widths == network.widths
    assert found.name.startswith(smooth.name + "+")


def test_shipped_details_are_closer_to_the_truth_than_smooth_normals():
    file = WEIGHTS.with_name(DETAIL)
    if not file.is_file():
        pytest.skip("this checkout ships no trained weights")
    figures = read_record(file)["validation"]
    assert file.stat().st_size < 1e5
    assert figures["normal_deg"] < figures["smooth_normal_deg"] - 0.3
