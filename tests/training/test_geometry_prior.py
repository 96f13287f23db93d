"""Training the geometry prior: losses know the truth, mirrors are mirrors, weights come back."""

import dataclasses
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from geneman.camera import REFERENCE
from geneman.curation.synthetic.avatars import avatar_files, identity
from geneman.curation.synthetic.people import People
from geneman.curation.synthetic.sample import Person, draw_sample
from geneman.errors import OptionError
from geneman.priors.bundled.bones import MAPS
from geneman.priors.bundled.geometry_network import (
    BothSides,
    GeometryNetwork,
    Widths,
    read_weights,
    shown,
    shown_bones,
    write_weights,
)
from geneman.priors.bundled.geometry_prior import GeometryPrior
from geneman.progress import StepDone
from geneman.training.geometry_batches import Batch, batches
from geneman.training.geometry_losses import losses
from geneman.training.geometry_prior import train
from geneman.training.learning_curves import read
from geneman.training.rendered_run import GeometryTraining
from geneman.training.steps import DECAY, Average, OrthogonalSteps, orthogonal
from tests.curation.rig import boxes
from tests.pretend_cuda import pretend_cuda

DATA = Path(os.environ.get("GENEMAN_DATA", Path(__file__).parents[3] / "shared/data"))
AVATARS = DATA / "valid_avatars"
avatars = pytest.mark.skipif(
    not AVATARS.is_dir(), reason="the folder valid_avatars is absent (see GENEMAN_DATA)"
)
TINY = Widths((8, 8, 16, 16), (1, 1, 1, 1))


@pytest.fixture(scope="module")
def samples():
    person = Person.of(boxes())
    return [draw_sample(person, np.random.default_rng(i), 64) for i in range(2)]


@pytest.fixture(scope="module")
def batch(samples):
    return Batch.of(samples)


def truth(batch):
    return BothSides(
        *(batch.normal, batch.depth, batch.hidden_normal, batch.hidden_depth, batch.hidden_colour),
        torch.ones_like(batch.depth),
    )


def test_the_truth_costs_nothing_and_anything_else_something(batch):
    for name, value in losses(truth(batch), batch).items():
        assert value.item() == pytest.approx(0.0, abs=1e-5), name
    torch.manual_seed(0)
    found = GeometryNetwork(TINY)(shown(batch.colour, batch.cover), batch.bones)
    assert all(value > 0.01 for value in losses(found, batch).values())


def test_mirroring_twice_changes_nothing_and_once_turns_normals(batch):
    which = torch.tensor([True, False])
    once = batch.mirrored(which)
    torch.testing.assert_close(once.mirrored(which).normal, batch.normal)
    torch.testing.assert_close(once.normal[0, 0], -batch.normal[0, 0].flip(-1))
    torch.testing.assert_close(once.colour[1], batch.colour[1])


def test_samples_are_shown_again_later_and_in_the_same_batches_wherever_a_run_begins(monkeypatch):
    monkeypatch.setattr("geneman.training.geometry_batches.APART", 3)
    person = Person.of(boxes())
    people = People(files=(), size=64, seed=0)
    monkeypatch.setattr(
        People, "sample", lambda _, index: draw_sample(person, np.random.default_rng(index), 64)
    )

    def begun(first, count):
        return list(islice(batches(people, first, 1, 0, torch.device("cpu"), 3), count))

    whole = begun(0, 9)
    assert [len(batch.cover) for batch in whole] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    for step, batch in enumerate(whole[6:], start=6):
        for show in (1, 2):
            torch.testing.assert_close(batch.normal[show], whole[step - 3 * show].normal[0])
    for first in (2, 4, 8):
        (later,) = begun(first, 1)
        for name in Batch.names():
            assert torch.equal(getattr(later, name), getattr(whole[first], name)), name


def test_a_batch_holds_each_sample_as_often_as_the_others(tmp_path):
    config = GeometryTraining(batch=4, shows=3)
    with pytest.raises(OptionError, match=r"multiple of shows.*4 and 3.*take batch 6"):
        train(tmp_path, None, tmp_path / "out", config, print)


def test_depth_is_counted_from_the_reference_distance(batch):
    person = Person.of(boxes())
    sample = draw_sample(person, np.random.default_rng(0), 64)
    inside = sample.inside
    torch.testing.assert_close(batch.depth[0, 0][inside] + REFERENCE.distance, sample.depth[inside])


def test_a_few_steps_learn_one_person(batch):
    torch.manual_seed(0)
    network = GeometryNetwork(TINY)
    optimiser = torch.optim.AdamW(network.parameters(), 5e-3)
    totals = []
    for _ in range(12):
        terms = losses(network(shown(batch.colour, batch.cover), batch.bones), batch)
        total = torch.stack(list(terms.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < 0.9 * totals[0]


def test_a_network_that_is_shown_bones_begins_with_the_answers_it_gave_without(batch):
    torch.manual_seed(0)
    without = GeometryNetwork(dataclasses.replace(TINY, bones=0)).eval()
    photo = shown(batch.colour, batch.cover)
    seeing = shown_bones(without)
    for found, before in zip(
        vars(seeing(photo, batch.bones)).values(),
        vars(without(photo, batch.bones)).values(),
        strict=True,
    ):
        torch.testing.assert_close(found, before)
    assert shown_bones(seeing) is seeing
    torch.nn.init.normal_(seeing.bones.weight)
    apart = seeing(photo, batch.bones).depth - seeing(photo, torch.zeros_like(batch.bones)).depth
    assert apart.abs().max() > 1e-3


def test_weights_from_before_bones_come_back_without(tmp_path):
    torch.manual_seed(0)
    without = GeometryNetwork(dataclasses.replace(TINY, bones=0)).eval()
    widths = {name: value for name, value in vars(without.widths).items() if name != "bones"}
    old = dataclasses.make_dataclass("Old", widths)(**widths)
    write_weights(tmp_path / "g.safetensors", old, without.state_dict(), {})
    found, _ = read_weights(tmp_path / "g.safetensors")
    assert found.bones is None
    photo, bones = torch.rand(1, 4, 64, 64), torch.rand(1, MAPS, 16, 16)
    torch.testing.assert_close(
        found(photo, bones).depth, without(photo, bones).depth, atol=2e-3, rtol=0
    )


def test_the_average_of_a_network_that_stays_is_that_network():
    torch.manual_seed(0)
    network = GeometryNetwork(TINY)
    average = Average(network, 0.99)
    for _ in range(5):
        average.follow()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(average.weights[name], value)


def test_weights_come_back_from_half_precision_with_their_record(tmp_path):
    torch.manual_seed(0)
    network = GeometryNetwork(TINY).eval()
    write_weights(tmp_path / "g.safetensors", TINY, network.state_dict(), {"samples": 3})
    found, record = read_weights(tmp_path / "g.safetensors")
    assert record == {"samples": 3}
    photo, bones = torch.rand(1, 4, 64, 64), torch.rand(1, MAPS, 16, 16)
    torch.testing.assert_close(
        found(photo, bones).depth, network(photo, bones).depth, atol=2e-3, rtol=0
    )


def test_an_orthogonal_step_moves_all_directions_of_a_kernel_alike():
    torch.manual_seed(0)
    kernel = torch.nn.Parameter(torch.randn(6, 4, 3, 3))
    before = kernel.detach().clone()
    # A gradient with one strong direction: Adam would follow its entries, this its directions.
    kernel.grad = torch.outer(torch.randn(6), torch.randn(36)).reshape(6, 4, 3, 3) * 10
    kernel.grad += 0.1 * torch.randn(6, 4, 3, 3)
    OrthogonalSteps([kernel]).step(0.1)
    assert kernel.grad is None
    moved = torch.linalg.svdvals((kernel.detach() - before).reshape(6, 36))
    assert moved.min() > 0.4 * moved.max() > 0


def exactly_orthogonal(gradient, *_):
    """Muon's five steps as they are written down: torch's own round to bfloat16."""
    turned = gradient.shape[0] > gradient.shape[1]
    x = (gradient.T if turned else gradient).double()
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if turned else x).float()


@pytest.mark.parametrize("shape", [(6, 36), (36, 6), (5, 5)])
def test_orthogonal_steps_are_those_of_muon(shape, monkeypatch):
    monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", exactly_orthogonal)
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(shape)) for _ in range(2))
    muon = torch.optim.Muon([theirs], 0.1, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
    steps = OrthogonalSteps([ours])
    for _ in range(4):
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        steps.step(0.1)
        muon.step()
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
        kept = steps.state_dict()
        steps = OrthogonalSteps([ours])
        steps.load_state_dict(kept)


def test_any_matrix_becomes_nearly_orthogonal():
    generator = torch.Generator().manual_seed(0)
    stretched = torch.randn(40, 90, generator=generator) * torch.logspace(0, -1.5, 40)[:, None]
    values = torch.linalg.svdvals(orthogonal(stretched))
    assert 0.6 < values.min() <= values.max() < 1.3


@avatars
def test_a_run_leaves_weights_with_card_and_curves_and_the_next_one_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("geneman.training.geometry_prior.TRUSTED", 1)
    people, found = tmp_path / "people", {identity(file): file for file in avatar_files(AVATARS)}
    people.mkdir()
    for file in list(found.values())[:5]:
        (people / file.name).symlink_to(file)
    config = GeometryTraining(minutes=0.01, batch=2, size=64, workers=0, device="cpu", validation=1)
    steps = []
    for _ in range(2):
        train(people, None, tmp_path / "out", config, steps.append, TINY)
    taken = [event.step for event in steps if isinstance(event, StepDone)]
    assert taken == list(range(len(taken)))
    rows = read(tmp_path / "out" / "learning.csv")
    assert rows[-1]["samples"] == 2 * len(taken) > rows[0]["samples"]
    prior = GeometryPrior.from_file(tmp_path / "out" / "geometry.safetensors")
    assert prior.look == 64
    assert all(0 <= share <= 1 for share in dataclasses.astuple(prior.trust))
    card = (tmp_path / "out" / "geometry.md").read_text()
    assert f"{len(taken)} steps, {2 * len(taken)} samples" in card
    assert (tmp_path / "out" / "learning.png").stat().st_size > 1000


def some_people(folder):
    folder.mkdir()
    for file in list({identity(file): file for file in avatar_files(AVATARS)}.values())[:5]:
        (folder / file.name).symlink_to(file)
    return folder


def train_some(folder, config):
    begin = folder / "begin.safetensors"
    people = some_people(folder / "people")
    train(people, None, folder / "out", config, lambda _: None, start_from=begin)


@avatars
def test_a_run_can_begin_with_weights_of_another_shape_than_the_standard(tmp_path, monkeypatch):
    monkeypatch.setattr("geneman.training.geometry_prior.TRUSTED", 1)
    torch.manual_seed(1)
    before = GeometryNetwork(TINY)
    write_weights(
        tmp_path / "begin.safetensors", TINY, before.state_dict(), {"command": "a first run"}
    )
    # No step is as long as this: the weights that come out are those that went in.
    config = GeometryTraining(
        minutes=0.01, batch=1, size=64, workers=0, device="cpu", validation=1, learning_rate=1e-9
    )
    train_some(tmp_path, config)
    after, record = read_weights(tmp_path / "out" / "geometry.safetensors")
    assert after.widths == TINY
    assert record["steps"] >= 1
    assert record["before"] == ["a first run"]
    assert "Before that: `a first run`." in (tmp_path / "out" / "geometry.md").read_text()
    for name, value in after.state_dict().items():
        torch.testing.assert_close(value, before.state_dict()[name], atol=1e-3, rtol=0)


@avatars
def test_colours_can_be_trained_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("geneman.training.geometry_prior.TRUSTED", 1)
    before = GeometryNetwork(TINY)
    write_weights(tmp_path / "begin.safetensors", TINY, before.state_dict(), {})
    config = GeometryTraining(
        minutes=0.02,
        batch=2,
        size=64,
        workers=0,
        device="cpu",
        validation=1,
        part="colours",
        ema=0.0,
    )
    train_some(tmp_path, config)
    after, _ = read_weights(tmp_path / "out" / "geometry.safetensors")
    halves = {name: value.half().float() for name, value in before.state_dict().items()}
    changed = {n for n, v in after.state_dict().items() if not torch.equal(v, halves[n])}
    assert changed
    assert all(name.startswith("borrow.") for name in changed)


@pytest.mark.parametrize("content", [None, b"no weights"])
def test_weights_that_cannot_be_read_are_refused_before_anything_is_rendered(tmp_path, content):
    file = tmp_path / "begin.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OptionError, match="--start-from must name weights"):
        train(
            tmp_path / "nobody",
            None,
            tmp_path / "out",
            GeometryTraining(),
            lambda _: None,
            start_from=file,
        )
    assert not (tmp_path / "out").exists()


@avatars
@pytest.mark.filterwarnings("ignore:CUDA is not available", "ignore:'pin_memory'")
@pytest.mark.parametrize("part", ["all", "details"])
def test_a_training_keeps_to_its_device(part, tmp_path, monkeypatch):
    monkeypatch.setattr("geneman.training.geometry_prior.TRUSTED", 1)
    monkeypatch.setattr("geneman.training.geometry_prior.FINE", 64)
    monkeypatch.setattr("geneman.training.rendered_run.choose", torch.device)
    people = some_people(tmp_path / "people")
    config = GeometryTraining(
        minutes=0.01, batch=2, size=64, workers=0, device="cuda:0", validation=1, part=part
    )
    with pretend_cuda(monkeypatch):
        for _ in range(2):  # and goes on there
            train(people, None, tmp_path / "out", config, lambda _: None)
    assert (tmp_path / "out" / "learning.png").is_file()
