"""Borders between materials, as sharp as clothes and hair have them.

What a network paints in blocks of pixels runs from one material into the next over a hand's
breadth. Across such a border a colour lies between what is found on either side; it is moved
towards the nearer one of the two. In the middle of an even slope both are equally near, so
shades that rise evenly stay as they are (the toggle of a shock filter: Kramer and Bruckner,
"Iterations of a non-linear transformation for enhancement of digital images", 1975).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geneman.colour import unlike
from geneman.priors.bundled.membranes import Map, Pixels, resized

Picture = NDArray[np.float64]

BORDERS = 512
"""Side of the grid on which borders are drawn."""

REACHES = (16.0, 8.0, 4.0)
"""Pixels to either side in which the two materials are looked for, widest blends first."""

STEEPER = 3.0
"""How many times as steep each pass makes a border."""

ASIDE = 0.25
"""Distance from the line between two colours, as a share of its length, at which a colour is a
third one (a belt between shirt and trousers) and stays."""


def sharpened(picture: Picture) -> Picture:
    """Draw the borders between unlike colours sharply, at the picture's own size.

    Args:
        picture: H W 3, sRGB; colours of the person are carried outward beyond the outline.

    Returns:
        H W 3, in [0, 1].
    """
    fine = resized(picture, BORDERS)
    for reach in REACHES:
        fine = _steepened(fine, reach)
    return np.clip(resized(fine, len(picture)), 0.0, 1.0)


def _steepened(picture: Picture, reach: float) -> Picture:
    """Move each colour towards the nearer of the two that lie a reach away across the border."""
    along = _across(picture, reach / 4) * reach
    places = np.mgrid[: len(picture), : len(picture)]
    one, other = (_looked_up(picture, places + sign * along) for sign in (-1, 1))
    apart = other - one
    length = np.square(apart).sum(axis=-1)
    share = ((picture - one) * apart).sum(axis=-1) / np.maximum(length, 1e-6)
    share = np.clip(share, 0.0, 1.0)
    steep = np.clip((share - 0.5) * STEEPER + 0.5, 0.0, 1.0)
    steep = steep * steep * (3 - 2 * steep)
    aside = np.square(picture - one - share[..., None] * apart).sum(axis=-1)
    between = np.exp(-aside / np.maximum(ASIDE**2 * length, 1e-6))
    moved = (steep - share) * unlike(one, other) * between
    steeper: Picture = picture + moved[..., None] * apart
    return steeper


def _across(picture: Picture, scale: float) -> NDArray[np.float64]:
    """Give the direction in which the colours change most: rows and columns, unit length.

    That is the structure tensor's first eigenvector; which way it points does not matter.
    """
    dd, dr, rr = structure(ndimage.gaussian_filter(picture, (scale, scale, 0)), scale)
    angle = np.arctan2(2 * dr, rr - dd) / 2
    return np.stack([np.sin(angle), np.cos(angle)])


def structure(picture: Picture, scale: float, where: Pixels | bool = True) -> tuple[Map, Map, Map]:
    """Give the structure tensor: the means, nearby, of the products of slopes, all colours' summed.

    Args:
        picture: H W C.
        scale: Pixels that count as nearby.
        where: Pixels whose slopes count.

    Returns:
        Down with down, down with right, right with right.
    """
    down, right = np.gradient(picture, axis=(0, 1))
    dd, dr, rr = (
        ndimage.gaussian_filter(np.where(where, (one * other).sum(axis=-1), 0.0), scale)
        for one, other in ((down, down), (down, right), (right, right))
    )
    return dd, dr, rr


def _looked_up(picture: Picture, places: NDArray[np.float64]) -> Picture:
    """Read colours between pixels; beyond the edges those of the edge."""
    planes = [
        ndimage.map_coordinates(picture[..., c], places, order=1, mode="nearest") for c in range(3)
    ]
    return np.stack(planes, axis=-1)
