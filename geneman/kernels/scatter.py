"""Take rows by index, and add rows up by index, with the same bits for any number of threads.

Torch's own backward of `values[index]` adds with atomics on several CPU threads and on CUDA, so
two runs differ in the last bits, and an optimisation that is resumed drifts from one that is not.
"""

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from geneman.kernels.launch import launch, workers

wp.set_module_options({"enable_backward": False})


@wp.func
@no_type_check
def first_owned(cells: int, share: int, shares: int) -> int:
    """Give the first of the cells that a share owns, which ends where the next one begins."""
    return int(wp.int64(cells) * wp.int64(share) / wp.int64(shares))


@wp.kernel
@no_type_check
def _add_owned(
    index: wp.array(dtype=wp.int32),
    values: wp.array2d(dtype=wp.float32),
    shares: int,
    out: wp.array2d(dtype=wp.float32),
    begin: int,
) -> None:
    share = begin + wp.tid()
    low = first_owned(out.shape[0], share, shares)
    high = first_owned(out.shape[0], share + 1, shares)
    for row in range(index.shape[0]):
        cell = index[row]
        if cell >= low and cell < high:
            for channel in range(values.shape[1]):
                out[cell, channel] = out[cell, channel] + values[row, channel]


@wp.kernel
@no_type_check
def _add_sorted(
    starts: wp.array(dtype=wp.int64),
    order: wp.array(dtype=wp.int64),
    values: wp.array2d(dtype=wp.float32),
    out: wp.array2d(dtype=wp.float32),
    begin: int,
) -> None:
    cell = begin + wp.tid()
    for place in range(int(starts[cell]), int(starts[cell + 1])):
        row = int(order[place])
        for channel in range(values.shape[1]):
            out[cell, channel] = out[cell, channel] + values[row, channel]


def _sum_rows(values: Tensor, index: Tensor, cells: int) -> Tensor:
    """Add up rows by cell, in their order, the way that suits the device."""
    out = values.new_zeros(cells, values.shape[1])
    values = values.detach().contiguous()
    if values.device.type == "cpu":
        # Each thread reads all indices, and writes only its own share of the cells.
        shares = workers()
        inputs = (index.to(torch.int32).contiguous(), values, shares, out)
        launch(_add_owned, shares, inputs, values.device, grain=1)
        return out
    ordered, order = torch.sort(index.long(), stable=True)
    starts = torch.searchsorted(ordered, torch.arange(cells + 1, device=index.device))
    launch(_add_sorted, cells, (starts, order, values, out), values.device)
    return out


class _ScatterSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, index, cells):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(index)
        return _sum_rows(values, index, cells)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (index,) = ctx.saved_tensors
        return gradient[index.long()], None, None


def scatter_sum(
    values: Float[Tensor, "n c"], index: Int[Tensor, "n"], cells: int
) -> Float[Tensor, "cells c"]:
    """Add up the rows that carry the same index, in the order of the rows.

    Args:
        values: Rows; gradients flow back to them.
        index: The cell of each row, in [0, cells).
        cells: Number of cells; those that no row names are 0.
    """
    total: Tensor = _ScatterSum.apply(values, index, cells)  # type: ignore[no-untyped-call]
    return total


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, index):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(index)
        ctx.cells = values.shape[0]
        return values[index.long()]

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (index,) = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        return _sum_rows(rows, index.reshape(-1), ctx.cells), None


def gather(values: Float[Tensor, "v c"], index: Int[Tensor, "*n"]) -> Float[Tensor, "*n c"]:
    """Take rows of `values`; gradients flow back to them deterministically.

    Args:
        values: Rows to take from.
        index: Which rows, in [0, v), in any shape.
    """
    taken: Tensor = _Gather.apply(values, index)  # type: ignore[no-untyped-call]
    return taken
