import pytest
import torch

from geneman.fields import adam
from geneman.fields.adam import FieldAdam, optimiser_of
from geneman.fields.networks import ColourField, EncodingConfig, FieldConfig
from geneman.mesh import Box
from geneman.progress import Cancelled, StepDone, silent
from geneman.training.checkpoints import FileCheckpoints, NoCheckpoints, capture, restore
from geneman.training.loop import minimise

BOX = Box((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
CONFIG = FieldConfig(EncodingConfig(levels=4, log2_table=10, base=4, growth=1.7), width=8)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def a_field():
    return ColourField(CONFIG, BOX, seeded())


def learnt(optimise, steps, *, checkpoints=None, report=silent, field=None):
    """Fit colours of random points near a moving place, so that steps use different entries."""
    field = field or a_field()
    generator = seeded(1)

    def objective(step):
        centre = torch.rand(3, generator=generator) - 0.5
        points = centre + 0.2 * torch.rand(20, 3, generator=generator)
        wanted = 0.5 + 0.4 * points
        return {"colour": (field.colour(points) - wanted).square().mean()}

    minimise(
        objective,
        optimise(field),
        stage="test",
        steps=steps,
        report=report,
        checkpoints=checkpoints or NoCheckpoints(),
        parts={"field": field},
        generator=generator,
    )
    return field


def ours(field):
    return FieldAdam(field.parameters(), field.encoding, rate=1e-2)


def torchs(field):
    return torch.optim.AdamW(field.parameters(), 1e-2, (0.9, 0.99), 1e-15, fused=True)


def test_where_steps_use_the_same_entries_a_field_learns_as_with_torchs():
    points = torch.rand(64, 3, generator=seeded(2)) - 0.5
    losses = []
    for optimise in (ours, torchs):
        field = a_field()
        optimiser, found = optimise(field), []
        for _ in range(40):
            loss = (field.colour(points) - (0.5 + 0.5 * points)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            found.append(loss.item())
        losses.append(found)
    assert losses[0][-1] < 0.5 * losses[0][0]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_a_run_that_was_stopped_ends_with_the_same_bits(tmp_path):
    whole = learnt(ours, 30)

    def stop(event):
        if isinstance(event, StepDone) and event.step == 17:
            raise Cancelled

    kept = FileCheckpoints(tmp_path / "checkpoint", interval=0)
    with pytest.raises(Cancelled):
        learnt(ours, 30, checkpoints=kept, report=stop)
    assert kept.load()[0] == 17
    again = learnt(ours, 30, checkpoints=kept)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_checkpoint_of_torchs_adam_goes_on_with_its_count_for_every_entry():
    field = a_field()
    before = torchs(field)
    for _ in range(3):
        before.zero_grad()
        field.colour(torch.rand(50, 3, generator=seeded(2))).sum().backward()
        before.step()
    state = capture({"optimiser": before}, seeded())
    after = ours(field)
    after.zero_grad()
    restore({"optimiser": after}, seeded(), state)
    moments = after._moments()
    assert (moments.steps == 3).all()
    assert torch.equal(moments.first, before.state[field.encoding.table]["exp_avg"])
    # Where all entries have a gradient the next step is torch's.
    gradient = torch.randn(moments.first.shape, generator=seeded(3))
    twin = torch.nn.Parameter(field.encoding.table.detach().clone())
    alone = torch.optim.AdamW([twin], 1e-2, (0.9, 0.99), 1e-15)
    alone.state[twin] = {k: v.clone() for k, v in before.state[field.encoding.table].items()}
    twin.grad = gradient.clone()
    alone.step()
    after.gradients.total.copy_(gradient)
    after.gradients.touched.fill_(1)
    after.step()
    torch.testing.assert_close(field.encoding.table.detach(), twin.detach(), rtol=1e-5, atol=1e-7)


def test_groups_have_their_own_rates_and_closed_levels_stay():
    field = a_field()
    field.encoding.open_levels = 2
    groups = [
        {"params": [field.encoding.table], "lr": 1e-3},
        {"params": list(field.network.parameters()), "lr": 0.0},
    ]
    optimiser = FieldAdam(groups, field.encoding, decay=0.0)
    table, network = field.encoding.table.detach().clone(), field.network.hidden.detach().clone()
    field.colour(torch.rand(50, 3, generator=seeded(1))).sum().backward()
    optimiser.step()
    moved = (field.encoding.table.detach() - table).abs()
    first = field.encoding.levels.offsets[2]
    assert moved[:first].max().item() == pytest.approx(1e-3, rel=1e-2)  # Adam's first step
    assert (moved[first:] == 0).all()
    assert torch.equal(field.network.hidden.detach(), network)
    assert field.encoding.table.grad is None


def test_forgotten_gradients_move_nothing():
    field = a_field()
    optimiser = ours(field)
    field.colour(torch.rand(50, 3, generator=seeded(1))).sum().backward()
    optimiser.zero_grad()
    before = field.encoding.table.detach().clone()
    optimiser.step()
    assert torch.equal(field.encoding.table.detach(), before)


def test_only_large_tables_are_learnt_by_entries(monkeypatch):
    field = a_field()
    small = optimiser_of(field.parameters(), field.encoding, rate=2e-3, epsilon=1e-8, decay=0.0)
    assert type(small) is torch.optim.AdamW
    assert field.encoding.gradients is None
    monkeypatch.setattr(adam, "LARGE", len(field.encoding.table))
    large = optimiser_of(field.parameters(), field.encoding, rate=2e-3, epsilon=1e-8, decay=0.0)
    assert type(large) is FieldAdam
    for name in ("lr", "betas", "eps", "weight_decay", "fused"):
        assert small.param_groups[0][name] == large.param_groups[0][name]
