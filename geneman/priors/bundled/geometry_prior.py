"""The shape prior that has learnt from rendered people what both sides look like.

The network sees the photo at 256 pixels or fewer, and the body points, and is believed as far as
it has earned it: pixel by pixel where the photo and its mirror image tell it the same, quantity by
quantity as it was better on people held out from training than silhouette and pose are (the
inflation). A second network looks closer and draws folds and features into the normals, which are
integrated onto the depth, given maps are followed where there are any, and the hidden side keeps
its thickness behind them. Its colours are the photo's, looked up where the network says, with sharp
borders, with the folds and the weave of what is worn in front, and with strands of hair.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from geneman.camera import REFERENCE
from geneman.priors.bundle import ShapePrior, Surfaces
from geneman.priors.bundled.bones import bone_maps
from geneman.priors.bundled.borders import sharpened
from geneman.priors.bundled.detail_network import DetailNetwork, detailed, read_detail_weights
from geneman.priors.bundled.geometry_network import (
    BLOCK,
    BothSides,
    GeometryNetwork,
    read_weights,
    shown,
)
from geneman.priors.bundled.hair import strands
from geneman.priors.bundled.hidden_colour import Front, settle, weave
from geneman.priors.bundled.inflation import Inflation
from geneman.priors.bundled.membranes import Map, Pixels, blurred, resized
from geneman.priors.bundled.relief import array_of, carried_out, enlarged, normals_of, relief
from geneman.storage import digest_of_file
from geneman.view import Framing, HiddenSide

WEIGHTS = Path(__file__).parent.parent / "weights" / "geometry.safetensors"
"""Where a release has the trained weights."""

DETAIL = "detail.safetensors"
"""Name of the detail network's weights, beside the others; without them normals stay smooth."""

DIGESTS = "+"
"""Between what a prior's name tells of its weights and of those that draw details."""

LOOK, FINE = 256, 512
"""Sides of what a fully trained network sees, and of the grid that details are drawn on and normals
integrated."""

THINNEST = 0.006
"""Least thickness of a person in scene units: about a centimetre of a standing adult."""


Normals = NDArray[np.float64]
"""H W 3."""

UNSURE_DEG = 25.0
"""Angle between what a photo and its mirror image say at which the network is half believed."""


@dataclass(frozen=True)
class Trust:
    """Shares of the network, the rest being the inflation's; measured with the weights."""

    normal: float = 1.0
    depth: float = 1.0
    thickness: float = 1.0
    hidden_normal: float = 1.0


@dataclass(frozen=True)
class GeometryPrior:
    """A `ShapePrior` with a trained network."""

    network: GeometryNetwork
    name: str = "geometry prior"
    look: int = LOOK
    """Side of the pictures that the network was last trained on: what it sees of the photo."""
    trust: Trust = Trust()
    detail: DetailNetwork | None = None

    @staticmethod
    def from_file(path: Path = WEIGHTS) -> "GeometryPrior":
        """Read trained weights.

        Raises:
            FileNotFoundError: There are none; the caller keeps a prior that needs none.
        """
        network, record = read_weights(path)
        trust = record.get("trust")
        believed = Trust(**trust) if isinstance(trust, dict) else Trust()
        look = record.get("size")
        files = [file for file in (path, path.with_name(DETAIL)) if file.is_file()]
        # Other weights are another prior: a run's results are stale when its name changes.
        return GeometryPrior(
            network,
            name=f"geometry prior {DIGESTS.join(digest_of_file(file)[:8] for file in files)}",
            look=look if isinstance(look, int) else LOOK,
            trust=believed,
            detail=read_detail_weights(files[1])[0] if files[1:] else None,
        )

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
        guess = Inflation().sides(mask.cpu(), landmarks.cpu(), framing)
        size, cover = mask.shape[0], array_of(mask)
        covered = cover > 0.5  # noqa: PLR2004 (half a pixel)
        known_normal = None if normal is None else carried_out(array_of(normal), covered)
        known_depth = None if depth is None else carried_out(array_of(depth), covered)
        found, sure = self.ask(colour, mask, landmarks)
        sides = _Sides.of(found, resized(cover, FINE) > 0.5)  # noqa: PLR2004
        sides = sides.blended(_Sides.guessed(*guess, sides), self.trust, sure)
        sides = replace(sides, normal=self.detailed(colour, mask, sides.normal))
        front, back = sides.integrated(known_normal, known_depth)
        shift = REFERENCE.distance - np.median(((front + back) / 2)[sides.inside])
        near, far = (enlarged(side + shift, sides.inside, size) for side in (front, back))
        visible = sides.upright(sides.normal, size) if normal is None else normal
        borrowed, agreed = (
            enlarged(image, sides.inside, size) for image in (sides.colour, sides.agreed)
        )
        seen, points = Front.of(colour.cpu().numpy(), cover), landmarks.cpu().numpy()
        worn = sharpened(settle(borrowed, agreed, seen, points))
        combed = strands(worn, seen, points)[..., None]
        worn = np.clip(weave(worn, seen, points) * combed, 0.0, 1.0)
        return Surfaces(
            normal=visible.to(mask),
            depth=torch.from_numpy(near).to(mask),
            hidden=HiddenSide(
                depth=torch.from_numpy(far).to(mask),
                normal=-normals_of(far).to(mask),
                colour=torch.from_numpy(worn).to(mask),
            ),
        )

    def smooth(self) -> "GeometryPrior":
        """Give the prior without details, by the name that it has where there are none."""
        without, between, _ = self.name.partition(DIGESTS)
        return replace(self, detail=None, name=without if between else f"{self.name}, smooth")

    @torch.no_grad()
    def ask(
        self,
        colour: Float[Tensor, "h w 3"],
        mask: Float[Tensor, "h w"],
        landmarks: Float[Tensor, "33 4"],
    ) -> tuple[BothSides, Map]:
        """Ask the network about the photo and its mirror image, and average what it says.

        Returns:
            Both sides at `look` pixels, one image; and how sure it is, in [0, 1].
        """
        photo = laid_out(colour, mask, self.look)
        twice = torch.cat([photo, photo.flip(-1)]).contiguous(memory_format=torch.channels_last)
        bones = bone_maps(landmarks[None].float().cpu(), self.look // BLOCK)
        found = self.network(twice, torch.cat([bones, bones.flip(-1)]))
        across = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]

        def mean(pair: Tensor, sign: Tensor | float = 1.0) -> Tensor:
            return (pair[:1] + pair[1:].flip(-1) * sign) / 2

        mirrored = found.normal[1].flip(-1) * across
        cosine = (found.normal[0] * mirrored).sum(dim=0).clamp(-1, 1)
        sure = 1 / (1 + (torch.rad2deg(cosine.acos()) / UNSURE_DEG) ** 2)
        both = BothSides(
            normalize(mean(found.normal, across), dim=1),
            mean(found.depth),
            normalize(mean(found.hidden_normal, across), dim=1),
            mean(found.hidden_depth),
            mean(found.hidden_colour).clamp(0, 1),
            mean(found.agreed),
        )
        return both, blurred(array_of(sure), 2.0)

    @torch.no_grad()
    def detailed(
        self, colour: Float[Tensor, "h w 3"], mask: Float[Tensor, "h w"], normal: Normals
    ) -> Normals:
        """Draw what the photo shows of folds and features into smooth normals, FINE FINE 3.

        Args:
            colour: The photo.
            mask: The person's cover.
            normal: Unit, camera frame.
        """
        if self.detail is None:
            return normal
        photo = laid_out(colour, mask, FINE)
        smooth = torch.from_numpy(normal).float().movedim(-1, 0)[None]
        found: Normals = detailed(self.detail, photo, smooth)[0].movedim(0, -1).double().numpy()
        return found


def laid_out(colour: Tensor, mask: Tensor, side: int) -> Float[Tensor, "1 4 s s"]:
    """Give a photo as the networks see it, with S pixels along a side."""
    small = torch.from_numpy(resized(array_of(colour), side)).float().movedim(-1, 0)[None]
    cover = torch.from_numpy(resized(array_of(mask), side)).float()[None, None]
    return shown(small, cover).contiguous(memory_format=torch.channels_last)


def bundled_shape_prior(path: Path = WEIGHTS) -> ShapePrior:
    """Give the learned prior where its weights are, else the one that needs none."""
    return GeometryPrior.from_file(path) if path.is_file() else Inflation()


@dataclass(frozen=True)
class _Sides:
    """What the network said, on the fine grid, meaningless outside the mask."""

    inside: Pixels
    normal: NDArray[np.float64]
    depth: Map
    hidden_normal: NDArray[np.float64]
    hidden_depth: Map
    colour: NDArray[np.float64]
    agreed: Map

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
            fine(found.agreed)[..., 0],
        )

    @staticmethod
    def guessed(near: Map, far: Map, like: "_Sides") -> "_Sides":
        """Bring the inflation's guess to the fine grid; colours stay those of `like`."""
        normal, hidden = array_of(normals_of(near)), array_of(-normals_of(far))
        return replace(
            like,
            normal=resized(normal, FINE),
            depth=resized(near, FINE),
            hidden_normal=resized(hidden, FINE),
            hidden_depth=resized(far, FINE),
        )

    def blended(self, guess: "_Sides", trust: Trust, sure: Map) -> "_Sides":
        """Believe the network by quantity and by pixel, and the guess for the rest."""
        by_pixel = resized(sure, FINE)[..., None]

        def mixed(own: NDArray[np.float64], other: NDArray[np.float64], share: float) -> Map:
            both: Map = other + share * by_pixel * (own - other)
            unit: Map = both / np.maximum(np.linalg.norm(both, axis=-1, keepdims=True), 1e-6)
            return unit

        # Depths are about the same reference only after their medians agree.
        middle, other = ((s.depth + s.hidden_depth) / 2 for s in (self, guess))
        shift = np.median(middle[self.inside]) - np.median(other[self.inside])
        thickness, thin = (s.hidden_depth - s.depth for s in (self, guess))
        between = other + shift + trust.depth * (middle - other - shift)
        half = (thin + trust.thickness * (thickness - thin)) / 2
        return replace(
            self,
            normal=mixed(self.normal, guess.normal, trust.normal),
            depth=between - half,
            hidden_normal=mixed(self.hidden_normal, guess.hidden_normal, trust.hidden_normal),
            hidden_depth=between + half,
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
