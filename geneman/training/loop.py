"""The optimisation loop that all stages share."""

import math
import time
from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.errors import DivergedError
from geneman.progress import Report, StageStarted, StepDone
from geneman.training.checkpoints import Checkpoints, Stateful, capture, restore

Losses = dict[str, Float[Tensor, ""]]


def minimise(
    objective: Callable[[int], Losses | Iterable[Losses]],
    optimiser: torch.optim.Optimizer,
    *,
    stage: str,
    steps: int,
    report: Report,
    checkpoints: Checkpoints,
    parts: Mapping[str, Stateful],
    generator: torch.Generator,
) -> None:
    """Take gradient steps on the sum of the terms that `objective` gives.

    A run that was stopped goes on from its last checkpoint and ends with the same bits, as
    long as everything that changes from step to step is in `parts`, `optimiser` or `generator`.

    Args:
        objective: Called with the step from zero; gives the weighted loss terms by name, or such
            terms again and again: each lot's gradient is taken before the next is asked for, so
            that a step may be larger than the memory, and all lots add up.
        optimiser: Holds the parameters and their learning rates.
        stage: Name that the events carry.
        steps: Number of gradient steps in all.
        report: Receives the events; may raise `Cancelled`, which ends the loop.
        checkpoints: Where the state is kept, and looked for first.
        parts: What else changes: fields, occupancy grids, caches.
        generator: The only source of randomness that `objective` uses.

    Raises:
        DivergedError: A term is not finite. The message names the stage, step and term.
    """
    everything = {**parts, "optimiser": optimiser}
    first, found = 0, checkpoints.load()
    if found is not None:
        first, state = found
        restore(everything, generator, state)
    report(StageStarted(stage, steps, first))
    began = time.monotonic()
    for step in range(first, steps):
        if checkpoints.due(step):
            checkpoints.save(step, capture(everything, generator))
        optimiser.zero_grad(set_to_none=True)
        given = objective(step)
        values: dict[str, float] = {}
        for losses in [given] if isinstance(given, dict) else given:
            total = torch.stack(list(losses.values()))
            total.sum().backward()
            for name, value in zip(losses, total.tolist(), strict=True):
                values[name] = values.get(name, 0.0) + value
        for name, value in values.items():
            if not math.isfinite(value):
                raise DivergedError(f"{stage}: loss '{name}' is {value} at step {step} of {steps}.")
        optimiser.step()
        pace = (time.monotonic() - began) / (step - first + 1)
        report(StepDone(stage, step, steps, values, seconds_left=pace * (steps - step - 1)))
