"""The plainest answer to one photo: its mask blown up, the photo in front and mirrored behind.

S pixels along a side, G cells of the grid. What a method must beat to be worth its minutes.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from geneman.camera import pixel_grid
from geneman.mesh import Mesh, TexturedMesh
from geneman.view import ReferenceView

GRID = 512
"""Vertices along a side of the picture; the outline loses half a cell."""


def mirrored_photo(view: ReferenceView, grid: int = GRID) -> TexturedMesh:
    """Close the view's two depth maps to a surface that shows the photo on both sides.

    Seen from behind, the photo is its own mirror image: both sides share its coordinates.

    Args:
        view: With the depths to use; in scene units.
        grid: G.
    """
    inside = _pooled(view.mask, grid) > 0.5  # noqa: PLR2004 (half a pixel)
    weight = _pooled(view.inside.float(), grid)
    depths = [
        _pooled(depth * view.inside, grid) / weight.clamp_min(1e-6)
        for depth in (view.depth, view.hidden.depth)
    ]
    inside &= weight > 0
    quads = _quads(inside)
    at = pixel_grid(grid).to(view.mask).reshape(-1, 2)
    sides = [view.camera.unproject(at, depth.flatten()) for depth in depths]
    count = grid * grid
    front = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    wall = _wall(front)
    faces = torch.cat(
        [
            front,
            front.flip(1) + count,
            torch.stack([wall[:, 1], wall[:, 0], wall[:, 0] + count], dim=1),
            torch.stack([wall[:, 1], wall[:, 0] + count, wall[:, 1] + count], dim=1),
        ]
    )
    kept, numbers = torch.unique(faces, return_inverse=True)
    uv = ((at + 1) / 2).repeat(2, 1)[kept]
    mesh = Mesh(torch.cat(sides)[kept], numbers)
    cover = view.mask[..., None]
    albedo = view.colour * (cover > 0) + (1 - (cover > 0).float())
    return TexturedMesh(mesh, uv, numbers, albedo)


def _pooled(image: Float[Tensor, "s s"], grid: int) -> Float[Tensor, "g g"]:
    return adaptive_avg_pool2d(image[None, None], grid)[0, 0]


def _quads(inside: Bool[Tensor, "g g"]) -> Int[Tensor, "q 4"]:
    """Give the cells whose four corners are inside, counter-clockwise as the camera sees them."""
    whole = inside[:-1, :-1] & inside[1:, :-1] & inside[1:, 1:] & inside[:-1, 1:]
    row, column = whole.nonzero(as_tuple=True)
    grid = inside.shape[1]
    first = row * grid + column
    return torch.stack([first, first + grid, first + grid + 1, first + 1], dim=1)


def _wall(front: Int[Tensor, "f 3"]) -> Int[Tensor, "e 2"]:
    """Give the directed edges that no other triangle of the sheet runs along the other way."""
    edges = torch.cat([front[:, [0, 1]], front[:, [1, 2]], front[:, [2, 0]]])
    size = int(front.max()) + 1 if len(front) else 1
    own, back = edges[:, 0] * size + edges[:, 1], edges[:, 1] * size + edges[:, 0]
    return edges[~torch.isin(own, back)]
