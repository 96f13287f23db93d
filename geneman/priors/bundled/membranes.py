"""Sheets over a mask: the sparse solves that shapes without learning are made of.

Every function works on the pixels where `inside` is true, on a grid whose neighbours are
`spacing` apart; a pixel's neighbour outside the mask is a free end unless said otherwise.
Arrays are float64, H x W, row 0 at the top.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import linalg
from torch.nn.functional import interpolate

Map = NDArray[np.float64]
Pixels = NDArray[np.bool_]


def resized(image: Map, size: int) -> Map:
    """Resize a square image (H x W or H x W x C): by triangles, as wide as the coarser pixels."""
    copy = torch.from_numpy(np.array(image, np.float64))  # it may be a view that none may write
    planes = copy.reshape(1, *image.shape[:2], -1).movedim(-1, 1)
    found = interpolate(planes, size=(size, size), mode="bilinear", antialias=size < image.shape[0])
    return found.movedim(1, -1).reshape(size, size, *image.shape[2:]).numpy()


def blurred(image: NDArray[np.floating], sigma: float) -> Map:
    """Blur with a Gaussian of `sigma` pixels."""
    return np.asarray(ndimage.gaussian_filter(image.astype(np.float64), sigma))


@dataclass(frozen=True)
class Grid:
    """The inside pixels, numbered, and the differences between neighbours."""

    inside: Pixels
    across: sparse.csr_matrix
    """One row for each pair of horizontal neighbours: right minus left."""
    down: sparse.csr_matrix
    """One row for each pair of vertical neighbours: lower minus upper."""
    across_pairs: Pixels
    """True at the left pixel of each horizontal pair (H x W-1)."""
    down_pairs: Pixels
    """True at the upper pixel of each vertical pair (H-1 x W)."""

    @staticmethod
    def over(inside: Pixels) -> "Grid":
        """Number the pixels of a mask."""
        index = np.full(inside.shape, -1)
        index[inside] = np.arange(inside.sum())
        across_pairs = inside[:, :-1] & inside[:, 1:]
        down_pairs = inside[:-1] & inside[1:]
        count = int(inside.sum())
        across = _differences(index[:, :-1][across_pairs], index[:, 1:][across_pairs], count)
        down = _differences(index[:-1][down_pairs], index[1:][down_pairs], count)
        return Grid(inside, across, down, across_pairs, down_pairs)

    def laplacian(self) -> sparse.csr_matrix:
        """Give the matrix of the Dirichlet energy, free at every end."""
        return (self.across.T @ self.across + self.down.T @ self.down).tocsr()

    def spread(self, values: NDArray[np.float64], outside: float = 0.0) -> Map:
        """Put one value for each inside pixel back on the image."""
        image = np.full(self.inside.shape, outside)
        image[self.inside] = values
        return image


def _differences(
    first: NDArray[np.int64], second: NDArray[np.int64], count: int
) -> sparse.csr_matrix:
    rows = np.arange(len(first))
    ones = np.ones(len(first))
    return sparse.csr_matrix(
        (np.concatenate([-ones, ones]), (np.tile(rows, 2), np.concatenate([first, second]))),
        shape=(len(first), count),
    )


def soap_bubble(inside: Pixels, spacing: float) -> Map:
    """Blow up a mask: solve lap(u) = -2 with u = 0 on the outline, and give sqrt(u).

    A long strip becomes a half cylinder of its own half width.

    Args:
        inside: The mask.
        spacing: Distance between neighbours; the result has its unit.
    """
    grid = Grid.over(inside)
    outside = np.pad(~inside, 1, constant_values=True).astype(np.float64)
    held = outside[:-2, 1:-1] + outside[2:, 1:-1] + outside[1:-1, :-2] + outside[1:-1, 2:]
    matrix = grid.laplacian() + sparse.diags(held[inside])
    u = linalg.spsolve(matrix.tocsc(), np.full(matrix.shape[0], 2.0 * spacing**2))
    return grid.spread(np.sqrt(np.maximum(u, 0.0)))


def membrane(inside: Pixels, target: Map, weight: Map, stiffness: float = 1.0) -> Map:
    """Stretch a sheet through weighted targets: min stiffness |grad m|^2 + weight (m - target)^2.

    Args:
        inside: The mask; outside, the result is 0.
        target: What the sheet is pulled to.
        weight: How hard, per pixel; somewhere above 0 in each component.
        stiffness: How much the sheet resists slope.
    """
    grid = Grid.over(inside)
    pull = weight[inside]
    # 1e-9 keeps a component without any pull solvable (it stays at 0).
    matrix = stiffness * grid.laplacian() + sparse.diags(pull + 1e-9)
    return grid.spread(linalg.spsolve(matrix.tocsc(), pull * target[inside]))


@dataclass(frozen=True)
class Slopes:
    """Wanted differences between neighbours, with trust in [0, 1] for each pixel."""

    across: Map
    """Change from one pixel to the next on its right."""
    down: Map
    """Change from one pixel to the next below."""
    trust: Map


def integrate(inside: Pixels, slopes: Slopes, target: Map, pull: float) -> Map:
    """Find the sheet with given slopes, held in place softly by a coarse one.

    min sum trust |difference - slope|^2 + pull (z - target)^2, where a pair of neighbours
    takes the mean slope and the product of the trusts.
    """
    grid = Grid.over(inside)
    across, across_trust = _pairs(slopes.across, slopes.trust, grid.across_pairs, axis=1)
    down, down_trust = _pairs(slopes.down, slopes.trust, grid.down_pairs, axis=0)
    weighted_across = grid.across.T @ sparse.diags(across_trust)
    weighted_down = grid.down.T @ sparse.diags(down_trust)
    matrix = weighted_across @ grid.across + weighted_down @ grid.down
    matrix = matrix + pull * sparse.identity(matrix.shape[0])
    wanted = weighted_across @ across + weighted_down @ down + pull * target[inside]
    return grid.spread(linalg.spsolve(matrix.tocsc(), wanted))


def _pairs(slope: Map, trust: Map, pairs: Pixels, axis: int) -> tuple[Map, Map]:
    """Average the slopes and multiply the trusts of the two pixels of each pair."""
    first = [slice(None), slice(None)]
    second = [slice(None), slice(None)]
    first[axis], second[axis] = slice(None, -1), slice(1, None)
    a, b = tuple(first), tuple(second)
    mean = (slope[a] + slope[b]) / 2
    # 1e-3 leaves a weak spring where nothing is known, so that no pixel floats away.
    return mean[pairs], (trust[a] * trust[b])[pairs] + 1e-3
