"""Surfaces as triangles, and the boxes they live in.

Faces wind counter-clockwise seen from outside. Positions are world coordinates.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """An axis-aligned box in world coordinates."""

    minimum: tuple[float, float, float]
    maximum: tuple[float, float, float]

    @property
    def size(self) -> tuple[float, float, float]:
        """Length of each side."""
        (a, b, c), (d, e, f) = self.minimum, self.maximum
        return d - a, e - b, f - c

    @property
    def longest(self) -> float:
        """Length of the longest side: the side of the cube that fields normalise by."""
        return max(self.size)

    def normalise(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Map the box's minimum to 0 and its longest side to 1, keeping angles."""
        return (points - points.new_tensor(self.minimum)) / self.longest

    def contains(self, points: Float[Tensor, "*n 3"]) -> Bool[Tensor, "*n"]:
        """Say for each point whether it lies inside."""
        low, high = points.new_tensor(self.minimum), points.new_tensor(self.maximum)
        return ((points >= low) & (points <= high)).all(dim=-1)

    def padded(self, margin: float) -> "Box":
        """Move every face outward by `margin` scene units."""
        low = tuple(v - margin for v in self.minimum)
        high = tuple(v + margin for v in self.maximum)
        return Box(low, high)  # type: ignore[arg-type]  # tuples of three, kept by the loops

    @staticmethod
    def around(points: Float[Tensor, "n 3"]) -> "Box":
        """Give the tightest box around at least one point."""
        low, high = points.amin(dim=0).tolist(), points.amax(dim=0).tolist()
        return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh; what the stages pass on is closed and faces outward."""

    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]


@dataclass(frozen=True)
class UnwrappedMesh(Mesh):
    """A mesh that somebody has laid out flat: its texture keeps to these coordinates.

    `uv` and `uv_faces` are as in `TexturedMesh`.
    """

    uv: Float[Tensor, "t 2"]
    uv_faces: Int[Tensor, "f 3"]


@dataclass(frozen=True)
class TexturedMesh:
    """A mesh with its own UV topology, so that seams never open the surface.

    `uv` lies in [0, 1] with v up (glTF's v is 1 - v); `uv_faces` indexes it corner by corner as
    `mesh.faces` indexes the vertices. `albedo` is sRGB in [0, 1], row 0 at v = 1.

    `normals`, if there are any, are finer than the triangles: unit directions in the world, laid
    out as the albedo but in a square of their own size. Files hold them in tangent space.
    """

    mesh: Mesh
    uv: Float[Tensor, "t 2"]
    uv_faces: Int[Tensor, "f 3"]
    albedo: Float[Tensor, "h w 3"]
    normals: Float[Tensor, "s s 3"] | None = None


def face_normals(mesh: Mesh) -> Float[Tensor, "f 3"]:
    """Give the outward normals of the triangles, as long as twice their area."""
    a, b, c = mesh.vertices[mesh.faces.long()].unbind(dim=1)
    normals: Tensor = torch.linalg.cross(b - a, c - a)
    return normals


def vertex_normals(mesh: Mesh) -> Float[Tensor, "v 3"]:
    """Give area-weighted unit normals at the vertices."""
    per_face = face_normals(mesh)
    total = torch.zeros_like(mesh.vertices)
    for corner in range(3):
        total = total.index_add(0, mesh.faces[:, corner].long(), per_face)
    return torch.nn.functional.normalize(total, dim=-1)


def smooth_normals(mesh: Mesh) -> Float[Tensor, "v 3"]:
    """Give unit normals at the vertices, each face weighted by its angle there; up without faces.

    Those of files, and of pictures: Blender and MikkTSpace weight so, and a normal map is right
    only on the normals that it was made for (Thuermer and Wuethrich 1998).
    """
    corners = mesh.vertices[mesh.faces.long()]
    unit = torch.nn.functional.normalize
    ahead = unit(corners.roll(-1, dims=1) - corners, dim=-1)
    behind = unit(corners.roll(1, dims=1) - corners, dim=-1)
    angle = (ahead * behind).sum(dim=-1, keepdim=True).clamp(-1, 1).acos()
    weighted = (angle * unit(face_normals(mesh), dim=-1)[:, None]).reshape(-1, 3)
    total = torch.zeros_like(mesh.vertices).index_add(0, mesh.faces.reshape(-1).long(), weighted)
    length = total.norm(dim=-1, keepdim=True)
    up = total.new_tensor([0.0, 0.0, 1.0])
    # Opposite faces cancel but for rounding: what is left of them is no direction.
    return torch.where(length > 1e-6, total / length.clamp_min(1e-6), up)  # noqa: PLR2004
