"""What the view prior learns from beside photos: what the geometry prior makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from geneman.camera import REFERENCE, Orbit
from geneman.priors.bundled.bones import bone_maps
from geneman.priors.bundled.geometry_network import BLOCK
from geneman.priors.bundled.geometry_prior import THINNEST, GeometryPrior, laid_out
from geneman.priors.bundled.sketch import Sheets, Side, shrunk_cover

UNSEEN = torch.zeros(33, 4)
"""Landmarks of somebody whom nobody looked for."""


@dataclass(frozen=True)
class GuessedViews:
    """A `geneman.curation.rings.Sketcher`: both sides as the network says, and no more.

    It is asked once, not about the mirror image as well, and believed, where the finished prior
    takes a fifteenth from the inflation. Relief, sharp borders and strands, which would cost ten
    times as long, are finer than what a sketch has pixels for.
    """

    prior: GeometryPrior

    @property
    def name(self) -> str:
        """The prior's, which tells its weights."""
        return self.prior.name

    @torch.no_grad()
    def __call__(
        self, photo: Float[Tensor, "p p 4"], orbits: Sequence[Orbit], size: int
    ) -> Float[Tensor, "v s s 7"]:
        """Draw views of what the prior says about a photo."""
        colour, mask = photo[..., :3], photo[..., 3]
        side = self.prior.look
        bones = bone_maps(UNSEEN[None], side // BLOCK)
        found = self.prior.network(laid_out(colour, mask, side), bones)
        planes = interpolate(photo.movedim(-1, 0)[None], size=(side, side), mode="area")[0]
        inside = planes[3] > 0.5  # noqa: PLR2004 (half a pixel)
        deep = torch.maximum(found.hidden_depth, found.depth + THINNEST)
        away = REFERENCE.distance - ((found.depth + deep) / 2)[0, 0][inside].median()
        near = _side(found.depth + away, found.normal, planes[:3])
        far = _side(deep + away, found.hidden_normal, found.hidden_colour[0].clamp(0, 1))
        sheets = Sheets.of(near.shrunk(inside), far.shrunk(inside), shrunk_cover(mask), REFERENCE)
        return torch.stack([sheets.picture(orbit, size).movedim(0, -1) for orbit in orbits])


def _side(
    depth: Float[Tensor, "1 1 n n"],
    normal: Float[Tensor, "1 3 n n"],
    colour: Float[Tensor, "3 n n"],
) -> Side:
    """Lay out what the network says of one side."""
    return Side(depth[0, 0], normal[0].movedim(0, -1), colour.movedim(0, -1))
