"""Training in half precision: which one a device stands, and float16's scale of gradients."""

import math
from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geneman.errors import DivergedError

Precision = Literal["auto", "bf16", "fp16", "single"]

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "single": torch.float32}
FIRST = 2.0**16
"""Scale to begin with; the first steps halve it until nothing overflows."""
PATIENCE = 2000
"""Steps without an overflow after which the scale is doubled (torch's GradScaler does the same)."""


def type_of(precision: Precision, device: torch.device) -> torch.dtype:
    """Give the type of products: bfloat16 where CUDA has it, else float16; CPUs stay exact."""
    if precision != "auto":
        return TYPES[precision]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


class GradientScale:
    """Keeps float16's small gradients from becoming 0, by a scale that adapts itself.

    The gradient is multiplied where it enters the network and divided before the step, so that
    losses are told as they are. A gradient that overflowed is dropped, and its step with it.
    """

    def __init__(self, kind: torch.dtype) -> None:
        self.adapts = kind == torch.float16
        self.scale = FIRST if self.adapts else 1.0
        self.calm = 0
        """Steps since the scale last changed."""

    def entered(self, answer: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """Give a network's answer, in single precision, whose gradient is multiplied."""
        scale = self.scale
        if self.adapts and answer.requires_grad:
            answer.register_hook(lambda gradient: gradient * scale)
        return answer

    @torch.no_grad()
    def settle(self, weights: Iterable[nn.Parameter], bound: float) -> bool:
        """Divide gradients again, and bound their norm, before a step.

        Args:
            weights: Have the gradients; those that overflowed are taken away.
            bound: Largest norm of all together.

        Returns:
            Whether there is a step to take.

        Raises:
            DivergedError: They overflow however little they are multiplied.
        """
        taught = [weight for weight in weights if weight.grad is not None]
        if self.adapts:
            for weight in taught:
                assert weight.grad is not None
                weight.grad /= self.scale
        norm = float(torch.nn.utils.clip_grad_norm_(taught, bound))
        if not self.adapts or math.isfinite(norm):
            self._stay_calm()
            return True
        if self.scale < 1:
            raise DivergedError(f"Gradients in float16 overflow at a scale of {self.scale:g}.")
        self.scale, self.calm = self.scale / 2, 0
        for weight in taught:
            weight.grad = None
        return False

    def _stay_calm(self) -> None:
        self.calm += 1
        if self.adapts and self.calm >= PATIENCE:
            self.scale, self.calm = self.scale * 2, 0

    def state_dict(self) -> dict[str, object]:
        """Give what changes from step to step."""
        return {"scale": self.scale, "calm": self.calm}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go on with it."""
        scale, calm = state_dict["scale"], state_dict["calm"]
        assert isinstance(scale, Tensor)
        assert isinstance(calm, Tensor)
        self.scale, self.calm = float(scale), int(calm)
