"""Carry the photo's colours to the surface points that it shows, and say how far to trust them.

N surface points, S pixels along the side of the photo's maps.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import grid_sample, max_pool2d

from geneman.kernels.rasterise import interpolate, rasterise
from geneman.mesh import Mesh
from geneman.view import ReferenceView

VISIBLE_WITHIN = 0.01
"""Scene units behind the depth map that still count as seen: a pixel on a steep slope."""
STEP = 0.02
"""Scene units between neighbouring pixels that make a step: thinner than a wrist."""


@dataclass(frozen=True)
class Trust:
    """How far from an outline, and how steep, the photo is believed.

    Lengths are shares of the photo's side; between the two values trust rises smoothly.
    """

    cosine: tuple[float, float] = (0.15, 0.5)
    outline: tuple[float, float] = (0.002, 0.006)
    """Distance from the border of the person."""
    step: tuple[float, float] = (0.006, 0.012)
    """Distance from a step in depth, on the side that lies behind: the near side's colours reach
    over it wherever the shape is not exact."""


@dataclass(frozen=True)
class Projection:
    """What a photo says about surface points."""

    colour: Float[Tensor, "n 3"]
    confidence: Float[Tensor, "n"]


def project(
    view: ReferenceView,
    mesh: Mesh,
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    *,
    trust: Trust,
    far_side: bool = False,
) -> Projection:
    """Look surface points up in the photo, or in what is believed of the hidden side.

    Args:
        view: The photo and its camera.
        mesh: What may stand before the points; they lie on it.
        points: Where to look, in the world.
        normals: Unit normals there, in the world.
        trust: Where the confidence falls to zero.
        far_side: Take the last surface along each ray and `view.hidden.colour`.
    """
    depth, confidence = _trust_map(view, mesh, trust, far_side=far_side)
    seen = view.camera.project(points)
    towards = torch.nn.functional.normalize(view.camera.position().to(points) - points, dim=1)
    cosine = (normals * towards).sum(dim=1) * (-1 if far_side else 1)
    picture = view.hidden.colour if far_side else view.colour
    maps = torch.cat([picture, confidence[..., None]], dim=-1)
    found = look_up(maps, seen[:, :2])
    nearest = look_up(depth[..., None], seen[:, :2], "nearest")[:, 0]
    gap = nearest - seen[:, 2] if far_side else seen[:, 2] - nearest
    trusted = found[:, 3] * rise(cosine, *trust.cosine) * (gap < VISIBLE_WITHIN)
    return Projection(found[:, :3], trusted)


def rise(values: Float[Tensor, "*n"], low: float, high: float) -> Float[Tensor, "*n"]:
    """Go smoothly from 0 at `low` to 1 at `high`."""
    share = ((values - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)


def depth_map(
    view: ReferenceView, mesh: Mesh, *, far_side: bool = False
) -> tuple[Float[Tensor, "s s"], Bool[Tensor, "s s"]]:
    """Give the depth of the mesh at the photo's pixels, and which pixels it covers."""
    clip = view.camera.clip_coordinates(mesh.vertices, far_side=far_side)
    raster = rasterise(clip, mesh.faces, view.size)
    depth = view.camera.project(mesh.vertices)[:, 2:]
    return interpolate(depth, mesh.faces, raster)[..., 0], raster.triangle >= 0


def _trust_map(
    view: ReferenceView, mesh: Mesh, trust: Trust, *, far_side: bool
) -> tuple[Tensor, Tensor]:
    """Give the depth of the mesh and the confidence of each pixel, both S S."""
    depth, covered = depth_map(view, mesh, far_side=far_side)
    inside = covered & view.inside
    # A look-up blends neighbours, so a pixel at the border would let the background in.
    confidence = rise((_distance(inside) - 1) / view.size, *trust.outline)
    # On the far side what lies nearer to the viewer is what the last surface hides behind.
    behind = torch.where(inside, -depth if far_side else depth, torch.full_like(depth, 1e3))
    step = inside & (behind - _lowest(behind, 1) > STEP)
    reach = int(trust.step[1] * view.size) + 2
    hidden = inside & (behind - _lowest(behind, reach) > STEP)
    kept = rise(_distance(~step) / view.size, *trust.step)
    return depth, confidence * torch.where(hidden, kept, torch.ones_like(kept))


def _lowest(image: Tensor, radius: int) -> Tensor:
    """Minimum over a square window."""
    # Along rows, then along columns: the square's work for a wide window would be its area.
    side = 2 * radius + 1
    rows = max_pool2d(-image[None], (1, side), stride=1, padding=(0, radius))
    lowest: Tensor = -max_pool2d(rows, (side, 1), stride=1, padding=(radius, 0))[0]
    return lowest


def _distance(inside: Tensor) -> Tensor:
    """Distance in pixels to the nearest pixel that is not inside."""
    if bool(inside.all()):
        return torch.full(inside.shape, float(inside.shape[0]), device=inside.device)
    return torch.from_numpy(ndimage.distance_transform_edt(inside.cpu().numpy())).to(
        inside.device, torch.float32
    )


def look_up(
    image: Float[Tensor, "s s c"],
    at: Float[Tensor, "n 2"],
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> Float[Tensor, "n c"]:
    """Sample an image at x, y in [-1, 1], y up."""
    grid = torch.stack([at[:, 0], -at[:, 1]], dim=1)[None, :, None]
    channels = image.permute(2, 0, 1)[None]
    found = grid_sample(channels, grid, mode, padding_mode="border", align_corners=False)
    return found[0, :, :, 0].T.contiguous()
