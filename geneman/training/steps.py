"""What moves a network's weights: orthogonal steps for its matrices, Adam's for the rest.

Few samples are what a CPU can afford, and Muon (K. Jordan et al. 2024) needs about half as many
as Adam: it gives all directions of a weight matrix the same step, which Adam gives to all entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
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


class OrthogonalSteps:
    """Muon for weights of two or more dimensions: kernels count as matrices, one row an output.

    It steps with the optimiser that holds the other weights, before it.
    """

    def __init__(self, weights: Sequence[Tensor], learning_rate: float) -> None:
        self.weights = list(weights)
        # Views on the same memory: torch's Muon takes matrices alone.
        self.matrices = [weight.detach().view(len(weight), -1) for weight in self.weights]
        self.muon = torch.optim.Muon(
            self.matrices, learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        )

    def step(self, learning_rate: float) -> None:
        """Follow the weights' gradients once, and forget them."""
        for weight, matrix in zip(self.weights, self.matrices, strict=True):
            assert weight.grad is not None  # every weight takes part
            matrix.grad = weight.grad.reshape(matrix.shape)
            weight.grad = None
        self.muon.param_groups[0]["lr"] = learning_rate
        self.muon.step()


def sorted_weights(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Give a network's kernels and matrices, and all its other weights, if they are trained."""
    everything = [weight for weight in network.parameters() if weight.requires_grad]
    return [p for p in everything if p.ndim > 1], [p for p in everything if p.ndim <= 1]
