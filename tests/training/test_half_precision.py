"""Gradients in half precision: scaled where they would vanish, and bounded."""

import pytest
import torch

from geneman.errors import DivergedError
from geneman.training.half_precision import FIRST, GradientScale, type_of

CPU = torch.device("cpu")


def test_the_scale_leaves_the_loss_and_the_gradient_as_they_are() -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    scale = GradientScale(torch.float16)
    entered = []
    answer = weight * 3
    answer.register_hook(entered.append)
    loss = scale.entered(answer * 1).sum()
    loss.backward()
    assert loss == 6
    assert entered[0] == FIRST
    assert scale.settle([weight], 1e9)
    assert weight.grad == 3


def test_an_overflow_costs_its_step_and_halves_the_scale_and_calm_doubles_it() -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimiser, scale = torch.optim.AdamW([weight], 0.1), GradientScale(torch.float16)
    weight.grad = torch.tensor([torch.inf])
    assert not scale.settle([weight], 1.0)
    optimiser.step()
    assert weight == 2
    assert scale.scale == FIRST / 2
    for _ in range(2000):
        weight.grad = torch.ones(1)
        assert scale.settle([weight], 1.0)
    assert scale.scale == FIRST
    scale.scale = 0.5
    weight.grad = torch.tensor([torch.nan])
    with pytest.raises(DivergedError, match="float16 overflow"):
        scale.settle([weight], 1.0)


def test_other_precisions_need_no_scale_and_cpus_stay_exact() -> None:
    scale = GradientScale(torch.bfloat16)
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    weight.grad = torch.tensor([30.0])
    assert scale.settle([weight], 1.0)
    assert scale.scale == 1
    assert weight.grad.item() == pytest.approx(1.0, rel=1e-4)  # bounded
    assert type_of("auto", CPU) == torch.float32
    assert type_of("fp16", CPU) == torch.float16
