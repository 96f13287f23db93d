"""Adam for hash tables: only entries that a step has used are read, moved or cleared.

T entries of two features; a block is `ENTRIES` of them, a cache line of gradients. The adjoint
of `hash_grid.encode_beside` adds up in a `TableGradients` and marks the blocks that it writes; the
update looks at marked blocks alone, and clears them behind it. So nothing walks over the whole
table but over its marks, an eighth of a byte an entry.

Which Adam: that of Instant-NGP (tiny-cuda-nn's `Adam`), which leaves alone what has no gradient
in a step. Weight, moments and decay of such an entry stay as they are, and each entry counts its
own steps, by which its moments are corrected: an entry that is used first at step 1000 is at its
first step. They decide feature by feature; here both features of an entry are used, or none.
Where every entry is used in every step, this is torch's AdamW to rounding.
"""

import functools
import math
from dataclasses import dataclass
from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int32, UInt8
from torch import Tensor

from geneman.kernels.launch import launch

wp.set_module_options({"enable_backward": False})

ENTRIES = wp.constant(8)
"""Entries of a table whose gradients are marked together: those of one cache line."""
STRETCH = {"cpu": 256, "cuda": 1}
"""Blocks that one index looks at, one after the other."""
GRAIN = {"cpu": 8, "cuda": 1}
"""Fewest stretches worth a thread."""


class TableGradients:
    """The sum of a table's gradients, and which blocks of it are not 0.

    Args:
        table: What the gradients are of, float32 or bfloat16.
    """

    def __init__(self, table: Float[Tensor, "t 2"]) -> None:
        self.total: Float[Tensor, "t 2"] = torch.zeros_like(table, dtype=torch.float32)
        """Float32 whatever the table is."""
        blocks = -(-len(table) // ENTRIES)
        self.touched: UInt8[Tensor, b] = torch.zeros(blocks, dtype=torch.uint8, device=table.device)
        """1 for each block that something was added to."""
        self.dirty = False
        """Whether anything was added since the last clearing."""

    def take(self, gradient: Float[Tensor, "t 2"]) -> None:
        """Add a whole table's gradient, which somebody else has made."""
        self.total += gradient
        self.touched.fill_(1)
        self.dirty = True

    def clear(self) -> None:
        """Set marked blocks to 0."""
        if self.dirty:
            self._each_stretch(_clear, [self.touched, STRETCH[self.total.device.type], self.total])
            self.dirty = False

    def _each_stretch(self, kernel: wp.Kernel, inputs: list[Tensor | float | int | None]) -> None:
        device = self.total.device
        size = -(-len(self.touched) // STRETCH[device.type])
        launch(kernel, size, inputs, device, grain=GRAIN[device.type])


@dataclass(frozen=True)
class Moments:
    """What Adam knows of each entry."""

    first: Float[Tensor, "t 2"]
    """Decaying mean of its gradients."""
    second: Float[Tensor, "t 2"]
    """Of their squares."""
    steps: Int32[Tensor, "t"]
    """How many steps have used it."""
    weights: Float[Tensor, "t 2"]
    """The table in float32: itself, or what a bfloat16 one is rounded from."""

    @staticmethod
    def of(table: Float[Tensor, "t 2"]) -> "Moments":
        """Give those of a table that has not been used yet."""
        zeros = torch.zeros_like(table, dtype=torch.float32)
        steps = torch.zeros(len(table), dtype=torch.int32, device=table.device)
        return Moments(zeros, zeros.clone(), steps, table.detach().float())


@dataclass(frozen=True)
class Pace:
    """The numbers of an Adam step, by the names of Kingma and Ba 2015."""

    rate: float
    betas: tuple[float, float]
    epsilon: float
    decay: float = 0.0
    """Share of the weight that `rate` takes away (Loshchilov and Hutter 2019)."""


def update(
    table: Float[Tensor, "t 2"], gradients: TableGradients, moments: Moments, pace: Pace
) -> None:
    """Take a step with the entries whose gradient is not 0, and clear their gradients.

    Args:
        table: Changed in place.
        gradients: What the step's adjoints have added up; nothing is left afterwards.
        moments: Changed in place.
        pace: How far to go.
    """
    device = table.device
    words = None
    if table.dtype is torch.bfloat16:
        words = table.detach().view(torch.int32)[:, 0]
    inputs = [gradients.total.view(-1), gradients.touched, moments.weights.view(-1), words]
    inputs += [moments.first.view(-1), moments.second.view(-1), moments.steps]
    inputs += [*_corrections(pace.betas, device)]
    numbers = [pace.rate, pace.rate * pace.decay, *pace.betas, pace.epsilon]
    gradients._each_stretch(_update, [*inputs, *numbers, STRETCH[device.type]])
    gradients.dirty = False


@functools.lru_cache(maxsize=8)
def _corrections(
    betas: tuple[float, float], device: torch.device
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Give 1 / (1 - b1^n) and 1 / sqrt(1 - b2^n) by n, as far as they differ from 1.

    A power would cost more than the rest of an entry's update.
    """
    # Where b^n is a quarter of float32's last bit the correction is 1 and stays so.
    slowest = max(*betas, 0.5)
    count = math.ceil(-26 * math.log(2) / math.log(slowest)) + 1
    steps = torch.arange(count, dtype=torch.float64).clamp(min=1)
    first, second = (1 - beta**steps for beta in betas)
    return (1 / first).float().to(device), second.rsqrt().float().to(device)


@wp.func
@no_type_check
def _rounded(value: float) -> wp.uint32:
    """Round to the nearest bfloat16, ties to even: the upper half of a float."""
    bits = wp.cast(value, wp.uint32)
    even = (bits >> wp.uint32(16)) & wp.uint32(1)
    return (bits + wp.uint32(0x7FFF) + even) >> wp.uint32(16)


@wp.kernel
@no_type_check
def _update(
    total: wp.array(dtype=wp.float32),
    touched: wp.array(dtype=wp.uint8),
    weights: wp.array(dtype=wp.float32),
    words: wp.array(dtype=wp.uint32),
    first: wp.array(dtype=wp.float32),
    second: wp.array(dtype=wp.float32),
    steps: wp.array(dtype=wp.int32),
    first_corrections: wp.array(dtype=wp.float32),
    second_corrections: wp.array(dtype=wp.float32),
    rate: float,
    decay: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    stretch: int,
    begin: int,
):
    index = begin + wp.tid()
    last = first_corrections.shape[0] - 1
    for block in range(index * stretch, wp.min((index + 1) * stretch, touched.shape[0])):
        if touched[block] != wp.uint8(0):
            touched[block] = wp.uint8(0)
            for entry in range(block * ENTRIES, wp.min((block + 1) * ENTRIES, steps.shape[0])):
                a, b = total[2 * entry], total[2 * entry + 1]
                if a != 0.0 or b != 0.0:
                    count = steps[entry] + 1
                    steps[entry] = count
                    at = wp.min(count, last)
                    pace = rate * first_corrections[at]
                    stretch_2 = second_corrections[at]
                    for feature in range(2):
                        k = 2 * entry + feature
                        slope = total[k]
                        total[k] = 0.0
                        m = beta_1 * first[k] + (1.0 - beta_1) * slope
                        v = beta_2 * second[k] + (1.0 - beta_2) * slope * slope
                        first[k] = m
                        second[k] = v
                        weight = weights[k] - decay * weights[k]
                        weights[k] = weight - pace * m / (wp.sqrt(v) * stretch_2 + epsilon)
                    if words.shape[0] > 0:
                        low, high = _rounded(weights[2 * entry]), _rounded(weights[2 * entry + 1])
                        words[entry] = low | (high << wp.uint32(16))


@wp.kernel
@no_type_check
def _clear(
    touched: wp.array(dtype=wp.uint8), stretch: int, total: wp.array(dtype=wp.vec2), begin: int
):
    index = begin + wp.tid()
    for block in range(index * stretch, wp.min((index + 1) * stretch, touched.shape[0])):
        if touched[block] != wp.uint8(0):
            touched[block] = wp.uint8(0)
            for entry in range(block * ENTRIES, wp.min((block + 1) * ENTRIES, total.shape[0])):
                total[entry] = wp.vec2(0.0, 0.0)
