"""What stage 1 compares its renders with: the maps of the reference view at any resolution."""

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from geneman.camera import Orbit, Rays, pixel_grid
from geneman.fields.networks import lattice
from geneman.mesh import Box
from geneman.view import ReferenceView

SURFACE_DENSITY = 25.0
"""Where sculpt cuts the field (METHOD section 3: the marching cubes' threshold)."""
STEEPNESS = 4000.0
"""Rise of the density per scene unit under the surface: opaque within about a hundredth."""
DENSITY_RANGE = -30.0, 200.0
"""Bounds before the softplus: nothing outside, and gradients that do not vanish inside."""
GRID_CELLS = 128
"""Cells of the first shape along the box's longest side."""
MIRROR_OVERLAP = 0.9
"""A mask that covers its mirror image by less says nothing about symmetry: a pose, not a body."""


@dataclass(frozen=True)
class Side:
    """One side of the person at the chosen pixels, and how distances along the rays run."""

    size: int
    chosen: Float[Tensor, "r 2"]
    """Image coordinates."""
    patch: int
    """The pixels come in squares with so many along a side."""
    pixels: int
    """How many pixels a sum over the image has, of those that were candidates."""
    colour: Float[Tensor, "r 3"]
    mask: Float[Tensor, "r"]
    depth: Float[Tensor, "r"]
    normal: Float[Tensor, "r 3"]
    """World frame."""
    cosine: Float[Tensor, "r"]
    """Between each ray and the camera's axis."""
    start: float
    """Distance from the camera at which the rays begin."""
    sign: float
    """1 if they lead away from the camera, -1 if towards it."""

    @property
    def inside(self) -> Bool[Tensor, "r"]:
        """The person's pixels."""
        return self.mask > 0.5  # noqa: PLR2004 (a half is a half)

    def over(self, background: float) -> Float[Tensor, "r 3"]:
        """Give the target colours in front of a grey background."""
        mask = self.mask[:, None]
        return self.colour * mask + background * (1 - mask)


class Targets:
    """The maps of a view, resized as they are asked for."""

    def __init__(self, view: ReferenceView, device: torch.device) -> None:
        self.view, self.device = view, device
        turn = view.camera.turn_to_world
        # Colour 0:3, depth 3, normal 4:7 of the visible side, and the same of the hidden one.
        maps = [
            torch.cat([side.colour, side.depth[..., None], turn(side.normal)], dim=-1)
            for side in (view, view.hidden)
        ]
        self.maps = torch.cat(maps, dim=-1)
        overlap = view.mask.minimum(view.mask.flip(1)).sum() / view.mask.maximum(
            view.mask.flip(1)
        ).sum().clamp_min(1)
        self.mirrored = float(overlap >= MIRROR_OVERLAP)
        """1 if the mask is (nearly) its mirror image, else 0."""
        self.hull = _dilated(view.mask > 0, 1).to(device)[None, None].float()

    @functools.lru_cache(maxsize=2)  # noqa: B019 (lives as long as the stage)
    def at(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Give maps, mask and the candidate corners of 2 x 2 squares at a resolution."""
        mask = _resized(self.view.mask[..., None], size)
        maps = _resized(self.maps * self.view.mask[..., None], size) / mask.clamp_min(1e-4)
        near = _dilated(mask[..., 0] > 0, max(2, size // 64))
        corners = near.clone()
        corners[-1], corners[:, -1] = False, False
        return maps.to(self.device), mask[..., 0].to(self.device), corners.nonzero().to(self.device)

    def side(self, size: int, *, hidden: bool, draws: Float[Tensor, "n"] | None) -> Side:
        """Give one side at random squares of 2 x 2 pixels near the person, or everywhere.

        Args:
            size: Side of the image in pixels.
            hidden: The far side instead of the visible one.
            draws: A random number in [0, 1) for each square; None for the whole image.
        """
        maps, mask, corners = self.at(size)
        if draws is None:
            rows = torch.arange(size, device=self.device).repeat_interleave(size)
            columns = torch.arange(size, device=self.device).repeat(size)
            patch, pixels = size, size * size
        else:
            corner = corners[(draws * len(corners)).long()]
            offsets = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], device=self.device)
            rows, columns = (corner[:, None] + offsets).reshape(-1, 2).unbind(dim=-1)
            patch, pixels = 2, len(corners)
        values = maps[rows, columns].split([3, 1, 3, 3, 1, 3], dim=-1)
        colour, depth, normal = values[3:] if hidden else values[:3]
        chosen = pixel_grid(size).to(self.device)[rows, columns]
        camera = self.view.camera
        lengths = (chosen.square().sum(dim=-1) + camera.focal**2).sqrt()
        return Side(
            size=size,
            chosen=chosen,
            patch=patch,
            pixels=pixels,
            colour=colour,
            mask=mask[rows, columns],
            depth=depth[:, 0],
            normal=functional.normalize(normal, dim=-1),
            cosine=camera.focal / lengths,
            start=2 * camera.distance if hidden else 0.0,
            sign=-1.0 if hidden else 1.0,
        )

    def rays(self, side: Side, camera: Orbit) -> Rays:
        """Give the rays of the chosen pixels; those of the hidden side run from far to near."""
        rays = camera.rays(side.chosen)
        origins = rays.origins + side.start * rays.directions
        return Rays(origins, side.sign * rays.directions)

    def in_hull(self, points: Float[Tensor, "n 3"], camera: Orbit) -> Bool[Tensor, "n"]:
        """Say which points the camera sees in front of or behind the mask."""
        seen = camera.project(points)[:, :2] * points.new_tensor([1.0, -1.0])
        cover = functional.grid_sample(
            self.hull, seen[None, None], mode="nearest", align_corners=False
        )
        marks: Tensor = cover[0, 0, 0] > 0
        return marks


def shape_grid(view: ReferenceView, box: Box) -> Float[Tensor, "x y z"]:
    """Give the density that the view's two surfaces enclose, before the softplus, on a lattice.

    It crosses `SURFACE_DENSITY` where the nearest of the front, the back and the outline is.
    """
    shape = tuple(max(8, round(GRID_CELLS * side / box.longest)) + 1 for side in box.size)
    points = lattice(box, (shape[0], shape[1], shape[2])).reshape(-1, 3)
    seen = view.camera.project(points)
    inside = view.inside.cpu().numpy()
    rows, columns = ndimage.distance_transform_edt(
        ~inside, return_distances=False, return_indices=True
    )
    pixel = 2 / view.size * view.camera.distance / view.camera.focal
    outline = pixel * torch.from_numpy(
        ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    )
    front, back = (depth.cpu()[rows, columns] for depth in (view.depth, view.hidden.depth))
    maps = torch.stack([front, back, outline.float()])
    front, back, rim = functional.grid_sample(
        maps[None],
        (seen[:, :2] * torch.tensor([1.0, -1.0]))[None, None],
        align_corners=False,
        padding_mode="border",
    )[0, :, 0]
    depth = seen[:, 2]
    thickness = torch.stack([depth - front, back - depth, rim]).amin(dim=0)
    density = (SURFACE_DENSITY + STEEPNESS * thickness).clamp(*DENSITY_RANGE)
    return density.reshape(shape)


def _resized(maps: Tensor, size: int) -> Tensor:
    """Average maps (h, w, c) over the pixels of a smaller image, or repeat those of a larger."""
    return functional.interpolate(maps.permute(2, 0, 1)[None], (size, size), mode="area")[
        0
    ].permute(1, 2, 0)


def _dilated(mask: Tensor, pixels: int) -> Tensor:
    """Grow a mask by a square."""
    grown = functional.max_pool2d(
        mask.float()[None, None], 2 * pixels + 1, stride=1, padding=pixels
    )
    return grown[0, 0] > 0
