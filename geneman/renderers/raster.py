"""Draw a mesh so that its vertices learn from the pixels: mask, normals, positions.

V vertices, F triangles, S pixels along a side. One rasterisation serves all maps.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geneman.camera import Orbit
from geneman.kernels.antialias import antialias
from geneman.kernels.incidence import Incidence, incidence, neighbours
from geneman.kernels.rasterise import Raster, interpolate, rasterise
from geneman.kernels.smoothness import smooth_normals
from geneman.mesh import Mesh


@dataclass(frozen=True)
class Rasterised:
    """What a camera sees of a mesh; everything but `raster` carries gradients."""

    mask: Float[Tensor, "s s"]
    """Share of the pixel that the mesh covers."""
    normal: Float[Tensor, "s s 3"]
    """Unit normals, camera frame, smooth over faces; 0 outside; not antialiased."""
    position: Float[Tensor, "s s 3"]
    """World coordinates; 0 outside; not antialiased."""
    depth: Float[Tensor, "s s"]
    """Along the viewing axis in scene units; 0 outside; not antialiased."""
    raster: Raster


@dataclass(frozen=True)
class Surface:
    """A mesh and what rendering and smoothing it from many sides share."""

    mesh: Mesh
    normals: Float[Tensor, "v 3"]
    """Area-weighted unit normals at the vertices."""
    around: Incidence
    """The triangles at each vertex."""
    across: Int[Tensor, "f 3"]
    """The triangle across each edge (`neighbours`)."""


def surface(mesh: Mesh) -> Surface:
    """Work out a mesh's normals and neighbours, differentiably and deterministically."""
    around = incidence(mesh.faces, len(mesh.vertices))
    normals, across = smooth_normals(mesh.vertices, around), neighbours(mesh.faces, around)
    return Surface(mesh, normals, around, across)


def render(seen: Surface, orbit: Orbit, size: int, *, far_side: bool = False) -> Rasterised:
    """Draw a mesh from a camera.

    Args:
        seen: The mesh.
        orbit: Camera.
        size: Pixels along a side.
        far_side: Draw the surface farthest along each ray: the hidden side, whose normals point
            away from the camera.
    """
    mesh, faces = seen.mesh, seen.around.faces
    clip = orbit.clip_coordinates(mesh.vertices, far_side=far_side)
    raster = rasterise(clip, faces, size)
    carried = torch.cat([mesh.vertices, seen.normals], dim=1)
    position, normal = interpolate(carried, faces, raster).split(3, dim=-1)
    covered = (raster.triangle >= 0).to(clip)
    mask = antialias(covered[..., None], raster, clip, faces, seen.across)[..., 0]
    normal = torch.nn.functional.normalize(orbit.turn_to_camera(normal), dim=-1)
    depth = -orbit.to_camera(position)[..., 2] * covered
    return Rasterised(mask, normal, position, depth, raster)


def shade(drawn: Rasterised, *, background: float = 1.0) -> Float[Tensor, "s s 3"]:
    """Light a drawn mesh from over the camera's left shoulder, for a look at its shape.

    Returns:
        A grey picture in [0, 1]; `background` where the mesh is not.
    """
    light = torch.nn.functional.normalize(drawn.normal.new_tensor([-0.4, 0.5, 0.8]), dim=0)
    # Half a Lambert lobe: the side turned away keeps its relief.
    bright = (0.15 + 0.8 * (0.5 + 0.5 * drawn.normal @ light).square()).clamp(0, 1)
    cover = drawn.mask.clamp(0, 1)
    grey = (cover * bright + (1 - cover) * background)[..., None]
    return grey.expand(-1, -1, 3).detach()
