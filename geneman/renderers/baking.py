"""Finer normals for a mesh of few triangles: from the surface it was made of, and from the photo.

A texel first takes the direction of the full surface under it. Where the photo shows it, what the
photo's normals have beyond that surface is added: folds, buttons, fingers, strands of hair.

T texels inside charts, S pixels along the side of the photo's maps.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from geneman.fields.atlas import UvMap
from geneman.fields.texels import fill_gaps, lay_out, overlapping
from geneman.kernels.visibility import closest, hierarchy
from geneman.mesh import Mesh, UnwrappedMesh, smooth_normals
from geneman.renderers.projection import Trust, look_up, project
from geneman.renderers.textured import look
from geneman.view import ReferenceView

ALIKE = 0.5
"""Cosine between mesh and full surface from which both are the same side of a cloth."""
DETAIL = 0.02
"""Share of the photo's side above which a difference is form, not detail: a hand's width on a
standing person. What the photo says of form has gone into the surface; added once more, it would
turn the light of a whole limb."""
RIPPLE, ROUNDS = 0.01, 6
"""Scene units over which ripples are averaged out, by as many rounds of neighbours and no more."""
STEEPEST = 60.0
"""Degrees that a direction may lean from the mesh's own."""


@dataclass(frozen=True)
class Baked:
    """What a map of finer normals is made from."""

    mesh: Mesh
    """The mesh that wears it."""
    atlas: UvMap
    full: Mesh
    """The surface that it was decimated from; itself if it was not."""


def bake(view: ReferenceView, baked: Baked, size: int) -> Float[Tensor, "s s 3"] | None:
    """Give a mesh's finer normals, as `TexturedMesh` has them.

    Args:
        view: The photo and its normals.
        baked: The mesh, its charts and the full surface.
        size: Texels along a side.

    Returns:
        None if charts lie over each other: a texel could not face two ways.
    """
    texels = lay_out(baked.mesh, baked.atlas, size)
    if overlapping(baked.atlas, texels):
        return None
    own = normalize(texels.blend(smooth_normals(baked.mesh)), dim=1)
    full = Directed(baked.full, _calmed(baked.full))
    surface = full.nearest(texels.points, own)
    finer = normalize(surface + _detail_at(texels.points, own, view, full), dim=1)
    return fill_gaps(texels.image(_held(finer, own)), texels.inside())


@dataclass(frozen=True)
class Directed:
    """A surface with the direction that each of its vertices is taken to face."""

    mesh: Mesh
    normals: Float[Tensor, "v 3"]

    def nearest(self, points: Float[Tensor, "t 3"], own: Float[Tensor, "t 3"]) -> Tensor:
        """Give the directions nearest to points; their own where that is another side."""
        # One question to a tree that is built for it alone: 0.3 s on a core, wherever the rest is.
        tree = hierarchy(Mesh(self.mesh.vertices.cpu(), self.mesh.faces.cpu()))
        found = closest(points.cpu(), tree)
        face, weights = found.face.to(points.device), found.barycentric.to(points)
        corners = self.mesh.faces.long()[face.long()]
        blended = torch.zeros_like(own)
        for corner in range(3):
            blended += weights[:, corner, None] * self.normals[corners[:, corner]]
        directions = normalize(blended, dim=1)
        alike = (directions * own).sum(dim=1, keepdim=True) > ALIKE
        return torch.where(alike, directions, own)


def _calmed(mesh: Mesh) -> Float[Tensor, "v 3"]:
    """Give a surface's normals without the ripples that the grid left it was cut from.

    A mesh that somebody has laid out by hand was cut from none and keeps its own.
    """
    normals, faces = smooth_normals(mesh), mesh.faces.long()
    starts, ends = faces.flatten(), faces.roll(-1, dims=1).flatten()
    edge = (mesh.vertices[starts] - mesh.vertices[ends]).norm(dim=1).median()
    rounds = 0 if isinstance(mesh, UnwrappedMesh) else int((RIPPLE / edge.clamp_min(1e-6)) ** 2)
    for _ in range(min(rounds, ROUNDS)):
        normals = normalize(normals.index_add(0, starts, normals[ends]), dim=1)
    return normals


def _detail_at(
    points: Float[Tensor, "t 3"], own: Float[Tensor, "t 3"], view: ReferenceView, full: Directed
) -> Float[Tensor, "t 3"]:
    """Give what the photo's normals have beyond the surface's at points, as far as it is trusted.

    Args:
        points: On the surface, or within a hair of it.
        own: Which way the surface faces there.
        view: The photo.
        full: The surface.
    """
    shown = look(full.mesh, view.camera, view.size)
    facing = normalize(shown.blend(full.normals), dim=1)
    both = torch.cat([shown.points, points]), torch.cat([facing, own])
    trusted = project(view, full.mesh, *both, trust=Trust()).confidence
    photo = view.camera.turn_to_world(view.normal.reshape(-1, 3)[shown.pixels.long()])
    # A pixel without a normal, at the mask's border, has no say.
    weight = trusted[: len(photo)] * (photo.norm(dim=1) > 0.5)  # noqa: PLR2004 (unit or nothing)
    planes = torch.cat([weight[:, None] * (photo - facing), weight[:, None]], dim=1)
    detail = _without_form(shown.picture(planes, background=0.0))
    found = look_up(detail, view.camera.project(points)[:, :2])
    return trusted[len(photo) :, None] * found


def _without_form(planes: Float[Tensor, "s s 4"]) -> Float[Tensor, "s s 3"]:
    """Take from differences (times their weight, then the weight) what is smooth in them.

    Form is weighted by trust, so that no outline bleeds into it. It is found at a quarter of the
    size, which its smoothness allows.
    """
    size = len(planes)
    small = interpolate(planes.movedim(-1, 0)[None], size=max(size // 4, 1), mode="area")[0]
    sigma = DETAIL * small.shape[-1]
    smooth = torch.from_numpy(gaussian_filter(small.cpu().numpy(), (0, sigma, sigma))).to(planes)
    form = smooth[:3] / smooth[3:].clamp_min(1e-4)
    form = interpolate(form[None], size=size, mode="bilinear")[0].movedim(0, -1)
    weight = planes[..., 3:]
    return (planes[..., :3] / weight.clamp_min(1e-4) - form) * (weight > 0)


def _held(finer: Float[Tensor, "t 3"], own: Float[Tensor, "t 3"]) -> Float[Tensor, "t 3"]:
    """Lean directions back to `STEEPEST` from the mesh's own."""
    limit = torch.deg2rad(finer.new_tensor(STEEPEST))
    upright = (finer * own).sum(dim=1, keepdim=True)
    across = normalize(finer - upright * own, dim=1)
    steepest = limit.cos() * own + limit.sin() * across
    return torch.where(upright < limit.cos(), steepest, finer)
