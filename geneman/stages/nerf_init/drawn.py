"""Pixels of views that a prior has drawn, as targets of stage 1."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from geneman.camera import Orbit, Rays, pixel_grid
from geneman.priors.bundle import Views
from geneman.stages.nerf_init.targets import Side

AROUND = 3
"""Pixels around a drawn person that are looked at as well."""


@dataclass(frozen=True)
class Drawn:
    """Some pixels of one view; R of them."""

    side: Side
    """Its depth is not known, and 0."""
    rays: Rays
    colour_confidence: Float[Tensor, "r"]
    normal_confidence: Float[Tensor, "r"]


class DrawnTargets:
    """The views' maps, laid out to draw pixels from."""

    def __init__(self, views: Views, device: torch.device) -> None:
        mask = views.mask[..., None]
        # The views stand before white; what is learnt from is the person's own colour.
        colour = ((views.colour - (1 - mask)) / mask.clamp_min(0.05)).clamp(0, 1)
        normal = torch.stack(
            [
                orbit.turn_to_world(normals)
                for orbit, normals in zip(views.orbits, views.normal, strict=True)
            ]
        )
        sure = [views.colour_confidence[..., None], views.normal_confidence[..., None]]
        self.maps = torch.cat([colour, mask, normal, *sure], dim=-1).to(device)
        self.orbits: tuple[Orbit, ...] = views.orbits
        near = functional.max_pool2d(views.mask[:, None], 2 * AROUND + 1, 1, AROUND)[:, 0] > 0.02  # noqa: PLR2004 (more than noise)
        near[:, -1], near[:, :, -1] = False, False
        self.corners = [marks.nonzero().to(device) for marks in near]

    def pick(self, index: int, draws: Float[Tensor, "n"] | None) -> Drawn:
        """Give one view at random squares of 2 x 2 pixels near the person, or everywhere.

        Args:
            index: Which view.
            draws: A random number in [0, 1) for each square; None for the whole image.
        """
        maps, orbit, corners = self.maps[index], self.orbits[index], self.corners[index]
        size, device = len(maps), maps.device
        if draws is None or len(corners) == 0:
            rows = torch.arange(size, device=device).repeat_interleave(size)
            columns = torch.arange(size, device=device).repeat(size)
            patch, pixels = size, size * size
        else:
            corner = corners[(draws * len(corners)).long()]
            offsets = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], device=device)
            rows, columns = (corner[:, None] + offsets).reshape(-1, 2).unbind(dim=-1)
            patch, pixels = 2, len(corners)
        values = maps[rows, columns]
        chosen = pixel_grid(size).to(device)[rows, columns]
        lengths = (chosen.square().sum(dim=-1) + orbit.focal**2).sqrt()
        side = Side(
            size=size,
            chosen=chosen,
            patch=patch,
            pixels=pixels,
            colour=values[:, :3],
            mask=values[:, 3],
            depth=torch.zeros_like(values[:, 3]),
            normal=values[:, 4:7],
            cosine=orbit.focal / lengths,
            start=0.0,
            sign=1.0,
        )
        return Drawn(side, orbit.rays(chosen), values[:, 7], values[:, 8])
