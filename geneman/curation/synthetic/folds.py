"""Folds in cloth, which simplified avatars lack: waves that bend normals and darken valleys.

P covered pixels. A fold is a few millimetres high, which no depth map of a whole person shows.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geneman.camera import REFERENCE, pixel_grid
from geneman.curation.synthetic.surfaces import Look

SMOOTH = 0.2
"""Share of people whose clothes lie flat."""

WAVES = 6


def creased(
    random: np.random.Generator,
    look: Look,
    cloth: Bool[Tensor, "p"],
    scale: float,
    size: int,
) -> tuple[Float[Tensor, "p 3"], Float[Tensor, "p"]]:
    """Bend the normals of the visible side's cloth as folds do.

    Args:
        random: Where the folds lie.
        look: The visible side.
        cloth: Where folds can be.
        scale: Scene units in a metre.
        size: Pixels along a side.

    Returns:
        Unit normals, and the share of the light that valleys leave over.
    """
    strength, deep = abs(random.normal(0, 0.4)), random.uniform(0, 1.2)
    left = torch.ones(len(look.pixels))
    if random.random() < SMOOTH or not cloth.any():
        return look.normal, left
    grid = pixel_grid(size).reshape(-1, 2)[look.pixels[cloth]]
    depth = look.depth[cloth]
    metres = torch.cat([grid * (depth / REFERENCE.focal)[:, None], -depth[:, None]], 1) / scale
    slope, height = _waves(random, metres)
    normal = look.normal[cloth]
    along = slope - normal * (slope * normal).sum(dim=1, keepdim=True)
    bent = torch.nn.functional.normalize(normal - strength * along, dim=1)
    # No fold turns away from who sees it.
    bent = torch.where(bent[:, 2:] > 0.05, bent, normal)  # noqa: PLR2004
    at = (cloth.nonzero()[:, 0],)
    dark = (strength * deep * height.clamp_max(0)).exp()
    return look.normal.index_put(at, bent), left.index_put(at, dark)


def _waves(
    random: np.random.Generator, metres: Float[Tensor, "p 3"]
) -> tuple[Float[Tensor, "p 3"], Float[Tensor, "p"]]:
    """Give the gradient of bent waves that come in patches, and how high they are, about +-1."""
    turns = random.normal(0, 1, (4, 3)) * 2 * np.pi
    metres_long = random.uniform((0.15, 0.15, 0.05, 0.05), (0.4, 0.4, 0.15, 0.15))
    bends = _float(turns / metres_long[:, None])
    patches = _float(random.normal(0, 1, (WAVES, 3)) * 2 * np.pi / random.uniform(0.25, 0.7))
    lengths = np.exp(random.uniform(np.log(0.02), np.log(0.2), (WAVES, 1)))
    directions = random.normal(0, 1, (WAVES, 3)) * (1, 0.7, 1)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    waves = _float(2 * np.pi * directions / lengths)
    phases, shifts = (_float(random.uniform(0, 2 * np.pi, WAVES)) for _ in range(2))
    bent = (metres @ bends.T).sin() @ torch.tensor([1.2, 1.2, 0.4, 0.4])[:, None]
    phase = metres @ waves.T + phases + bent
    share = ((metres @ patches.T + shifts).sin()).clamp_min(0)
    # Steeper on one side than on the other, as cloth falls; heights cancel their wavelengths.
    steep = phase.cos() + 0.4 * (2 * phase + shifts).cos()
    return (share * steep) @ _float(directions), (share * phase.sin()).sum(dim=1)


def _float(array: object) -> Tensor:
    return torch.from_numpy(np.asarray(array, np.float32))
