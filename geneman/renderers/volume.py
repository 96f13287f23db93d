"""Volume rendering of fields along rays (Max 1995).

R rays, N samples of all rays together. Distances are in scene units, colours sRGB in [0, 1].
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geneman.camera import Rays
from geneman.kernels.compositing import accumulate, visible, weigh
from geneman.kernels.ray_march import Samples, march
from geneman.renderers.occupancy import OccupancyGrid


@runtime_checkable
class Volume(Protocol):
    """What can be rendered: a density with a colour."""

    def density(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Give the absorption per scene unit."""

    def density_and_colour(
        self, points: Float[Tensor, "n 3"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
        """Give absorption and emitted colour."""

    def normal(
        self, points: Float[Tensor, "n 3"], density: Float[Tensor, "n"]
    ) -> Float[Tensor, "n 3"]:
        """Give unit normals at points whose density is known."""


@dataclass(frozen=True)
class Sampling:
    """How rays are cut and which samples are worth a look."""

    step: float
    """Length of a sample in scene units."""
    least_light: float = 1e-3
    """Samples with less light left in front of them are dropped: nobody sees them."""
    least_alpha: float = 0.01
    """Samples that would stop a smaller share of the light are dropped (METHOD section 3)."""
    least_normal_weight: float = 0.02
    """Samples with a smaller weight get no normal: each costs three more densities."""


@dataclass(frozen=True)
class Rendering:
    """What rays see, and the samples that made it, for regularisers."""

    colour: Float[Tensor, "r 3"]
    """Not over a background yet: `over` does that."""
    opacity: Float[Tensor, "r"]
    depth: Float[Tensor, "r"]
    """Expected distance along the ray of what stops the light; 0 where nothing does."""
    normal: Float[Tensor, "r 3"]
    """Weighted by opacity, world frame; zeros unless asked for."""
    weights: Float[Tensor, "n"]
    samples: Samples
    points: Float[Tensor, "p 3"]
    """The points that have normals."""
    point_normals: Float[Tensor, "p 3"]
    point_weights: Float[Tensor, "p"]
    point_rays: Int[Tensor, "p"]

    def over(self, background: float) -> Float[Tensor, "r 3"]:
        """Give the colour in front of a grey background."""
        return self.colour + (1 - self.opacity)[:, None] * background


def render(
    volume: Volume,
    rays: Rays,
    occupancy: OccupancyGrid,
    sampling: Sampling,
    *,
    jitter: Float[Tensor, "r"] | None = None,
    normals: bool = False,
) -> Rendering:
    """Render a volume along rays; differentiable in the volume's parameters.

    Args:
        volume: What to look at.
        rays: From where; to see the far side first, send them from there.
        occupancy: Where to look.
        sampling: How closely.
        jitter: Shifts each ray's samples by a share of a step in [0, 1).
        normals: Whether to compute normals too.
    """
    samples = march(rays, occupancy.box, occupancy.cells, step=sampling.step, jitter=jitter)
    with torch.no_grad():
        keep = visible(
            volume.density(samples.points(rays)),
            samples,
            least_light=sampling.least_light,
            least_alpha=sampling.least_alpha,
        )
    samples = samples.kept(keep)
    points = samples.points(rays)
    density, colour = volume.density_and_colour(points)
    weights = weigh(density, samples)
    marked = torch.zeros_like(density, dtype=torch.bool)
    if normals:
        marked = weights.detach() > sampling.least_normal_weight
    own_normals = volume.normal(points[marked], density[marked])
    all_normals = torch.zeros_like(points).index_put((marked.nonzero()[:, 0],), own_normals)
    distance = samples.middles()[:, None]
    values = torch.cat([colour, torch.ones_like(distance), distance, all_normals], dim=-1)
    sums = accumulate(weights, values, samples)
    opacity = sums[:, 3]
    return Rendering(
        colour=sums[:, :3],
        opacity=opacity,
        # The floor keeps the gradient of nearly empty rays finite.
        depth=sums[:, 4] / opacity.clamp_min(1e-3),
        normal=sums[:, 5:],
        weights=weights,
        samples=samples,
        points=points[marked],
        point_normals=own_normals,
        point_weights=weights[marked],
        point_rays=samples.rays[marked],
    )
