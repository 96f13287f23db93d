"""Colour an atlas: the photo where it is seen, a colour field elsewhere, and no seam between.

The field is dimmer in detail and may be off in tone. So the difference between the photo and the
field, known where the photo is trusted, is spread over the rest of the surface as a membrane and
added to the field: both sides then agree along the border, at every scale the mesh resolves.
What is believed of the hidden side may be painted as the photo is: its folds and weave are finer
than a quickly trained field.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.fields.membrane import spread
from geneman.fields.texels import Texels
from geneman.mesh import Mesh
from geneman.renderers.projection import Projection, Trust, project
from geneman.view import ReferenceView

Colour = Callable[[Tensor], Tensor]
"""World points to sRGB colours, N 3 to N 3."""

CHUNK = 1 << 18
"""Points asked for at a time, which bounds the memory."""


def paint(
    view: ReferenceView,
    mesh: Mesh,
    texels: Texels,
    colour: Colour,
    *,
    trust: Trust,
    reach: float,
    hidden: float = 0.0,
) -> Float[Tensor, "t 3"]:
    """Give every texel a colour.

    Args:
        view: The photo.
        mesh: The surface that the texels lie on.
        texels: Where colours are wanted.
        colour: What to use where the photo shows nothing.
        trust: Where the photo is believed.
        reach: Distance in scene units over which the photo's tone fades into the field's.
        hidden: How far what is believed of the hidden side is painted as the photo is, in [0, 1].
    """
    photo = project(view, mesh, texels.points, texels.normals, trust=trust)
    field = colours_at(colour, texels.points)
    if hidden > 0:
        photo = _beside(
            photo,
            project(view, mesh, texels.points, texels.normals, trust=trust, far_side=True),
            hidden,
        )
    painted: Tensor = field + _correction(photo, field, mesh, texels, reach)
    return torch.lerp(painted, photo.colour, photo.confidence[:, None]).clamp(0, 1)


def _beside(photo: Projection, behind: Projection, share: float) -> Projection:
    """Add the hidden side's colours where the photo says nothing."""
    rest = share * behind.confidence * (1 - photo.confidence)
    both = photo.confidence + rest
    part = (rest / both.clamp_min(1e-6))[:, None]
    return Projection(torch.lerp(photo.colour, behind.colour, part), both)


def colours_at(colour: Colour, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Ask for the colours of many points, a chunk at a time, without gradients."""
    with torch.no_grad():
        return torch.cat([colour(chunk) for chunk in points.split(CHUNK)])


def _correction(
    photo: Projection, field: Tensor, mesh: Mesh, texels: Texels, reach: float
) -> Tensor:
    """Spread the difference between photo and field from where it is known."""
    difference, known = texels.average(photo.colour - field, photo.confidence, len(mesh.vertices))
    return texels.blend(spread(difference, known, mesh, reach=reach))
