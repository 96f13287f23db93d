"""Triangles to pixels and back: which triangle each pixel sees, and how that moves with it.

V vertices, F triangles, S pixels along a side, P covered pixels. Clip coordinates are OpenGL's
(x right, y up, in front of the camera where w > 0); images have row 0 at the top. A pixel sees
the triangle with the smallest z / w at its centre; both sides of a triangle are seen.

Coverage is found with homogeneous edge functions (Olano and Greer 1997), which need no clipping:
a triangle that reaches behind the camera is right wherever it is in front. The parts keep the
contract of Laine et al. 2020, "Modular primitives for high-performance differentiable rendering".
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from geneman.kernels.accelerators.choice import accelerated
from geneman.kernels.launch import GRAIN, launch
from geneman.kernels.scatter import gather, scatter_sum

wp.set_module_options({"enable_backward": False})

TILE = {"cpu": 32, "cuda": 16}
"""Pixels along the side of a tile, for which the triangles are listed."""
BLOCK = {"cpu": 32, "cuda": 1}
"""Pixels along the side of what one thread owns: a divisor of the tile."""
SHARES = 32
"""Shares of the triangles that are listed one beside the other on the CPU."""
SPREAD = 7919
"""A prime: steps of so many tiles come to each once, as long as their number is no multiple."""


@dataclass(frozen=True)
class Raster:
    """What a camera sees of a mesh, pixel by pixel."""

    triangle: Int[Tensor, "s s"]
    """Index of the seen triangle, -1 where there is none."""
    barycentric: Float[Tensor, "s s 2"]
    """Perspective-correct weights of its first two corners; the third has what is left to 1."""
    depth: Float[Tensor, "s s"]
    """z / w in [-1, 1]; 1 where there is no triangle. Not differentiable."""
    pixels: Int[Tensor, "p"]
    """Flat indices of the covered pixels, ascending."""

    @property
    def size(self) -> int:
        """Pixels along a side."""
        return self.triangle.shape[0]


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
def _place(clip: wp.array(dtype=wp.vec4), size: int, places: wp.array(dtype=wp.vec3), begin: int):
    """Give column and row in pixels, and w; nan where the vertex holds what is not finite."""
    vertex = begin + wp.tid()
    half = 0.5 * float(size)
    p = clip[vertex]
    w = wp.where(wp.isfinite(p), p[3], wp.float32(wp.nan))
    places[vertex] = wp.vec3((p[0] / w + 1.0) * half, (1.0 - p[1] / w) * half, w)


@wp.kernel
@no_type_check
def _bound(
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
def _list_tiles(
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
    place = ends[face] - counts[face]
    for row in range(bounds[face, 2] / tile, bounds[face, 3] / tile + 1):
        for column in range(bounds[face, 0] / tile, bounds[face, 1] / tile + 1):
            cell = wp.int64(row * tiles + column)
            keys[int(place)] = (cell << wp.int64(32)) | wp.int64(face)
            place += wp.int64(1)


@wp.kernel
@no_type_check
def _tally(
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
def _cover(  # noqa: PLR0915 (a kernel takes each buffer by itself)
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
    for place in range(int(starts[cell]), int(starts[cell + 1])):
        face = listed[place]
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
def _cover_backward(
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


def _draw(clip: Tensor, faces: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """List the triangles of each tile, then draw each tile by itself."""
    device, count = clip.device, faces.shape[0]
    tile, block = TILE[device.type], BLOCK[device.type]
    tiles, blocks = -(-size // tile), -(-size // block)
    places = clip.new_empty(len(clip), 3)
    launch(_place, len(clip), (clip, size, places), device)
    bounds = torch.empty(count, 4, dtype=torch.int32, device=device)
    counts = torch.empty(count, dtype=torch.int64, device=device)
    launch(_bound, count, (places, faces, size, tile, bounds, counts), device)
    by_tile = _listed if device.type == "cpu" else _sorted
    listed, starts = by_tile(bounds, counts, tile, tiles)
    triangle = torch.full((size, size), -1, dtype=torch.int32, device=device)
    barycentric = torch.zeros(size, size, 2, device=device)
    # A hair above 1, so that a surface on the far plane itself is still seen.
    depth = torch.full((size, size), 1.0 + 1e-6, device=device)
    drawn = (triangle, barycentric, depth)
    seen = (clip, faces, bounds, listed, starts, size, tile, block)
    spread, grain = (SPREAD, 1) if block > 1 else (1, 2048)
    launch(_cover, blocks * blocks, (*seen, spread, *drawn), device, grain=grain)
    return triangle, barycentric, depth.clamp_(max=1.0)


def _listed(bounds: Tensor, counts: Tensor, tile: int, tiles: int) -> tuple[Tensor, Tensor]:
    """List each tile's triangles, ascending, and where its list starts: by counting twice."""
    shares = min(SHARES, -(-len(counts) // GRAIN)) or 1
    share = -(-len(counts) // shares)
    tallies = torch.zeros(shares, tiles * tiles, dtype=torch.int32)
    given = (bounds, counts, share, tile, tiles, tallies)
    launch(_tally, shares, (*given, torch.empty(0, dtype=torch.int32)), bounds.device, grain=1)
    ends = tallies.T.reshape(-1).cumsum(0)
    starts = torch.nn.functional.pad(ends[shares - 1 :: shares], (1, 0))
    begins = (ends.reshape(-1, shares).T - tallies).to(torch.int32)
    listed = torch.empty(int(starts[-1]), dtype=torch.int32)
    if len(listed) > 0:
        launch(_tally, shares, (*given[:5], begins, listed), bounds.device, grain=1)
    return listed, starts


def _sorted(bounds: Tensor, counts: Tensor, tile: int, tiles: int) -> tuple[Tensor, Tensor]:
    """Give the same by sorting: for devices that have more threads than shares."""
    ends, device = counts.cumsum(0), counts.device
    keys = torch.empty(int(ends[-1]) if len(ends) else 0, dtype=torch.int64, device=device)
    launch(_list_tiles, len(counts), (bounds, counts, ends, tile, tiles, keys), device)
    keys = keys.sort().values
    starts = torch.searchsorted(keys, torch.arange(tiles * tiles + 1, device=device) << 32)
    return (keys & 0xFFFFFFFF).to(torch.int32), starts


class _Rasterise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, clip, faces, size):  # type: ignore[no-untyped-def]
        triangle, barycentric, depth = _draw(clip.detach().contiguous(), faces, size)
        pixels = (triangle.reshape(-1) >= 0).nonzero()[:, 0]
        ctx.save_for_backward(clip, faces, triangle, pixels)
        ctx.mark_non_differentiable(triangle, depth, pixels)
        ctx.set_materialize_grads(False)
        return triangle, barycentric, depth, pixels

    @staticmethod
    def backward(ctx, _triangle, towards, _depth, _pixels):  # type: ignore[no-untyped-def]
        if towards is None:
            return None, None, None
        clip, faces, triangle, pixels = ctx.saved_tensors
        size, count = triangle.shape[0], pixels.shape[0]
        out = clip.new_zeros(count, 3, 4)
        towards = towards.reshape(-1, 2).contiguous()
        seen = (clip.contiguous(), faces, triangle.reshape(-1), pixels, size, towards, out)
        launch(_cover_backward, count, seen, clip.device)
        corners = faces[triangle.reshape(-1)[pixels].long()]
        return scatter_sum(out.reshape(-1, 4), corners.reshape(-1), clip.shape[0]), None, None


@accelerated
def rasterise(clip: Float[Tensor, "v 4"], faces: Int[Tensor, "f 3"], size: int) -> Raster:
    """Find the nearest triangle at each pixel's centre.

    Args:
        clip: Homogeneous positions (`Orbit.clip_coordinates`); the barycentrics carry gradients
            to their x, y and w.
        faces: Corners of the triangles; none at all is fine. Degenerate triangles, those behind
            the camera and those that hold a value that is not finite cover nothing.
        size: Pixels along a side.
    """
    faces = faces.to(torch.int32).contiguous()
    triangle, barycentric, depth, pixels = _Rasterise.apply(  # type: ignore[no-untyped-call]
        clip, faces, size
    )
    return Raster(triangle, barycentric, depth, pixels)


def corner_weights(raster: Raster) -> Float[Tensor, "p 3"]:
    """Give the weights of all three corners at the covered pixels."""
    first_two = raster.barycentric.reshape(-1, 2)[raster.pixels]
    return torch.cat([first_two, 1 - first_two.sum(dim=1, keepdim=True)], dim=1)


@accelerated
def interpolate(
    attributes: Float[Tensor, "v c"], faces: Int[Tensor, "f 3"], raster: Raster
) -> Float[Tensor, "s s c"]:
    """Blend what the corners carry; 0 where there is no triangle.

    Gradients flow to the attributes and to the raster's barycentrics.

    Args:
        attributes: One row for each index that `faces` names.
        faces: Corners as `raster` numbers the triangles; not necessarily the faces that were
            rasterised (`uv_faces` for texture coordinates).
        raster: Where each pixel looks.
    """
    size = raster.size
    seen = raster.triangle.reshape(-1)[raster.pixels].long()
    corners = gather(attributes, faces[seen])
    blended = (corner_weights(raster)[:, :, None] * corners).sum(dim=1)
    image = blended.new_zeros(size * size, attributes.shape[1])
    return image.index_copy(0, raster.pixels, blended).reshape(size, size, -1)
