"""The texels of an atlas as points on the surface, and the gaps between its charts.

T texels inside charts, S texels along the side of the texture.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor

from geneman.fields.atlas import UvMap
from geneman.kernels.rasterise import corner_weights, rasterise
from geneman.mesh import Mesh, vertex_normals

OVERLAP = 1.05
"""Texels that charts would fill over those that they do: above it is more than rounding."""


@dataclass(frozen=True)
class Cover:
    """The texels that show a piece of the surface, and which piece."""

    size: int
    pixels: Int[Tensor, "t"]
    """Flat indices into the texture, ascending."""
    corners: Int[Tensor, "t 3"]
    """The mesh's vertices around each texel."""
    weights: Float[Tensor, "t 3"]
    """Barycentric weights of those."""

    def blend(self, attributes: Float[Tensor, "v c"]) -> Float[Tensor, "t c"]:
        """Interpolate values at the mesh's vertices."""
        total = torch.zeros(len(self.pixels), attributes.shape[1]).to(attributes)
        for corner in range(3):
            total += self.weights[:, corner, None] * attributes[self.corners[:, corner]]
        return total

    def image(self, values: Float[Tensor, "t c"]) -> Float[Tensor, "s s c"]:
        """Put values where the texels lie; 0 between the charts."""
        flat = values.new_zeros(self.size**2, values.shape[1])
        return flat.index_copy(0, self.pixels, values).reshape(self.size, self.size, -1)

    def inside(self) -> Bool[Tensor, "s s"]:
        """Say which texels belong to a chart."""
        flat = torch.zeros(self.size**2, dtype=torch.bool, device=self.pixels.device)
        flat[self.pixels] = True
        return flat.reshape(self.size, self.size)


@dataclass(frozen=True)
class Texels(Cover):
    """The same with where they lie in the world, and which way the surface faces there."""

    points: Float[Tensor, "t 3"]
    normals: Float[Tensor, "t 3"]

    def average(
        self, values: Float[Tensor, "t c"], confidence: Float[Tensor, "t"], vertices: int
    ) -> tuple[Float[Tensor, "v c"], Float[Tensor, "v"]]:
        """Give each vertex the mean of the texels around it, and how confident it is in [0, 1]."""
        cells = self.corners.flatten().cpu().numpy()
        near = self.weights.flatten().cpu().double().numpy()
        trust = near * confidence.repeat_interleave(3).cpu().double().numpy()
        total = np.bincount(cells, near, vertices).clip(1e-9)
        known = np.bincount(cells, trust, vertices)
        columns = [
            np.bincount(cells, trust * column.repeat_interleave(3).cpu().double().numpy(), vertices)
            for column in values.unbind(dim=1)
        ]
        mean = np.stack(columns, axis=1) / known.clip(1e-9)[:, None]
        return torch.from_numpy(mean).to(values), torch.from_numpy(known / total).to(values)


def lay_out(mesh: Mesh, atlas: UvMap, size: int) -> Texels:
    """Find the texels that show a mesh, and their places in the world."""
    found = cover(mesh.faces, atlas, size)
    points, normals = found.blend(mesh.vertices), found.blend(vertex_normals(mesh))
    normals = torch.nn.functional.normalize(normals, dim=1)
    return Texels(found.size, found.pixels, found.corners, found.weights, points, normals)


def cover(faces: Int[Tensor, "f 3"], atlas: UvMap, size: int) -> Cover:
    """Find the texels whose centre lies in a chart, and those that hold a corner of one.

    The latter keep a colour for charts that are narrower than a texel.
    """
    ones = torch.ones_like(atlas.uv[:, :1])
    clip = torch.cat([atlas.uv * 2 - 1, torch.zeros_like(ones), ones], dim=1)
    raster = rasterise(clip, atlas.faces, size)
    triangles = raster.triangle.flatten()[raster.pixels].long()
    corners, weights = faces[triangles].long(), corner_weights(raster)
    spots, of_vertex = _corner_texels(faces, atlas, raster.triangle)
    pixels, order = torch.cat([raster.pixels, spots]).sort()
    alone = torch.zeros(len(spots), 3).to(weights)
    alone[:, 0] = 1
    corners = torch.cat([corners, of_vertex[:, None].expand(-1, 3)])[order]
    weights = torch.cat([weights, alone])[order]
    return Cover(size, pixels, corners, weights)


def _corner_texels(faces: Tensor, atlas: UvMap, triangle: Tensor) -> tuple[Tensor, Tensor]:
    """Give the empty texels in which corners of the atlas lie, once each, and their vertices."""
    size = len(triangle)
    column = (atlas.uv[:, 0] * size).long().clamp(0, size - 1)
    row = ((1 - atlas.uv[:, 1]) * size).long().clamp(0, size - 1)
    spot = row * size + column
    vertex = torch.zeros(len(atlas.uv), dtype=torch.long, device=spot.device)
    vertex[atlas.faces.flatten().long()] = faces.flatten().long()
    free = (triangle.flatten()[spot] < 0).nonzero()[:, 0]
    spots, inverse = spot[free].unique(return_inverse=True)
    first = torch.full_like(spots, len(atlas.uv)).scatter_reduce(0, inverse, free, "amin")
    return spots, vertex[first]


def overlapping(atlas: UvMap, found: Cover) -> bool:
    """Say whether charts lie over each other, as of mirrored halves that share their texels.

    One texel then stands for several places: a colour may do for all, a direction does not.
    """
    a, b, c = atlas.uv[atlas.faces.long()].unbind(dim=1)
    (ux, uy), (vx, vy) = (b - a).unbind(dim=-1), (c - a).unbind(dim=-1)
    area = float((ux * vy - uy * vx).abs().sum()) / 2 * found.size**2
    return area > OVERLAP * len(found.pixels)


def fill_gaps(image: Float[Tensor, "s s c"], inside: Bool[Tensor, "s s"]) -> Float[Tensor, "s s c"]:
    """Give the texels between the charts the colour of the nearest one inside.

    Filters and mip-maps that reach over a chart's border then find its own colours there.
    """
    nearest = ndimage.distance_transform_edt(
        ~inside.cpu().numpy(), return_distances=False, return_indices=True
    )
    rows, columns = torch.from_numpy(nearest).long().to(image.device)
    return image[rows, columns]
