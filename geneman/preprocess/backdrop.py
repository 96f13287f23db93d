"""Plain backgrounds: studio walls and removed backgrounds, where colour alone tells the person.

A smooth colour field is fitted to what the networks call background. If it explains most of
it, whatever differs from it and hangs together with the person (a hat, glasses in the hand)
belongs to the person, and whatever equals it does not (the gap between arm and body).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray

PLAIN_SHARE = 0.7
"""Share of the background that the smooth field must explain for it to count as plain."""
PLAIN_TOLERANCE = 0.06
"""A pixel is explained if it differs from the field by less than this (length in sRGB)."""
LEAST_NOISE = 0.004
"""One level of 8 bits: below it, differences are rounding."""
SHADOW, DARK = (0.45, 1.06), 0.15
"""Shadows keep the background's hue and this share of its brightness; on a black one, none show."""

_ROUNDS = 8
_FEWEST_PIXELS = 200


@dataclass(frozen=True)
class Backdrop:
    """A colour field, quadratic in the place, that explains a plain background."""

    coefficients: Float32[ndarray, "6 3"]
    noise: float
    """Typical length of what it leaves unexplained, in sRGB."""

    def colours(self, places: Float32[ndarray, "*n 2"]) -> Float32[ndarray, "*n 3"]:
        """Give the background's colour at places in [0, 1] of the photo."""
        field: Float32[ndarray, "*n 3"] = _powers(places) @ self.coefficients
        return field.clip(0, 1)

    def difference(
        self, colour: Float32[ndarray, "h w 3"], places: Float32[ndarray, "h w 2"]
    ) -> tuple[Float32[ndarray, "h w"], Float32[ndarray, "h w"]]:
        """Say how far colours are from the background's, as lengths in sRGB.

        Returns:
            The whole difference, and the part that a cast shadow cannot explain.
        """
        behind = self.colours(places)
        whole = np.linalg.norm(colour - behind, axis=-1)
        light = (behind * behind).sum(-1)
        share = (colour * behind).sum(-1) / light.clip(1e-6)
        hue = np.linalg.norm(colour - share[..., None] * behind, axis=-1)
        shaded = (share > SHADOW[0]) & (share < SHADOW[1]) & (light > DARK)
        return whole, np.where(shaded, hue, whole)


def fit_backdrop(
    colour: Float32[ndarray, "h w 3"],
    places: Float32[ndarray, "h w 2"],
    outside: Bool[ndarray, "h w"],
) -> Backdrop | None:
    """Fit the field to the pixels outside the person; nothing if they are not plain.

    Args:
        colour: The photo, small.
        places: Where its pixels are, in [0, 1] of the photo.
        outside: What is background for all that is known; strangers in it are outvoted.
    """
    if outside.sum() < _FEWEST_PIXELS:
        return None
    basis, values = _powers(places[outside]), colour[outside]
    coefficients = np.zeros((6, 3), np.float32)
    coefficients[0] = np.median(values, axis=0)
    for _ in range(_ROUNDS):  # reweighting: pixels far from the field lose their vote
        residual = np.linalg.norm(values - basis @ coefficients, axis=-1)
        scale = max(float(np.median(residual)), LEAST_NOISE)
        weight = 1 / (1 + (residual / (2 * scale)) ** 2)
        weighted = basis * weight[:, None]
        ridge = 1e-4 * len(values) * np.diag([0.0, 1, 1, 1, 1, 1])
        coefficients = np.linalg.solve(basis.T @ weighted + ridge, weighted.T @ values)
    residual = np.linalg.norm(values - basis @ coefficients, axis=-1)
    explained = residual < PLAIN_TOLERANCE
    if explained.mean() < PLAIN_SHARE:
        return None
    noise = max(float(np.median(residual[explained])), LEAST_NOISE)
    return Backdrop(coefficients.astype(np.float32), noise)


def _powers(places: Float32[ndarray, "*n 2"]) -> Float32[ndarray, "*n 6"]:
    x, y = places[..., 0] - np.float32(0.5), places[..., 1] - np.float32(0.5)
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
