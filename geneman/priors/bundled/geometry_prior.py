"""The shape prior that has learnt from rendered people what both sides look like.

The network sees the photo at 256 pixels; its normals are integrated onto its depth, given maps
are followed where there are any, and the hidden side keeps the network's thickness behind them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import normalize

from geneman.camera import REFERENCE
from geneman.priors.bundle import Surfaces
from geneman.priors.bundled.geometry_network import (
    BothSides,
    GeometryNetwork,
    read_weights,
    shown,
)
from geneman.priors.bundled.hidden_colour import paint_hidden_side
from geneman.priors.bundled.membranes import Map, Pixels, blurred, membrane, resized
from geneman.priors.bundled.relief import array_of, carried_out, enlarged, normals_of, relief
from geneman.view import Framing, HiddenSide

WEIGHTS = Path(__file__).parent.parent / "weights" / "geometry.safetensors"
"""Where a release has the trained weights."""

LOOK, FINE = 256, 512
"""Sides of what the network sees, and of the grid that normals are integrated on."""

PAINTS_BELOW = 0.06
"""Mean error of hidden colours on held-out people below which the network paints the hidden side.

Until then its colours are dull and faces shine through hair, by eye; the photo's own materials
look better."""

THINNEST = 0.006
"""Least thickness of a person in scene units: about a centimetre of a standing adult."""


@dataclass(frozen=True)
class GeometryPrior:
    """A `ShapePrior` with a trained network."""

    network: GeometryNetwork
    name: str = "geometry prior"
    paints: bool = False
    """Whether the hidden side's colours are the network's, or made of the photo's materials."""

    @staticmethod
    def from_file(path: Path = WEIGHTS) -> "GeometryPrior":
        """Read trained weights.

        Raises:
            FileNotFoundError: There are none; the caller keeps a prior that needs none.
        """
        network, record = read_weights(path)
        figures = record.get("validation")
        error = figures.get("colour_error", 1.0) if isinstance(figures, dict) else 1.0
        return GeometryPrior(network, paints=error < PAINTS_BELOW)

    def surfaces(
        self,
        colour: Float[Tensor, "h w 3"],
        mask: Float[Tensor, "h w"],
        landmarks: Float[Tensor, "33 4"],
        framing: Framing,
        *,
        normal: Float[Tensor, "h w 3"] | None = None,
        depth: Float[Tensor, "h w"] | None = None,
    ) -> Surfaces:
        """Give both sides; see `geneman.priors.bundle.ShapePrior`."""
        del framing  # the network sees it
        size, cover = mask.shape[0], array_of(mask)
        covered = cover > 0.5  # noqa: PLR2004 (half a pixel)
        known_normal = None if normal is None else carried_out(array_of(normal), covered)
        known_depth = None if depth is None else carried_out(array_of(depth), covered)
        sides = _Sides.of(self.ask(colour, mask), resized(cover, FINE) > 0.5)  # noqa: PLR2004
        front, back = sides.integrated(known_normal, known_depth)
        shift = REFERENCE.distance - np.median(((front + back) / 2)[sides.inside])
        near, far = (enlarged(side + shift, sides.inside, size) for side in (front, back))
        visible = sides.upright(sides.normal, size) if normal is None else normal
        if self.paints:
            own = enlarged(sides.colour, sides.inside, size)
            painted = _agreeing(own, array_of(colour), cover)
        else:
            painted = paint_hidden_side(colour.cpu().numpy(), cover, landmarks.cpu().numpy())
        return Surfaces(
            normal=visible.to(mask),
            depth=torch.from_numpy(near).to(mask),
            hidden=HiddenSide(
                depth=torch.from_numpy(far).to(mask),
                normal=-normals_of(far).to(mask),
                colour=torch.from_numpy(painted).to(mask),
            ),
        )

    @torch.no_grad()
    def ask(self, colour: Float[Tensor, "h w 3"], mask: Float[Tensor, "h w"]) -> BothSides:
        """Ask the network about the photo and its mirror image, and average what it says.

        Returns:
            Both sides at `LOOK` pixels, one image.
        """
        small = torch.from_numpy(resized(array_of(colour), LOOK)).float().movedim(-1, 0)[None]
        cover = torch.from_numpy(resized(array_of(mask), LOOK)).float()[None, None]
        photo = shown(small, cover)
        twice = torch.cat([photo, photo.flip(-1)]).contiguous(memory_format=torch.channels_last)
        found = self.network(twice)
        across = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]

        def mean(pair: Tensor, sign: Tensor | float = 1.0) -> Tensor:
            return (pair[:1] + pair[1:].flip(-1) * sign) / 2

        return BothSides(
            normalize(mean(found.normal, across), dim=1),
            mean(found.depth),
            normalize(mean(found.hidden_normal, across), dim=1),
            mean(found.hidden_depth),
            mean(found.hidden_colour).clamp(0, 1),
        )


@dataclass(frozen=True)
class _Sides:
    """What the network said, on the fine grid, meaningless outside the mask."""

    inside: Pixels
    normal: NDArray[np.float64]
    depth: Map
    hidden_normal: NDArray[np.float64]
    hidden_depth: Map
    colour: NDArray[np.float64]

    @staticmethod
    def of(found: BothSides, inside: Pixels) -> "_Sides":
        def fine(image: Tensor) -> NDArray[np.float64]:
            return resized(array_of(image[0].movedim(0, -1)), FINE)

        return _Sides(
            inside,
            fine(found.normal),
            fine(found.depth)[..., 0] + REFERENCE.distance,
            fine(found.hidden_normal),
            fine(found.hidden_depth)[..., 0] + REFERENCE.distance,
            fine(found.hidden_colour),
        )

    def integrated(self, normal: NDArray[np.float64] | None, depth: Map | None) -> tuple[Map, Map]:
        """Give the depth of both sides: the visible one follows given maps, the other it."""
        own = relief(self.inside, self.depth, self.normal)
        front = own
        if normal is not None or depth is not None:
            front = relief(self.inside, own, self.normal if normal is None else normal, depth)
        # Where given maps bend the visible side, the hidden one goes along, but softly.
        moved = blurred(carried_out(front - own, self.inside), 6.0)
        hidden = np.maximum(self.hidden_depth, self.depth + THINNEST) + moved
        back = relief(self.inside, hidden, -self.hidden_normal)
        return front, np.maximum(back, front + THINNEST)

    def upright(self, normal: NDArray[np.float64], size: int) -> Tensor:
        """Enlarge normals and give them length 1 again."""
        return normalize(torch.from_numpy(enlarged(normal, self.inside, size)), dim=-1)


def _agreeing(
    painted: NDArray[np.float64], colour: NDArray[np.float64], cover: Map
) -> NDArray[np.float64]:
    """Move the hidden side's colours to the photo's where both show the same material.

    Along the outline the two sides meet: a shirt's back has its front's colour there. Where
    they differ much the network means another material (hair behind a cheek), and is believed.
    """
    inside = resized(cover, LOOK) > 0.5  # noqa: PLR2004
    back = resized(carried_out(painted, cover > 0.5), LOOK)  # noqa: PLR2004
    front = resized(carried_out(colour, cover > 0.5), LOOK)  # noqa: PLR2004
    depth_in = ndimage.distance_transform_edt(inside)
    rim = ((depth_in >= 2) & (depth_in <= 7)).astype(np.float64)  # noqa: PLR2004 (pixels)
    apart = np.stack([blurred((front - back)[..., c], 1.5) for c in range(3)], axis=-1)
    alike = rim * np.exp(-((np.linalg.norm(apart, axis=-1) / 0.25) ** 2))
    corrections = [membrane(inside, apart[..., c], 0.1 * alike, stiffness=2.0) for c in range(3)]
    moved = np.stack([enlarged(change, inside, len(cover)) for change in corrections], axis=-1)
    return np.clip(painted + moved, 0.0, 1.0)
