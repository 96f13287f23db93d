"""Pose and see people with torch alone: what `seeing_kernels` does, where there is no Warp.

Every triangle offers itself to all pixels of its bounding box; the nearest offer at a pixel wins
the visible side, the farthest the hidden one.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from geneman.curation.synthetic.surfaces import Look, Surface, Textures

SHEET = -0.2
"""Cosine beyond which a surface that faces away is the inside of a sheet."""


def carried(
    surface: Surface, moves: Float[Tensor, "b 3 4"]
) -> tuple[Float[Tensor, "v 3"], Float[Tensor, "v 3"]]:
    """Blend the bones' maps at each vertex and apply them; see `seeing.posed`."""
    own = moves.flatten(1)[surface.joints.long()]
    blended = (surface.weights[:, :, None] * own).sum(dim=1).reshape(-1, 3, 4)
    points = (blended[:, :, :3] @ surface.vertices[:, :, None])[..., 0] + blended[:, :, 3]
    return points, normalize((blended[:, :, :3] @ surface.normals[:, :, None])[..., 0], dim=1)


def drawn(screen: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], size: int) -> Int[Tensor, "2 q"]:
    """Give the nearest and the farthest triangle at each pixel; see `seeing_kernels.drawn`."""
    corners = screen[faces.long()]
    low = corners[..., :2].amin(dim=1).ceil().clamp(min=0).long()
    high = corners[..., :2].amax(dim=1).floor().clamp(max=size - 1).long()
    spans = (high - low + 1).clamp(min=0)
    counts = spans.prod(dim=1)
    face = torch.arange(len(faces), device=screen.device).repeat_interleave(counts)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(face), device=screen.device) - starts[face]
    column = low[face, 0] + place % spans[face, 0].clamp(min=1)
    row = low[face, 1] + place // spans[face, 0].clamp(min=1)
    weights = _weights(corners[face], column, row)
    inside = (weights >= 0).all(dim=1)
    face, at = face[inside], (row * size + column)[inside]
    nearness = (weights[inside] * corners[face, :, 2]).sum(dim=1)
    seen = torch.full((2, size * size), len(faces), device=screen.device)
    for side, rule in enumerate(("amax", "amin")):
        best = screen.new_zeros(size * size)
        best = best.scatter_reduce(0, at, nearness, rule, include_self=False)
        won = nearness == best[at]
        seen[side].scatter_reduce_(0, at[won], face[won], "amin")
    return torch.where(seen < len(faces), seen, -1).int()


def _weights(
    corners: Float[Tensor, "n 3 3"], column: Int[Tensor, "n"], row: Int[Tensor, "n"]
) -> Float[Tensor, "n 3"]:
    """Give each corner's share of a point on the screen; negative outside the triangle."""
    p, q, r = corners.unbind(dim=1)
    x, y = column.to(p.dtype), row.to(p.dtype)
    area = (q[:, 0] - p[:, 0]) * (r[:, 1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (r[:, 0] - p[:, 0])
    u = ((q[:, 0] - x) * (r[:, 1] - y) - (q[:, 1] - y) * (r[:, 0] - x)) / area
    v = ((r[:, 0] - x) * (p[:, 1] - y) - (r[:, 1] - y) * (p[:, 0] - x)) / area
    # A triangle without area has shares that are not numbers, which are not >= 0 either.
    return torch.stack([u, v, 1 - u - v], dim=1)


def read(
    pixels: Int[Tensor, "p"],
    seen: Int[Tensor, "q"],
    facing: float,
    screen: Float[Tensor, "v 3"],
    normals: Float[Tensor, "v 3"],
    surface: Surface,
    textures: Textures,
) -> Look:
    """Give what the seen triangles show at some pixels; see `seeing_kernels.read`."""
    size = round(len(seen) ** 0.5)
    corners = surface.faces[seen[pixels].long()].long()
    flat = screen[corners]
    weights = _weights(flat, pixels % size, pixels // size)
    inverse = weights * flat[..., 2]
    near = inverse.sum(dim=1)
    # Under perspective, what is linear on the triangle is linear over depth on the screen.
    shares = (inverse / near[:, None])[:, :, None]
    normal = normalize((shares * normals[corners]).sum(dim=1), dim=1)
    # Hair and skirts are sheets: their inside, when it is seen, faces the viewer as well.
    normal = torch.where(normal[:, 2:] * facing < SHEET, -normal, normal)
    return Look(pixels, normal, 1 / near, *coloured(corners, shares, surface, textures))


def coloured(
    corners: Int[Tensor, "p 3"],
    shares: Float[Tensor, "p 3 1"],
    surface: Surface,
    textures: Textures,
) -> tuple[Float[Tensor, "p 3"], Int[Tensor, "p"], Float[Tensor, "p 3"]]:
    """Give albedo (linear light), material and place at rest of points on triangles.

    Args:
        corners: The vertices of each point's triangle.
        shares: How near the point is to each of them; they sum to 1.
        surface: Whose vertices these are.
        textures: Its colours.
    """
    albedo, label = _texels(textures, (shares * surface.uv[corners]).sum(dim=1))
    extra = surface.uv[corners[:, 0], 0]
    plain = extra < 0
    return (
        torch.where(plain[:, None], torch.ones_like(albedo), albedo),
        torch.where(plain, textures.shades + (-extra - 0.5).int(), label),
        (shares * surface.vertices[corners]).sum(dim=1),
    )


def _texels(
    textures: Textures, uv: Float[Tensor, "p 2"]
) -> tuple[Float[Tensor, "p 3"], Int[Tensor, "p"]]:
    """Read the texture bilinearly, in linear light, and the nearest texel's material."""
    height, width = textures.label.shape
    x = (uv[:, 0] * width - 0.5).clamp(0, width - 1.001)
    y = (uv[:, 1] * height - 0.5).clamp(0, height - 1.001)
    column, row = x.long(), y.long()
    across, down = (x - column)[:, None], (y - row)[:, None]
    texels = textures.texels.reshape(-1, 3)

    def linear(rows: Tensor, columns: Tensor) -> Tensor:
        return textures.linear[texels[rows * width + columns].long()]

    upper = torch.lerp(linear(row, column), linear(row, column + 1), across)
    lower = torch.lerp(linear(row + 1, column), linear(row + 1, column + 1), across)
    near = (row + (down[:, 0] + 0.5).long()) * width + column + (across[:, 0] + 0.5).long()
    return torch.lerp(upper, lower, down), textures.label.flatten()[near].int()
