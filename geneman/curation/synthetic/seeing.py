"""Pose a person and see both sides of them in one pass.

V vertices, B bones, S pixels along a side, P covered pixels. Warp's kernels do it where Warp is
installed, and torch alone does the same elsewhere, at a fraction of the speed.
"""

from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.camera import REFERENCE
from geneman.curation.synthetic.surfaces import Look, Surface, Textures

if find_spec("warp") is not None:
    from geneman.curation.synthetic import seeing_kernels as passes
else:
    from geneman.curation.synthetic import seeing_plain as passes  # type: ignore[no-redef]


def posed(
    surface: Surface, moves: Float[Tensor, "b 3 4"]
) -> tuple[Float[Tensor, "v 3"], Float[Tensor, "v 3"]]:
    """Give vertices and unit normals after each bone's affine map (linear blend skinning)."""
    return passes.carried(surface, moves)


def both_sides(
    points: Float[Tensor, "v 3"],
    normals: Float[Tensor, "v 3"],
    surface: Surface,
    textures: Textures,
    shown: Float[Tensor, "4"],
    size: int,
) -> tuple[Look, Look]:
    """See the side of a person that the reference camera sees, and the one that it does not.

    Args:
        points: World coordinates, all before the camera.
        normals: Camera frame.
        surface: Whose points and normals these are.
        textures: Its colours.
        shown: Left, bottom, right, top image coordinates beyond which the photo shows nothing.
        size: Pixels along a side.
    """
    at = REFERENCE.project(points)
    half = size / 2
    columns, rows = (at[:, 0] + 1) * half - 0.5, (1 - at[:, 1]) * half - 0.5
    screen = torch.stack([columns, rows, 1 / at[:, 2]], dim=1)
    seen = passes.drawn(screen, surface.faces, size)
    kept = seen[0].reshape(size, size) >= 0
    steps = (torch.arange(size) + 0.5) * (2.0 / size) - 1.0
    kept &= ((steps >= shown[0]) & (steps <= shown[2]))[None, :]
    kept &= ((-steps >= shown[1]) & (-steps <= shown[3]))[:, None]
    pixels = kept.flatten().nonzero()[:, 0]
    front, back = (
        passes.read(pixels, seen[side], facing, screen, normals, surface, textures)
        for side, facing in ((0, 1.0), (1, -1.0))
    )
    return front, back
