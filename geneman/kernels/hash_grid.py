"""Multiresolution hash encoding (Instant-NGP, Mueller et al. 2022, section 3).

Shapes: N points, L levels, T entries of all levels together, two features an entry.
Level l is a lattice with `resolutions[l]` cells along each side of the unit cube. Its corners
are stored one by one while they fit its part of the table, and hashed into it beyond.
"""

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.kernels import hash_grid_kernels, hash_grid_vectors
from geneman.kernels.accelerators.choice import accelerated
from geneman.kernels.launch import GRAIN, launch, workers
from geneman.kernels.snippets import refuse_gpu
from geneman.kernels.table_adam import TableGradients

FEATURES = 2
"""Per entry: what Instant-NGP found best, and one 64-bit load."""

BLOCK = 1024
"""Points that one index looks up in a level."""
STRETCH = 4096
"""Points whose gradients one index adds up in all of its levels, before it goes on."""
CACHED = 2**21
"""Entries that a processor's cache holds: 16 MB. Of larger tables it holds a level at a time."""


@dataclass(frozen=True)
class HashLevels:
    """Where each level lies in the table."""

    resolutions: tuple[int, ...]
    offsets: tuple[int, ...]
    """First entry of each level, and the number of entries in all."""
    table_size: int
    """Most entries a level may have; a power of two."""

    @staticmethod
    def geometric(levels: int, base: int, growth: float, table_size: int) -> "HashLevels":
        """Lay out levels whose resolutions grow by a constant factor (equation 2).

        Raises:
            ValueError: `table_size` is no power of two: the hash is cut by a bit mask.
        """
        if table_size & (table_size - 1):
            raise ValueError(f"table_size must be a power of two, got {table_size}.")
        resolutions = tuple(math.floor(base * growth**level) for level in range(levels))
        sizes = [min((resolution + 1) ** 3, table_size) for resolution in resolutions]
        offsets = tuple(sum(sizes[:level]) for level in range(levels + 1))
        return HashLevels(resolutions, offsets, table_size)

    @property
    def count(self) -> int:
        """Number of levels."""
        return len(self.resolutions)


@accelerated
def encode(
    points: Float[Tensor, "n 3"],
    table: Float[Tensor, "t 2"],
    levels: HashLevels,
    *,
    open_levels: int | None = None,
) -> Float[Tensor, "n features"]:
    """Look points up in every level of a hash grid, with trilinear weights.

    Differentiable in `points` and `table` (once).

    Args:
        points: In the unit cube; those outside are moved to its surface.
        table: Entries of all levels, one behind the other, float32 or bfloat16 (half the memory
            to fetch; the gradient is summed in float32 and rounded once).
        levels: The layout of `table`.
        open_levels: The finer levels from here on give 0 (progressive training).

    Returns:
        N x 2 L features, the coarsest level first.
    """
    count = levels.count if open_levels is None else min(open_levels, levels.count)
    points, table = points.contiguous(), table.contiguous()
    features: Tensor = _Encode.apply(points, table, levels, count, None)  # type: ignore[no-untyped-call]
    return features


def encode_beside(
    points: Float[Tensor, "n 3"],
    table: Float[Tensor, "t 2"],
    levels: HashLevels,
    gradients: TableGradients,
    *,
    open_levels: int | None = None,
) -> Float[Tensor, "n features"]:
    """Look points up as `encode` does, but add the table's gradient up in `gradients`.

    To torch the table then has no gradient. On the CPU only.

    Raises:
        ValueError: The points are elsewhere.
    """
    refuse_gpu("encode_beside", points.device)
    count = levels.count if open_levels is None else min(open_levels, levels.count)
    features: Tensor = _Encode.apply(
        points.contiguous(), table.contiguous(), levels, count, gradients
    )  # type: ignore[no-untyped-call]
    return features


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, table, levels, open_levels, gradients):  # type: ignore[no-untyped-def]
        count = len(points)
        layout = _layout(levels, points.device)
        # Not written where levels are closed.
        empty = torch.empty if open_levels == levels.count else torch.zeros
        out = empty(count, levels.count, FEATURES, device=points.device)
        _look_up(points, table, (*layout, levels.table_size, open_levels), out)  # type: ignore[no-untyped-call]
        ctx.save_for_backward(points, table)
        ctx.levels, ctx.open_levels, ctx.gradients = levels, open_levels, gradients
        return out.reshape(count, levels.count * FEATURES)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, out_gradient):  # type: ignore[no-untyped-def]
        points, table = ctx.saved_tensors
        levels, device = ctx.levels, points.device
        out_gradient = out_gradient.reshape(len(points), levels.count, FEATURES).contiguous()
        points_gradient = table_gradient = None
        layout = (*_layout(levels, device), levels.table_size, ctx.open_levels)
        if ctx.needs_input_grad[0]:
            points_gradient = _towards_points(points, table, layout, out_gradient)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[1]:
            given = (points, layout, out_gradient)
            table_gradient = _towards_table(table, ctx.gradients, *given)  # type: ignore[no-untyped-call]
        return points_gradient, table_gradient, None, None, None


def _look_up(points, table, layout, out):  # type: ignore[no-untyped-def]
    """Fill the open levels of `out`."""
    open_levels, inputs = layout[-1], [points, _words(table), *layout]
    if points.device.type == "cpu":
        kernel, size = hash_grid_vectors.FORWARD, -(-len(points) // BLOCK) * open_levels
        inputs, grain = [*inputs[:-1], BLOCK, out], GRAIN // BLOCK
    else:
        kernel, size = hash_grid_kernels.FORWARD, len(points) * open_levels
        inputs, grain = [*inputs, out], GRAIN
    launch(kernel[table.dtype], size, inputs, points.device, grain=grain)


def _towards_points(points, table, layout, out_gradient):  # type: ignore[no-untyped-def]
    """Add up what each level says.

    On the CPU one level after the other: its entries stay in the cache, which does not hold all.
    """
    total = torch.zeros_like(points)
    *lattices, open_levels = layout
    given = [points, _words(table), *lattices]
    if points.device.type == "cpu":
        kernel, size = hash_grid_vectors.BACKWARD_POINTS[table.dtype], -(-len(points) // BLOCK)
        for level in range(open_levels):
            inputs = [*given, level, BLOCK, out_gradient, total]
            launch(kernel, size, inputs, points.device, grain=GRAIN // BLOCK)
    else:
        kernel = hash_grid_kernels.BACKWARD_POINTS[table.dtype]
        launch(kernel, len(points), [*given, open_levels, out_gradient, total], points.device)
    return total


def _towards_table(table, gradients, points, layout, out_gradient):  # type: ignore[no-untyped-def]
    """Add the gradients up in `gradients`, or for torch if there are none."""
    if gradients is not None:
        gradients.dirty = True
        _spread(points, layout, out_gradient, gradients.total, gradients.touched)  # type: ignore[no-untyped-call]
        return None
    if table.device.type == "cpu":
        total = torch.zeros_like(table, dtype=torch.float32)
        _spread(points, layout, out_gradient, total)  # type: ignore[no-untyped-call]
    else:
        total = _spread_whole_numbers(points, layout, out_gradient, table)  # type: ignore[no-untyped-call]
    return total.to(table.dtype)


def _spread(points, layout, out_gradient, total, touched=None):  # type: ignore[no-untyped-def]
    """Add the gradients up in `total`: in as many threads as there are, each in its own levels.

    What is added where in which order does not depend on how many.
    """
    open_levels = layout[-1]
    # Gradients of all levels lie beside each other: they are fetched once for all of a thread's.
    cached = len(total) <= CACHED
    groups, stretch = (workers(), STRETCH) if cached else (open_levels, max(len(points), 1))
    groups = max(1, min(groups, open_levels))
    inputs = [points, *layout, groups, stretch, out_gradient, total, touched]
    launch(hash_grid_vectors.spread_levels, groups, inputs, points.device, grain=1)


def _spread_whole_numbers(points, layout, out_gradient, table):  # type: ignore[no-untyped-def]
    """Add the gradients up in any order, as whole multiples of a share of the largest."""
    # 2^40 steps up to the largest leave room for 2^22 points to meet in one entry.
    scale = 2.0**40 / max(out_gradient.abs().max().item(), 1e-25)
    total = torch.zeros_like(table, dtype=torch.int64)
    inputs = [points, *layout, scale, out_gradient, total]
    kernel = hash_grid_kernels.backward_whole_numbers
    launch(kernel, len(points) * layout[-1], inputs, points.device)
    return (total.double() / scale).float()


def _words(table: Tensor) -> Tensor:
    """View a table as what the kernels read: vectors of floats, or words of two bfloat16."""
    if table.dtype is torch.float32:
        return table
    return table.detach().view(torch.int32)[:, 0]


@functools.cache
def _layout(levels: HashLevels, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give resolutions and offsets as arrays on the device; small, so they stay there."""
    return (
        torch.tensor(levels.resolutions, dtype=torch.int32, device=device),
        torch.tensor(levels.offsets, dtype=torch.int32, device=device),
    )
