"""Colours as screens show them, as light adds up, and as eyes tell them apart."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from skimage.color import rgb2lab
from torch import Tensor

UNLIKE = 22.0
"""Distance in `lab` beyond which two colours are different materials."""

LIGHTNESS = (0.6, 1.0, 1.0)
"""Weights of CIELAB's axes: light falls unevenly on one material."""


def to_linear(colour: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Turn sRGB into linear light (IEC 61966-2-1)."""
    curved = ((colour.clamp(min=0) + 0.055) / 1.055) ** 2.4
    return torch.where(colour <= 0.04045, colour / 12.92, curved)  # noqa: PLR2004 (sRGB)


def to_srgb(light: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Turn linear light into sRGB: the inverse of `to_linear`."""
    curved = 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, light * 12.92, curved)  # noqa: PLR2004 (sRGB)


def lab(colour: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn sRGB, ... 3, into CIELAB with less of its lightness: distances tell materials apart."""
    even: NDArray[np.float64] = rgb2lab(np.clip(colour, 0, 1)) * LIGHTNESS
    return even


def unlike(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Say how far sRGB colours, ... 3 each, are of different materials: ... in [0, 1].

    Either may be one colour for all of the other's.
    """
    apart = np.linalg.norm(lab(one) - lab(other), axis=-1)
    share: NDArray[np.float64] = 1 / (1 + (UNLIKE / np.maximum(apart, 1e-3)) ** 4)
    return share
