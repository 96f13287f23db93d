"""Multiresolution hash encoding (Instant-NGP, Mueller et al. 2022, section 3).

Shapes: N points, L levels, T entries of all levels together, two features an entry.
Level l is a lattice with `resolutions[l]` cells along each side of the unit cube. Its corners
are stored one by one while they fit its part of the table, and hashed into it beyond.
"""

import functools
import math
from dataclasses import dataclass
from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from geneman.kernels.launch import launch

FEATURES = 2
"""Per entry: what Instant-NGP found best, and one 64-bit load."""

PRIME_Y, PRIME_Z = wp.constant(wp.uint32(2654435761)), wp.constant(wp.uint32(805459861))
"""Equation 4; x is multiplied by 1, so that neighbours along x share a cache line."""

wp.set_module_options({"enable_backward": False})


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


@wp.func
@no_type_check
def _lattice(value: float, resolution: int) -> float:
    """Position in cells along one axis, kept inside the lattice."""
    return wp.clamp(value, 0.0, 1.0) * float(resolution)


@wp.func
@no_type_check
def _cell(at: float, resolution: int) -> int:
    """Lower corner of the cell that holds a position; the last cell owns the far face."""
    return wp.min(wp.int32(at), resolution - 1)


# Numbers instead of vectors go through these functions: Warp's vectors cost twice the time here.
@wp.func
@no_type_check
def _entry(x: int, y: int, z: int, resolution: int, table_size: int) -> int:
    """Index of a lattice corner within its level: direct if all corners fit, else hashed."""
    side = resolution + 1
    if wp.int64(side) * wp.int64(side) * wp.int64(side) <= wp.int64(table_size):
        return x + side * (y + side * z)
    mixed = wp.uint32(x) ^ (wp.uint32(y) * PRIME_Y) ^ (wp.uint32(z) * PRIME_Z)
    return wp.int32(mixed & wp.uint32(table_size - 1))


@wp.func
@no_type_check
def _share(part: float, upper: int) -> float:
    """Linear weight of the lower or upper corner along one axis."""
    return wp.where(upper == 1, part, 1.0 - part)


@wp.kernel
@no_type_check
def _forward(
    points: wp.array(dtype=wp.vec3),
    table: wp.array(dtype=wp.vec2),
    resolutions: wp.array(dtype=int),
    offsets: wp.array(dtype=int),
    table_size: int,
    open_levels: int,
    out: wp.array2d(dtype=wp.vec2),
    begin: int,
):
    i = begin + wp.tid()
    for level in range(open_levels):
        n = resolutions[level]
        p = points[i]
        x, y, z = _lattice(p[0], n), _lattice(p[1], n), _lattice(p[2], n)
        ix, iy, iz = _cell(x, n), _cell(y, n), _cell(z, n)
        fx, fy, fz = x - float(ix), y - float(iy), z - float(iz)
        total = wp.vec2(0.0, 0.0)
        for corner in range(8):
            dx, dy, dz = corner & 1, (corner >> 1) & 1, corner >> 2
            k = offsets[level] + _entry(ix + dx, iy + dy, iz + dz, n, table_size)
            total += _share(fx, dx) * _share(fy, dy) * _share(fz, dz) * table[k]
        out[i, level] = total


@wp.kernel
@no_type_check
def _backward_level(
    points: wp.array(dtype=wp.vec3),
    resolutions: wp.array(dtype=int),
    offsets: wp.array(dtype=int),
    table_size: int,
    out_gradient: wp.array2d(dtype=wp.vec2),
    table_gradient: wp.array(dtype=wp.vec2),
    begin: int,
):
    # One index is a whole level, so that nobody else adds to its entries.
    level = begin + wp.tid()
    n = resolutions[level]
    offset = offsets[level]
    for i in range(points.shape[0]):
        gradient = out_gradient[i, level]
        if gradient[0] != 0.0 or gradient[1] != 0.0:
            p = points[i]
            x, y, z = _lattice(p[0], n), _lattice(p[1], n), _lattice(p[2], n)
            ix, iy, iz = _cell(x, n), _cell(y, n), _cell(z, n)
            fx, fy, fz = x - float(ix), y - float(iy), z - float(iz)
            for corner in range(8):
                dx, dy, dz = corner & 1, (corner >> 1) & 1, corner >> 2
                k = offset + _entry(ix + dx, iy + dy, iz + dz, n, table_size)
                table_gradient[k] = (
                    table_gradient[k] + _share(fx, dx) * _share(fy, dy) * _share(fz, dz) * gradient
                )


@wp.kernel
@no_type_check
def _backward_whole_numbers(
    points: wp.array(dtype=wp.vec3),
    resolutions: wp.array(dtype=int),
    offsets: wp.array(dtype=int),
    table_size: int,
    open_levels: int,
    scale: float,
    out_gradient: wp.array2d(dtype=wp.vec2),
    table_gradient: wp.array2d(dtype=wp.int64),
    begin: int,
):
    # Whole numbers add up to the same sum in any order, which floats do not.
    index = begin + wp.tid()
    i = index // open_levels
    level = index - i * open_levels
    gradient = out_gradient[i, level] * scale
    n = resolutions[level]
    p = points[i]
    x, y, z = _lattice(p[0], n), _lattice(p[1], n), _lattice(p[2], n)
    ix, iy, iz = _cell(x, n), _cell(y, n), _cell(z, n)
    fx, fy, fz = x - float(ix), y - float(iy), z - float(iz)
    for corner in range(8):
        dx, dy, dz = corner & 1, (corner >> 1) & 1, corner >> 2
        k = offsets[level] + _entry(ix + dx, iy + dy, iz + dz, n, table_size)
        weight = _share(fx, dx) * _share(fy, dy) * _share(fz, dz)
        wp.atomic_add(table_gradient, k, 0, wp.int64(wp.round(weight * gradient[0])))
        wp.atomic_add(table_gradient, k, 1, wp.int64(wp.round(weight * gradient[1])))


@wp.kernel
@no_type_check
def _backward_points(
    points: wp.array(dtype=wp.vec3),
    table: wp.array(dtype=wp.vec2),
    resolutions: wp.array(dtype=int),
    offsets: wp.array(dtype=int),
    table_size: int,
    open_levels: int,
    out_gradient: wp.array2d(dtype=wp.vec2),
    points_gradient: wp.array(dtype=wp.vec3),
    begin: int,
):
    i = begin + wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    for level in range(open_levels):
        n = resolutions[level]
        p = points[i]
        x, y, z = _lattice(p[0], n), _lattice(p[1], n), _lattice(p[2], n)
        ix, iy, iz = _cell(x, n), _cell(y, n), _cell(z, n)
        fx, fy, fz = x - float(ix), y - float(iy), z - float(iz)
        for corner in range(8):
            dx, dy, dz = corner & 1, (corner >> 1) & 1, corner >> 2
            wx = _share(fx, dx)
            wy = _share(fy, dy)
            wz = _share(fz, dz)
            value = table[offsets[level] + _entry(ix + dx, iy + dy, iz + dz, n, table_size)]
            slope = float(n) * wp.dot(value, out_gradient[i, level])
            total += slope * wp.vec3(
                wp.where(dx == 1, wy * wz, -wy * wz),
                wp.where(dy == 1, wx * wz, -wx * wz),
                wp.where(dz == 1, wx * wy, -wx * wy),
            )
    p = points[i]
    for axis in range(3):  # outside, points are moved to the cube's surface: no slope
        if p[axis] < 0.0 or p[axis] > 1.0:
            total[axis] = 0.0
    points_gradient[i] = total


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
        table: Entries of all levels, one behind the other, float32.
        levels: The layout of `table`.
        open_levels: The finer levels from here on give 0 (progressive training).

    Returns:
        N x 2 L features, the coarsest level first.
    """
    count = levels.count if open_levels is None else min(open_levels, levels.count)
    features: Tensor = _Encode.apply(points.contiguous(), table, levels, count)  # type: ignore[no-untyped-call]
    return features


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, table, levels, open_levels):  # type: ignore[no-untyped-def]
        count = len(points)
        layout = _layout(levels, points.device)
        out = torch.zeros(count, levels.count, FEATURES, device=points.device)
        launch(
            _forward,
            count,
            [points, table, *layout, levels.table_size, open_levels, out],
            points.device,
        )
        ctx.save_for_backward(points, table)
        ctx.levels, ctx.open_levels = levels, open_levels
        return out.reshape(count, levels.count * FEATURES)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, out_gradient):  # type: ignore[no-untyped-def]
        points, table = ctx.saved_tensors
        levels, device = ctx.levels, points.device
        out_gradient = out_gradient.reshape(len(points), levels.count, FEATURES).contiguous()
        points_gradient = table_gradient = None
        layout = (*_layout(levels, device), levels.table_size)
        if ctx.needs_input_grad[0]:
            points_gradient = torch.empty_like(points)
            launch(
                _backward_points,
                len(points),
                [points, table, *layout, ctx.open_levels, out_gradient, points_gradient],
                device,
            )
        if ctx.needs_input_grad[1]:
            spread = _spread_by_level if device.type == "cpu" else _spread_whole_numbers
            table_gradient = spread(points, table, layout, ctx.open_levels, out_gradient)  # type: ignore[no-untyped-call]
        return points_gradient, table_gradient, None, None


def _spread_by_level(points, table, layout, open_levels, out_gradient):  # type: ignore[no-untyped-def]
    """Add the gradients up, one thread a level."""
    total = torch.zeros_like(table)
    inputs = [points, *layout, out_gradient, total]
    launch(_backward_level, open_levels, inputs, points.device, grain=1)
    return total


def _spread_whole_numbers(points, table, layout, open_levels, out_gradient):  # type: ignore[no-untyped-def]
    """Add the gradients up in any order, as whole multiples of a share of the largest."""
    # 2^40 steps up to the largest leave room for 2^22 points to meet in one entry.
    scale = 2.0**40 / max(out_gradient.abs().max().item(), 1e-25)
    total = torch.zeros_like(table, dtype=torch.int64)
    inputs = [points, *layout, open_levels, scale, out_gradient, total]
    launch(_backward_whole_numbers, len(points) * open_levels, inputs, points.device)
    return (total.double() / scale).to(table.dtype)


@functools.cache
def _layout(levels: HashLevels, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give resolutions and offsets as arrays on the device; small, so they stay there."""
    return (
        torch.tensor(levels.resolutions, dtype=torch.int32, device=device),
        torch.tensor(levels.offsets, dtype=torch.int32, device=device),
    )
