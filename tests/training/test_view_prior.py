"""Training the view prior: what is dropped and asked, stops that change nothing, people on disk."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from geneman.camera import REFERENCE, Orbit
from geneman.cli.train import command
from geneman.curation.rings import Rings, draw_ring
from geneman.curation.synthetic.sample import Person
from geneman.errors import OptionError
from geneman.priors.bundled.geometry_prior import GeometryPrior
from geneman.priors.bundled.view_network import (
    ABSENT,
    KNOWN,
    LAYERS,
    NOISY,
    WRONG,
    ViewNetwork,
    ViewShape,
    folded,
    read_view_weights,
    view_scheduler,
)
from geneman.priors.diffusion import Diffusion
from geneman.priors.relative_camera import relative_camera
from geneman.progress import Cancelled, StepDone, silent
from geneman.training import learning_curves, view_prior
from geneman.training.photo_dropout import Known
from geneman.training.view_batches import Pairs, Pool, pair_of
from geneman.training.view_prior import Draws, ViewTraining, draw_chances, losses
from geneman.training.view_sketches import GuessedViews
from geneman.training.view_sources import render, sources
from geneman.training.view_validation import compared
from tests.curation.rig import boxes, narrow, sketched
from tests.pretend_cuda import pretend_cuda

CPU = torch.device("cpu")
TINY = ViewShape(size=32, patch=2, levels=(8, 8, 16, 16), token=8, heads=2, groups=4)
QUICK = ViewTraining(
    batch=2, pool=3, fresh=0.5, size=32, workers=0, validation=2, learning_rate=5e-3, warm_up=2
)


@pytest.fixture(scope="module")
def person():
    return Person.of(boxes())


@pytest.fixture(scope="module")
def folder(person, tmp_path_factory):
    """Rendered people for training (000) and validation (001)."""
    place = tmp_path_factory.mktemp("rings")
    for seed, count in ((0, 6), (1, 2)):
        for index in range(count):
            ring = sketched(draw_ring(person, np.random.default_rng((seed, index)), 32, 4))
            (place / f"{seed:03}-{index:07}.safetensors").write_bytes(ring.to_bytes())
    return place


@pytest.fixture(scope="module")
def pairs(folder):
    rings = Rings((), 32, 4, 0, folder=folder)
    return Pairs.joined([pair_of(rings.ring(index), 0, CPU) for index in range(2)])


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_rings_without_sketches_are_refused_where_these_are_learnt_from(person, tmp_path):
    ring = draw_ring(person, np.random.default_rng(1), 32, 4)
    (tmp_path / "000-0000000.safetensors").write_bytes(ring.to_bytes())
    assert Rings((), 32, 4, 0, folder=tmp_path).ring(0).sketches is None
    wants = GuessedViews(GeometryPrior(narrow(), name="new"))
    with pytest.raises(OptionError, match=r"must have sketches by 'new', but got none: name"):
        Rings((), 32, 4, 0, folder=tmp_path, sketcher=wants).ring(0)
    (tmp_path / "000-0000000.safetensors").write_bytes(sketched(ring).to_bytes())
    with pytest.raises(OptionError, match=r"by 'new', but got 'half' in '000-0000000"):
        Rings((), 32, 4, 0, folder=tmp_path, sketcher=wants).ring(0)
    pair = pair_of(ring, 0, CPU)
    network = ViewNetwork(TINY)
    diffusion, chance = Diffusion(network, view_scheduler()), chances(pair, [NOISY] * 3)
    with pytest.raises(OptionError, match=r"but got rings without sketches.*--rings"):
        losses(network, diffusion, pair, chance)


def test_the_pool_holds_the_same_rings_however_it_got_there(folder):
    rings = Rings((), 32, 4, 0, folder=folder, limit=6)
    straight, jumped = Pool(rings, 3, 0, CPU), Pool(rings, 3, 0, CPU)
    for first in range(5):
        straight.advance(first)
    jumped.advance(4)
    assert torch.equal(straight.photos, jumped.photos)
    assert torch.equal(straight.sketches, jumped.sketches)
    assert torch.equal(straight.cameras, jumped.cameras)
    a, b = straight.draw(5, drawn()), jumped.draw(5, drawn())
    assert torch.equal(a.picture, b.picture)


# ---- what a step learns from ----------------------------------------------------------------


def test_mirroring_twice_changes_nothing_and_once_turns_normals_and_cameras(pairs):
    which = torch.tensor([True, False])
    once = pairs.mirrored(which)
    for name in ("photo", "picture", "sketch", "camera"):
        torch.testing.assert_close(getattr(once.mirrored(which), name), getattr(pairs, name))
        assert torch.equal(getattr(once, name)[1], getattr(pairs, name)[1])
    cover = pairs.picture[0, 3]
    before = pairs.picture[0, 4] - cover / 2
    torch.testing.assert_close(once.picture[0, 4] - cover.flip(-1) / 2, -before.flip(-1))


def test_a_mirrored_camera_is_the_camera_on_the_other_side(pairs):
    orbit = Orbit(35.0, 10.0, 1.2, 22.0, (0.1, -0.02, 0.3))
    across = Orbit(-35.0, 10.0, 1.2, 22.0, (-0.1, -0.02, 0.3))
    camera = relative_camera(REFERENCE, [orbit, orbit])
    turned = replace(pairs, camera=camera).mirrored(torch.tensor([True, True]))
    torch.testing.assert_close(turned.camera[:1], relative_camera(REFERENCE, [across]))


def test_three_disjoint_buckets_of_five_per_cent_drop_the_photo():
    """METHOD section 9: tokens alone, patches alone, both."""
    draws = draw_chances(torch.zeros(40_000, 1, 1, 1), 1000, ViewTraining(), drawn())
    tokens, patches = ~draws.known.tokens, ~draws.known.patches
    for bucket in (tokens & ~patches, patches & ~tokens, tokens & patches):
        assert bucket.float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert (tokens | patches).float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert 0 <= draws.times.min() < 5
    assert 995 <= draws.times.max() < 1000
    last = (draws.times == 999).float().mean().item()
    assert last == pytest.approx(ViewTraining().pure_noise, abs=0.01)


def test_some_pictures_are_colours_or_normals_alone_or_shapes_to_be_coloured():
    draws = draw_chances(torch.zeros(40_000, 1, 1, 1), 1000, ViewTraining(), drawn())
    rows, counts = draws.present.unique(dim=0, return_counts=True)
    shares = {
        tuple(row): count / 40_000
        for row, count in zip(rows.tolist(), counts.tolist(), strict=True)
    }
    assert shares == {
        (NOISY, ABSENT, ABSENT): pytest.approx(0.15, abs=0.01),
        (ABSENT, ABSENT, NOISY): pytest.approx(0.15, abs=0.01),
        (NOISY, KNOWN, KNOWN): pytest.approx(0.2, abs=0.01),
        (NOISY, NOISY, NOISY): pytest.approx(0.5, abs=0.01),
    }


def chances(pairs, present):
    clean = folded(pairs.picture, TINY.patch)
    draws = draw_chances(clean, 1000, QUICK, drawn())
    know = torch.ones(len(clean), dtype=torch.bool)
    rows = torch.tensor(present).expand(len(clean), -1)
    return Draws(torch.full_like(draws.times, 400), draws.noise, Known(know, know), rows)


def untaught():
    network = ViewNetwork(TINY).eval()
    torch.nn.init.zeros_(network.unet.conv_out.weight)
    torch.nn.init.zeros_(network.unet.conv_out.bias)
    return network


def answered(network, pairs, sample, time, present=(NOISY,) * 3, sketch=None):
    tokens, patches = network.look(pairs.photo)
    return network(
        sample,
        torch.full((2,), time),
        tokens=tokens,
        patches=patches,
        sketch=folded(pairs.sketch, TINY.patch) if sketch is None else sketch,
        camera=pairs.camera,
        present=torch.tensor(present).expand(2, -1),
    )


def test_before_it_has_learnt_anything_the_network_answers_with_the_sketch(pairs):
    """At the last time v is minus the clean picture: of layers without noise nothing is said."""
    network, sketch = untaught(), folded(pairs.sketch, TINY.patch)
    noise = torch.randn(sketch.shape, generator=drawn())
    torch.testing.assert_close(answered(network, pairs, noise, 999), -sketch)
    coloured = answered(network, pairs, noise, 999, [NOISY, KNOWN, KNOWN])
    colours = LAYERS["colour"] * TINY.patch**2
    torch.testing.assert_close(coloured[:, :colours], -sketch[:, :colours])
    assert (coloured[:, colours:] == 0).all()


@pytest.mark.parametrize("time", [50, 400, 800])
def test_an_untaught_answer_is_the_best_for_differences_of_the_expected_size(pairs, time):
    """The mean of x given z = sqrt(a) x + sqrt(1 - a) e is s + sqrt(a) w (z - sqrt(a) s) / t."""
    a = view_scheduler().alphas_cumprod[time]
    for sketch, w in ((folded(pairs.sketch, TINY.patch), WRONG), (torch.zeros(2, 28, 16, 16), 1.0)):
        noisy = torch.randn(sketch.shape, generator=drawn())
        v = answered(untaught(), pairs, noisy, time, sketch=sketch)
        clean = a.sqrt() * noisy - (1 - a).sqrt() * v
        likely = sketch + a.sqrt() * w / (a * w + 1 - a) * (noisy - a.sqrt() * sketch)
        torch.testing.assert_close(clean, likely)


def test_the_network_sees_what_a_picture_differs_from_its_sketch_by(pairs):
    network, sketch = untaught(), folded(pairs.sketch, TINY.patch)
    seen = []
    network.unet.conv_in.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    noisy = torch.randn(sketch.shape, generator=drawn())
    answered(network, pairs, noisy, 400, [NOISY, KNOWN, ABSENT])
    a, colours = view_scheduler().alphas_cumprod[400], LAYERS["colour"] * TINY.patch**2
    differs = (noisy - a.sqrt() * sketch) * (a * WRONG + 1 - a).rsqrt()
    torch.testing.assert_close(seen[0][:, :colours], differs[:, :colours])
    torch.testing.assert_close(seen[0][:, colours:28], noisy[:, colours:])
    torch.testing.assert_close(seen[0][:, 28:56], sketch)


def test_absent_layers_count_nothing_and_known_ones_are_shown_without_noise(pairs):
    torch.manual_seed(0)
    network = ViewNetwork(TINY).eval()
    diffusion = Diffusion(network, view_scheduler())
    changed = pairs.picture.clone()
    changed[:, 3:] = 1 - changed[:, 3:]
    other = replace(pairs, picture=changed)

    def loss(which, present):
        return losses(network, diffusion, which, chances(pairs, present))["v"]

    absent = [NOISY, ABSENT, ABSENT]
    assert torch.equal(loss(pairs, absent), loss(other, absent))
    known = [NOISY, KNOWN, KNOWN]
    assert not torch.equal(loss(pairs, known), loss(other, known))
    seen = []
    network.unet.conv_in.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    loss(pairs, known)
    clean = folded(pairs.picture, TINY.patch)
    shape = slice(LAYERS["colour"] * TINY.patch**2, TINY.channels)
    torch.testing.assert_close(seen[0][:, shape].float(), clean[:, shape], atol=4e-3, rtol=0)
    colours = slice(LAYERS["colour"] * TINY.patch**2)
    assert not torch.allclose(seen[0][:, colours].float(), clean[:, colours], atol=0.1)


def test_a_dropped_photo_is_not_seen(pairs):
    torch.manual_seed(0)
    network = ViewNetwork(TINY).eval()
    diffusion = Diffusion(network, view_scheduler())
    draws = chances(pairs, [NOISY, NOISY, NOISY])
    other = replace(pairs, photo=1 - pairs.photo, sketch=1 - pairs.sketch)
    no = torch.zeros(2, dtype=torch.bool)
    for tokens, patches in ((no, ~no), (~no, no)):
        half = Draws(draws.times, draws.noise, Known(tokens, patches), draws.present)
        pair = [losses(network, diffusion, which, half)["v"].item() for which in (pairs, other)]
        assert pair[0] != pair[1]
    none = Draws(draws.times, draws.noise, Known(no, no), draws.present)
    pair = [losses(network, diffusion, which, none)["v"].item() for which in (pairs, other)]
    assert pair[0] == pair[1]


def test_a_few_steps_learn_one_person(pairs):
    torch.manual_seed(0)
    network = ViewNetwork(TINY)
    diffusion = Diffusion(network, view_scheduler())
    optimiser = torch.optim.AdamW(network.parameters(), 5e-3)
    totals = []
    for _ in range(40):
        loss = losses(network, diffusion, pairs, chances(pairs, [NOISY] * 3))["v"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        totals.append(loss.item())
    assert totals[-1] < 0.6 * totals[0]


def test_views_are_compared_where_both_show_the_person():
    truth = torch.zeros(1, 7, 4, 4)
    truth[:, 3, :, :2], truth[:, 4, :, :2], truth[:, 5:, :, :2] = 1.0, 1.0, 0.5
    assert compared(truth, truth) == {"mask_iou": 1.0, "normal_deg": 0.0, "colour_error": 0.0}
    other = truth.clone()
    other[:, 3, :2], other[:, 4, :2], other[:, 5:, :2] = 0.0, 0.0, 0.0  # the upper half is missing
    other[:, :3] += 0.25
    other[:, 4, 2:, :2], other[:, 5, 2:, :2] = 0.5, 1.0  # turned from right to up
    found = compared(other, truth)
    assert found["mask_iou"] == 0.5
    assert found["normal_deg"] == pytest.approx(90, abs=0.1)
    assert found["colour_error"] == pytest.approx(0.25)


# ---- a whole training -----------------------------------------------------------------------


def rings(folder):
    return (
        Rings((), 32, 4, 0, folder=folder, limit=6),
        Rings((), 32, 4, 1, folder=folder),
    )


def stop_at(step):
    def report(event):
        if isinstance(event, StepDone) and event.step == step:
            raise Cancelled

    return report


def train(folder, out, report=silent, config=QUICK):
    view_prior.train(
        *rings(folder), out, config, report, device=CPU, shape=TINY, command="geneman train x"
    )


def test_a_training_that_was_stopped_ends_with_the_same_bits(folder, tmp_path):
    with pytest.raises(Cancelled):
        train(folder, tmp_path / "straight", stop_at(5))
    for step in (2, 5):
        with pytest.raises(Cancelled):
            train(folder, tmp_path / "halting", stop_at(step))
    states = [
        load_file(tmp_path / name / "checkpoint.safetensors") for name in ("straight", "halting")
    ]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    weight = "unet.conv_out.weight"
    assert not torch.equal(states[0][f"network/{weight}"], states[0][f"average/module.{weight}"])


def test_another_networks_checkpoint_is_refused_in_one_sentence(folder, tmp_path):
    with pytest.raises(Cancelled):
        train(folder, tmp_path, stop_at(0))
    other = replace(TINY, levels=(8, 8, 8, 16))
    with pytest.raises(OptionError, match=r"must be gone on with as it was begun.*empty folder"):
        view_prior.train(*rings(folder), tmp_path, QUICK, silent, device=CPU, shape=other)


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_a_training_keeps_to_its_device(folder, tmp_path, monkeypatch):
    with pretend_cuda(monkeypatch) as cuda:
        config = ViewTraining(**{**vars(QUICK), "minutes": 1e-9})
        for _ in range(2):  # and goes on there
            view_prior.train(*rings(folder), tmp_path, config, silent, device=cuda, shape=TINY)
    assert read_view_weights(tmp_path / "view.safetensors")[1]["device"] == "none"


def test_when_the_minutes_are_over_weights_card_curves_and_samples_lie_there(folder, tmp_path):
    train(folder, tmp_path, config=ViewTraining(**{**vars(QUICK), "minutes": 1e-9}))
    network, record = read_view_weights(tmp_path / "view.safetensors")
    assert network.shape == TINY
    assert record["command"] == "geneman train x"
    rows = learning_curves.read(tmp_path / "learning.csv")
    assert [row["step"] for row in rows] == [1]
    assert {"v", "v_at_500", "mask_iou", "normal_deg", "colour_error"} <= set(rows[0])
    assert {"sketch_mask_iou", "sketch_normal_deg", "sketch_colour_error"} <= set(rows[0])
    assert all(math.isfinite(value) for value in rows[0].values())
    card = (tmp_path / "view.md").read_text()
    for said in ("geneman train x", "Apache-2.0", "VALID", "1 steps", "mask_iou", "## Limits"):
        assert said in card
    for picture in ("learning.png", "samples.png"):
        assert (tmp_path / picture).read_bytes()[1:4] == b"PNG"
    train(folder, tmp_path, config=ViewTraining(**{**vars(QUICK), "minutes": 1e-9}))
    assert [row["step"] for row in learning_curves.read(tmp_path / "learning.csv")] == [1, 2]


def test_without_people_and_without_rings_one_sentence_says_what_is_missing(tmp_path):
    with pytest.raises(OptionError, match=r"neither --people nor --rings.*--people"):
        sources(None, None, Rings((), 32, 4, 0))
    found = Rings((), 32, 4, 0), Rings((), 32, 4, 1)
    with pytest.raises(OptionError, match=r"no --rings: name one"):
        render(found, 3, QUICK, print)


def test_a_prior_that_does_not_exist_is_answered_with_the_nearest_that_does():
    with pytest.raises(OptionError, match=r"got 'view-priors'.*view-prior"):
        command(["view-priors"])


def test_the_command_trains_from_rendered_people(person, tmp_path, capsys):
    folder = tmp_path / "rings"
    folder.mkdir()
    for name in ("000", "001"):
        ring = sketched(draw_ring(person, np.random.default_rng(0), 32, 8))
        ring = replace(ring, sketcher=GeometryPrior.from_file().name)
        (folder / f"{name}-0000000.safetensors").write_bytes(ring.to_bytes())
    settings = "--size 32 --batch 1 --pool 1 --workers 0 --validation 1 --minutes 1e-9"
    out = tmp_path / "made"
    arguments = ["view-prior", "--rings", str(folder), "--limit", "1", "-o", str(out)]
    assert command([*arguments, *settings.split()]) == 0
    assert str(out / "view.safetensors") in capsys.readouterr().out
    assert (out / "view.safetensors").stat().st_size < 20e6
    assert "--limit 1" in (out / "view.md").read_text()
