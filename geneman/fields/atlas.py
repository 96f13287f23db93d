"""Lay a closed surface out flat: fewer triangles, few large charts, room between them."""

from dataclasses import dataclass

import fast_simplification  # type: ignore[import-untyped]
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from geneman.fields.shape import largest_component
from geneman.mesh import Mesh
from geneman.topology import topology

SMOOTHING_STEPS = 5
"""Roughness makes charts break: 142 of them on a person of 20 000 faces, 57 after 5 steps."""
ATTEMPTS = 12
GROWTH = 1.06
"""A collapse can pinch the surface; a slightly larger target collapses other edges."""
SLICE = 10_000
"""Triangles that the chart finder is given at once: its time grows faster than their number, and
it takes one thread for each slice."""
DRAWN_IN = 0.1
"""Share of the way to the middle of its faces that a parted vertex moves."""


@dataclass(frozen=True)
class UvMap:
    """Where each corner of a mesh lies on the texture; v up, inside [0, 1]."""

    uv: Float[Tensor, "t 2"]
    faces: Int[Tensor, "f 3"]
    charts: int


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """Give a mesh of about `faces` triangles that is as closed, whole and outward as the old one.

    A mesh that has no more than that stays as it is. Where no target leaves it closed, the
    mesh with the fewest faults is given: a chart finder would take hours over the old one.
    """
    if len(mesh.faces) <= faces:
        return mesh
    points = mesh.vertices.detach().cpu().numpy().astype(np.float32)
    triangles = mesh.faces.cpu().numpy().astype(np.int32)
    tried: list[tuple[int, Mesh]] = []
    for attempt in range(ATTEMPTS):
        target = min(int(faces * GROWTH**attempt), len(triangles))
        # agg: how far quality gives way to speed, from 0; 7 pinches, 3 rarely does.
        kept, corners = fast_simplification.simplify(points, triangles, target_count=target, agg=3)
        smaller = Mesh(
            torch.from_numpy(np.asarray(kept, np.float32)).to(mesh.vertices),
            torch.from_numpy(np.asarray(corners, np.int64)).to(mesh.faces),
        )
        smaller = largest_component(unpinched(smaller))
        found = topology(smaller)
        if found.watertight:
            return smaller
        tried.append((found.boundary_edges + found.odd_edges, smaller))
    return min(tried, key=lambda faults_and_mesh: faults_and_mesh[0])[1]


def unpinched(mesh: Mesh) -> Mesh:
    """Part a surface where it touches itself along an edge or at a vertex.

    The faces around a vertex hang together through edges with two faces. Where they fall into
    several fans, each fan gets the vertex for itself, drawn in a little, so that no welding by
    place joins them again. A mesh without such places comes back as it was.
    """
    faces = mesh.faces.detach().cpu().numpy().astype(np.int64)
    corners = np.arange(faces.size).reshape(faces.shape)
    # Each edge in each face: its ends, and the corners of the face that lie at them.
    ends = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    at = np.stack([corners, np.roll(corners, -1, axis=1)], axis=-1).reshape(-1, 2)
    turned = ends[:, 0] > ends[:, 1]
    ends[turned], at[turned] = ends[turned][:, ::-1], at[turned][:, ::-1]
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    _, first, count = np.unique(ends[order], axis=0, return_index=True, return_counts=True)
    pair = first[count == 2]  # noqa: PLR2004 (the two faces of an edge)
    one, two = at[order[pair]], at[order[pair + 1]]
    links = coo_array(
        (np.ones(2 * len(pair), bool), (one.ravel(), two.ravel())), (faces.size, faces.size)
    )
    fans, fan = connected_components(links, directed=False)
    owner = np.empty(fans, np.int64)
    owner[fan] = faces.ravel()
    if fans == len(np.unique(owner)):
        return mesh
    places = mesh.vertices.detach().cpu().double().numpy()
    moved = places[owner]
    shared = np.bincount(owner, minlength=len(places))[owner] > 1
    sums, degree = np.zeros_like(moved), np.bincount(fan, minlength=fans)
    np.add.at(sums, fan, places[faces].mean(axis=1).repeat(3, axis=0))
    moved[shared] += DRAWN_IN * (sums / degree[:, None] - moved)[shared]
    parted = torch.from_numpy(moved).to(mesh.vertices)
    return Mesh(parted, torch.from_numpy(fan.reshape(faces.shape).astype(np.int64)).to(mesh.faces))


def unwrap(mesh: Mesh, *, size: int, gutter: int) -> UvMap:
    """Cut a mesh into charts and pack them into a square.

    Args:
        mesh: Tens of thousands of faces: the time grows with their number (20 000: 3 s,
            40 000: about 3 s of processor time).
        size: Side of the texture in texels, for which the gutter is meant.
        gutter: Empty texels to leave around each chart, so that 2 x `gutter` lie between two.
    """
    import xatlas  # type: ignore[import-not-found]

    atlas = xatlas.Atlas()
    smooth = _smoothed(mesh, SMOOTHING_STEPS).cpu().numpy()
    triangles = mesh.faces.cpu().numpy()
    slices = _slices(smooth, triangles)
    for chosen in slices:
        used, local = np.unique(triangles[chosen], return_inverse=True)
        atlas.add_mesh(smooth[used], local.reshape(-1, 3).astype(np.uint32))
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
    found = [atlas[index] for index in range(len(slices))]
    begins = np.cumsum([0] + [len(uv) for _, _, uv in found])
    texels = np.concatenate([uv for _, _, uv in found]) * np.array(
        [atlas.width, atlas.height], np.float32
    )
    square = torch.from_numpy(texels / max(atlas.width, atlas.height)).to(mesh.vertices)
    faces = np.empty(triangles.shape, np.int64)
    for chosen, (_, corners, _), begin in zip(slices, found, begins, strict=False):
        faces[chosen] = corners.astype(np.int64) + begin
    whole = torch.from_numpy(faces).to(mesh.faces)
    return UvMap(square.clamp(0, 1).contiguous(), whole, atlas.chart_count)


def _slices(points: NDArray[np.float32], faces: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut a surface across its longest side into slices of equally many triangles, by number.

    Those of a standing person are seams around the limbs, where clothes have theirs.
    """
    axis = int(np.argmax(np.ptp(points, axis=0)))
    order = np.argsort(points[faces].mean(axis=1)[:, axis], kind="stable")
    return np.array_split(order, max(-(-len(faces) // SLICE), 1))


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
