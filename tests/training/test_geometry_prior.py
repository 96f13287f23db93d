"""Training the geometry prior: losses know the truth, mirrors are mirrors, weights come back."""

import numpy as np
import pytest
import torch

from geneman.camera import REFERENCE
from geneman.curation.synthetic.sample import Person, draw_sample
from geneman.priors.bundled.geometry_network import (
    BothSides,
    GeometryNetwork,
    Widths,
    read_weights,
    shown,
    write_weights,
)
from geneman.training.geometry_prior import Average, Batch, losses
from tests.curation.rig import boxes

TINY = Widths((8, 8, 16, 16), (1, 1, 1, 1))


@pytest.fixture(scope="module")
def batch():
    person = Person.of(boxes())
    return Batch.of([draw_sample(person, np.random.default_rng(i), 64) for i in range(2)])


def truth(batch):
    return BothSides(
        batch.normal, batch.depth, batch.hidden_normal, batch.hidden_depth, batch.hidden_colour
    )


def test_the_truth_costs_nothing_and_anything_else_something(batch):
    for name, value in losses(truth(batch), batch).items():
        assert value.item() == pytest.approx(0.0, abs=1e-5), name
    torch.manual_seed(0)
    found = GeometryNetwork(TINY)(shown(batch.colour, batch.cover))
    assert all(value > 0.01 for value in losses(found, batch).values())


def test_mirroring_twice_changes_nothing_and_once_turns_normals(batch):
    which = torch.tensor([True, False])
    once = batch.mirrored(which)
    torch.testing.assert_close(once.mirrored(which).normal, batch.normal)
    torch.testing.assert_close(once.normal[0, 0], -batch.normal[0, 0].flip(-1))
    torch.testing.assert_close(once.colour[1], batch.colour[1])


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
        terms = losses(network(shown(batch.colour, batch.cover)), batch)
        total = torch.stack(list(terms.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < 0.9 * totals[0]


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
    photo = torch.rand(1, 4, 64, 64)
    torch.testing.assert_close(found(photo).depth, network(photo).depth, atol=2e-3, rtol=0)
