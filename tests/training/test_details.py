"""Training details: learnt from pixels, at the size they are drawn at, and gone on with."""

import dataclasses

import numpy as np
import pytest
import torch

from geneman.curation.synthetic.sample import Person, draw_sample
from geneman.errors import OptionError
from geneman.priors.bundled.detail_network import (
    DetailNetwork,
    DetailWidths,
    read_detail_weights,
)
from geneman.priors.bundled.geometry_network import GeometryNetwork
from geneman.priors.bundled.jets import COUNT
from geneman.progress import StepDone
from geneman.training.details import DetailLesson
from geneman.training.geometry_prior import train
from geneman.training.rendered_run import GeometryTraining
from tests.curation.rig import boxes
from tests.training.test_geometry_prior import TINY, avatars, some_people


@pytest.fixture(scope="module")
def samples():
    person = Person.of(boxes())
    return [draw_sample(person, np.random.default_rng(i), 64) for i in range(2)]


@avatars
def test_details_are_trained_beside_the_geometry_prior_and_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr("geneman.training.geometry_prior.FINE", 64)
    people = some_people(tmp_path / "people")
    config = GeometryTraining(
        minutes=0.02, batch=2, size=64, workers=1, device="cpu", validation=1, part="details"
    )
    steps = []
    for _ in range(2):
        train(people, None, tmp_path / "out", config, steps.append)
    taken = [event.step for event in steps if isinstance(event, StepDone)]
    assert taken == list(range(len(taken)))
    network, record = read_detail_weights(tmp_path / "out" / "detail.safetensors")
    assert network.leave.weight.abs().max() > 0
    assert set(record["validation"]) == {"smooth_normal_deg", "normal_deg"}
    assert "# Detail network" in (tmp_path / "out" / "detail.md").read_text()
    with pytest.raises(OptionError, match=r"as it was begun.*another network in"):
        train(people, None, tmp_path / "out", dataclasses.replace(config, part="all"), print, TINY)


def detail_lesson():
    torch.manual_seed(0)
    return DetailLesson(GeometryNetwork(TINY).eval(), look=32, pixels=200)


def test_details_are_learnt_from_pixels_all_over_a_person_and_leave_out_what_is_wide(samples):
    lesson = detail_lesson()
    batch = lesson.batch(samples)
    assert len(batch) == 2
    assert batch.jets.shape == (2, 200, COUNT)
    seen = (lesson._seen(sample) for sample in samples)
    errors = ((whole.normal - smooth)[0][:, whole.inside[0, 0]] for whole, _, smooth in seen)
    wide = torch.stack([error.mean(dim=1) for error in errors])
    left = (batch.wanted - batch.smooth).mean(dim=1)
    assert left[:, :2].norm() < 0.5 * wide[:, :2].norm()
    for plane in (batch.smooth, batch.wanted):
        torch.testing.assert_close(plane.norm(dim=2), torch.ones(2, 200))
    assert batch.mirrored(torch.tensor([True, False])) is batch
    assert len(batch.beside([batch])) == 4


def test_details_are_refused_at_another_size_than_they_are_drawn_at(tmp_path):
    config = GeometryTraining(part="details")
    with pytest.raises(OptionError, match=r"512 pixels.*--size 256.*add --size 512"):
        train(tmp_path, None, tmp_path / "out", config, print)


def test_details_of_one_person_are_learnt_in_a_few_steps(samples):
    lesson = detail_lesson()
    batch = lesson.batch(samples)
    network = DetailNetwork(DetailWidths((8, 8)))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    totals = []
    for _ in range(25):
        (total,) = lesson.losses(network, batch, torch.Generator()).values()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < 0.9 * totals[0]
