"""Ask a mesh what a ray hits, what lies closest, and which side a point is on.

Warp's bounding volume hierarchy answers; nothing here is differentiated. N queries.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geneman.camera import Orbit, Rays
from geneman.kernels.launch import initialise, launch
from geneman.mesh import Mesh

wp.set_module_options({"enable_backward": False})

GRAIN = 256
"""Fewest queries worth a thread: each walks the hierarchy."""
FAR = 1.0e6
"""Where a search gives up, in scene units."""


@dataclass(frozen=True)
class Hierarchy:
    """A mesh prepared for questions. Keeps the memory that it was built from."""

    built: wp.Mesh
    device: torch.device


@dataclass(frozen=True)
class Closest:
    """The point of a surface that lies closest to each query."""

    distance: Float[Tensor, "n"]
    face: Int[Tensor, "n"]
    barycentric: Float[Tensor, "n 3"]
    """Weights of the face's corners."""


@wp.kernel
@no_type_check
def _closest(
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),
    distance: wp.array(dtype=wp.float32),
    face: wp.array(dtype=wp.int32),
    barycentric: wp.array(dtype=wp.vec3),
    begin: int,
) -> None:
    i = begin + wp.tid()
    found = wp.mesh_query_point_no_sign(mesh, points[i], 1.0e6)
    place = wp.mesh_eval_position(mesh, found.face, found.u, found.v)
    distance[i] = wp.length(points[i] - place)
    face[i] = found.face
    barycentric[i] = wp.vec3(found.u, found.v, 1.0 - found.u - found.v)


@wp.kernel
@no_type_check
def _signed(
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),
    distance: wp.array(dtype=wp.float32),
    begin: int,
) -> None:
    i = begin + wp.tid()
    found = wp.mesh_query_point_sign_winding_number(mesh, points[i], 1.0e6)
    place = wp.mesh_eval_position(mesh, found.face, found.u, found.v)
    distance[i] = found.sign * wp.length(points[i] - place)


@wp.kernel
@no_type_check
def _cast(
    mesh: wp.uint64,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    distance: wp.array(dtype=wp.float32),
    face: wp.array(dtype=wp.int32),
    begin: int,
) -> None:
    i = begin + wp.tid()
    hit = wp.mesh_query_ray(mesh, origins[i], directions[i], 1.0e6)
    if hit.result:
        distance[i] = hit.t
        face[i] = hit.face


def hierarchy(mesh: Mesh) -> Hierarchy:
    """Prepare a mesh with at least one triangle for questions."""
    initialise()
    points = wp.from_torch(mesh.vertices.detach().clone().contiguous(), dtype=wp.vec3)
    indices = wp.from_torch(mesh.faces.to(torch.int32).reshape(-1).contiguous())
    built = wp.Mesh(points, indices, support_winding_number=True)  # type: ignore[arg-type]
    return Hierarchy(built, mesh.vertices.device)


def closest(points: Float[Tensor, "n 3"], mesh: Hierarchy) -> Closest:
    """Find the closest point of the surface to each query, in world coordinates."""
    count = len(points)
    distance, face = points.new_empty(count), torch.empty(count, dtype=torch.int32)
    face, barycentric = face.to(mesh.device), points.new_empty(count, 3)
    asked = (mesh.built.id, points.contiguous(), distance, face, barycentric)
    launch(_closest, count, asked, mesh.device, grain=GRAIN)
    return Closest(distance, face, barycentric)


def signed_distance(points: Float[Tensor, "n 3"], mesh: Hierarchy) -> Float[Tensor, "n"]:
    """Give the distance to the surface, below 0 inside.

    Inside is where the surface winds around a point, so small holes and overlaps do no harm.
    """
    distance = points.new_empty(len(points))
    asked = (mesh.built.id, points.contiguous(), distance)
    launch(_signed, len(points), asked, mesh.device, grain=GRAIN)
    return distance


def cast(rays: Rays, mesh: Hierarchy) -> tuple[Float[Tensor, "n"], Int[Tensor, "n"]]:
    """Follow rays to the first surface.

    Returns:
        The distance along each ray (infinite where it hits nothing) and the face (or -1).
    """
    count = len(rays.origins)
    distance = torch.full((count,), float("inf"), device=mesh.device)
    face = torch.full((count,), -1, dtype=torch.int32, device=mesh.device)
    asked = (rays.origins.contiguous(), rays.directions.contiguous(), distance, face)
    launch(_cast, count, (mesh.built.id, *asked), mesh.device, grain=GRAIN)
    return distance, face


def visible(
    points: Float[Tensor, "n 3"], orbit: Orbit, mesh: Hierarchy, *, slack: float = 2e-3
) -> Bool[Tensor, "n"]:
    """Say which points the camera sees: nothing lies between them and it.

    Args:
        points: Points on the surface, or near it.
        orbit: The camera.
        mesh: What may hide them.
        slack: How far before a point a surface may lie and still be the point's own.
    """
    camera = orbit.position().to(points)
    towards = points - camera
    length = towards.norm(dim=-1)
    rays = Rays(camera.expand_as(points), towards / length[:, None])
    distance, _ = cast(rays, mesh)
    seen: Tensor = distance >= length - slack
    return seen
