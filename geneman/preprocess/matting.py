"""The share that the person covers of each pixel on the outline, and the colour without the rest.

Closed-form matting (Levin, Lischinski and Weiss 2008) between what is surely the person and
what surely is not, then multi-level foreground estimation (Germer et al. 2020), both PyMatting's.
This file alone imports `pymatting`: its first import on a machine compiles for half a minute.
"""

import math

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray
from scipy import ndimage

from geneman.preprocess.recentring import continued

RIM = 2.0
"""Pixels of the recentred square, inward from the outline, whose colour is not believed: even
where the matte says that the person covers them wholly, lenses and JPEG mix in the background."""
GUESS_WEIGHT = 0.04
"""Pull of the guess against one of the matting equations per pixel: a tie-breaker."""
SHADOW_LEVEL, SHADOW_ALPHA = 40, 0.9
"""Brightest channel (of 255) and cover below which a translucent pixel may be a shadow's."""
FAINT = 0.04
"""Cover that is not worth telling from none."""
SHADOW_SEAM = 0.004
"""Half width, as a share of the photo's diagonal, that the translucent seam of hair never has."""
_SHIFTS = (1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1)
_MOST_ENTRIES = 60_000_000  # of the preconditioner: 1 GB at the very worst, 0.1 GB in practice
_HALF, _OPAQUE = 0.5, 0.98


def alpha_matte(
    colour: Float32[ndarray, "h w 3"],
    person: Bool[ndarray, "h w"],
    background: Bool[ndarray, "h w"],
    guess: Float32[ndarray, "h w"],
) -> Float32[ndarray, "h w"]:
    """Give the person's cover in [0, 1]; pixels in neither mask are solved for.

    Args:
        colour: The photo.
        person: What surely is the person.
        background: What surely is not.
        guess: Chance of the rest; it decides where colours do not.
    """
    from pymatting import cf_laplacian, cg, ichol

    known = person | background
    if known.all() or not known.any():
        return person.astype(np.float32)
    unknown = ~known.ravel()
    laplacian = cf_laplacian(colour.astype(np.float64), is_known=known.ravel())
    rows = laplacian[unknown]
    pull = GUESS_WEIGHT * (2 * guess.ravel()[unknown].astype(np.float64) - 1) ** 2
    system = (rows[:, unknown] + scipy.sparse.diags(pull)).tocsr()
    wanted = pull * guess.ravel()[unknown] - rows[:, ~unknown] @ person.ravel()[~unknown]
    # A first shift of zero fails on flat backgrounds and complains on the terminal.
    preconditioner = ichol(system, shifts=_SHIFTS, max_nnz=_MOST_ENTRIES)
    solved = cg(system, wanted, M=preconditioner, rtol=1e-4, maxiter=1000)
    alpha = person.astype(np.float32).ravel()
    alpha[unknown] = solved.clip(0, 1)
    return alpha.reshape(known.shape)


def without_shadow(
    colour: UInt8[ndarray, "h w 3"], alpha: Float32[ndarray, "h w"]
) -> Float32[ndarray, "h w"]:
    """Take the shadow that a cut-out casts out of its alpha.

    A shadow is what is nearly black, lets light through, and is wider than a seam of dark hair.

    Args:
        colour: Not premultiplied, sRGB.
        alpha: Of the file.

    Returns:
        Alpha that is 0 in the shadow.
    """
    translucent = (alpha > FAINT) & (alpha < SHADOW_ALPHA)
    dim = (colour.max(axis=-1) < SHADOW_LEVEL) & translucent
    radius = max(2, round(SHADOW_SEAM * math.hypot(*alpha.shape)))
    wide = ndimage.distance_transform_edt(dim) > radius
    shadow = dim & (ndimage.distance_transform_edt(~wide) <= radius + 1)
    return np.where(shadow, np.float32(0), alpha)


def foreground_colour(
    colour: Float32[ndarray, "h w 3"], alpha: Float32[ndarray, "h w"], *, rim: float = RIM
) -> Float32[ndarray, "h w 3"]:
    """Give the person's own colours: the photo's inside, continued to the outline and beyond.

    No background shines through, not even where the matte is too generous.

    Args:
        colour: The photo.
        alpha: The person's cover.
        rim: How many pixels inward from the outline are not believed; see `RIM`.
    """
    from pymatting import estimate_foreground_ml

    depth = ndimage.distance_transform_edt(alpha > _HALF)
    # Thin things (fingers, glasses) have no inside that deep: they keep their middle.
    around = 2 * math.ceil(2 * rim) + 1
    reach = np.minimum(rim, 0.6 * ndimage.maximum_filter(depth, size=around))
    fullest = ndimage.maximum_filter(alpha, size=5)
    believed = (alpha > 0.95 * fullest) & (depth > reach) & (alpha > _HALF)
    if not believed.any():
        return colour
    unmixed = estimate_foreground_ml(colour.astype(np.float64), alpha.astype(np.float64))
    own = np.where(alpha[..., None] > _OPAQUE, colour, np.asarray(unmixed, np.float32))
    smooth = ndimage.gaussian_filter(continued(own, believed), (1, 1, 0))
    return np.where(believed[..., None], own, smooth).clip(0, 1).astype(np.float32)


def disc(radius: int) -> Bool[ndarray, "s s"]:
    """Give a round structuring element."""
    squares = np.arange(-radius, radius + 1) ** 2
    return np.add.outer(squares, squares) <= radius * radius
