"""The bundled view prior in the bundle's places: judges of renders, drawn views, repainted ones.

All ask one network. Colours and normals are judged by the network with the other layers absent;
views are drawn whole, with cover and normals; repainting holds a mesh's own cover and normals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from geneman.camera import Orbit
from geneman.priors.bundle import Guidance, Views, ViewSampler
from geneman.priors.bundled.view_model import Photo, ViewModel
from geneman.priors.bundled.view_network import folded, resized, unfolded
from geneman.priors.diffusion import Conditions, Latents
from geneman.priors.guidance import ScoreDistillation
from geneman.view import ReferenceView

DOUBT = 0.12
"""Difference between two drawings (mean of the channels, of 1) at which confidence is e^-1."""


@dataclass(frozen=True)
class Folds:
    """The codec of three-channel pictures: resized to the network's size, and folded."""

    size: int
    patch: int

    def encode(self, images: Float[Tensor, "b y x 3"]) -> Latents:
        """Fold pictures into patches; gradients pass."""
        return folded(resized(images.movedim(-1, 1), self.size), self.patch)

    def decode(self, latents: Latents, size: int) -> Float[Tensor, "b s s 3"]:
        """Unfold patches, and resize."""
        return resized(unfolded(latents, self.patch), size).movedim(1, -1)


@dataclass(frozen=True)
class ColourJudge:
    """A `GuidancePrior` of colours in front of white, given the photo (Zero-1-to-3's place)."""

    model: ViewModel
    scale: float = 5.0
    """METHOD section 3."""
    name: str = "view prior: colours"

    def condition(self, view: ReferenceView) -> Guidance:
        """Look at the photo once."""
        return judge(self.model.photographed(view), "colour", self.scale)


@dataclass(frozen=True)
class NormalJudge:
    """A `GuidancePrior` of camera-frame normals in front of black (HumanNorm's place)."""

    model: ViewModel
    scale: float = 5.0
    name: str = "view prior: normals"

    def condition(self, view: ReferenceView) -> Guidance:
        """Look at the photo once."""
        return judge(self.model.photographed(view), "normal", self.scale)


def judge(photo: Photo, layer: str, scale: float, *, forgotten: bool = False) -> ScoreDistillation:
    """Distil the score of one layer, which is all that the pictures have.

    Args:
        photo: What the network has looked at.
        layer: "colour" or "normal".
        scale: Of the classifier-free guidance.
        forgotten: Drop the photo: judge by the prior of all people.
    """
    shape = photo.model.network.shape

    def conditioning(orbits: Sequence[Orbit]) -> Conditions:
        return photo.conditions(orbits, (layer,), forgotten=forgotten)

    return ScoreDistillation(
        photo.diffusion((layer,), scale), Folds(shape.size, shape.patch), conditioning
    )


@dataclass(frozen=True)
class ViewPainter:
    """A `ViewsPrior`: whole views from any side, drawn in a few steps."""

    model: ViewModel
    drawings: int = 2
    """Drawings of each view; where they differ the prior is unsure."""
    batch: int = 4
    """Views that are drawn at once."""
    name: str = "view prior"

    def condition(self, view: ReferenceView) -> ViewSampler:
        """Look at the photo once."""
        return PaintedViews(self.model.photographed(view), self.drawings, self.batch)


@dataclass(frozen=True)
class PaintedViews:
    """A `ViewSampler` for one photo."""

    photo: Photo
    drawings: int
    batch: int

    def __call__(
        self,
        orbits: Sequence[Orbit],
        *,
        generator: torch.Generator,
        normals: Float[Tensor, "b h w 3"] | None = None,
        masks: Float[Tensor, "b h w"] | None = None,
    ) -> Views:
        """Draw views; see `geneman.priors.bundle.ViewSampler`."""
        size = self.photo.model.network.shape.size
        known = {}
        if normals is not None and masks is not None:
            known = {
                "cover": resized(masks[:, None], size),
                "normal": resized(normals.movedim(-1, 1), size),
            }
        # The noise of a drawing is the same in all of its views, batch after batch.
        seeds = torch.randint(
            2**62, (self.drawings,), generator=generator, device=generator.device
        ).tolist()
        drawings = []
        for seed in seeds:
            parts = []
            for start in range(0, len(orbits), self.batch):
                chosen = slice(start, start + self.batch)
                given = {name: layer[chosen] for name, layer in known.items()}
                again = torch.Generator(generator.device).manual_seed(seed)
                parts.append(self.photo.drawn(orbits[chosen], again, known=given))
            drawings.append(torch.cat(parts))
        return _views(tuple(orbits), torch.stack(drawings))


def _views(orbits: tuple[Orbit, ...], drawings: Float[Tensor, "d b 7 s s"]) -> Views:
    """Take the first drawing, and believe it where the others agree."""
    first = drawings[0].movedim(1, -1)
    cover = first[..., 3]
    apart = (drawings - drawings[:1]).abs().amax(dim=0)
    colour, normal = apart[:, :3].mean(dim=1), apart[:, 4:].mean(dim=1)
    sure = torch.exp(-((colour / DOUBT) ** 2)), torch.exp(-((normal / DOUBT) ** 2))
    towards = (first[..., 4:] / cover.clamp_min(1e-3)[..., None]).clamp(0, 1) * 2 - 1
    return Views(
        orbits=orbits,
        colour=first[..., :3],
        mask=cover,
        normal=normalize(towards, dim=-1),
        colour_confidence=sure[0],
        normal_confidence=sure[1],
    )
