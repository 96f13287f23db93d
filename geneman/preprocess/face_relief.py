"""The face in the relief of the visible side: nose, lips and eye sockets from the face mesh.

Silhouettes say nothing of a face, and a network that sees 256 pixels of a whole body sees a dozen
of its nose. The face mesh looks at the face alone. Its shape is laid into a depth map so that it
joins the head around it without a seam (Poisson blending, Perez et al. 2003).

H x W maps have row 0 at the top; N pixels are the side of the window around the face.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from numpy import ndarray
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree
from skimage import transform
from torch import Tensor
from torch.nn.functional import normalize

from geneman.camera import REFERENCE
from geneman.kernels.rasterise import rasterise
from geneman.priors.bundle import Surfaces
from geneman.priors.bundled.membranes import Map, Pixels, membrane, resized
from geneman.priors.bundled.relief import array_of, normals_of

MARGIN = 0.1
"""Of the face's longer side: what the window shows around it."""
FINEST = 320
"""Pixels along the window's side at most: a mesh of 468 points has no finer shape."""
LEAST = 24
"""Pixels of face below which its points are too unsure to be followed."""
STEEPEST = 0.25
"""Least cosine to the viewer of a triangle that is followed: 75 degrees."""
HIDDEN = 0.02
"""Half sides of the window that a point may lie behind the drawn surface and still be seen."""
COARSE = 128
"""Pixels along the window's side at which the smooth surface is computed."""
YIELDING = 1e-4
"""How far the surface gives way to be smooth (thin plate's weight, window's units)."""
CROWDED = 0.03
"""Half sides of the window within which points are too near each other to be believed: those of
closed lips lie in front of one another, and a surface through them all would be a comb."""
SEAM = 0.12
"""Of the face's longer side: how far from its edge the face is followed in full."""


def with_face(
    surfaces: Surfaces,
    mask: Float[Tensor, "h h"],
    points: Float32[ndarray, "p 3"],
    triangles: Int64[ndarray, "t 3"],
) -> Surfaces:
    """Lay a face into the visible side's depth, and turn its normals accordingly.

    Args:
        surfaces: What the shape prior believes.
        mask: The person's cover.
        points: See `engraved`.
        triangles: See `engraved`.
    """
    depth = array_of(surfaces.depth)
    found = engraved(depth, array_of(mask) > 0.5, points, triangles)  # noqa: PLR2004
    share = torch.from_numpy(found.share).to(surfaces.normal)[..., None]
    normal = surfaces.normal.lerp(normals_of(found.depth).to(surfaces.normal), share)
    return replace(
        surfaces,
        depth=torch.from_numpy(found.depth).to(surfaces.depth),
        normal=normalize(normal, dim=-1),
    )


@dataclass(frozen=True)
class Engraved:
    """A depth map with a face in it."""

    depth: Map
    share: Map
    """How far each pixel follows the face mesh, in [0, 1]."""


def engraved(
    depth: Map,
    inside: Pixels,
    points: Float32[ndarray, "p 3"],
    triangles: Int64[ndarray, "t 3"],
) -> Engraved:
    """Lay a face into the depth of the visible side.

    Args:
        depth: H x H, scene units along the reference camera's axis.
        inside: The person's pixels.
        points: The face's points in image coordinates (x right, y up, in [-1, 1]), and their
            depth in the same unit, smaller = nearer, from wherever.
        triangles: Between them, counter-clockwise as seen from the front.
    """
    size = depth.shape[0]
    window = _Window.around(points, size)
    nothing = Engraved(depth, np.zeros_like(depth))
    if window is None:
        return nothing
    points = points - np.median(points, axis=0) * np.array([0, 0, 1], np.float32)
    old = np.log(resized(window.of(depth), window.grid))
    body = resized(window.of(inside.astype(np.float64)), window.grid) > 0.5  # noqa: PLR2004
    face = _heights(window.places(points, size), triangles, window.grid)
    covered = np.isfinite(face) & body
    if covered.sum() < LEAST**2 / 2:
        return nothing
    # The mesh is seen as if from far away; a head is thin beside its distance.
    unit = np.median(np.exp(old[covered])) * window.side / size / REFERENCE.focal
    new = np.log(np.exp(old[covered]).mean() + np.where(covered, face, 0.0) * unit)
    to_edge = ndimage.distance_transform_edt(covered)
    share = _smooth(to_edge / (SEAM * window.face))
    # Along the seam the head decides how near the face is; within, the face its own shape.
    held = np.where(share < 0.5, 1.0, 1e-5)  # noqa: PLR2004
    offset = membrane(covered, old - new, held)
    change = np.where(covered, share * (new + offset - old), 0.0)
    result, shares = depth.copy(), np.zeros_like(depth)
    window.of(result)[...] *= np.exp(resized(change, window.side))
    window.of(shares)[...] = resized(share, window.side)
    return Engraved(result, shares)


@dataclass(frozen=True)
class _Window:
    """A square part of a map."""

    left: int
    top: int
    side: int
    grid: int
    """Pixels along its side when it is worked on."""
    face: float
    """Longer side of the face there."""

    @staticmethod
    def around(points: Float32[ndarray, "p 3"], size: int) -> "_Window | None":
        """Frame a face; None where it is too small or cut off by the image."""
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        length = float((high - low).max()) * size / 2
        side = min(size, round(length * (1 + 2 * MARGIN)))
        if length < LEAST or (np.abs(points[:, :2]) > 1).any():
            return None
        middle = (low + high) / 2
        left, top = (
            int(np.clip(round(float(centre) * size - side / 2), 0, size - side))
            for centre in ((middle[0] + 1) / 2, (1 - middle[1]) / 2)
        )
        grid = min(side, FINEST)
        return _Window(left, top, side, grid, length * grid / side)

    def of(self, image: Map) -> Map:
        """Give this part of a map; writing to it writes to the map."""
        return image[self.top : self.top + self.side, self.left : self.left + self.side]

    def places(self, points: Float32[ndarray, "p 3"], size: int) -> NDArray[np.float64]:
        """Bring points into the window's own coordinates, [-1, 1] along its side, y up."""
        scale = size / self.side
        shift = (
            1 - (2 * self.left + self.side) / size,
            (2 * self.top + self.side) / size - 1,
            0.0,
        )
        placed: NDArray[np.float64] = (points.astype(np.float64) + shift) * scale
        return placed


def _heights(points: NDArray[np.float64], triangles: Int64[ndarray, "t 3"], grid: int) -> Map:
    """Draw the depth of the parts of a mesh that face the viewer; NaN elsewhere.

    A thin plate through the seen points makes the surface smooth; it gives way a little, because
    the points are estimates.
    """
    corners = points[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = normal[:, 2] > STEEPEST * np.linalg.norm(normal, axis=1)
    triangle, depth = _drawn(points, triangles, grid)
    drawn = (triangle >= 0) & facing[triangle]
    # Eyes, lips and the nose's underside are holes: the surface goes on over them.
    bridge = grid // 16
    covered = ndimage.binary_closing(np.pad(drawn, bridge), iterations=bridge)
    covered = ndimage.binary_fill_holes(covered)[bridge:-bridge, bridge:-bridge]
    rows, columns = (
        np.clip(((1 - sign * points[:, axis]) / 2 * grid).astype(int), 0, grid - 1)
        for axis, sign in ((1, 1), (0, -1))
    )
    # Under the nose and between the lips points hide behind the surface.
    open_ = points[:, 2] < depth[rows, columns] + HIDDEN
    seen = np.flatnonzero(covered[rows, columns] & open_)
    if len(seen) < LEAST:
        return np.full((grid, grid), np.nan)
    steps = (np.arange(COARSE) + 0.5) * (2 / COARSE) - 1
    x, y = np.meshgrid(steps, -steps)
    flat, nearest = points[seen, :2], cKDTree(points[seen, :2])
    apart = np.maximum(nearest.query(flat, k=2)[0][:, 1], CROWDED / 10)
    yielding = YIELDING * np.maximum(1, CROWDED / apart) ** 4
    plate = RBFInterpolator(flat, points[seen, 2], smoothing=yielding)
    coarse = plate(np.stack([x, y], axis=-1).reshape(-1, 2)).reshape(COARSE, COARSE)
    fine = transform.resize(coarse, (grid, grid), order=3, mode="edge")
    heights: Map = np.where(covered, fine, np.nan)
    return heights


def _drawn(
    points: NDArray[np.float64], triangles: Int64[ndarray, "t 3"], grid: int
) -> tuple[NDArray[np.int32], Map]:
    """Give the triangle that each pixel shows, -1 without, and its depth there."""
    deepest = max(float(np.abs(points[:, 2]).max()), 1e-6)
    flat = np.concatenate([points / (1, 1, deepest), np.ones((len(points), 1))], axis=1)
    raster = rasterise(torch.from_numpy(flat).float(), torch.from_numpy(triangles).int(), grid)
    return raster.triangle.numpy(), array_of(raster.depth) * deepest


def _smooth(ramp: Map) -> Map:
    """Rise from 0 to 1 without a kink at either end."""
    share = np.clip(ramp, 0.0, 1.0)
    smooth: Map = share * share * (3 - 2 * share)
    return smooth
