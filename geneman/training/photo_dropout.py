"""What of its photo each picture of a batch is told: Zero-1-to-3's buckets (METHOD section 9).

A judge is steered by what it says with the photo and without, so it must have learnt both. The
photo is told twice, as tokens and as patches (or latents): in one bucket the tokens are dropped,
in another the patches, and what has been sketched from them, in the third all. B pictures.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor


@dataclass(frozen=True)
class Known:
    """Which pictures know the photo's tokens, and which its patches."""

    tokens: Bool[Tensor, "b"]
    patches: Bool[Tensor, "b"]


def draw_known(count: int, share: float, generator: torch.Generator) -> Known:
    """Draw the buckets: disjoint, each with this share of the pictures.

    Args:
        count: B.
        share: Of each bucket; 0.05 in Zero-1-to-3.
        generator: Source of randomness, and the device.
    """
    drawn = torch.rand(count, generator=generator, device=generator.device)
    bucket = drawn / max(share, 1e-9)  # no share: everybody is beyond the third bucket
    # Buckets 0: tokens dropped; 1: patches dropped; 2: both. The rest knows everything.
    only_tokens, only_patches = bucket < 1, (bucket >= 1) & (bucket < 2)  # noqa: PLR2004
    both = (bucket >= 2) & (bucket < 3)  # noqa: PLR2004
    return Known(tokens=~(only_tokens | both), patches=~(only_patches | both))
