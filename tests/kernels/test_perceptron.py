import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import linear, relu

from geneman.kernels import perceptron as kernels
from geneman.kernels.perceptron import fits, perceptron


def inputs(rows=50, features=24, units=32, outputs=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((rows, features), (units, features), (outputs, units))
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]


def plain(x, hidden, last):
    return linear(relu(linear(x, hidden)), last)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 40),
    features=st.sampled_from([8, 24, 32, 56]),
    units=st.sampled_from([32, 64, 96]),
    outputs=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_answers_and_gradients_equal_the_definition(rows, features, units, outputs, seed):
    values = inputs(rows, features, units, outputs, seed)
    probe = torch.randn(rows, outputs, generator=torch.Generator().manual_seed(seed))
    probe[::3] = 0
    ours, slow = perceptron(*values), plain(*values)
    torch.testing.assert_close(ours, slow, rtol=1e-4, atol=1e-4)
    got, want = (torch.autograd.grad(out, values, probe) for out in (ours, slow))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("heard", ["all", "some", "none"])
def test_rows_in_many_blocks_add_up_to_what_one_block_says(heard, monkeypatch):
    values = inputs(rows=100)
    probe = torch.randn(100, 3)
    if heard != "all":
        probe[:: 1 if heard == "none" else 2] = 0
        probe[40:60] = 0
    whole = perceptron(*values)
    want = torch.autograd.grad(whole, values, probe)
    monkeypatch.setattr(kernels, "ROWS", 8)
    parts = perceptron(*values)
    assert torch.equal(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts, values, probe), want)
    silent = (probe == 0).all(dim=1)
    assert not want[0][silent].any()


def test_the_slope_equals_finite_differences_in_double_precision():
    values = inputs(rows=6)
    exact = [value.detach().double().requires_grad_() for value in values]
    assert torch.autograd.gradcheck(plain, exact)
    probe = torch.randn(6, 3)
    got = torch.autograd.grad(perceptron(*values), values, probe)
    want = torch.autograd.grad(plain(*exact), exact, probe.double())
    for ours, slow in zip(got, want, strict=True):
        torch.testing.assert_close(ours.double(), slow, rtol=1e-4, atol=1e-4)


def test_no_rows_give_no_answers_and_no_slope():
    values = inputs(rows=0)
    out = perceptron(*values)
    assert out.shape == (0, 3)
    gradients = torch.autograd.grad(out.sum(), values)
    assert [g.shape for g in gradients] == [v.shape for v in values]
    assert not any(g.any() for g in gradients)


@pytest.mark.parametrize(
    ("units", "features", "fit"),
    [(32, 24, True), (64, 32, True), (16, 24, False), (32, 6, False), (544, 24, False)],
)
def test_sizes_that_fill_no_register_are_left_to_torch(units, features, fit):
    assert fits(torch.zeros(units, features)) == fit
