"""Landmarks drawn as maps that lie beside a photo: where a limb crosses the trunk, and how near.

A dark sleeve before a dark coat shows its outline in a few pixels only, which a network that has
seen few people overlooks; body points tell it. B images, M maps, N pixels along a side.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.landmarks import EARS, HIPS, NOSE, SEEN, SHOULDERS
from geneman.priors.bundled.proportions import ARMS, LEGS, TRUNK

HEAD = ((EARS[0], NOSE), (EARS[1], NOSE))

PARTS = ((HEAD, 0.2), (TRUNK, 0.2), (ARMS, 0.13), (LEGS, 0.2))
"""Bones that share two maps, and how far they reach to the side, in shoulder widths."""

REGIONS = ((EARS, slice(0, 11)), (SHOULDERS, slice(11, 23)), (HIPS, slice(23, 33)))
"""Points by the pair that their depth is counted from: between pairs, MediaPipe's is far astray."""

MAPS = 2 * len(PARTS)
"""Where each part is, and its depth there."""

NARROW = 1.3
"""Least reach in half pixels of a map: less falls between them."""

STILL_SEEN = 0.7
"""Visibility at which a point counts fully; it counts nothing at `SEEN`."""


def bone_maps(landmarks: Float[Tensor, "b 33 4"], size: int) -> Float[Tensor, "b m n n"]:
    """Draw bones, soft to the side, as far as their ends are seen.

    Args:
        landmarks: x, y in [-1, 1], y up, depth in half widths of the image, larger is farther, and
            visibility; all 0 where nobody was found, which gives maps of 0.
        size: Side of the maps, N.

    Returns:
        For each part where it is, in [0, 1], and its depth there from the middle of the ears,
        the shoulders or the hips.
    """
    landmarks = _by_region(landmarks)
    width = _shoulder_width(landmarks)
    maps: list[Tensor] = []
    for bones, share in PARTS:
        first, second = (landmarks[:, list(ends)] for ends in zip(*bones, strict=True))
        maps += _drawn(first, second, (share * width).clamp_min(NARROW / size), size)
    return torch.stack(maps, dim=1)


def _drawn(
    first: Float[Tensor, "b k 4"],
    second: Float[Tensor, "b k 4"],
    reach: Float[Tensor, "b"],
    size: int,
) -> tuple[Float[Tensor, "b n n"], Float[Tensor, "b n n"]]:
    """Draw K bones: how much of a pixel any of them takes, and their mean depth by that."""
    step = (torch.arange(size, device=first.device) + 0.5) / size * 2 - 1
    pixels = torch.stack(torch.meshgrid(step, -step, indexing="xy"), dim=-1).reshape(1, 1, -1, 2)
    start, along = first[:, :, None, :2], (second - first)[:, :, None, :2]
    length = along.square().sum(dim=-1).clamp_min(1e-6)
    share = (((pixels - start) * along).sum(dim=-1) / length).clamp(0, 1)
    away = (pixels - start - share[..., None] * along).square().sum(dim=-1)
    seen = torch.minimum(first[..., 3], second[..., 3])
    weight = (-away / reach[:, None, None].square()).exp()
    weight = weight * ((seen - SEEN) / (STILL_SEEN - SEEN)).clamp(0, 1)[..., None]
    depth = torch.lerp(first[..., None, 2], second[..., None, 2], share)
    taken = weight.amax(dim=1)
    mean = (weight * depth).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-6) * taken
    whole = (len(taken), size, size)
    return taken.reshape(whole), mean.reshape(whole)


def _by_region(landmarks: Float[Tensor, "b 33 4"]) -> Float[Tensor, "b 33 4"]:
    """Count depths from the middle of the pair that each point hangs on."""
    depth = landmarks[..., 2].clone()
    for pair, points in REGIONS:
        depth[:, points] -= landmarks[:, list(pair), 2].mean(dim=1, keepdim=True)
    return torch.cat([landmarks[..., :2], depth[..., None], landmarks[..., 3:]], dim=-1)


def _shoulder_width(landmarks: Float[Tensor, "b 33 4"]) -> Float[Tensor, "b"]:
    """Give what the shoulders' distance would be from the front, as `proportions.measure` does.

    The trunk's length is taken in the image alone: depths are counted by region.
    """
    points = landmarks[..., :3]
    shoulders, hips = points[:, list(SHOULDERS)], points[:, list(HIPS)]
    apart = (shoulders[:, 0] - shoulders[:, 1]).norm(dim=-1)
    torso = (shoulders.mean(dim=1) - hips.mean(dim=1)).norm(dim=-1)
    known = landmarks[:, list(HIPS), 3].amin(dim=1) > SEEN
    return torch.maximum(apart, 0.65 * torso * known)
