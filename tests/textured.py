"""A small textured person for tests: a turned profile, closed, with one texture seam down its back.

Its front (-y) carries a face and a white badge; its left half (+x) is red, its right half blue.
"""

import math
from dataclasses import replace

import torch
from torch.nn.functional import normalize

from geneman.camera import Orbit
from geneman.fields.atlas import UvMap
from geneman.fields.texels import fill_gaps, lay_out
from geneman.mesh import Mesh, TexturedMesh, smooth_normals
from geneman.renderers.shading import draw
from geneman.view import Framing, HiddenSide, ReferenceView

PROFILE = [  # height from the feet and half width, as shares of the body's height
    (0.00, 0.060), (0.02, 0.075), (0.25, 0.085), (0.50, 0.115), (0.60, 0.095), (0.78, 0.130),
    (0.83, 0.080), (0.85, 0.040), (0.87, 0.045), (0.92, 0.070), (0.97, 0.060), (1.00, 0.020),
]  # fmt: skip
SKIN, SHIRT_LEFT, SHIRT_RIGHT = (0.85, 0.66, 0.55), (0.75, 0.2, 0.2), (0.2, 0.3, 0.75)
TROUSERS, HAIR, WHITE = (0.22, 0.24, 0.28), (0.15, 0.1, 0.08), (0.95, 0.95, 0.95)


def textured_figure(
    *, height: float = 0.952, rings: int = 40, segments: int = 48, texture: int = 256
) -> TexturedMesh:
    """Give the figure centred on the origin, facing -y; u runs around it from the back."""
    ends = torch.tensor(PROFILE)
    share = torch.linspace(0, 1, rings)
    upper = torch.searchsorted(ends[:, 0].contiguous(), share).clamp(1, len(PROFILE) - 1)
    begin, end = ends[upper - 1], ends[upper]
    step = ((share - begin[:, 0]) / (end[:, 0] - begin[:, 0]))[:, None]
    radius = (begin[:, 1:] + step * (end[:, 1:] - begin[:, 1:])) * height
    angle = torch.arange(segments) * (2 * math.pi / segments)
    # At angle 0 the back (+y); then the person's right side (-x), the front, the left side.
    x, y = -radius * angle.sin(), 0.7 * radius * angle.cos()
    z = ((share - 0.5) * height)[:, None].expand(rings, segments)
    poles = torch.tensor([[0, 0, -0.5 * height], [0, 0, 0.5 * height]])
    vertices = torch.cat([torch.stack([x, y, z], -1).reshape(-1, 3), poles])
    u = torch.linspace(0, 1, segments + 1).expand(rings, segments + 1)
    v = (0.02 + 0.96 * share)[:, None].expand(rings, segments + 1)
    uv = torch.cat([torch.stack([u, v], -1).reshape(-1, 2), torch.tensor([[0.5, 0.0], [0.5, 1.0]])])
    return TexturedMesh(
        Mesh(vertices, _grid_faces(rings, segments, wrap=True)),
        uv,
        _grid_faces(rings, segments, wrap=False),
        _painting(texture),
    )


def embossed(textured: TexturedMesh, size: int = 256, slope: float = 0.4) -> TexturedMesh:
    """Give a mesh finer normals: waves in u and v, told in the world and smooth across seams."""
    texels = lay_out(textured.mesh, UvMap(textured.uv, textured.uv_faces, 0), size)
    own = normalize(texels.blend(smooth_normals(textured.mesh)), dim=1)
    x, _, z = (60 * texels.points).unbind(dim=1)
    lean = slope * torch.stack([x.sin(), torch.zeros_like(x), z.cos()], dim=1)
    waves = normalize(own + lean - (lean * own).sum(dim=1, keepdim=True) * own, dim=1)
    return replace(textured, normals=fill_gaps(texels.image(waves), texels.inside()))


def degrees_between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Give the angles between unit directions."""
    return torch.rad2deg(2 * ((a - b).norm(dim=-1) / 2).clamp(max=1).asin())


def view_of(textured: TexturedMesh, size: int = 512) -> ReferenceView:
    """Give the photo that a textured mesh would give the reference camera."""
    drawing = draw(textured, Orbit(), size, supersample=1)
    flat = torch.full((size, size), 3.0)
    return ReferenceView(
        colour=drawing.colour,
        mask=drawing.cover,
        normal=drawing.normal,
        depth=flat,
        hidden=HiddenSide(flat, -drawing.normal, drawing.colour),
        landmarks=torch.zeros(33, 4),
        framing=Framing.FULL_BODY,
        prompt="",
    )


def _grid_faces(rings: int, segments: int, *, wrap: bool) -> torch.Tensor:
    columns = segments if wrap else segments + 1
    bottom, top = rings * columns, rings * columns + 1
    faces = []
    for column in range(segments):
        following = (column + 1) % columns
        faces.append((bottom, following, column))
        for ring in range(rings - 1):
            a, b = ring * columns + column, ring * columns + following
            c, d = a + columns, b + columns
            faces += [(a, b, d), (a, d, c)]
        last = (rings - 1) * columns
        faces.append((top, last + column, last + following))
    return torch.tensor(faces)


def _painting(size: int) -> torch.Tensor:
    steps = (torch.arange(size) + 0.5) / size
    v, u = torch.meshgrid(1 - steps, steps, indexing="ij")
    left = u > 0.5

    def where(condition: torch.Tensor, colour: tuple[float, float, float]) -> None:
        image[condition] = torch.tensor(colour)

    image = torch.empty(size, size, 3)
    where(left, SHIRT_LEFT)
    where(~left, SHIRT_RIGHT)
    where(v < 0.5, TROUSERS)
    where((v < 0.5) & (((u * 24).floor() % 2) == 0), (0.27, 0.29, 0.33))
    where(v > 0.82, SKIN)
    where((v > 0.94) | ((v > 0.86) & ((u - 0.5).abs() > 0.22)), HAIR)
    for eye in (0.44, 0.56):
        where(((u - eye).abs() < 0.02) & ((v - 0.915).abs() < 0.006), HAIR)
    where(((u - 0.5).abs() < 0.04) & ((v - 0.885).abs() < 0.004), (0.6, 0.25, 0.25))
    where(((u - 0.6).abs() < 0.03) & ((v - 0.7).abs() < 0.02), WHITE)
    return image
