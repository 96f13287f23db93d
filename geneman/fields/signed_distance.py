"""From a cloudy density to a signed distance: the shape that sculpting starts from.

Distances are in scene units, positive outside. X, Y, Z points of a grid that fills a box.
"""

from collections.abc import Callable

import numpy as np
import skimage.measure
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import grid_sample

from geneman.errors import EmptySurfaceError
from geneman.fields.networks import lattice
from geneman.fields.tetrahedra import evaluate
from geneman.kernels.visibility import hierarchy, signed_distance
from geneman.mesh import Box, Mesh
from geneman.view import ReferenceView

Density = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n"]]

DENSEST = 2.0
"""Densities are capped at this many times the surface's: beyond, they mean nothing."""


def shape_of(box: Box, resolution: int) -> tuple[int, int, int]:
    """Give the points along each side of a grid with `resolution` cells along the longest."""
    x, y, z = (max(round(side / box.longest * resolution), 1) + 1 for side in box.size)
    return x, y, z


def surface_of(
    density: Density,
    box: Box,
    *,
    resolution: int,
    threshold: float,
    blur: float,
    device: torch.device | None = None,
) -> Mesh:
    """Extract the one closed surface around everything denser than a threshold.

    Cavities are filled (light never reached them, so their density means nothing), crumbs are
    dropped, and what reaches the box is closed there.

    Args:
        density: Of the field, at world points.
        box: Where to look.
        resolution: Cells along the box's longest side.
        threshold: Density of the surface (METHOD section 3: 25).
        blur: Standard deviation of the smoothing before, in cells: density is noisy.
        device: Where the density is asked; the mesh is on the CPU, where it is found.

    Raises:
        EmptySurfaceError: Nothing is that dense.
    """
    points = lattice(box, shape_of(box, resolution))
    found = evaluate(density, points.reshape(-1, 3).to(device)).reshape(points.shape[:3])
    share = (found / threshold).clamp(0.0, DENSEST).cpu().numpy()
    solid = ndimage.binary_fill_holes(_largest(share >= 1.0))
    share[ndimage.binary_erosion(solid)] = DENSEST
    share[~ndimage.binary_dilation(solid)] = 0.0
    share = np.pad(ndimage.gaussian_filter(share, blur), 1)
    share[~np.pad(ndimage.binary_dilation(_largest(share >= 1.0)[1:-1, 1:-1, 1:-1]), 1)] = 0.0
    vertices, faces, _, _ = skimage.measure.marching_cubes(share, 1.0, gradient_direction="ascent")
    cells = torch.tensor(box.size) / (torch.tensor(points.shape[:3]) - 1)
    placed = (torch.from_numpy(vertices.copy()) - 1) * cells + torch.tensor(box.minimum)
    return Mesh(placed.float(), torch.from_numpy(faces.copy()).long())


def distance_grid(mesh: Mesh, box: Box, *, resolution: int, blur: float) -> Float[Tensor, "x y z"]:
    """Measure the signed distance to a closed mesh throughout a box.

    Args:
        mesh: Closed; either way round.
        box: What the grid fills.
        resolution: Cells along the box's longest side.
        blur: Standard deviation of the smoothing after, in cells: rounds what is sharper.
    """
    points = lattice(box, shape_of(box, resolution))
    values = signed_distance(points.reshape(-1, 3), hierarchy(mesh)).reshape(points.shape[:3])
    smooth = ndimage.gaussian_filter(values.cpu().numpy(), blur, mode="nearest")
    return torch.from_numpy(smooth).to(mesh.vertices)


def carved(grid: Float[Tensor, "x y z"], box: Box, view: ReferenceView) -> Float[Tensor, "x y z"]:
    """Cut off what the photo shows to be outside the person: the intersection with the hull.

    A gap that the first surface closes (between arm and body) has no outline that could learn to
    open it. Where the shape already lies within the mask nothing changes.

    Args:
        grid: Signed distances that fill the box.
        box: What the grid fills.
        view: The photo's mask and camera.
    """
    inside = view.inside.cpu().numpy()
    within, without = (ndimage.distance_transform_edt(side) for side in (inside, ~inside))
    away = torch.from_numpy(without - within).float() * (2 / view.size)
    points = lattice(box, (grid.shape[0], grid.shape[1], grid.shape[2])).reshape(-1, 3)
    seen = view.camera.project(points)
    at = (seen[:, :2] * seen.new_tensor([1.0, -1.0]))[None, None]
    found = grid_sample(away[None, None], at, align_corners=False, padding_mode="border")
    hull = found[0, 0, 0] * seen[:, 2] / view.camera.focal
    return torch.maximum(grid, hull.reshape(grid.shape).to(grid))


def _largest(solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest connected piece."""
    labels, count = ndimage.label(solid)
    if count == 0:
        raise EmptySurfaceError("the field is nowhere as dense as its surface should be")
    kept: NDArray[np.bool_] = labels == np.bincount(labels.reshape(-1))[1:].argmax() + 1
    return kept
