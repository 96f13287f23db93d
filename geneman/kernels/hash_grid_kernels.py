"""Warp's side of the hash grid: look-ups, and their adjoints towards the table and the points.

N points, L levels, as in `hash_grid`, which launches these kernels.
"""

from typing import Any, no_type_check

import torch
import warp as wp

PRIME_Y, PRIME_Z = wp.constant(wp.uint32(2654435761)), wp.constant(wp.uint32(805459861))
"""Equation 4; x is multiplied by 1, so that neighbours along x share a cache line."""
ENTRIES = wp.constant(8)
"""Entries of a table whose gradients are marked together: those of one cache line."""

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


# Numbers instead of vectors go through these functions: Warp's vectors cost twice the time here.
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


@wp.func
@no_type_check
def _mixed(
    x: wp.uint32, y: wp.uint32, z: wp.uint32, hashed: bool, offset: int, mask: wp.uint32
) -> int:
    """Index in the table, from coordinates that carry their factors already."""
    if hashed:
        return offset + wp.int32((x ^ y ^ z) & mask)
    return offset + wp.int32(x + y + z)


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
def _between(a: float, b: float, part: float) -> float:
    return a + part * (b - a)


@wp.func
@no_type_check
def _within(
    a: float,
    b: float,
    c: float,
    d: float,
    e: float,
    f: float,
    g: float,
    h: float,
    x: float,
    y: float,
    z: float,
) -> float:
    """Blend the eight corners of a cell, x first."""
    near = _between(_between(a, b, x), _between(c, d, x), y)
    return _between(near, _between(_between(e, f, x), _between(g, h, x), y), z)


@wp.func
@no_type_check
def _inside(value: float, slope: float) -> float:
    """Outside, points are moved to the cube's surface: no slope."""
    return wp.where(value < 0.0 or value > 1.0, 0.0, slope)


@wp.kernel
@no_type_check
def _forward(
    points: wp.array(dtype=wp.vec3),
    table: wp.array(dtype=Any),
    resolutions: wp.array(dtype=int),
    offsets: wp.array(dtype=int),
    table_size: int,
    block: int,
    out: wp.array2d(dtype=wp.vec2),
    begin: int,
):
    # One index is a block of points in one level, whose entries stay in the cache.
    index = begin + wp.tid()
    blocks = (points.shape[0] + block - 1) // block
    level = index // blocks
    first = (index - level * blocks) * block
    n, offset = resolutions[level], offsets[level]
    hashed = _is_hashed(n, table_size)
    side = wp.uint32(n + 1)
    by, bz = wp.where(hashed, PRIME_Y, side), wp.where(hashed, PRIME_Z, side * side)
    mask = wp.uint32(table_size - 1)
    # Points that follow each other often share a cell: its entries are then in registers already.
    here_x, here_y, here_z = wp.int32(-1), wp.int32(-1), wp.int32(-1)
    a, b, c, d = wp.vec2(0.0), wp.vec2(0.0), wp.vec2(0.0), wp.vec2(0.0)
    e, f, g, h = wp.vec2(0.0), wp.vec2(0.0), wp.vec2(0.0), wp.vec2(0.0)
    for i in range(first, wp.min(first + block, points.shape[0])):
        p = points[i]
        x, y, z = _lattice(p[0], n), _lattice(p[1], n), _lattice(p[2], n)
        ix, iy, iz = _cell(x, n), _cell(y, n), _cell(z, n)
        fx, fy, fz = x - float(ix), y - float(iy), z - float(iz)
        if ix != here_x or iy != here_y or iz != here_z:
            here_x, here_y, here_z = ix, iy, iz
            x0, y0, z0 = wp.uint32(ix), wp.uint32(iy) * by, wp.uint32(iz) * bz
            x1, y1, z1 = x0 + wp.uint32(1), y0 + by, z0 + bz
            a = _read(table, _mixed(x0, y0, z0, hashed, offset, mask))
            b = _read(table, _mixed(x1, y0, z0, hashed, offset, mask))
            c = _read(table, _mixed(x0, y1, z0, hashed, offset, mask))
            d = _read(table, _mixed(x1, y1, z0, hashed, offset, mask))
            e = _read(table, _mixed(x0, y0, z1, hashed, offset, mask))
            f = _read(table, _mixed(x1, y0, z1, hashed, offset, mask))
            g = _read(table, _mixed(x0, y1, z1, hashed, offset, mask))
            h = _read(table, _mixed(x1, y1, z1, hashed, offset, mask))
        out[i, level] = wp.vec2(
            _within(a[0], b[0], c[0], d[0], e[0], f[0], g[0], h[0], fx, fy, fz),
            _within(a[1], b[1], c[1], d[1], e[1], f[1], g[1], h[1], fx, fy, fz),
        )


_Corners = wp.types.vector(length=8, dtype=wp.float32)


@wp.func
@no_type_check
def _shares(x: float, y: float, z: float) -> _Corners:
    """Give the linear weights of the eight corners, x fastest."""
    u, v, w = 1.0 - x, 1.0 - y, 1.0 - z
    return _Corners(
        u * v * w, x * v * w, u * y * w, x * y * w, u * v * z, x * v * z, u * y * z, x * y * z
    )


@wp.func
@no_type_check
def _add(
    table_gradient: wp.array(dtype=wp.vec2),
    touched: wp.array(dtype=wp.uint8),
    k: int,
    first: float,
    second: float,
):
    before = table_gradient[k]
    table_gradient[k] = wp.vec2(before[0] + first, before[1] + second)
    if touched.shape[0] > 0:
        touched[k // ENTRIES] = wp.uint8(1)


@wp.kernel
@no_type_check
def backward_level(
    points: wp.array(dtype=wp.vec3),
    resolutions: wp.array(dtype=int),
    offsets: wp.array(dtype=int),
    table_size: int,
    out_gradient: wp.array2d(dtype=wp.vec2),
    table_gradient: wp.array(dtype=wp.vec2),
    touched: wp.array(dtype=wp.uint8),
    begin: int,
):
    """Add up a whole level for each index, so that nobody else adds to its entries.

    Marks the blocks of entries that it adds to, where it is given marks. A block on the border of
    two levels may be marked by both at once: with the same.
    """
    level = begin + wp.tid()
    n, offset = resolutions[level], offsets[level]
    hashed = _is_hashed(n, table_size)
    side = wp.uint32(n + 1)
    by, bz = wp.where(hashed, PRIME_Y, side), wp.where(hashed, PRIME_Z, side * side)
    mask = wp.uint32(table_size - 1)
    # What points that follow each other in one cell add to its corners is added up in registers.
    here_x, here_y, here_z = wp.int32(-1), wp.int32(-1), wp.int32(-1)
    first, second = _Corners(), _Corners()
    for i in range(points.shape[0] + 1):
        # One more than there are points: the last cell's sums must be written too.
        ix, iy, iz = wp.int32(-2), wp.int32(0), wp.int32(0)
        weights, gradient = _Corners(), wp.vec2(0.0)
        idle = wp.bool(False)
        if i < points.shape[0]:
            gradient = out_gradient[i, level]
            idle = gradient[0] == 0.0 and gradient[1] == 0.0
            if not idle:
                p = points[i]
                x, y, z = _lattice(p[0], n), _lattice(p[1], n), _lattice(p[2], n)
                ix, iy, iz = _cell(x, n), _cell(y, n), _cell(z, n)
                weights = _shares(x - float(ix), y - float(iy), z - float(iz))
        if not idle:
            if ix != here_x or iy != here_y or iz != here_z:
                if here_x >= 0:
                    x0, y0, z0 = wp.uint32(here_x), wp.uint32(here_y) * by, wp.uint32(here_z) * bz
                    for corner in range(8):
                        x1 = x0 + wp.uint32(corner & 1)
                        y1 = y0 + wp.where((corner & 2) > 0, by, wp.uint32(0))
                        z1 = z0 + wp.where((corner & 4) > 0, bz, wp.uint32(0))
                        k = _mixed(x1, y1, z1, hashed, offset, mask)
                        _add(table_gradient, touched, k, first[corner], second[corner])
                here_x, here_y, here_z = ix, iy, iz
                first, second = _Corners(), _Corners()
            first = first + gradient[0] * weights
            second = second + gradient[1] * weights


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
    first_level: int,
    last_level: int,
    block: int,
    out_gradient: wp.array2d(dtype=wp.vec2),
    points_gradient: wp.array(dtype=wp.vec3),
    begin: int,
):
    first = (begin + wp.tid()) * block
    last = wp.min(first + block, points.shape[0])
    mask = wp.uint32(table_size - 1)
    for level in range(first_level, last_level):
        n, offset = resolutions[level], offsets[level]
        hashed = _is_hashed(n, table_size)
        side = wp.uint32(n + 1)
        by, bz = wp.where(hashed, PRIME_Y, side), wp.where(hashed, PRIME_Z, side * side)
        for i in range(first, last):
            p = points[i]
            towards = out_gradient[i, level] * float(n)
            x, y, z = _lattice(p[0], n), _lattice(p[1], n), _lattice(p[2], n)
            ix, iy, iz = _cell(x, n), _cell(y, n), _cell(z, n)
            fx, fy, fz = x - float(ix), y - float(iy), z - float(iz)
            x0, y0, z0 = wp.uint32(ix), wp.uint32(iy) * by, wp.uint32(iz) * bz
            x1, y1, z1 = x0 + wp.uint32(1), y0 + by, z0 + bz
            a = wp.dot(_read(table, _mixed(x0, y0, z0, hashed, offset, mask)), towards)
            b = wp.dot(_read(table, _mixed(x1, y0, z0, hashed, offset, mask)), towards)
            c = wp.dot(_read(table, _mixed(x0, y1, z0, hashed, offset, mask)), towards)
            d = wp.dot(_read(table, _mixed(x1, y1, z0, hashed, offset, mask)), towards)
            e = wp.dot(_read(table, _mixed(x0, y0, z1, hashed, offset, mask)), towards)
            f = wp.dot(_read(table, _mixed(x1, y0, z1, hashed, offset, mask)), towards)
            g = wp.dot(_read(table, _mixed(x0, y1, z1, hashed, offset, mask)), towards)
            h = wp.dot(_read(table, _mixed(x1, y1, z1, hashed, offset, mask)), towards)
            low, high = _between(a, b, fx), _between(c, d, fx)
            low_behind, high_behind = _between(e, f, fx), _between(g, h, fx)
            sx = _between(_between(b - a, d - c, fy), _between(f - e, h - g, fy), fz)
            sy = _between(high - low, high_behind - low_behind, fz)
            sz = _between(low_behind - low, high_behind - high, fy)
            points_gradient[i] = points_gradient[i] + wp.vec3(
                _inside(p[0], sx), _inside(p[1], sy), _inside(p[2], sz)
            )


FORWARD, BACKWARD_POINTS = (
    {
        torch.float32: wp.overload(kernel, {"table": wp.array(dtype=wp.vec2)}),
        torch.bfloat16: wp.overload(kernel, {"table": wp.array(dtype=wp.uint32)}),
    }
    for kernel in (_forward, _backward_points)
)
"""By the table's dtype."""
