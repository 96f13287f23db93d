"""The plainest answer to one photo: its mask blown up, the photo in front and mirrored behind.

S pixels along a side, G cells of the grid. What a method must beat to be worth its minutes.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from geneman.camera import pixel_grid
from geneman.mesh import Mesh, TexturedMesh
from geneman.sheets import closed_sheets
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
    at = pixel_grid(grid).to(view.mask).reshape(-1, 2)
    sides = [view.camera.unproject(at, depth.flatten()) for depth in depths]
    kept, numbers = torch.unique(closed_sheets(inside), return_inverse=True)
    uv = ((at + 1) / 2).repeat(2, 1)[kept]
    mesh = Mesh(torch.cat(sides)[kept], numbers)
    cover = view.mask[..., None]
    albedo = view.colour * (cover > 0) + (1 - (cover > 0).float())
    return TexturedMesh(mesh, uv, numbers, albedo)


def _pooled(image: Float[Tensor, "s s"], grid: int) -> Float[Tensor, "g g"]:
    return adaptive_avg_pool2d(image[None, None], grid)[0, 0]
