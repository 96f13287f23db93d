"""Warp's side of the rasteriser: listing triangles by tile, drawing tiles, and the adjoint.

V vertices, F triangles, S pixels along a side, as in `rasterise`, which launches these kernels.
"""

from typing import no_type_check

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.func
@no_type_check
def _edge(a: int, b: int, from_a: wp.vec2, to_b: wp.vec2) -> float:
    """Twice the signed area towards the pixel; exactly opposite for the neighbour's side."""
    # Without the order, rounding could leave a pixel on a shared edge to neither triangle.
    if a < b:
        return from_a[0] * to_b[1] - from_a[1] * to_b[0]
    return -(to_b[0] * from_a[1] - to_b[1] * from_a[0])


@wp.func
@no_type_check
def _seen_from(corner: wp.vec4, x: float, y: float) -> wp.vec2:
    """Shift the pixel to the origin first: the products then keep their precision."""
    return wp.vec2(corner[0] - x * corner[3], corner[1] - y * corner[3])


@wp.func
@no_type_check
def _clamped(value: float, high: float) -> int:
    return int(wp.clamp(value, -1.0, high))


@wp.kernel
@no_type_check
def place(clip: wp.array(dtype=wp.vec4), size: int, places: wp.array(dtype=wp.vec3), begin: int):
    """Give column and row in pixels, and w; nan where the vertex holds what is not finite."""
    vertex = begin + wp.tid()
    half = 0.5 * float(size)
    p = clip[vertex]
    w = wp.where(wp.isfinite(p), p[3], wp.float32(wp.nan))
    places[vertex] = wp.vec3((p[0] / w + 1.0) * half, (1.0 - p[1] / w) * half, w)


@wp.kernel
@no_type_check
def bound(
    places: wp.array(dtype=wp.vec3),
    faces: wp.array2d(dtype=wp.int32),
    size: int,
    tile: int,
    bounds: wp.array2d(dtype=wp.int32),
    counts: wp.array(dtype=wp.int64),
    begin: int,
) -> None:
    """Give the pixel rows and columns that a triangle can cover, and how many tiles they touch."""
    face = begin + wp.tid()
    low = wp.vec2(1.0e30, 1.0e30)
    high = wp.vec2(-1.0e30, -1.0e30)
    behind = 0
    finite = wp.bool(True)
    for corner in range(3):
        p = places[faces[face, corner]]
        finite = finite and p[2] == p[2]
        if p[2] <= 0.0:
            behind += 1
        else:
            at = wp.vec2(p[0], p[1])
            low = wp.min(low, at)
            high = wp.max(high, at)
    counts[face] = wp.int64(0)
    if low[0] > high[0] or not finite:
        return
    if behind > 0:
        low = wp.vec2(0.0, 0.0)
        high = wp.vec2(float(size), float(size))
    slack = 0.01  # pixels: more than the rounding of the projection, less than costs anything
    last = float(size)
    left = wp.max(_clamped(wp.ceil(low[0] - 0.5 - slack), last), 0)
    right = wp.min(_clamped(wp.floor(high[0] - 0.5 + slack), last), size - 1)
    top = wp.max(_clamped(wp.ceil(low[1] - 0.5 - slack), last), 0)
    bottom = wp.min(_clamped(wp.floor(high[1] - 0.5 + slack), last), size - 1)
    if left > right or top > bottom:
        return
    bounds[face, 0] = left
    bounds[face, 1] = right
    bounds[face, 2] = top
    bounds[face, 3] = bottom
    counts[face] = wp.int64((right / tile - left / tile + 1) * (bottom / tile - top / tile + 1))


@wp.kernel
@no_type_check
def list_tiles(
    bounds: wp.array2d(dtype=wp.int32),
    counts: wp.array(dtype=wp.int64),
    ends: wp.array(dtype=wp.int64),
    tile: int,
    tiles: int,
    keys: wp.array(dtype=wp.int64),
    begin: int,
) -> None:
    """Write one key for each tile that a triangle touches: the tile, then the triangle."""
    face = begin + wp.tid()
    if counts[face] == wp.int64(0):
        return
    slot = ends[face] - counts[face]
    for row in range(bounds[face, 2] / tile, bounds[face, 3] / tile + 1):
        for column in range(bounds[face, 0] / tile, bounds[face, 1] / tile + 1):
            cell = wp.int64(row * tiles + column)
            keys[int(slot)] = (cell << wp.int64(32)) | wp.int64(face)
            slot += wp.int64(1)


@wp.kernel
@no_type_check
def tally(
    bounds: wp.array2d(dtype=wp.int32),
    counts: wp.array(dtype=wp.int64),
    share: int,
    tile: int,
    tiles: int,
    tallies: wp.array2d(dtype=wp.int32),
    listed: wp.array(dtype=wp.int32),
    begin: int,
) -> None:
    """Count how many of a share of the triangles touch each tile.

    Given a list, write them there: the tallies then say where each tile's part of it goes on.
    """
    index = begin + wp.tid()
    for face in range(index * share, wp.min((index + 1) * share, counts.shape[0])):
        if counts[face] > wp.int64(0):
            for row in range(bounds[face, 2] / tile, bounds[face, 3] / tile + 1):
                for column in range(bounds[face, 0] / tile, bounds[face, 1] / tile + 1):
                    cell = row * tiles + column
                    if listed.shape[0] > 0:
                        listed[tallies[index, cell]] = face
                    tallies[index, cell] = tallies[index, cell] + 1


@wp.kernel
@no_type_check
def cover(  # noqa: PLR0915 (a kernel takes each buffer by itself)
    clip: wp.array(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int32),
    bounds: wp.array2d(dtype=wp.int32),
    listed: wp.array(dtype=wp.int32),
    starts: wp.array(dtype=wp.int64),
    size: int,
    tile: int,
    block: int,
    spread: int,
    triangle: wp.array2d(dtype=wp.int32),
    barycentric: wp.array3d(dtype=wp.float32),
    depth: wp.array2d(dtype=wp.float32),
    begin: int,
) -> None:
    """Draw the triangles of one tile into the block of pixels that this thread owns."""
    blocks = (size + block - 1) / block
    # Tiles side by side, which are as full as each other, go to different threads.
    index = ((begin + wp.tid()) * spread) % (blocks * blocks)
    tiles = (size + tile - 1) / tile
    first_row = (index / blocks) * block
    first_column = (index % blocks) * block
    cell = (first_row / tile) * tiles + first_column / tile
    pixel = 2.0 / float(size)
    for slot in range(int(starts[cell]), int(starts[cell + 1])):
        face = listed[slot]
        top = wp.max(bounds[face, 2], first_row)
        bottom = wp.min(bounds[face, 3], first_row + block - 1)
        left = wp.max(bounds[face, 0], first_column)
        right = wp.min(bounds[face, 1], first_column + block - 1)
        if top <= bottom and left <= right:
            i = faces[face, 0]
            j = faces[face, 1]
            k = faces[face, 2]
            p = clip[i]
            q = clip[j]
            r = clip[k]
            for row in range(top, bottom + 1):
                y = 1.0 - (float(row) + 0.5) * pixel
                for column in range(left, right + 1):
                    x = (float(column) + 0.5) * pixel - 1.0
                    a = _seen_from(p, x, y)
                    b = _seen_from(q, x, y)
                    c = _seen_from(r, x, y)
                    u = _edge(j, k, b, c)
                    v = _edge(k, i, c, a)
                    t = _edge(i, j, a, b)
                    total = u + v + t
                    ahead = u >= 0.0 and v >= 0.0 and t >= 0.0
                    away = u <= 0.0 and v <= 0.0 and t <= 0.0
                    if (ahead or away) and total != 0.0:
                        u = u / total
                        v = v / total
                        t = t / total
                        z = u * p[2] + v * q[2] + t * r[2]
                        w = u * p[3] + v * q[3] + t * r[3]
                        if w > 0.0 and z >= -w and z <= w and z / w < depth[row, column]:
                            depth[row, column] = z / w
                            triangle[row, column] = face
                            barycentric[row, column, 0] = u
                            barycentric[row, column, 1] = v


@wp.kernel
@no_type_check
def cover_backward(
    clip: wp.array(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int32),
    triangle: wp.array(dtype=wp.int32),
    pixels: wp.array(dtype=wp.int64),
    size: int,
    towards: wp.array2d(dtype=wp.float32),
    out: wp.array2d(dtype=wp.vec4),
    begin: int,
) -> None:
    """Give each covered pixel's gradient at its triangle's three corners."""
    index = begin + wp.tid()
    at = int(pixels[index])
    face = triangle[at]
    pixel = 2.0 / float(size)
    x = (float(at % size) + 0.5) * pixel - 1.0
    y = 1.0 - (float(at / size) + 0.5) * pixel
    a = _seen_from(clip[faces[face, 0]], x, y)
    b = _seen_from(clip[faces[face, 1]], x, y)
    c = _seen_from(clip[faces[face, 2]], x, y)
    u = b[0] * c[1] - b[1] * c[0]
    v = c[0] * a[1] - c[1] * a[0]
    t = a[0] * b[1] - a[1] * b[0]
    total = u + v + t
    if total == 0.0:
        return
    # u / total and so on: the quotient rule leaves one common term.
    common = (towards[at, 0] * u + towards[at, 1] * v) / total
    du = (towards[at, 0] - common) / total
    dv = (towards[at, 1] - common) / total
    dt = -common / total
    da = wp.vec2(dt * b[1] - dv * c[1], dv * c[0] - dt * b[0])
    db = wp.vec2(du * c[1] - dt * a[1], dt * a[0] - du * c[0])
    dc = wp.vec2(dv * a[1] - du * b[1], du * b[0] - dv * a[0])
    out[index, 0] = wp.vec4(da[0], da[1], 0.0, -x * da[0] - y * da[1])
    out[index, 1] = wp.vec4(db[0], db[1], 0.0, -x * db[0] - y * db[1])
    out[index, 2] = wp.vec4(dc[0], dc[1], 0.0, -x * dc[0] - y * dc[1])
