"""Which corners of which triangles lie at each vertex of a mesh.

Known once a mesh, it lets every vertex gather from its triangles what they would else have to
scatter: nothing is sorted, no two threads write one cell, and sums run in the triangles' order.

V vertices, F triangles.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad

from geneman.kernels.launch import launch, workers
from geneman.kernels.scatter import first_owned

wp.set_module_options({"enable_backward": False})

MOST = 32
"""Triangles at one vertex up to which its edges are compared pair by pair; beyond, they are
sorted: the tip of a fan of n triangles would compare n^2 pairs."""


@dataclass(frozen=True)
class Incidence:
    """The triangles at each vertex."""

    faces: Int[Tensor, "f 3"]
    """The mesh's triangles, as int32."""
    starts: Int[Tensor, "starts"]
    """Where each vertex's corners begin in `corners`, and their number in all; int32."""
    corners: Int[Tensor, "corners"]
    """Corners by vertex, each vertex's ascending: 3 f + c for corner c of triangle f; int32."""
    ring: Int[Tensor, "corners 2"]
    """For each of `corners` the vertices at the next and the last corner of its triangle; int32."""


@wp.kernel
@no_type_check
def _count_owned(
    index: wp.array(dtype=wp.int32), shares: int, counts: wp.array(dtype=wp.int32), begin: int
) -> None:
    share = begin + wp.tid()
    low = first_owned(counts.shape[0], share, shares)
    high = first_owned(counts.shape[0], share + 1, shares)
    for place in range(index.shape[0]):
        cell = index[place]
        if cell >= low and cell < high:
            counts[cell] = counts[cell] + 1


@wp.kernel
@no_type_check
def _list_owned(
    faces: wp.array2d(dtype=wp.int32),
    shares: int,
    free: wp.array(dtype=wp.int32),
    corners: wp.array(dtype=wp.int32),
    ring: wp.array2d(dtype=wp.int32),
    begin: int,
) -> None:
    """Put each corner into its vertex's list; `free` is where the list goes on."""
    share = begin + wp.tid()
    low = first_owned(free.shape[0], share, shares)
    high = first_owned(free.shape[0], share + 1, shares)
    for face in range(faces.shape[0]):
        for c in range(3):
            vertex = faces[face, c]
            if vertex >= low and vertex < high:
                place = free[vertex]
                corners[place] = 3 * face + c
                ring[place, 0] = faces[face, (c + 1) % 3]
                ring[place, 1] = faces[face, (c + 2) % 3]
                free[vertex] = place + 1


def incidence(faces: Int[Tensor, "f 3"], vertices: int) -> Incidence:
    """List the corners at each vertex: by counting on the CPU, by sorting elsewhere.

    One triangle (0, 2, 1) has the starts 0, 1, 2, 3 and the corners 0, 2, 1.

    Args:
        faces: Corners of the triangles.
        vertices: How many vertices there are; those that no triangle names have no corners.
    """
    faces = faces.to(torch.int32).contiguous()
    index, device = faces.reshape(-1), faces.device
    if device.type != "cpu":
        ordered, corners = torch.sort(index, stable=True)
        starts = torch.searchsorted(ordered, torch.arange(vertices + 1, device=device))
        others = torch.stack([faces.roll(-1, dims=1), faces.roll(-2, dims=1)], dim=-1)
        ring = others.reshape(-1, 2)[corners]
        return Incidence(faces, starts.to(torch.int32), corners.to(torch.int32), ring)
    # Each share of the vertices reads all corners, and writes only its own cells.
    counts, shares = torch.zeros(vertices, dtype=torch.int32), workers()
    launch(_count_owned, shares, (index, shares, counts), device, grain=1)
    starts = pad(counts.cumsum(0, dtype=torch.int32), (1, 0))
    corners, ring = torch.empty_like(index), index.new_empty(len(index), 2)
    listed = (faces, shares, starts[:-1].clone(), corners, ring)
    launch(_list_owned, shares, listed, device, grain=1)
    return Incidence(faces, starts, corners, ring)


_Ends = wp.types.vector(length=2 * MOST, dtype=wp.int32)


@wp.kernel
@no_type_check
def _pair_edges(
    starts: wp.array(dtype=wp.int32),
    corners: wp.array(dtype=wp.int32),
    ring: wp.array2d(dtype=wp.int32),
    across: wp.array(dtype=wp.int32),
    begin: int,
) -> None:
    """Pair the edges that lead from a vertex to one of a higher number."""
    vertex = begin + wp.tid()
    ends = _Ends()
    edges = _Ends()
    count = wp.int32(0)
    for place in range(starts[vertex], starts[vertex + 1]):
        corner = corners[place]
        after, before = ring[place, 0], ring[place, 1]
        first = 3 * (corner / 3)
        # An edge from a vertex to itself is met from both of its corners: once is enough.
        if after >= vertex:
            ends[count] = after
            edges[count] = first + (corner + 2) % 3
            count += 1
        if before > vertex:
            ends[count] = before
            edges[count] = first + (corner + 1) % 3
            count += 1
    for i in range(count):
        if ends[i] >= 0:
            partner, found = wp.int32(-1), wp.int32(0)
            for j in range(i + 1, count):
                if ends[j] == ends[i]:
                    partner = edges[j]
                    found += 1
                    ends[j] = -1
            if found == 1:
                across[edges[i]] = partner
                across[partner] = edges[i]


def neighbours(faces: Int[Tensor, "f 3"], around: Incidence | None = None) -> Int[Tensor, "f 3"]:
    """Find the triangle across each edge of each triangle.

    Edge c of a triangle lies opposite its corner c.

    Args:
        faces: Corners of the triangles.
        around: Their `incidence`, if known.

    Returns:
        3 g + d, for edge d of triangle g; or -1 where not exactly two triangles meet.
    """
    if len(faces) == 0:
        return faces.new_zeros(0, 3, dtype=torch.int32)
    around = incidence(faces, int(faces.max()) + 1) if around is None else around
    if int(around.starts.diff().max()) > MOST:
        return _by_sorting(faces)
    across = torch.full_like(around.corners, -1)
    inputs = (around.starts, around.corners, around.ring, across)
    launch(_pair_edges, len(around.starts) - 1, inputs, faces.device)
    return across.reshape(-1, 3)


def _by_sorting(faces: Int[Tensor, "f 3"]) -> Int[Tensor, "f 3"]:
    # Whole columns: reductions over pairs and scatters by mask cost more than the sort.
    start, end = faces[:, [1, 2, 0]].reshape(-1).long(), faces[:, [2, 0, 1]].reshape(-1).long()
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    key, corner = torch.sort(low * (int(high.max()) + 1) + high, stable=True)
    same = key[1:] == key[:-1]
    with_next, with_last = pad(same, (0, 1)), pad(same, (1, 0))
    # Of three or more, the inner ones match both ways and the outer ones' partners do.
    leads = with_next & ~with_last & ~pad(with_next[1:], (0, 1))
    ends = pad(leads[:-1], (1, 0))
    partner = torch.where(leads, corner.roll(-1), torch.where(ends, corner.roll(1), -1))
    across = torch.empty_like(corner).scatter_(0, corner, partner)
    return across.to(torch.int32).reshape(-1, 3)
