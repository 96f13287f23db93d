"""What light and a camera make of a person's two sides, and what a matting algorithm leaves.

S pixels along a side, P covered pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, pad

from geneman.camera import REFERENCE
from geneman.curation.synthetic.light import Light

SHADOW_SIDE, SHADOW_STEPS = 64, 12
"""Pixels along a side of the shadow map, and places along a ray that could hide the lamp."""

SHADOW_REACH = 0.35
"""Scene units along the picture within which something casts a shadow: an arm's length."""


@dataclass(frozen=True)
class Scene:
    """The two sides' geometry at the covered pixels; depths in scene units."""

    pixels: Int[Tensor, "p"]
    normal: Float[Tensor, "p 3"]
    near: Float[Tensor, "p"]
    far: Float[Tensor, "p"]
    size: int

    def lit(
        self, light: Light, front: Float[Tensor, "p 3"], back: Float[Tensor, "p 3"]
    ) -> tuple[Float[Tensor, "p 3"], Float[Tensor, "p 3"]]:
        """Light both sides' albedos; the hidden one in the light that the photo has on the whole.

        Returns:
            sRGB in [0, 1].
        """
        inside = image(torch.ones(len(self.pixels), 1), self.pixels, self.size)[..., 0]
        near = image(self.near[:, None], self.pixels, self.size)[..., 0]
        far = image(self.far[:, None], self.pixels, self.size)[..., 0]
        sky = _open_sky(near, inside).flatten()[self.pixels]
        lamp = _lamp_seen(near, far, inside, light).flatten()[self.pixels]
        fallen = light.on(self.normal, sky, lamp)
        seen = light.developed(front * fallen + light.shine(self.normal) * lamp[:, None])
        return seen, light.developed(back * fallen.mean(dim=0))


def image(
    values: Float[Tensor, "p c"], pixels: Int[Tensor, "p"], size: int
) -> Float[Tensor, "s s c"]:
    """Put values at their pixels, 0 elsewhere."""
    empty = values.new_zeros(size * size, values.shape[1])
    return empty.index_copy_(0, pixels, values).reshape(size, size, -1)


def _lamp_seen(
    near: Float[Tensor, "s s"],
    far: Float[Tensor, "s s"],
    inside: Float[Tensor, "s s"],
    light: Light,
) -> Float[Tensor, "s s"]:
    """March from each pixel towards the lamp between both sides: soft shadows of arms and hats."""
    side = near.shape[0] // SHADOW_SIDE
    planes = torch.stack([near, far, inside])[None]
    if side > 1:
        planes = avg_pool2d(planes, side)
    cover = planes[:, 2:].clamp_min(1e-3)
    # Outside, a surface that nothing is behind.
    depths = torch.where(planes[:, 2:] > 0.5, planes[:, :2] / cover, torch.tensor(100.0))  # noqa: PLR2004
    x, y, z = light.towards.tolist()
    flat = max(float(np.hypot(x, y)), 0.05)
    small = planes.shape[-1]
    steps = (torch.arange(small) + 0.5) * (2.0 / small) - 1.0
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    hidden = torch.zeros(small, small)
    for step in range(1, SHADOW_STEPS + 1):
        # Quadratic steps: close things cast the shadows that show.
        away = SHADOW_REACH * (step / SHADOW_STEPS) ** 2
        across = away / flat * REFERENCE.focal / REFERENCE.distance
        where = torch.stack([columns + x * across, rows - y * across], dim=-1)[None]
        found = grid_sample(depths, where, align_corners=False, padding_mode="border")[0]
        ray = depths[0, 0] - z * away / flat
        between = (ray - found[0] - 0.01).clamp(0, 0.02) * (found[1] - ray).clamp(0, 0.02)
        hidden = torch.maximum(hidden, between / 0.0004)
    soft = _averaged(hidden[None, None] * planes[:, 2:]) / _averaged(planes[:, 2:]).clamp_min(1e-3)
    large = interpolate(soft, size=near.shape, mode="bilinear", align_corners=False)[0, 0]
    return 1 - large.clamp(0, 1)


def _open_sky(depth: Float[Tensor, "s s"], inside: Float[Tensor, "s s"]) -> Float[Tensor, "s s"]:
    """Guess how much of the sky each pixel sees: less where its surroundings stand before it."""
    small = avg_pool2d(torch.stack([depth, inside])[None], 4)
    wide = avg_pool2d(small, 9, stride=1, padding=4)
    wide = interpolate(wide, scale_factor=4, mode="bilinear", align_corners=False)[0]
    # Half the light goes where the neighbourhood, 9 % of the frame wide, is 2 cm nearer.
    nearer = (depth - wide[0] / wide[1].clamp_min(1e-3)).clamp(0, 0.08)
    return (1 / (1 + (nearer / 0.015))) * inside


def _averaged(planes: Float[Tensor, "1 c s s"]) -> Float[Tensor, "1 c s s"]:
    """Average 3 x 3 pixels; torch's own pooling takes five times as long."""
    padded = pad(planes, (1, 1, 1, 1))
    across = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    return (across[:, :, :-2] + across[:, :, 1:-1] + across[:, :, 2:]) / 9


def photographed(
    colour: Float[Tensor, "s s 3"], inside: Bool[Tensor, "s s"], random: np.random.Generator
) -> tuple[Float[Tensor, "s s 3"], Float[Tensor, "s s"]]:
    """Blur, add noise, and cut out with the errors that matting makes."""
    size = len(inside)
    cover = inside.float()[None, None]
    planes = torch.cat([colour.movedim(-1, 0)[None] * cover, cover], dim=1)
    soft = _averaged(planes)
    wide = avg_pool2d(planes, 4)
    wide = interpolate(avg_pool2d(wide, 3, stride=1, padding=1), scale_factor=4.0)
    carried = torch.where(soft[:, 3:] > 0, soft[:, :3], wide[:, :3]) / torch.where(
        soft[:, 3:] > 0, soft[:, 3:], wide[:, 3:].clamp_min(1e-3)
    )
    mixed = float(random.uniform(0, 0.8)) if random.random() < 0.5 else 0.0  # noqa: PLR2004
    photo = planes[:, :3] + (1 - cover) * carried
    photo = photo + mixed * (soft[:, :3] / soft[:, 3:].clamp_min(1e-3) - photo) * (soft[:, 3:] > 0)
    noise = torch.from_numpy(random.normal(0, 1, (1, 1, size // 16, size // 16)).astype(np.float32))
    wobble = interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)
    amount = abs(random.normal(0, 0.12))
    edge = (soft[:, 3:] + amount * wobble - 0.5) * float(random.uniform(1.0, 2.0)) + 0.5
    edge = torch.where(wide[:, 3:] > 0.98, torch.ones(1), edge) * (wide[:, 3:] > 0)  # noqa: PLR2004
    amount = abs(random.normal(0, 0.015))
    grain = random.standard_normal((3, size, size), dtype=np.float32)
    photo = (photo[0] + amount * torch.from_numpy(grain)).clamp(0, 1)
    return photo.movedim(0, -1).contiguous(), edge[0, 0].clamp(0, 1)
