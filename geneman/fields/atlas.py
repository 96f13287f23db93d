"""Lay a closed surface out flat: fewer triangles, few large charts, room between them."""

from dataclasses import dataclass

import fast_simplification  # type: ignore[import-untyped]
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geneman.mesh import Mesh
from geneman.topology import topology

SMOOTHING_STEPS = 5
"""Roughness makes charts break: 142 of them on a person of 20 000 faces, 57 after 5 steps."""
ATTEMPTS = 12
GROWTH = 1.06
"""A collapse can pinch the surface; a slightly larger target collapses other edges."""


@dataclass(frozen=True)
class UvMap:
    """Where each corner of a mesh lies on the texture; v up, inside [0, 1]."""

    uv: Float[Tensor, "t 2"]
    faces: Int[Tensor, "f 3"]
    charts: int


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """Give a mesh of about `faces` triangles that is as closed, whole and outward as the old one.

    A mesh that has no more than that stays as it is, and so does one that no target leaves closed.
    """
    if len(mesh.faces) <= faces:
        return mesh
    wanted = topology(mesh)
    points = mesh.vertices.detach().cpu().numpy().astype(np.float32)
    triangles = mesh.faces.cpu().numpy().astype(np.int32)
    for attempt in range(ATTEMPTS):
        target = int(faces * GROWTH**attempt)
        if target >= len(triangles):
            break
        # agg: how far quality gives way to speed, from 0; 7 pinches, 3 rarely does.
        kept, corners = fast_simplification.simplify(points, triangles, target_count=target, agg=3)
        smaller = _without_spare_vertices(
            Mesh(
                torch.from_numpy(np.asarray(kept, np.float32)).to(mesh.vertices),
                torch.from_numpy(np.asarray(corners, np.int64)).to(mesh.faces),
            )
        )
        found = topology(smaller)
        if found.watertight and found.components == wanted.components:
            return smaller
    return mesh


def _without_spare_vertices(mesh: Mesh) -> Mesh:
    """Drop the vertices that no face uses."""
    used, corners = mesh.faces.unique(return_inverse=True)
    return Mesh(mesh.vertices[used.long()], corners.reshape(-1, 3).to(mesh.faces))


def unwrap(mesh: Mesh, *, size: int, gutter: int) -> UvMap:
    """Cut a mesh into charts and pack them into a square.

    Args:
        mesh: Tens of thousands of faces: the time grows with their number (20 000: 3 s,
            40 000: 8 s on a core).
        size: Side of the texture in texels, for which the gutter is meant.
        gutter: Empty texels to leave around each chart, so that 2 x `gutter` lie between two.
    """
    import xatlas  # type: ignore[import-not-found]

    atlas = xatlas.Atlas()
    smooth = _smoothed(mesh, SMOOTHING_STEPS)
    atlas.add_mesh(smooth.cpu().numpy(), mesh.faces.cpu().numpy().astype(np.uint32))
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_cost = 16.0  # large charts; the default of 2 doubles their number
    charts.normal_deviation_weight = 1.0
    charts.normal_seam_weight = 1.0
    charts.fix_winding = True  # no mirrored charts: tangent frames keep their hand
    packing.resolution = size
    packing.rotate_charts = False  # it swaps u and v, which mirrors
    # The packed square comes out up to a third larger than asked for and is scaled down.
    packing.padding = -(-8 * gutter // 3)
    atlas.generate(charts, packing)
    _, corners, uv = atlas[0]
    texels = uv * np.array([atlas.width, atlas.height], dtype=np.float32)
    square = torch.from_numpy(texels / max(atlas.width, atlas.height)).to(mesh.vertices)
    faces = torch.from_numpy(corners.astype(np.int64)).to(mesh.faces)
    return UvMap(square.clamp(0, 1).contiguous(), faces, atlas.chart_count)


def _smoothed(mesh: Mesh, steps: int) -> Float[Tensor, "v 3"]:
    """Move each vertex towards the mean of its neighbours."""
    faces = mesh.faces.long().cpu()
    points = mesh.vertices.detach().cpu()
    starts, ends = faces.flatten(), faces.roll(-1, dims=1).flatten()  # each edge both ways
    ones = torch.ones(len(starts), 1)
    degree = torch.zeros(len(points), 1).index_add(0, starts, ones).clamp_min(1)
    for _ in range(steps):
        mean = torch.zeros_like(points).index_add(0, starts, points[ends]) / degree
        points = points + 0.6 * (mean - points)
    return points
