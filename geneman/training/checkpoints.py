"""Keep an optimisation's whole state on disk, so that a killed run ends as if it had not been.

A checkpoint is one safetensors file, written to a temporary name and renamed: there is always
the old one or the new one, never half of either.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from geneman.errors import OptionError

State = Mapping[str, Tensor]


@runtime_checkable
class Stateful(Protocol):
    """Something that can be written down and continued (modules and optimisers are)."""

    def state_dict(self) -> dict[str, object]:
        """Give everything that must be kept."""

    def load_state_dict(self, state_dict: dict[str, object]) -> object:
        """Continue from what `state_dict` gave."""


@runtime_checkable
class Checkpoints(Protocol):
    """Where `minimise` keeps its state; `step` is the next step to take."""

    def load(self) -> tuple[int, State] | None:
        """Give the last state and the step to go on with, or nothing."""

    def due(self, step: int) -> bool:
        """Say whether the state before `step` is worth saving."""

    def save(self, step: int, state: State) -> None:
        """Keep `state`, from which `step` is to be taken."""


class NoCheckpoints:
    """Keeps nothing: for tests and for optimisations that take seconds."""

    def load(self) -> None:
        """Find nothing."""

    def due(self, step: int) -> bool:
        """Want nothing."""
        return False

    def save(self, step: int, state: State) -> None:
        """Drop the state."""


@dataclass
class FileCheckpoints:
    """Keeps the newest state in one file, at most every `interval` seconds."""

    path: Path
    interval: float = 10.0
    _last: float = field(default_factory=time.monotonic)

    def load(self) -> tuple[int, State] | None:
        """Read the file; a missing one is a fresh start."""
        if not self.path.exists():
            return None
        with safe_open(self.path, framework="pt") as file:
            step = int(file.metadata()["step"])
            return step, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def due(self, step: int) -> bool:
        """Say whether the interval has passed since the last save."""
        return time.monotonic() - self._last >= self.interval

    def save(self, step: int, state: State) -> None:
        """Write beside the old file, then take its place."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".partial")
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        save_file(whole, temporary, metadata={"step": str(step)})
        os.replace(temporary, self.path)
        self._last = time.monotonic()


def flatten(state: object, name: str = "") -> dict[str, Tensor]:
    """Turn nested dictionaries and lists of tensors and numbers into named tensors.

    Numbers become float64 scalars of shape (1,), which `unflatten` turns back by the template.
    """
    match state:
        case Tensor():
            # safetensors refuses shared storage, and scalars lose their shape: copy, keep. In main
            # memory, for a device that trains a large network has no room for it twice.
            return {name: state.detach().to("cpu", copy=True)}
        case dict():
            items = ((str(key), value) for key, value in state.items())
        case list() | tuple():
            items = ((str(index), value) for index, value in enumerate(state))
        case bool() | int() | float():
            return {name: torch.tensor([state], dtype=torch.float64)}
        case _:
            return {}
    named: dict[str, Tensor] = {}
    for key, value in items:
        named |= flatten(value, f"{name}/{key}")
    return named


def capture(parts: Mapping[str, Stateful], generator: torch.Generator) -> dict[str, Tensor]:
    """Write down every part and the random generator as named tensors."""
    named = {"generator": generator.get_state()}
    for name, part in parts.items():
        named |= flatten(part.state_dict(), name)
    return named


def refuse_others(
    checkpoints: FileCheckpoints,
    parts: Mapping[str, Stateful],
    generator: torch.Generator,
    remedy: str,
) -> None:
    """Say so if a checkpoint is of another network, or of another version's.

    Args:
        checkpoints: Where it would be.
        parts: What is to be put back; everything that they hold now must be there.
        generator: The random generator.
        remedy: What to do instead.

    Raises:
        OptionError: It cannot be gone on with.
    """
    found = checkpoints.load()
    if found is None:
        return
    ours, theirs = capture(parts, generator), found[1]
    if any(name not in theirs or theirs[name].shape != ours[name].shape for name in ours):
        raise OptionError(
            "a training must be gone on with as it was begun: same part, same size, same version",
            value=f"another network in '{checkpoints.path.parent}'",
            remedy=remedy,
        )


def restore(parts: Mapping[str, Stateful], generator: torch.Generator, state: State) -> None:
    """Put back what `capture` wrote down."""
    generator.set_state(state["generator"])
    for name, part in parts.items():
        if isinstance(part, torch.optim.Optimizer):
            _restore_optimiser(part, name, state)
        else:
            prefix = f"{name}/"
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            part.load_state_dict(dict(own))


def _restore_optimiser(optimiser: torch.optim.Optimizer, name: str, state: State) -> None:
    """Fill in the moments; learning rates and the like stay those of the configuration."""
    prefix = f"{name}/state/"
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        if key.startswith(prefix):
            index, moment = key.removeprefix(prefix).split("/")
            moments.setdefault(int(index), {})[moment] = value
    optimiser.load_state_dict(
        {"state": moments, "param_groups": optimiser.state_dict()["param_groups"]}
    )
