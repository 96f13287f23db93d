"""Colours that several pictures show of a shape, gathered on its surface.

N surface points, S pixels along a side of a picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.camera import Orbit
from geneman.mesh import Mesh
from geneman.renderers.projection import Projection, Trust, project
from geneman.view import Framing, HiddenSide, ReferenceView

FACING = 4.0
"""Power of the confidence that weighs the pictures: the one that faces a point most wins."""

PICTURE_TRUST = Trust(cosine=(0.1, 0.9), outline=(0.004, 0.02), step=(0.01, 0.03))
"""A picture of few pixels is believed farther from its outlines than a photo."""


@dataclass(frozen=True)
class Picture:
    """What a shape looks like from a camera, as somebody painted it."""

    orbit: Orbit
    colour: Float[Tensor, "s s 3"]
    """sRGB; meaningless where the shape is not."""
    mask: Float[Tensor, "s s"]
    confidence: Float[Tensor, "s s"]
    """In [0, 1]."""


def gather(
    pictures: Sequence[Picture],
    mesh: Mesh,
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
) -> Projection:
    """Look surface points up in all pictures that show them.

    Args:
        pictures: Some.
        mesh: What they show.
        points: On the mesh.
        normals: Unit normals there, in the world.

    Returns:
        The mean colour by confidence, and the greatest confidence of any picture.
    """
    total, weights = torch.zeros_like(points), points.new_zeros(len(points), 1)
    best = points.new_zeros(len(points))
    for picture in pictures:
        view = _as_view(picture)
        found = project(view, mesh, points, normals, trust=PICTURE_TRUST)
        sure = replace(view, colour=picture.confidence[..., None].expand(-1, -1, 3).contiguous())
        believed = project(sure, mesh, points, normals, trust=PICTURE_TRUST).colour[:, 0]
        confidence = found.confidence * believed
        weight = (confidence**FACING)[:, None]
        total, weights = total + weight * found.colour, weights + weight
        best = torch.maximum(best, confidence)
    return Projection(total / weights.clamp_min(1e-9), best)


def _as_view(picture: Picture) -> ReferenceView:
    """Give a picture in the form that points are looked up in; it tells nothing but colours."""
    nothing, nowhere = torch.zeros_like(picture.mask), torch.zeros_like(picture.colour)
    return ReferenceView(
        colour=picture.colour,
        mask=picture.mask,
        normal=nowhere,
        depth=nothing,
        hidden=HiddenSide(nothing, nowhere, nowhere),
        landmarks=picture.mask.new_zeros(33, 4),
        framing=Framing.FULL_BODY,
        prompt="",
        camera=picture.orbit,
    )
