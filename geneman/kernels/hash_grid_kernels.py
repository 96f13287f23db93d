"""The hash grid on CUDA: look-ups, and their adjoints towards the table and the points.

One index is a point, or a point in a level. On a CPU `hash_grid_vectors` does the same work.
N points, L levels, as in `hash_grid`, which launches these kernels.
"""

from typing import Any, no_type_check

import torch
import warp as wp

PRIME_Y, PRIME_Z = wp.constant(wp.uint32(2654435761)), wp.constant(wp.uint32(805459861))
"""Equation 4; x is multiplied by 1, so that neighbours along x share a cache line."""

wp.set_module_options({"enable_backward": False})


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


@wp.func
@no_type_check
def _is_hashed(resolution: int, table_size: int) -> bool:
    """Say whether a level has more corners than entries."""
    side = wp.int64(resolution + 1)
    return side * side * side > wp.int64(table_size)


@wp.func
@no_type_check
def _entry(x: int, y: int, z: int, resolution: int, table_size: int) -> int:
    """Index of a lattice corner within its level: direct if all corners fit, else hashed."""
    if not _is_hashed(resolution, table_size):
        side = resolution + 1
        return x + side * (y + side * z)
    mixed = wp.uint32(x) ^ (wp.uint32(y) * PRIME_Y) ^ (wp.uint32(z) * PRIME_Z)
    return wp.int32(mixed & wp.uint32(table_size - 1))


# Entries are two floats, or one word of two bfloat16: the upper halves of floats.
@wp.func
@no_type_check
def _read(table: wp.array(dtype=wp.vec2), k: int) -> wp.vec2:
    """Give both features of an entry."""
    return table[k]


@wp.func  # type: ignore[no-redef]
@no_type_check
def _read(table: wp.array(dtype=wp.uint32), k: int) -> wp.vec2:
    """Give both features of an entry, the first in the lower half; Warp chooses by type."""
    word, half = table[k], wp.uint32(16)
    return wp.vec2(wp.cast(word << half, wp.float32), wp.cast((word >> half) << half, wp.float32))


@wp.func
@no_type_check
def _share(part: float, upper: int) -> float:
    """Linear weight of the lower or upper corner along one axis."""
    return wp.where(upper == 1, part, 1.0 - part)


@wp.func
@no_type_check
def _sign(upper: int) -> float:
    """How the share changes along its axis."""
    return wp.where(upper == 1, 1.0, -1.0)


@wp.func
@no_type_check
def _inside(value: float, slope: float) -> float:
    """Outside, points are moved to the cube's surface: no slope."""
    return wp.where(value < 0.0 or value > 1.0, 0.0, slope)


@wp.func
@no_type_check
def _corner(
    table: wp.array(dtype=Any),
    corner: int,
    x: int,
    y: int,
    z: int,
    resolution: int,
    offset: int,
    table_size: int,
) -> wp.vec2:
    """Read the entry of a cell's corner; bits of its number say upper or lower, x first."""
    dx, dy, dz = corner & 1, (corner >> 1) & 1, corner >> 2
    return _read(table, offset + _entry(x + dx, y + dy, z + dz, resolution, table_size))


@wp.kernel
@no_type_check
def _forward(
    points: wp.array(dtype=wp.vec3),
    table: wp.array(dtype=Any),
    resolutions: wp.array(dtype=int),
    offsets: wp.array(dtype=int),
    table_size: int,
    open_levels: int,
    out: wp.array2d(dtype=wp.vec2),
    begin: int,
):
    index = begin + wp.tid()
    i = index // open_levels
    level = index - i * open_levels
    n, offset = resolutions[level], offsets[level]
    p = points[i]
    x, y, z = _lattice(p[0], n), _lattice(p[1], n), _lattice(p[2], n)
    ix, iy, iz = _cell(x, n), _cell(y, n), _cell(z, n)
    fx, fy, fz = x - float(ix), y - float(iy), z - float(iz)
    found = wp.vec2(0.0)
    for corner in range(8):
        dx, dy, dz = corner & 1, (corner >> 1) & 1, corner >> 2
        weight = _share(fx, dx) * _share(fy, dy) * _share(fz, dz)
        found += weight * _corner(table, corner, ix, iy, iz, n, offset, table_size)
    out[i, level] = found


@wp.kernel
@no_type_check
def backward_whole_numbers(
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
    """Add up whole numbers, which give the same sum in any order, as floats do not."""
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
    table: wp.array(dtype=Any),
    resolutions: wp.array(dtype=int),
    offsets: wp.array(dtype=int),
    table_size: int,
    open_levels: int,
    out_gradient: wp.array2d(dtype=wp.vec2),
    points_gradient: wp.array(dtype=wp.vec3),
    begin: int,
):
    i = begin + wp.tid()
    p = points[i]
    slope = wp.vec3(0.0)
    for level in range(open_levels):
        n, offset = resolutions[level], offsets[level]
        towards = out_gradient[i, level] * float(n)
        x, y, z = _lattice(p[0], n), _lattice(p[1], n), _lattice(p[2], n)
        ix, iy, iz = _cell(x, n), _cell(y, n), _cell(z, n)
        fx, fy, fz = x - float(ix), y - float(iy), z - float(iz)
        for corner in range(8):
            dx, dy, dz = corner & 1, (corner >> 1) & 1, corner >> 2
            sx, sy, sz = _share(fx, dx), _share(fy, dy), _share(fz, dz)
            entry = _corner(table, corner, ix, iy, iz, n, offset, table_size)
            heard = wp.dot(entry, towards)
            slope += heard * wp.vec3(_sign(dx) * sy * sz, sx * _sign(dy) * sz, sx * sy * _sign(dz))
    points_gradient[i] = wp.vec3(
        _inside(p[0], slope[0]), _inside(p[1], slope[1]), _inside(p[2], slope[2])
    )


FORWARD, BACKWARD_POINTS = (
    {
        torch.float32: wp.overload(kernel, {"table": wp.array(dtype=wp.vec2)}),
        torch.bfloat16: wp.overload(kernel, {"table": wp.array(dtype=wp.uint32)}),
    }
    for kernel in (_forward, _backward_points)
)
"""By the table's dtype."""
