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
from geneman.kernels.launch import launch
from geneman.kernels.scatter import gather

wp.set_module_options({"enable_backward": False})

CORNER_PAIRS = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
"""The edges of a tetrahedron, in the order that `tet_edges` keeps."""

TINY = 0.01
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


@wp.func
@no_type_check
def _pattern(values: wp.array(dtype=wp.float32), tets: wp.array2d(dtype=wp.int32), t: int) -> int:
    pattern = 0
    for corner in range(4):
        if values[tets[t, corner]] < 0.0:
            pattern += 1 << corner
    return pattern


@wp.kernel
@no_type_check
def _count(
    values: wp.array(dtype=wp.float32),
    tets: wp.array2d(dtype=wp.int32),
    table: wp.array2d(dtype=wp.int32),
    counts: wp.array(dtype=wp.int32),
    begin: int,
) -> None:
    t = begin + wp.tid()
    pattern = _pattern(values, tets, t)
    if table[pattern, 0] >= 0:
        counts[t] = 1
        if table[pattern, 3] >= 0:
            counts[t] = 2


@wp.kernel
@no_type_check
def _emit(
    values: wp.array(dtype=wp.float32),
    tets: wp.array2d(dtype=wp.int32),
    tet_edges: wp.array2d(dtype=wp.int32),
    table: wp.array2d(dtype=wp.int32),
    counts: wp.array(dtype=wp.int32),
    ends: wp.array(dtype=wp.int64),
    number: wp.array(dtype=wp.int64),
    faces: wp.array2d(dtype=wp.int64),
    begin: int,
) -> None:
    t = begin + wp.tid()
    if counts[t] == 0:
        return
    pattern = _pattern(values, tets, t)
    place = int(ends[t]) - counts[t]
    for triangle in range(counts[t]):
        for corner in range(3):
            edge = table[pattern, 3 * triangle + corner]
            # `number` counts from 1, as a running sum does.
            faces[place + triangle, corner] = number[tet_edges[t, edge]] - wp.int64(1)


@wp.kernel
@no_type_check
def _cross(
    values: wp.array(dtype=wp.float32),
    edges: wp.array2d(dtype=wp.int32),
    crossed: wp.array(dtype=wp.int32),
    begin: int,
) -> None:
    e = begin + wp.tid()
    if (values[edges[e, 0]] < 0.0) != (values[edges[e, 1]] < 0.0):
        crossed[e] = 1


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
    device, values = values.device, values.detach().contiguous()
    table = torch.tensor(TABLE, dtype=torch.int32, device=device)
    crossed = torch.zeros(len(edges), dtype=torch.int32, device=device)
    launch(_cross, len(edges), (values, edges, crossed), device)
    counts = torch.zeros(len(tets), dtype=torch.int32, device=device)
    launch(_count, len(tets), (values, tets, table, counts), device)
    number, ends = crossed.cumsum(0), counts.cumsum(0)
    faces = torch.empty(int(ends[-1]) if len(tets) else 0, 3, dtype=torch.int64, device=device)
    drawn = (table, counts, ends, number, faces)
    launch(_emit, len(tets), (values, tets, tet_edges, *drawn), device)
    return edges[crossed.nonzero()[:, 0]].long(), faces


def zero_points(
    points: Float[Tensor, "v 3"], values: Float[Tensor, "v"], ends: Int[Tensor, "n 2"]
) -> Float[Tensor, "n 3"]:
    """Give the points where a straight line between the ends' values is 0.

    Gradients flow to `values`; `points` stay where they are.

    Args:
        points: Lattice points.
        values: One at each.
        ends: Pairs of points with values of different sign.
    """
    a, b = gather(values[:, None], ends).unbind(dim=1)
    share = (a / (a - b)).clamp(TINY, 1.0 - TINY)
    start, stop = points[ends[:, 0]], points[ends[:, 1]]
    return start + share * (stop - start)
