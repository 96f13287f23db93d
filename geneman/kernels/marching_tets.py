"""Where a function's zero crosses tetrahedra: a closed triangle mesh that can be differentiated.

V lattice points, E edges, T tetrahedra, N crossed edges (the vertices of the surface), F faces.
Values below 0 are inside. The lattice's edges are numbered beforehand, so that a surface is
extracted by counting: nothing is sorted, and no vertex is made twice.
"""

import itertools
from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from geneman.kernels.accelerators.choice import accelerated
from geneman.kernels.launch import GRAIN, launch
from geneman.kernels.scatter import scatter_sum

wp.set_module_options({"enable_backward": False})

CORNER_PAIRS = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
"""The edges of a tetrahedron, in the order that `tet_edges` keeps."""

BLOCK = 4096
"""Edges or tetrahedra that one index of a launch counts on the CPU."""

TINY = wp.constant(0.01)
"""Least distance of a crossing from a lattice point, as a share of the edge: keeps triangles
from shrinking to points, whose normals would be noise."""


def _even(order: tuple[int, ...]) -> bool:
    return sum(p > q for p, q in itertools.combinations(order, 2)) % 2 == 0


def _row(pattern: int) -> list[int]:
    """Give the crossed edges of up to two triangles for one pattern of insides, -1 for none.

    Renumber the corners by an even permutation (a, b, c, d), which keeps them right-handed, such
    that the corners inside come first, or the only one outside: one drawing fits each count.
    """
    inside = {corner for corner in range(4) if pattern >> corner & 1}
    first = inside if len(inside) <= 2 else set(range(4)) - inside  # noqa: PLR2004 (or the lone)
    orders = filter(_even, itertools.permutations(range(4)))
    a, b, c, d = next(o for o in orders if set(o[: len(first)]) == first)
    edge = {frozenset(pair): index for index, pair in enumerate(CORNER_PAIRS)}
    ab, ac, ad, bc, bd = (edge[frozenset(p)] for p in ((a, b), (a, c), (a, d), (b, c), (b, d)))
    match len(inside):
        case 1:
            return [ab, ac, ad, -1, -1, -1]
        case 2:
            return [ac, ad, bd, ac, bd, bc]
        case 3:
            return [ab, ad, ac, -1, -1, -1]
        case _:
            return [-1] * 6


TABLE = tuple(tuple(_row(pattern)) for pattern in range(16))


@wp.kernel
@no_type_check
def _cross(
    inside: wp.array(dtype=wp.uint8),
    edges: wp.array2d(dtype=wp.int32),
    block: int,
    crossed: wp.array(dtype=wp.uint8),
    counts: wp.array(dtype=wp.int32),
    begin: int,
) -> None:
    """Mark the edges of a block that change sign, and count them."""
    index = begin + wp.tid()
    found = wp.int32(0)
    for e in range(index * block, wp.min((index + 1) * block, edges.shape[0])):
        mark = wp.int32(inside[edges[e, 0]] != inside[edges[e, 1]])
        crossed[e] = wp.uint8(mark)
        found += mark
    counts[index] = found


@wp.kernel
@no_type_check
def _number(
    edges: wp.array2d(dtype=wp.int32),
    crossed: wp.array(dtype=wp.uint8),
    starts: wp.array(dtype=wp.int64),
    block: int,
    number: wp.array(dtype=wp.int32),
    ends: wp.array2d(dtype=wp.int64),
    begin: int,
) -> None:
    """Number the marked edges and list their ends; other edges get no number."""
    index = begin + wp.tid()
    place = int(starts[index])
    for e in range(index * block, wp.min((index + 1) * block, edges.shape[0])):
        if crossed[e] != wp.uint8(0):
            number[e] = place
            ends[place, 0] = wp.int64(edges[e, 0])
            ends[place, 1] = wp.int64(edges[e, 1])
            place += 1


@wp.kernel
@no_type_check
def _count(
    inside: wp.array(dtype=wp.uint8),
    tets: wp.array2d(dtype=wp.int32),
    table: wp.array2d(dtype=wp.int32),
    block: int,
    patterns: wp.array(dtype=wp.uint8),
    counts: wp.array(dtype=wp.int32),
    begin: int,
) -> None:
    """Note which corners of a block's tetrahedra are inside, and count their triangles."""
    index = begin + wp.tid()
    found = wp.int32(0)
    for t in range(index * block, wp.min((index + 1) * block, tets.shape[0])):
        pattern = wp.int32(inside[tets[t, 0]])
        pattern += 2 * wp.int32(inside[tets[t, 1]])
        pattern += 4 * wp.int32(inside[tets[t, 2]])
        pattern += 8 * wp.int32(inside[tets[t, 3]])
        patterns[t] = wp.uint8(pattern)
        if table[pattern, 0] >= 0:
            found += wp.where(table[pattern, 3] >= 0, 2, 1)
    counts[index] = found


@wp.kernel
@no_type_check
def _emit(
    tet_edges: wp.array2d(dtype=wp.int32),
    table: wp.array2d(dtype=wp.int32),
    patterns: wp.array(dtype=wp.uint8),
    starts: wp.array(dtype=wp.int64),
    number: wp.array(dtype=wp.int32),
    block: int,
    faces: wp.array2d(dtype=wp.int64),
    begin: int,
) -> None:
    index = begin + wp.tid()
    place = int(starts[index])
    for t in range(index * block, wp.min((index + 1) * block, tet_edges.shape[0])):
        pattern = wp.int32(patterns[t])
        for triangle in range(2):
            if table[pattern, 3 * triangle] >= 0:
                for corner in range(3):
                    edge = table[pattern, 3 * triangle + corner]
                    faces[place, corner] = wp.int64(number[tet_edges[t, edge]])
                place += 1


@accelerated
def march(
    values: Float[Tensor, "v"],
    edges: Int[Tensor, "e 2"],
    tets: Int[Tensor, "t 4"],
    tet_edges: Int[Tensor, "t 6"],
) -> tuple[Int[Tensor, "n 2"], Int[Tensor, "f 3"]]:
    """Find the surface where `values` changes sign.

    Args:
        values: One at each lattice point; below 0 is inside. Not differentiated.
        edges: The two points of each edge, int32.
        tets: The four points of each tetrahedron, int32, right-handed: the determinant of
            (b - a, c - a, d - a) is positive.
        tet_edges: The edges of each in the order of `CORNER_PAIRS`, int32.

    Returns:
        The crossed edges, one for each vertex of the surface, and its triangles, which wind
        counter-clockwise seen from outside. One tetrahedron whose corner a = 0 is inside gives
        the one triangle whose corners lie on its edges ab, ac, ad.
    """
    # Bytes: a quarter of what the values take, which are looked up from everywhere.
    device, inside = values.device, (values.detach() < 0).to(torch.uint8)
    block = BLOCK if device.type == "cpu" else 1
    table = torch.tensor(TABLE, dtype=torch.int32, device=device)
    crossed = torch.empty(len(edges), dtype=torch.uint8, device=device)
    launched, grain = _blocks(len(edges), block, device)
    launch(_cross, len(launched), (inside, edges, block, crossed, launched), device, grain=grain)
    starts, total = _starts(launched)
    number = torch.empty(len(edges), dtype=torch.int32, device=device)
    ends = torch.empty(total, 2, dtype=torch.int64, device=device)
    marked = (edges, crossed, starts, block, number, ends)
    launch(_number, len(launched), marked, device, grain=grain)
    patterns = torch.empty(len(tets), dtype=torch.uint8, device=device)
    launched, grain = _blocks(len(tets), block, device)
    noted = (inside, tets, table, block, patterns, launched)
    launch(_count, len(launched), noted, device, grain=grain)
    starts, total = _starts(launched)
    faces = torch.empty(total, 3, dtype=torch.int64, device=device)
    drawn = (tet_edges, table, patterns, starts, number, block, faces)
    launch(_emit, len(launched), drawn, device, grain=grain)
    return ends, faces


def _blocks(items: int, block: int, device: torch.device) -> tuple[Tensor, int]:
    """Give a count to be filled for each block, and the fewest blocks worth a thread."""
    counts = torch.empty(-(-items // block), dtype=torch.int32, device=device)
    return counts, max(GRAIN // block, 1)


def _starts(counts: Tensor) -> tuple[Tensor, int]:
    """Give where each block's share begins, and how much there is in all."""
    ends = counts.cumsum(0)
    return ends - counts, int(ends[-1]) if len(ends) else 0


@wp.func
@no_type_check
def _share(a: float, b: float) -> float:
    """Where between values of different sign 0 lies, as a share of the way from `a`."""
    return wp.clamp(a / (a - b), TINY, 1.0 - TINY)


@wp.kernel
@no_type_check
def _place(
    values: wp.array(dtype=wp.float32),
    points: wp.array(dtype=wp.vec3),
    ends: wp.array2d(dtype=wp.int64),
    vertices: wp.array(dtype=wp.vec3),
    begin: int,
) -> None:
    vertex = begin + wp.tid()
    here, there = int(ends[vertex, 0]), int(ends[vertex, 1])
    share = _share(values[here], values[there])
    vertices[vertex] = points[here] + share * (points[there] - points[here])


@wp.kernel
@no_type_check
def _place_backward(
    values: wp.array(dtype=wp.float32),
    points: wp.array(dtype=wp.vec3),
    ends: wp.array2d(dtype=wp.int64),
    towards: wp.array(dtype=wp.vec3),
    slopes: wp.array2d(dtype=wp.float32),
    begin: int,
) -> None:
    """Give each vertex's gradient towards the values at both of its ends."""
    vertex = begin + wp.tid()
    here, there = int(ends[vertex, 0]), int(ends[vertex, 1])
    apart = values[here] - values[there]
    share = values[here] / apart
    slope = wp.dot(towards[vertex], points[there] - points[here]) / apart
    # Where the share was cut off it does not change with the values.
    slope = wp.where(share < TINY or share > 1.0 - TINY, 0.0, slope)
    slopes[vertex, 0] = (1.0 - share) * slope
    slopes[vertex, 1] = share * slope


class _ZeroPoints(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, values, ends):  # type: ignore[no-untyped-def]
        points, values, ends = points.contiguous(), values.contiguous(), ends.contiguous()
        vertices = points.new_empty(len(ends), 3)
        launch(_place, len(ends), (values, points, ends, vertices), points.device)
        ctx.save_for_backward(points, values, ends)
        return vertices

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, towards):  # type: ignore[no-untyped-def]
        points, values, ends = ctx.saved_tensors
        slopes = values.new_empty(len(ends), 2)
        given = (values, points, ends, towards.contiguous(), slopes)
        launch(_place_backward, len(ends), given, points.device)
        summed = scatter_sum(slopes.reshape(-1, 1), ends.reshape(-1), len(values))
        return None, summed[:, 0], None


def zero_points(
    points: Float[Tensor, "v 3"], values: Float[Tensor, "v"], ends: Int[Tensor, "n 2"]
) -> Float[Tensor, "n 3"]:
    """Give the points where a straight line between the ends' values is 0.

    Gradients flow to `values`, once; `points` stay where they are.

    Args:
        points: Lattice points.
        values: One at each.
        ends: Pairs of points with values of different sign.
    """
    found: Tensor = _ZeroPoints.apply(points, values, ends)  # type: ignore[no-untyped-call]
    return found
