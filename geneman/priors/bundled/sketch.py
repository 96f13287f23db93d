"""Sketches: what a shape prior's two sides look like from elsewhere.

A photo's two sides are two sheets, joined along the outline into one closed surface. Seen from
another camera it shows where the person is and, roughly, in what colours; what neither side knows,
the flanks, is drawn out between them. The view prior learns how true views differ from that, which
takes far fewer people than drawing views from nothing.

N pixels along a side of the maps that it is made of, V vertices, F triangles, S pixels along a
side of a sketch.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, normalize

from geneman.camera import Orbit, pixel_grid
from geneman.kernels.rasterise import interpolate as blended
from geneman.kernels.rasterise import rasterise
from geneman.sheets import closed_sheets
from geneman.view import ReferenceView

GRID = 128
"""N of a photo's sheets."""

FINER = 2
"""Samples along a pixel's side."""


@dataclass(frozen=True)
class Side:
    """One side of a person, at the pixels of the photo."""

    depth: Float[Tensor, "n n"]
    """Along the photo's viewing axis, scene units."""
    normal: Float[Tensor, "n n 3"]
    """Unit, in the photo's camera frame."""
    colour: Float[Tensor, "n n 3"]
    """sRGB in [0, 1]."""

    def shrunk(self, inside: Bool[Tensor, "n n"]) -> "Side":
        """Average over the person's pixels alone, to `GRID` pixels along a side."""
        share = inside[..., None].to(self.depth)
        maps = torch.cat([self.depth[..., None], self.normal, self.colour], dim=-1)
        planes = torch.cat([maps * share, share], dim=-1).movedim(-1, 0)[None]
        small = interpolate(planes, size=(GRID, GRID), mode="area")[0].movedim(0, -1)
        mean = small[..., :-1] / small[..., -1:].clamp_min(1e-6)
        return Side(mean[..., 0], normalize(mean[..., 1:4], dim=-1), mean[..., 4:])


@dataclass(frozen=True)
class Sheets:
    """Both sides as one closed surface."""

    points: Float[Tensor, "v 3"]
    """World."""
    faces: Int[Tensor, "f 3"]
    layers: Float[Tensor, "v 6"]
    """Colours, then unit normals in the world."""

    @staticmethod
    def of(near: Side, far: Side, inside: Bool[Tensor, "n n"], camera: Orbit) -> "Sheets":
        """Join the two sides of a person.

        Args:
            near: The side that the photo shows.
            far: The other one, at the same pixels.
            inside: The person's pixels; the sides mean nothing elsewhere.
            camera: The photo's.
        """
        used, faces = torch.unique(closed_sheets(inside), return_inverse=True)
        at = pixel_grid(len(inside)).to(near.depth)
        points = [camera.unproject(at, side.depth).reshape(-1, 3) for side in (near, far)]
        layers = [
            torch.cat([side.colour, camera.turn_to_world(side.normal)], dim=-1).reshape(-1, 6)
            for side in (near, far)
        ]
        return Sheets(torch.cat(points)[used], faces.to(torch.int32), torch.cat(layers)[used])

    @staticmethod
    def of_view(view: ReferenceView) -> "Sheets":
        """Join what a reference view knows of both sides."""
        near, far = (
            Side(side.depth, side.normal, side.colour).shrunk(view.inside)
            for side in (view, view.hidden)
        )
        return Sheets.of(near, far, shrunk_cover(view.mask), view.camera)

    @torch.no_grad()
    def picture(self, orbit: Orbit, size: int) -> Float[Tensor, "7 s s"]:
        """Draw the surface as training lays views out: colours on white, cover, normals on black.

        Args:
            orbit: The camera.
            size: S.
        """
        seen = rasterise(orbit.clip_coordinates(self.points), self.faces, FINER * size)
        normal = orbit.turn_to_camera(self.layers[:, 3:])
        drawn = blended(torch.cat([self.layers[:, :3], normal], dim=1), self.faces, seen)
        cover = (seen.triangle >= 0)[..., None].to(drawn)
        towards = (normalize(drawn[..., 3:], dim=-1) / 2 + 0.5) * cover
        layers = torch.cat([drawn[..., :3] + 1 - cover, cover, towards], dim=-1)
        return avg_pool2d(layers.movedim(-1, 0)[None], FINER)[0].clamp(0, 1)


def shrunk_cover(mask: Float[Tensor, "n n"]) -> Bool[Tensor, "g g"]:
    """Say which of `GRID` x `GRID` pixels a person covers by more than half."""
    cover = interpolate(mask[None, None], size=(GRID, GRID), mode="area")[0, 0]
    return cover > 0.5  # noqa: PLR2004
