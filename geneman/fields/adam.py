"""What fields learn with: Adam over used entries of hash tables, torch's AdamW over the rest."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from geneman.fields.networks import HashEncoding
from geneman.kernels.table_adam import Moments, Pace, TableGradients, update

BETAS = (0.9, 0.99)
"""Instant-NGP's: the second moment follows what a place looks like by now."""
LARGE = 1 << 24
"""Entries of a table from which used ones alone are quicker than all (docs/performance.md)."""


def optimiser_of(
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    encoding: HashEncoding,
    *,
    rate: float = 1e-3,
    epsilon: float = 1e-15,
    decay: float = 0.01,
) -> torch.optim.AdamW:
    """Choose what a field learns with: `FieldAdam` for large tables on the CPU, else torch's AdamW.

    Args:
        parameters: All that is learnt, the encoding's table among it; or groups of them, with
            rates of their own as `lr`.
        encoding: Whose table it is.
        rate: Learning rate.
        epsilon: Added to the root of the second moment.
        decay: Share of a weight that `rate` takes away.
    """
    if len(encoding.table) >= LARGE and encoding.table.device.type == "cpu":
        return FieldAdam(parameters, encoding, rate=rate, epsilon=epsilon, decay=decay)
    return torch.optim.AdamW(parameters, rate, BETAS, eps=epsilon, weight_decay=decay, fused=True)


class FieldAdam(torch.optim.AdamW):
    """AdamW that leaves entries of hash tables alone in steps that do not use them.

    From now on the table's gradients add up beside it (on the CPU), and its `grad` stays None.
    `step` takes what has added up: a second one without a new adjoint does not move the table.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        encoding: HashEncoding,
        *,
        rate: float = 1e-3,
        epsilon: float = 1e-15,
        decay: float = 0.01,
    ) -> None:
        """Take over a field's parameters.

        Args:
            parameters: All that is learnt, the encoding's table among it; or groups of them, with
                rates of their own as `lr`.
            encoding: Whose table is updated by entries.
            rate: Learning rate.
            epsilon: Added to the root of the second moment.
            decay: Share of a weight that `rate` takes away, where it is used.
        """
        super().__init__(parameters, rate, BETAS, eps=epsilon, weight_decay=decay, fused=True)
        self.table = encoding.table
        encoding.gradients = TableGradients(self.table)
        self.gradients = encoding.gradients
        self._keep(Moments.of(self.table))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move everything that has a gradient."""
        if self.table.grad is not None:
            self.gradients.take(self.table.grad)
            self.table.grad = None
        super().step(closure)
        group = next(g for g in self.param_groups if any(p is self.table for p in g["params"]))
        pace = Pace(group["lr"], group["betas"], group["eps"], group["weight_decay"])
        update(self.table, self.gradients, self._moments(), pace)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients; of the table only those that there are."""
        super().zero_grad(set_to_none)
        self.gradients.clear()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave, or from what torch's AdamW did.

        AdamW moves every entry in every step: its one count is the count of each.
        """
        super().load_state_dict(state_dict)
        index = [p is self.table for group in self.param_groups for p in group["params"]].index(
            True
        )
        # Torch turns what it loads into the table's dtype, counts too.
        kept = state_dict["state"].get(index)
        if kept is not None:
            self._keep(_resumed(kept, self.table))

    def _keep(self, moments: Moments) -> None:
        # Torch's names, so that a checkpoint of its AdamW can be continued.
        state: dict[str, Tensor] = {
            "step": moments.steps,
            "exp_avg": moments.first,
            "exp_avg_sq": moments.second,
        }
        if self.table.dtype is not torch.float32:
            state["weights"] = moments.weights
        self.state[self.table] = state

    def _moments(self) -> Moments:
        state = self.state[self.table]
        weights = state.get("weights", self.table.detach())
        return Moments(state["exp_avg"], state["exp_avg_sq"], state["step"], weights)


def _resumed(kept: dict[str, Tensor], table: Tensor) -> Moments:
    """Put a checkpoint's tensors where the table lies."""
    here = {
        name: value.detach().to(table.device, torch.float32, copy=True)
        for name, value in kept.items()
        if name != "step"
    }
    steps = kept["step"].to(table.device, torch.int32).reshape(-1).expand(len(table)).clone()
    return Moments(here["exp_avg"], here["exp_avg_sq"], steps, here.get("weights", table.detach()))
