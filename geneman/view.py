"""What the photo and the estimators say about the person, at the pixels of one square image.

All maps share one frame: the person's longest side fills 90 % of the image, seen by the
reference camera (METHOD sections 1 and 2). Depth is in scene units along the viewing axis.
"""

import enum
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geneman.camera import REFERENCE, Orbit, pixel_grid
from geneman.mesh import Box


class Framing(enum.StrEnum):
    """How much of the person the photo shows."""

    FULL_BODY = "full_body"
    HALF_BODY = "half_body"
    HEAD = "head"


@dataclass(frozen=True)
class HiddenSide:
    """The last surface along each reference ray: what a prior believes about the person's back.

    Values outside the mask are meaningless. `normal` is in the camera's frame and points
    away from the camera (z below 0 almost everywhere).
    """

    depth: Float[Tensor, "h w"]
    normal: Float[Tensor, "h w 3"]
    colour: Float[Tensor, "h w 3"]


@dataclass(frozen=True)
class ReferenceView:
    """The photo, cut out, recentred and annotated; every stage is supervised by it."""

    colour: Float[Tensor, "h w 3"]
    """sRGB in [0, 1], foreground colours (not mixed with the background)."""
    mask: Float[Tensor, "h w"]
    """Share of the pixel that the person covers, in [0, 1]."""
    normal: Float[Tensor, "h w 3"]
    """Unit normals of the visible side, camera frame: x right, y up, z towards the viewer."""
    depth: Float[Tensor, "h w"]
    """Depth of the visible side; larger is farther."""
    hidden: HiddenSide
    landmarks: Float[Tensor, "33 4"]
    """MediaPipe's body points: x, y in [-1, 1] (y up), z (smaller = nearer), visibility."""
    framing: Framing
    prompt: str
    camera: Orbit = REFERENCE

    @property
    def size(self) -> int:
        """Side of the square maps in pixels."""
        return self.mask.shape[0]

    @property
    def inside(self) -> Bool[Tensor, "h w"]:
        """The pixels that belong to the person: covered by more than half."""
        return self.mask > 0.5  # noqa: PLR2004 (a half is a half)

    def bounds(self, margin: float = 0.03) -> Box:
        """Give the tight box around both surfaces, padded by `margin` scene units."""
        inside = self.inside
        pixels = pixel_grid(self.size).to(self.mask)[inside]
        surfaces = [
            self.camera.unproject(pixels, depth[inside])
            for depth in (self.depth, self.hidden.depth)
        ]
        return Box.around(torch.cat(surfaces)).padded(margin)
