"""Pictures of a textured or coloured surface that carry gradients to its colours.

The geometry is frozen, so what a camera sees is worked out once (`look`) and coloured as often
as the colours change. P covered pixels, S pixels along the side of a picture.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geneman.camera import Orbit
from geneman.fields.atlas import UvMap
from geneman.kernels.rasterise import Raster, corner_weights, rasterise
from geneman.kernels.texture import Footprints, footprints
from geneman.mesh import Mesh, vertex_normals

STRETCH = 4.0
"""Most that a pixel's footprint may be longer than wide before it is cut: steep slopes would be
blurred along with what lies beside them."""


@dataclass(frozen=True)
class Look:
    """What one camera sees of a surface."""

    orbit: Orbit
    raster: Raster
    mesh: Mesh

    @property
    def pixels(self) -> Int[Tensor, "p"]:
        """Flat indices of the covered pixels, ascending."""
        return self.raster.pixels

    @cached_property
    def triangles(self) -> Int[Tensor, "p"]:
        """The triangle that each covered pixel sees."""
        return self.raster.triangle.flatten()[self.raster.pixels].long()

    @cached_property
    def points(self) -> Float[Tensor, "p 3"]:
        """World points that the covered pixels see."""
        return self.blend(self.mesh.vertices)

    @cached_property
    def directions(self) -> Float[Tensor, "p 3"]:
        """Unit normals of those points, in the world."""
        return torch.nn.functional.normalize(self.blend(vertex_normals(self.mesh)), dim=1)

    @cached_property
    def normals(self) -> Float[Tensor, "s s 3"]:
        """Camera-frame normals mapped to [0, 1]; black where there is nothing."""
        turned = self.orbit.turn_to_camera(self.directions)
        return self.picture(turned / 2 + 0.5, background=0.0)

    def blend(self, attributes: Float[Tensor, "v c"]) -> Float[Tensor, "p c"]:
        """Interpolate values at the mesh's vertices."""
        return self._blend(attributes, self.mesh.faces)

    def footprints(self, atlas: UvMap, size: int) -> Footprints:
        """Find the texels that each covered pixel sees."""
        level = _levels(self, atlas, size)[self.triangles]
        return footprints(self._blend(atlas.uv, atlas.faces), level, size=size)

    def picture(
        self, values: Float[Tensor, "p c"], *, background: float = 1.0
    ) -> Float[Tensor, "s s c"]:
        """Put one value for each covered pixel into an image."""
        size = self.raster.size
        empty = values.new_full((size * size, values.shape[1]), background)
        return empty.index_copy(0, self.pixels, values).reshape(size, size, -1)

    def _blend(self, attributes: Tensor, faces: Tensor) -> Tensor:
        corners = attributes[faces[self.triangles].long()]
        return (corner_weights(self.raster)[:, :, None] * corners).sum(dim=1)


def look(mesh: Mesh, orbit: Orbit, size: int, *, far_side: bool = False) -> Look:
    """See a mesh from a camera, or the last surface along each of its rays."""
    clip = orbit.clip_coordinates(mesh.vertices, far_side=far_side)
    return Look(orbit, rasterise(clip, mesh.faces, size), mesh)


def _levels(seen: Look, atlas: UvMap, size: int) -> Float[Tensor, "f"]:
    """Give the pyramid level at which a texel of each triangle is as large as a pixel."""
    at = seen.orbit.project(seen.mesh.vertices)[:, :2] * (seen.raster.size / 2)
    screen = at[seen.mesh.faces.long()]
    texels = atlas.uv[atlas.faces.long()] * size
    a = torch.stack([screen[:, 1] - screen[:, 0], screen[:, 2] - screen[:, 0]], dim=-1)
    b = torch.stack([texels[:, 1] - texels[:, 0], texels[:, 2] - texels[:, 0]], dim=-1)
    area = a[:, 0, 0] * a[:, 1, 1] - a[:, 0, 1] * a[:, 1, 0]
    area = torch.where(area == 0, torch.full_like(area, 1e-9), area)  # seen exactly edge-on
    inverse = torch.stack([a[:, 1, 1], -a[:, 0, 1], -a[:, 1, 0], a[:, 0, 0]], dim=-1)
    step = b @ (inverse.reshape(-1, 2, 2) / area[:, None, None])  # texels for each pixel
    # Singular values of a 2 x 2 matrix from its norm and determinant.
    norm = step.square().sum(dim=(1, 2))
    product = (step[:, 0, 0] * step[:, 1, 1] - step[:, 0, 1] * step[:, 1, 0]).abs()
    spread = (norm * norm - 4 * product * product).clamp_min(0).sqrt()
    long, short = ((norm + spread) / 2).sqrt(), ((norm - spread).clamp_min(1e-12) / 2).sqrt()
    return torch.minimum(long, STRETCH * short).clamp_min(1e-6).log2()
