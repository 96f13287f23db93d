"""Normal maps as files have them: in the frames of MikkTSpace, which Blender and engines agree on.

A texel's colour c in [0, 1] is the direction 2 c - 1 in the frame of tangent, bitangent and normal:
red along growing u, green along growing v (up in the image: OpenGL's and glTF's convention), blue
outward. What is baked in one program is only right in another if both make the same frames, so
these are those of Morten Mikkelsen, "Simulation of Wrinkled Surfaces Revisited" (2008), and his
mikktspace.c: tangents weighted by angle, one for each vertex, texture coordinate and hand of the
chart; between the corners normal and tangent are blended and not made unit again, and
the bitangent is hand * cross(normal, tangent).

C corners that share all three, F faces, S texels along the side of a map.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from geneman.fields.atlas import UvMap
from geneman.fields.texels import Cover, cover, fill_gaps, overlapping
from geneman.mesh import Mesh, TexturedMesh, smooth_normals

FLAT = 1e-12
"""Area on the texture, as a share of it, below which a triangle has no direction there."""
GRAZING = 0.05
"""Least that a direction rises above the surface: below, the frame could not hold it."""


@dataclass(frozen=True)
class Frames:
    """A surface's corners with their frames, in any axes."""

    faces: Int[Tensor, "f 3"]
    vertex: Int[Tensor, "c"]
    """Which vertex of the mesh each is."""
    uv: Float[Tensor, "c 2"]
    normal: Float[Tensor, "c 3"]
    """Unit."""
    tangent: Float[Tensor, "c 3"]
    """Unit, at right angles to the normal, along growing u."""
    hand: Float[Tensor, "c"]
    """1, or -1 where the chart lies mirrored on the texture."""

    def cover(self, size: int) -> Cover | None:
        """Find the texels of a square map; None if charts lie over each other."""
        atlas = UvMap(self.uv, self.faces, 0)
        found = cover(self.faces, atlas, size)
        return None if overlapping(atlas, found) else found

    def at(self, found: Cover) -> tuple[Tensor, Tensor, Tensor]:
        """Give tangent, bitangent and normal at texels, as a shader has them: not unit."""
        tangent, normal = found.blend(self.tangent), found.blend(self.normal)
        bitangent = torch.linalg.cross(normal, tangent)
        return tangent, bitangent * found.blend(self.hand[:, None]), normal


def frames_of(textured: TexturedMesh) -> Frames:
    """Make the frames of a textured mesh on its smooth normals."""
    mesh, uv_faces = textured.mesh, textured.uv_faces.long()
    along, hand = _along_u(mesh, textured.uv[uv_faces])
    # One number for the three: rows take torch five times as long to sort.
    keys = (mesh.faces.long() * len(textured.uv) + uv_faces) * 2 + (hand < 0).long()[:, None]
    corners, faces = torch.unique(keys, return_inverse=True)
    mirrored, pairs = corners % 2, torch.div(corners, 2, rounding_mode="floor")
    vertex = torch.div(pairs, len(textured.uv), rounding_mode="floor")
    normal = smooth_normals(mesh)[vertex]
    tangent = _tangents(mesh, along, faces, normal)
    uv, side = textured.uv[pairs % len(textured.uv)], 1 - 2 * mirrored.to(tangent)
    return Frames(faces, vertex, uv, normal, tangent, side)


def to_tangent_space(textured: TexturedMesh) -> Float[Tensor, "s s 3"] | None:
    """Give the map that a file holds, in [0, 1].

    Returns:
        None if the mesh has no finer normals, or charts that lie over each other.
    """
    if textured.normals is None:
        return None
    frames = frames_of(textured)
    found = frames.cover(len(textured.normals))
    if found is None:
        return None
    wanted = textured.normals.reshape(-1, 3)[found.pixels.long()]
    tangent, bitangent, normal = frames.at(found)
    # Cramer's rule: x, y, z with x t + y b + z n = wanted, but for a length that falls out.
    planes = [torch.linalg.cross(*pair) for pair in ((bitangent, normal), (normal, tangent))]
    planes.append(torch.linalg.cross(tangent, bitangent))
    volume = (tangent * planes[0]).sum(dim=1, keepdim=True)
    inside = torch.stack([(wanted * plane).sum(dim=1) for plane in planes], dim=1)
    inside = normalize(inside * volume.sign(), dim=1)
    inside = torch.cat([inside[:, :2], inside[:, 2:].clamp_min(GRAZING)], dim=1)
    colours = normalize(inside, dim=1) / 2 + 0.5
    return fill_gaps(found.image(colours), found.inside())


def to_object_space(
    picture: Float[Tensor, "h w 3"], frames: Frames
) -> Float[Tensor, "s s 3"] | None:
    """Turn a file's map in [0, 1] into directions in the frames' axes; the inverse of the above.

    Returns:
        A square of the picture's longest side. None if charts lie over each other.
    """
    size = max(picture.shape[:2])
    found = frames.cover(size)
    if found is None:
        return None
    x, y, z = (2 * _read(picture, found, size) - 1)[:, :, None].unbind(dim=1)
    tangent, bitangent, normal = frames.at(found)
    directions = normalize(x * tangent + y * bitangent + z * normal, dim=1)
    return fill_gaps(found.image(directions), found.inside())


def _read(picture: Tensor, found: Cover, size: int) -> Float[Tensor, "t 3"]:
    """Look a picture up at the texels of a square map."""
    if picture.shape[:2] == (size, size):
        return picture.reshape(-1, 3)[found.pixels.long()]
    row = torch.div(found.pixels, size, rounding_mode="floor")
    column = found.pixels - row * size
    grid = (torch.stack([column, row], dim=-1).to(picture) + 0.5) * (2 / size) - 1
    image = picture.movedim(-1, 0)[None]
    seen = grid_sample(image, grid[None, None], align_corners=False, padding_mode="border")
    return seen[0, :, 0].T.contiguous()


def _along_u(
    mesh: Mesh, uv: Float[Tensor, "f 3 2"]
) -> tuple[Float[Tensor, "f 3"], Float[Tensor, "f"]]:
    """Give the world direction of growing u on each face, and its hand; 0 where it has none."""
    a, b, c = mesh.vertices[mesh.faces.long()].unbind(dim=1)
    (bu, bv), (cu, cv) = ((uv[:, i] - uv[:, 0]).unbind(dim=-1) for i in (1, 2))
    area = bu * cv - bv * cu
    hand = torch.where(area.abs() > FLAT, area.sign(), torch.zeros_like(area))
    along = cv[:, None] * (b - a) - bv[:, None] * (c - a)
    return hand[:, None] * normalize(along, dim=1), hand


def _tangents(
    mesh: Mesh, along: Float[Tensor, "f 3"], faces: Tensor, normal: Float[Tensor, "c 3"]
) -> Float[Tensor, "c 3"]:
    """Sum the faces' directions at each corner, in its plane, weighted by the angle there."""

    def in_plane(directions: Tensor, at: Tensor) -> Tensor:
        flat = directions - (directions * at).sum(dim=-1, keepdim=True) * at
        return normalize(flat, dim=-1)

    places, at = mesh.vertices[mesh.faces.long()], normal[faces]
    ahead = in_plane(places.roll(-1, dims=1) - places, at)
    behind = in_plane(places.roll(1, dims=1) - places, at)
    angle = (ahead * behind).sum(dim=-1, keepdim=True).clamp(-1, 1).acos()
    share = (angle * in_plane(along[:, None].expand(-1, 3, -1), at)).reshape(-1, 3)
    total = torch.zeros_like(normal).index_add(0, faces.reshape(-1), share)
    # Where no face has a direction any will do: the axis that lies flattest.
    spare = torch.nn.functional.one_hot(normal.abs().argmin(dim=1), 3).to(normal)
    none = total.norm(dim=1, keepdim=True) < 1e-6  # noqa: PLR2004 (opposite directions, rounded)
    return in_plane(torch.where(none, spare, total), normal)
