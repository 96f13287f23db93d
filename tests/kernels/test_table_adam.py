import math
from dataclasses import astuple, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geneman.kernels.hash_grid import HashLevels, encode, encode_beside
from geneman.kernels.table_adam import Moments, Pace, TableGradients, _corrections, update
from tests.oracles import table_adam as oracle

LEVELS = HashLevels.geometric(levels=4, base=3, growth=2.0, table_size=256)
PACE = Pace(rate=1e-2, betas=(0.9, 0.99), epsilon=1e-8, decay=0.1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def a_table(entries=LEVELS.offsets[-1], seed=0):
    return torch.randn(entries, 2, generator=seeded(seed))


def some_gradients(table, share, seed):
    """Gradients of a share of the entries, as an adjoint leaves them."""
    generator = seeded(seed)
    used = torch.rand(len(table), generator=generator) < share
    gradients = TableGradients(table)
    gradients.total[used] = torch.randn(len(table), 2, generator=generator)[used]
    gradients.touched[used.nonzero()[:, 0] // 8] = 1
    gradients.dirty = True
    return gradients


def looked_up(table, gradients, seed, points=30):
    """Look a few points up, and send a gradient back."""
    generator = seeded(seed)
    asked = (torch.rand(points, 3, generator=generator), table, LEVELS)
    features = encode(*asked) if gradients is None else encode_beside(*asked, gradients)
    probe = torch.randn(features.shape, generator=generator)
    (features * probe).sum().backward()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.03, 0.5, 1.0]), st.integers(1, 40))
def test_steps_equal_their_definition(seed, share, entries):
    table = a_table(entries, seed)
    moments = Moments.of(table)
    want = (table.double(), *(value.clone() for value in astuple(moments)[:3]))
    for step in range(4):
        gradients = some_gradients(table, share, seed + step)
        want = oracle.update(want[0], gradients.total, *want[1:], PACE)
        update(table, gradients, replace(moments, weights=table), PACE)
    for ours, slow in zip((table, *astuple(moments)[:3]), want, strict=True):
        torch.testing.assert_close(ours.double(), slow.double(), rtol=2e-5, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_what_a_step_does_not_use_keeps_every_bit(seed):
    table = a_table(seed=seed)
    moments = replace(Moments.of(table), weights=table)
    update(table, some_gradients(table, 1.0, seed), moments, PACE)
    before = [value.clone() for value in astuple(moments)]
    gradients = some_gradients(table, 0.2, seed + 1)
    used = (gradients.total != 0).any(dim=1)
    update(table, gradients, moments, PACE)
    for old, new in zip(before, astuple(moments), strict=True):
        assert torch.equal(old[~used], new[~used])
        assert (old[used] != new[used]).reshape(int(used.sum()), -1).any(dim=1).all()
    assert (gradients.total == 0).all()
    assert (gradients.touched == 0).all()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_where_all_is_used_it_is_torchs_adamw(decay):
    table, theirs = a_table(), torch.nn.Parameter(a_table())
    pace = replace(PACE, decay=decay)
    moments = replace(Moments.of(table), weights=table)
    torchs = torch.optim.AdamW([theirs], 1e-2, (0.9, 0.99), 1e-8, weight_decay=decay)
    for step in range(30):
        gradients = some_gradients(table, 1.0, step)
        theirs.grad = gradients.total.clone()
        torchs.step()
        update(table, gradients, moments, pace)
    torch.testing.assert_close(table, theirs.detach(), rtol=1e-5, atol=1e-6)


def test_corrections_end_where_they_are_one():
    for betas in ((0.9, 0.99), (0.9, 0.999), (0.0, 0.0)):
        first, second = _corrections(betas, torch.device("cpu"))
        assert first[-1] == second[-1] == 1
        assert first[1].item() == pytest.approx(1 / (1 - betas[0]), rel=1e-6)
        assert second[1].item() == pytest.approx(1 / math.sqrt(1 - betas[1]), rel=1e-6)


def test_adjoints_add_up_beside_the_table_what_torch_would_add_up():
    table, alone = (a_table().requires_grad_() for _ in range(2))
    gradients = TableGradients(table)
    for seed in range(3):
        looked_up(table, gradients, seed)
        looked_up(alone, None, seed)
    assert table.grad is None
    torch.testing.assert_close(gradients.total, alone.grad)
    used = (gradients.total != 0).any(dim=1).nonzero()[:, 0] // 8
    assert gradients.touched[used].all()
    assert 0 < gradients.touched.sum() < len(gradients.touched)
    gradients.clear()
    assert not gradients.total.any()
    assert not gradients.touched.any()


def test_a_gradient_that_torch_made_is_taken_whole():
    table, alone = (a_table().requires_grad_() for _ in range(2))
    gradients, whole = TableGradients(table), TableGradients(table)
    looked_up(table, gradients, 1)
    looked_up(alone, None, 1)
    whole.take(alone.grad)
    found = []
    for added in (gradients, whole):
        weights = a_table()
        moments = replace(Moments.of(weights), weights=weights)
        update(weights, added, moments, PACE)
        found.append(astuple(moments))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_a_bfloat16_table_is_rounded_from_weights_that_forget_nothing():
    whole, small = a_table(), a_table().bfloat16()
    whole.copy_(small)
    exact, rounded = replace(Moments.of(whole), weights=whole), Moments.of(small)
    for step in range(20):
        update(whole, some_gradients(whole, 0.5, step), exact, replace(PACE, rate=1e-4))
        update(small, some_gradients(small, 0.5, step), rounded, replace(PACE, rate=1e-4))
    assert torch.equal(rounded.weights, whole)
    assert torch.equal(small, whole.bfloat16())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_both_devices_take_the_same_steps_and_cuda_always_the_same_bits():
    found = []
    for device in ("cpu", "cuda", "cuda"):
        table = a_table().to(device).requires_grad_()
        gradients, moments = TableGradients(table), Moments.of(table)
        moments = replace(moments, weights=table.detach())
        for seed in range(5):
            points = torch.rand(50, 3, generator=seeded(seed)).to(device)
            encode(points, table, LEVELS).sin().sum().backward()
            gradients.take(table.grad)
            table.grad = None
            update(table, gradients, moments, PACE)
        found.append([value.cpu() for value in astuple(moments)])
    for cpu, cuda, again in zip(*found, strict=True):
        torch.testing.assert_close(cpu, cuda, rtol=1e-3, atol=1e-4)
        assert torch.equal(cuda, again)
