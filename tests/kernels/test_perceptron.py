import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import linear, relu

from geneman.kernels import perceptron as kernels
from geneman.kernels.hash_grid import FEATURES
from geneman.kernels.perceptron import fits, perceptron
from geneman.presets import DRAFT, STANDARD, SWIFT


def inputs(rows=50, features=24, units=32, outputs=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((rows, features), (units, features), (outputs, units))
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]


def plain(x, hidden, last):
    return linear(relu(linear(x, hidden)), last)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 40),
    features=st.integers(8, 60),
    units=st.sampled_from([1, 16, 32, 40, 64, 96]),
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


@pytest.mark.parametrize("rows", [7, 8])
def test_the_widest_network_is_still_itself(rows):
    values = inputs(rows, features=512, units=512)
    ours, slow = perceptron(*values), plain(*values)
    torch.testing.assert_close(ours, slow, rtol=1e-4, atol=2e-2)
    got, want = (torch.autograd.grad(out.sum(), values) for out in (ours, slow))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=2e-2)


def test_rows_and_weights_may_lie_apart_in_memory():
    wide = [torch.randn(50, 48), torch.randn(32, 48), torch.randn(6, 32)]
    x, hidden, last = wide[0][:, ::2], wide[1][:, ::2], wide[2][::2]
    torch.testing.assert_close(
        perceptron(x, hidden, last), plain(x, hidden, last), rtol=1e-4, atol=1e-4
    )


def test_what_is_no_number_stays_none():
    x, hidden, last = inputs()
    with torch.no_grad():
        x[3] = torch.nan
    out = perceptron(x, hidden, last)
    assert out[3].isnan().all()
    assert not out[:3].isnan().any()
    assert torch.autograd.grad(out[3].sum(), [hidden])[0].isnan().any()


def test_other_devices_are_refused():
    values = [value.to("meta") for value in inputs()]
    with pytest.raises(ValueError, match="perceptron works on a CPU, got tensors on meta"):
        perceptron(*values)


def test_no_rows_give_no_answers_and_no_slope():
    values = inputs(rows=0)
    out = perceptron(*values)
    assert out.shape == (0, 3)
    gradients = torch.autograd.grad(out.sum(), values)
    assert [g.shape for g in gradients] == [v.shape for v in values]
    assert not any(g.any() for g in gradients)


@pytest.mark.parametrize(
    ("units", "features", "fit"), [(16, 24, True), (64, 28, True), (32, 6, False), (544, 24, False)]
)
def test_sizes_that_fill_no_vector_are_left_to_torch(units, features, fit):
    assert fits(torch.zeros(units, features)) == fit


@pytest.mark.parametrize("recipe", [DRAFT, STANDARD, SWIFT])
def test_every_preset_has_networks_that_fit(recipe):
    for stage in (recipe.nerf_init, recipe.sculpt, recipe.latent_texture):
        features = FEATURES * stage.field.encoding.levels
        assert fits(torch.zeros(stage.field.width, features))
