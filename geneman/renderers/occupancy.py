"""Which parts of a box hold anything: a coarse memory of a density, so that rays skip the rest."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from geneman.mesh import Box

DECAY = 0.95
"""A cell forgets its highest density by this factor an update (Instant-NGP, appendix C)."""


class OccupancyGrid(nn.Module):
    """A grid of cells over a box; every cell counts as occupied until it is looked at."""

    density: Float[Tensor, "x y z"]
    cells: Bool[Tensor, "x y z"]

    def __init__(self, box: Box, resolution: int = 32) -> None:
        """Make a grid of `resolution` cells along each side of the box (METHOD section 3)."""
        super().__init__()
        self.box = box
        shape = (resolution,) * 3
        self.register_buffer("density", torch.zeros(shape))
        self.register_buffer("cells", torch.ones(shape, dtype=torch.bool))

    @torch.no_grad()
    def update(
        self,
        density: Callable[[Tensor], Tensor],
        *,
        step: float,
        threshold: float,
        generator: torch.Generator,
    ) -> None:
        """Look at one random point in each cell and remember the highest density of late.

        Args:
            density: Gives the density at world points (n, 3) as (n,).
            step: Length of a ray's samples in scene units.
            threshold: A cell is occupied if one sample in it would stop this share of the light;
                less if the average cell is emptier than that.
            generator: Source of the points.
        """
        shape, device = self.cells.shape, self.cells.device
        corner = torch.stack(
            torch.meshgrid(*[torch.arange(n) for n in shape], indexing="ij"), dim=-1
        ).reshape(-1, 3)
        inside = torch.rand(corner.shape, generator=generator, device=generator.device).to(device)
        share = (corner.to(device) + inside) / torch.tensor(shape, device=device)
        low, size = share.new_tensor(self.box.minimum), share.new_tensor(self.box.size)
        found = density(low + share * size).reshape(shape)
        self.density = torch.maximum(self.density * DECAY, found)
        alpha = -torch.expm1(-self.density * step)
        self.cells = alpha > alpha.mean().clamp_max(threshold)
