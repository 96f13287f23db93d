"""Colours as screens show them, and as light adds up."""

import torch
from jaxtyping import Float
from torch import Tensor


def to_linear(colour: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Turn sRGB into linear light (IEC 61966-2-1)."""
    curved = ((colour.clamp(min=0) + 0.055) / 1.055) ** 2.4
    return torch.where(colour <= 0.04045, colour / 12.92, curved)  # noqa: PLR2004 (sRGB)


def to_srgb(light: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Turn linear light into sRGB: the inverse of `to_linear`."""
    curved = 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, light * 12.92, curved)  # noqa: PLR2004 (sRGB)
