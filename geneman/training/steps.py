"""What moves a network's weights: orthogonal steps for its matrices, Adam's for the rest.

Few samples are what a CPU can afford, and Muon (K. Jordan et al. 2024) needs about half as many
as Adam: it gives all directions of a weight matrix the same step, which Adam gives to all entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Average:
    """The moving average of a network's weights, which is what is kept."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay, self.steps = network, decay, 0
        self.weights = {name: value.clone() for name, value in network.state_dict().items()}

    def follow(self) -> None:
        """Take one step towards the network; early averages forget their beginning faster."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.weights[name].lerp_(value, 1 - keep)

    def state_dict(self) -> dict[str, object]:
        """Give the average and its age."""
        return {"steps": torch.tensor([self.steps]), **self.weights}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go on with an average."""
        steps = state_dict["steps"]
        assert isinstance(steps, Tensor)
        self.steps = int(steps)
        for name, value in self.weights.items():
            kept = state_dict[name]
            assert isinstance(kept, Tensor)
            value.copy_(kept)


Group = tuple[Tensor, ...] | list[Tensor]


@dataclass(frozen=True)
class Follow:
    """The same average's rule for torch's `AveragedModel`, which keeps a whole network."""

    decay: float

    @torch.no_grad()
    def __call__(self, averaged: Group, current: Group, count: Tensor | int) -> None:
        """Take one step towards the network, after `count` others."""
        keep = min(self.decay, (1 + int(count)) / (10 + int(count)))
        for mean, value in zip(averaged, current, strict=True):
            mean.lerp_(value, 1 - keep)


MOMENTUM, DECAY = 0.95, 0.01
"""Share of the gradients' mean that a step keeps, and of a weight that a unit of rate takes."""

NEWTON_SCHULZ, ROUNDS = (3.4445, -4.7750, 2.0315), 5
"""Muon's odd polynomial, which brings singular values near 1 as often as it is applied."""


class OrthogonalSteps:
    """Muon for weights of two or more dimensions: kernels count as matrices, one row an output.

    torch's own multiplies in bfloat16 whatever the processor, which takes several times as long as
    all the rest of a step where it must be emulated (docs/performance.md).
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.weights = list(weights)
        self.means = [torch.zeros_like(weight) for weight in self.weights]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Follow the weights' gradients once, and forget them."""
        for weight, mean in zip(self.weights, self.means, strict=True):
            assert weight.grad is not None  # every weight takes part
            mean.lerp_(weight.grad, 1 - MOMENTUM)
            ahead = weight.grad.lerp(mean, MOMENTUM).reshape(len(weight), -1)
            weight.grad = None
            # As long as Adam's steps are on the whole, so that both follow one learning rate.
            rate = learning_rate * 0.2 * max(ahead.shape) ** 0.5
            weight.mul_(1 - learning_rate * DECAY)
            weight.sub_(orthogonal(ahead).reshape(weight.shape), alpha=rate)

    def state_dict(self) -> dict[str, object]:
        """Give the gradients' means."""
        return {str(number): mean for number, mean in enumerate(self.means)}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go on with means."""
        for number, mean in enumerate(self.means):
            kept = state_dict[str(number)]
            assert isinstance(kept, Tensor)
            mean.copy_(kept)


def orthogonal(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """Give a matrix singular values of about 0.7 to 1.2, but for those that were nearly 0."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp_min(1e-7)
    a, b, c = NEWTON_SCHULZ
    # The polynomials act on one side alone, where the matrices are square and small.
    gram = wide @ wide.T
    whole = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for _ in range(ROUNDS):
        once = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        once.diagonal().add_(a)
        whole, gram = once @ whole, once @ gram @ once
    found: Tensor = whole @ wide
    return found if matrix.shape[0] <= matrix.shape[1] else found.T


def both_kinds(
    network: nn.Module, learning_rate: float, *, fused: bool = False
) -> tuple[OrthogonalSteps, torch.optim.AdamW]:
    """Give a network's steps: Adam's, each of which takes the kernels' orthogonal ones first.

    Gradients are bounded before: one bad batch must not undo many good ones.
    """
    kernels, others = sorted_weights(network)
    steps = OrthogonalSteps(kernels)
    optimiser = torch.optim.AdamW(
        others, learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=fused
    )

    def step_kernels(*_: object) -> None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        steps.step(optimiser.param_groups[0]["lr"])

    optimiser.register_step_pre_hook(step_kernels)
    return steps, optimiser


def sorted_weights(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Give a network's kernels and matrices, and all its other weights, if they are trained."""
    everything = [weight for weight in network.parameters() if weight.requires_grad]
    return [p for p in everything if p.ndim > 1], [p for p in everything if p.ndim <= 1]
