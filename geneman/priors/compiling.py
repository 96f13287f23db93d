"""Networks compiled by torch, where that can pay; where it fails, they run as they are.

Compiling takes minutes at a network's first calls and must be earned back by thousands of others.
What it saves has not been measured, so nothing is compiled unasked.
"""

import functools
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

Ask = Callable[..., Any]
"""A network's forward pass."""
Compiler = Callable[[nn.Module], Ask]
"""Makes a faster forward pass of a network; may do its work at the first call."""

log = logging.getLogger("geneman")


def compiler_for(device: torch.device) -> Compiler | None:
    """Give torch's compiler where it makes kernels: on CUDA, with triton; elsewhere nothing."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return None
    return compiled


def compiled(network: nn.Module) -> Ask:
    """Hand a network to torch's compiler, which compiles at the first call of each shape."""
    import torch._inductor.config as settings

    # Of kernels that do the same, always the same one: `make_reproducible` tells torch alone.
    settings.deterministic = torch.are_deterministic_algorithms_enabled()
    # Few shapes are asked, each often: kernels for exactly these.
    made: Ask = torch.compile(network, dynamic=False)
    return made


@dataclass
class Compiling:
    """The compiled forward passes of a job's networks, given up for good at the first failure."""

    compiler: Compiler
    given_up: bool = False
    made: dict[int, Ask] = field(default_factory=dict)
    """By the network's identity."""

    def asker(self, network: nn.Module) -> Ask:
        """Give what to call in a network's place; it is compiled when it is first called."""
        return functools.partial(self._ask, network)

    def _ask(self, network: nn.Module, *arguments: Any, **named: Any) -> Any:
        """Ask the compiled network, or the plain one, which raises its own errors again."""
        if not self.given_up:
            try:
                if id(network) not in self.made:
                    self.made[id(network)] = self.compiler(network)
                return self.made[id(network)](*arguments, **named)
            except torch.OutOfMemoryError:
                raise  # a lower tier's business
            except Exception as error:
                # A compiler fails in more ways than it has types for; none is worth losing a run.
                self.given_up = True
                self.made.clear()
                why = str(error).strip().partition("\n")[0] or type(error).__name__
                said = "Networks run as they are, for %s could not be compiled: %s"
                log.warning(said, type(network).__name__, why)
        return network(*arguments, **named)
