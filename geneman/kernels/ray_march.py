"""Cut rays into samples where a coarse grid says that there may be something.

R rays, N samples of all rays together, packed: the samples of a ray lie side by side, in the
order in which the ray meets them. Distances run along the rays in scene units.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geneman.camera import Rays
from geneman.kernels.launch import Argument, launch
from geneman.mesh import Box

wp.set_module_options({"enable_backward": False})


@dataclass(frozen=True)
class Samples:
    """Intervals along rays."""

    starts: Int[Tensor, "r"]
    """Index of the first sample of each ray."""
    counts: Int[Tensor, "r"]
    rays: Int[Tensor, "n"]
    """To which ray each sample belongs."""
    near: Float[Tensor, "n"]
    far: Float[Tensor, "n"]

    def middles(self) -> Float[Tensor, "n"]:
        """Give the distance of the middle of each interval."""
        return (self.near + self.far) / 2

    def points(self, rays: Rays) -> Float[Tensor, "n 3"]:
        """Give the middles of the intervals in the world."""
        along = self.middles()[:, None] * rays.directions[self.rays]
        return rays.origins[self.rays] + along

    def kept(self, keep: Bool[Tensor, "n"]) -> "Samples":
        """Give only the samples that `keep` marks."""
        counts = torch.zeros_like(self.counts).index_add_(0, self.rays, keep.to(self.counts.dtype))
        return Samples(_starts(counts), counts, self.rays[keep], self.near[keep], self.far[keep])


@wp.func
@no_type_check
def _span(origin: wp.vec3, direction: wp.vec3, low: wp.vec3, high: wp.vec3) -> wp.vec2:
    """Where a ray enters and leaves a box; enters behind where it leaves if it misses."""
    enter = wp.float32(0.0)
    leave = wp.float32(1.0e30)
    for axis in range(3):
        if direction[axis] == 0.0:
            if origin[axis] < low[axis] or origin[axis] > high[axis]:
                leave = -1.0
        else:
            a = (low[axis] - origin[axis]) / direction[axis]
            b = (high[axis] - origin[axis]) / direction[axis]
            enter = wp.max(enter, wp.min(a, b))
            leave = wp.min(leave, wp.max(a, b))
    return wp.vec2(enter, leave)


@wp.func
@no_type_check
def _occupied(
    point: wp.vec3, low: wp.vec3, high: wp.vec3, cells: wp.array3d(dtype=wp.bool)
) -> bool:
    x = wp.int32((point[0] - low[0]) / (high[0] - low[0]) * float(cells.shape[0]))
    y = wp.int32((point[1] - low[1]) / (high[1] - low[1]) * float(cells.shape[1]))
    z = wp.int32((point[2] - low[2]) / (high[2] - low[2]) * float(cells.shape[2]))
    x = wp.clamp(x, 0, cells.shape[0] - 1)
    y = wp.clamp(y, 0, cells.shape[1] - 1)
    z = wp.clamp(z, 0, cells.shape[2] - 1)
    return cells[x, y, z]


@wp.kernel
@no_type_check
def _march(
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    corners: wp.array(dtype=wp.vec3),
    cells: wp.array3d(dtype=wp.bool),
    jitter: wp.array(dtype=float),
    step: float,
    starts: wp.array(dtype=int),
    counts: wp.array(dtype=int),
    near: wp.array(dtype=float),
    far: wp.array(dtype=float),
    owners: wp.array(dtype=wp.int64),
    begin: int,
):
    # Without `near` the samples are only counted, so that the second pass knows where to write.
    i = begin + wp.tid()
    low = corners[0]
    high = corners[1]
    span = _span(origins[i], directions[i], low, high)
    found = wp.int32(0)
    if span[1] > span[0]:
        first = span[0] - jitter[i] * step
        for k in range(wp.int32((span[1] - first) / step) + 1):
            a = wp.max(first + float(k) * step, span[0])
            b = wp.min(first + float(k + 1) * step, span[1])
            if b > a and _occupied(origins[i] + 0.5 * (a + b) * directions[i], low, high, cells):
                if near.shape[0] > 0:
                    near[starts[i] + found] = a
                    far[starts[i] + found] = b
                    owners[starts[i] + found] = wp.int64(i)
                found += 1
    counts[i] = found


def march(
    rays: Rays,
    box: Box,
    cells: Bool[Tensor, "x y z"],
    *,
    step: float,
    jitter: Float[Tensor, "r"] | None = None,
) -> Samples:
    """Cut rays into steps inside a box and keep those whose middle lies in an occupied cell.

    Args:
        rays: Where to walk.
        box: What the cells fill; nothing is sampled outside.
        cells: Which parts of the box are occupied.
        step: Length of an interval in scene units; the first and last of a ray are shorter.
        jitter: Shifts the cuts of each ray back by this share of a step, in [0, 1).
    """
    device, count = rays.origins.device, len(rays.origins)
    corners = torch.tensor([box.minimum, box.maximum], device=device)
    if jitter is None:
        jitter = torch.zeros(count, device=device)
    counts = torch.empty(count, dtype=torch.int32, device=device)
    nothing, nobody = (
        torch.empty(0, device=device),
        torch.empty(0, dtype=torch.int64, device=device),
    )
    origins, directions = rays.origins.contiguous(), rays.directions.contiguous()
    inputs: list[Argument] = [origins, directions, corners, cells, jitter, step]
    launch(_march, count, [*inputs, counts, counts, nothing, nothing, nobody], device, grain=256)
    total = int(counts.sum())
    starts = _starts(counts)
    near, far = torch.empty(total, device=device), torch.empty(total, device=device)
    owners = torch.empty(total, dtype=torch.int64, device=device)
    if total > 0:
        launch(_march, count, [*inputs, starts, counts, near, far, owners], device, grain=256)
    return Samples(starts, counts, owners, near, far)


def _starts(counts: Tensor) -> Tensor:
    """Where each ray's samples begin, given how many each has."""
    return torch.cumsum(counts, 0, dtype=torch.int32) - counts
