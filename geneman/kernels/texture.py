"""Read texels at surface points, with the adjoint that optimises them.

A texture is read through its pyramid (each level half the size of the one below), bilinearly
within a level and linearly between two. Which texels a sample reads depends on geometry alone,
so it is worked out once per camera (`footprints`) and read as often as the texels change.

N samples, K texels read by each (4 in each of 2 levels), T texels of the whole pyramid.
"""

from dataclasses import dataclass
from typing import Any, no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from geneman.kernels.accelerators.choice import accelerated
from geneman.kernels.launch import launch

wp.set_module_options({"enable_backward": False})

TAPS = 8
"""Texels that a trilinear sample reads."""


@dataclass(frozen=True)
class Footprints:
    """Which texels of a pyramid each sample reads, and the transpose of that."""

    indices: Int[Tensor, "n k"]
    weights: Float[Tensor, "n k"]
    """Each row adds up to 1."""
    touched: Int[Tensor, "m"]
    """The texels that any sample reads, ascending."""
    starts: Int[Tensor, "m_plus_1"]
    """Where the readers of each touched texel begin in `order`."""
    order: Int[Tensor, "n_times_k"]
    """Positions in the flattened `indices`, sorted by texel."""
    size: int
    levels: int
    uv: Float[Tensor, "n 2"]
    """Where each sample reads, and at which level: for who works out the texels anew."""
    level: Float[Tensor, "n"]


def level_count(size: int) -> int:
    """Give how often a square of `size` texels can be halved, itself included."""
    return (size & -size).bit_length()


def footprints(uv: Float[Tensor, "n 2"], level: Float[Tensor, "n"], *, size: int) -> Footprints:
    """Find the texels that samples of a square texture read.

    Args:
        uv: Coordinates in [0, 1], v up; row 0 of the texture lies at v = 1.
        level: Pyramid level of each sample: 0 reads the texture itself, 1 its half, and
            fractions blend two levels. Values outside the pyramid are clamped.
        size: Side of the texture; odd factors stay, so 2048 has 12 levels and 12 has 3.
    """
    count, levels = len(uv), level_count(size)
    uv, level = uv.float().contiguous(), level.float().contiguous()
    indices = torch.empty(count, TAPS, dtype=torch.int32, device=uv.device)
    weights = torch.empty(count, TAPS, device=uv.device)
    launch(_find_taps, count, [uv, level, size, levels, indices, weights], uv.device)
    ordered, order = indices.flatten().sort(stable=True)
    touched, readers = ordered.unique_consecutive(return_counts=True)
    starts = torch.cat([readers.new_zeros(1), readers.cumsum(0)]).int()
    return Footprints(indices, weights, touched, starts, order.int(), size, levels, uv, level)


@accelerated
def read_texture(texture: Float[Tensor, "s s c"], prints: Footprints) -> Float[Tensor, "n c"]:
    """Read a square texture at the samples of `prints`; differentiable in the texels."""
    if texture.shape[0] != prints.size:
        raise ValueError(f"Footprints of size {prints.size} cannot read {texture.shape[0]} texels.")
    pyramid = _pyramid(texture, prints.levels)
    values: Tensor = _Gather.apply(pyramid, prints)  # type: ignore[no-untyped-call]
    return values


def _pyramid(texture: Float[Tensor, "s s c"], levels: int) -> Float[Tensor, "t c"]:
    """Stack the texture and its halves, each texel the mean of the four below it."""
    image, stack = texture, [texture.flatten(0, 1)]
    for _ in range(levels - 1):
        image = (image[0::2, 0::2] + image[0::2, 1::2] + image[1::2, 0::2] + image[1::2, 1::2]) / 4
        stack.append(image.flatten(0, 1))
    return torch.cat(stack)


class _Gather(torch.autograd.Function):
    """Weighted sums of texels; the adjoint walks the transpose, so each thread owns a texel."""

    @staticmethod
    def forward(ctx: Any, texels: Tensor, prints: Footprints) -> Tensor:
        ctx.prints, ctx.shape = prints, texels.shape
        values = torch.empty(len(prints.indices), texels.shape[1], device=texels.device)
        inputs = [texels.contiguous(), prints.indices, prints.weights, values]
        launch(_gather, len(values), inputs, texels.device)
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        prints, (gradient,) = ctx.prints, gradients
        texels = torch.zeros(ctx.shape, device=gradient.device)
        inputs = [
            gradient.contiguous(),
            prints.weights,
            prints.touched,
            prints.starts,
            prints.order,
            texels,
        ]
        launch(_scatter, len(prints.touched), inputs, gradient.device)
        return texels, None


@wp.kernel
@no_type_check
def _find_taps(
    uv: wp.array2d(dtype=wp.float32),
    level: wp.array(dtype=wp.float32),
    size: int,
    levels: int,
    indices: wp.array2d(dtype=wp.int32),
    weights: wp.array2d(dtype=wp.float32),
    begin: int,
) -> None:
    i = begin + wp.tid()
    clamped = wp.clamp(level[i], 0.0, float(levels - 1))
    fine = wp.min(int(clamped), wp.max(levels - 2, 0))
    blend = clamped - float(fine)
    for which in range(2):
        at = wp.min(fine + which, levels - 1)
        share = wp.where(which == 0, 1.0 - blend, blend)
        side = size >> at
        offset = wp.int32(0)
        for below in range(at):
            offset += (size >> below) * (size >> below)
        x = wp.clamp(uv[i, 0] * float(side) - 0.5, 0.0, float(side - 1))
        y = wp.clamp((1.0 - uv[i, 1]) * float(side) - 0.5, 0.0, float(side - 1))
        left, top = int(x), int(y)
        fx, fy = x - float(left), y - float(top)
        right, bottom = wp.min(left + 1, side - 1), wp.min(top + 1, side - 1)
        k = 4 * which
        indices[i, k] = offset + top * side + left
        indices[i, k + 1] = offset + top * side + right
        indices[i, k + 2] = offset + bottom * side + left
        indices[i, k + 3] = offset + bottom * side + right
        weights[i, k] = share * (1.0 - fx) * (1.0 - fy)
        weights[i, k + 1] = share * fx * (1.0 - fy)
        weights[i, k + 2] = share * (1.0 - fx) * fy
        weights[i, k + 3] = share * fx * fy


@wp.kernel
@no_type_check
def _gather(
    texels: wp.array2d(dtype=wp.float32),
    indices: wp.array2d(dtype=wp.int32),
    weights: wp.array2d(dtype=wp.float32),
    values: wp.array2d(dtype=wp.float32),
    begin: int,
) -> None:
    i = begin + wp.tid()
    for c in range(texels.shape[1]):
        total = wp.float32(0.0)
        for k in range(indices.shape[1]):
            total += weights[i, k] * texels[indices[i, k], c]
        values[i, c] = total


@wp.kernel
@no_type_check
def _scatter(
    gradient: wp.array2d(dtype=wp.float32),
    weights: wp.array2d(dtype=wp.float32),
    touched: wp.array(dtype=wp.int32),
    starts: wp.array(dtype=wp.int32),
    order: wp.array(dtype=wp.int32),
    texels: wp.array2d(dtype=wp.float32),
    begin: int,
) -> None:
    m = begin + wp.tid()
    width = weights.shape[1]
    for c in range(gradient.shape[1]):
        total = wp.float32(0.0)
        for j in range(starts[m], starts[m + 1]):
            slot = order[j]
            sample = slot // width
            total += weights[sample, slot - sample * width] * gradient[sample, c]
        texels[touched[m], c] = total
