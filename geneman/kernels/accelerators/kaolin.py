"""NVIDIA Kaolin (core, Apache-2.0): marching tetrahedra. Its interface as of version 0.18.0.

V lattice points, E edges, T tetrahedra, N crossed edges, F faces.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def march(
    values: Float[Tensor, "v"],
    edges: Int[Tensor, "e 2"],
    tets: Int[Tensor, "t 4"],
    tet_edges: Int[Tensor, "t 6"],
) -> tuple[Int[Tensor, "n 2"], Int[Tensor, "f 3"]]:
    """Find the surface where `values` changes sign: see `kernels.marching_tets.march`.

    Kaolin gives each vertex as the point of an edge where the value is 0, and not the edge. So
    the lattice points that it is told are their own numbers, those inside along x and those
    outside along y: half-way between two of them lie both numbers. Faces wind counter-clockwise
    seen from where values are positive, as ours do.

    Args:
        values: One at each lattice point; below 0 is inside. Not differentiated.
        edges: Not needed: Kaolin finds them.
        tets: The four points of each tetrahedron, right-handed.
        tet_edges: Not needed.

    Returns:
        The two ends of each crossed edge, the one inside first, and the triangles; both in
        Kaolin's order.
    """
    from kaolin.ops.conversions import marching_tetrahedra

    inside = values.detach() < 0
    # Whole numbers up to 2^53 are exact in float64, and so are their halves.
    number = torch.arange(len(values), dtype=torch.float64, device=values.device)
    places = torch.stack([number * inside, number * ~inside, torch.zeros_like(number)], dim=1)
    # Kaolin counts 0 as inside, we as outside: signs leave it no choice.
    signs = torch.where(inside, -1.0, 1.0).double()
    (crossings,), (faces,) = marching_tetrahedra(places[None], tets.long(), signs[None])
    return (2 * crossings[:, :2]).round().long(), faces
