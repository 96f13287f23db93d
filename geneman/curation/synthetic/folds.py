"""Folds in cloth, which simplified avatars lack: waves that bend normals and nothing else.

P covered pixels. A fold is a few millimetres high, which no depth map of a whole person shows.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geneman.camera import REFERENCE, pixel_grid
from geneman.curation.synthetic.surfaces import Look

SMOOTH = 0.25
"""Share of people whose clothes lie flat."""

WAVES = 5


def creased(
    random: np.random.Generator,
    look: Look,
    cloth: Bool[Tensor, "p"],
    scale: float,
    size: int,
) -> Float[Tensor, "p 3"]:
    """Bend the normals of the visible side's cloth as folds do.

    Args:
        random: Where the folds lie.
        look: The visible side.
        cloth: Where folds can be.
        scale: Scene units in a metre.
        size: Pixels along a side.
    """
    strength = abs(random.normal(0, 0.35))
    if random.random() < SMOOTH or not cloth.any():
        return look.normal
    grid = pixel_grid(size).reshape(-1, 2)[look.pixels[cloth]]
    depth = look.depth[cloth]
    metres = torch.cat([grid * (depth / REFERENCE.focal)[:, None], -depth[:, None]], 1) / scale
    slope = _slopes(random, metres)
    normal = look.normal[cloth]
    along = slope - normal * (slope * normal).sum(dim=1, keepdim=True)
    bent = torch.nn.functional.normalize(normal - strength * along, dim=1)
    # No fold turns away from who sees it.
    bent = torch.where(bent[:, 2:] > 0.05, bent, normal)  # noqa: PLR2004
    return look.normal.index_put((cloth.nonzero()[:, 0],), bent)


def _slopes(random: np.random.Generator, metres: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
    """Give the gradient of a height field of bent waves that come in patches."""
    bends = _float(random.normal(0, 1, (2, 3)) * 2 * np.pi / random.uniform(0.15, 0.4, (2, 1)))
    patches = _float(random.normal(0, 1, (WAVES, 3)) * 2 * np.pi / 0.5)
    lengths = np.exp(random.uniform(np.log(0.03), np.log(0.2), (WAVES, 1)))
    directions = random.normal(0, 1, (WAVES, 3)) * (1, 0.7, 1)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    waves = _float(2 * np.pi * directions / lengths)
    phases, shifts = (_float(random.uniform(0, 2 * np.pi, WAVES)) for _ in range(2))
    bent = (metres @ bends.T).sin().sum(dim=1, keepdim=True) * 1.2
    phase = metres @ waves.T + phases + bent
    share = ((metres @ patches.T + shifts).sin()).clamp_min(0)
    # Steeper on one side than on the other, as cloth falls; heights cancel their wavelengths.
    steep = phase.cos() + 0.4 * (2 * phase + shifts).cos()
    return (share * steep) @ _float(directions)


def _float(array: object) -> Tensor:
    return torch.from_numpy(np.asarray(array, np.float32))
