"""The priors that a reconstruction is given, as protocols.

Stages ask for a term only if its prior is there; a bundle without learned priors is legal.
Two families keep these protocols: `bundled` (small, ours) and the full one (Stable Diffusion,
Zero-1-to-3, HumanNorm). Stages cannot tell which they were given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.camera import Orbit
from geneman.view import Framing, HiddenSide, ReferenceView


@runtime_checkable
class ShapePrior(Protocol):
    """Guesses the shape of both sides of a person from the cut-out photo (Sapiens' place)."""

    @property
    def name(self) -> str:
        """What `run.json` calls it."""

    def surfaces(
        self,
        colour: Float[Tensor, "h w 3"],
        mask: Float[Tensor, "h w"],
        landmarks: Float[Tensor, "33 4"],
        framing: Framing,
        *,
        normal: Float[Tensor, "h w 3"] | None = None,
        depth: Float[Tensor, "h w"] | None = None,
    ) -> "Surfaces":
        """Give both sides in the reference camera's frame; given maps are kept and completed.

        Args:
            colour: Recentred photo, sRGB.
            mask: Cover in [0, 1].
            landmarks: MediaPipe's body points in the same frame.
            framing: How much of the person is shown.
            normal: Camera-frame normals to believe, if known.
            depth: Depth up to scale and shift to believe, larger = farther, if known.
        """


@dataclass(frozen=True)
class Surfaces:
    """Both sides of a person along the reference camera's rays, in scene units."""

    normal: Float[Tensor, "h w 3"]
    depth: Float[Tensor, "h w"]
    hidden: HiddenSide


@runtime_checkable
class Guidance(Protocol):
    """Says how unlikely renders are, as a loss whose gradient is the distilled score."""

    def __call__(
        self,
        images: Float[Tensor, "b h w 3"],
        orbits: Sequence[Orbit],
        *,
        noise: tuple[float, float],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Judge renders from given cameras.

        Args:
            images: Renders in [0, 1]: colours, normals mapped to [0, 1], or depth thrice.
            orbits: The camera of each.
            noise: Lowest and highest diffusion time drawn, as shares of the training range.
            generator: Source of randomness.
        """


@runtime_checkable
class GuidancePrior(Protocol):
    """A diffusion prior that can be told whose renders it will judge."""

    def condition(self, view: ReferenceView) -> Guidance:
        """Compute the embeddings once (text, image) and keep them in the guidance."""


@runtime_checkable
class Editor(Protocol):
    """Repaints renders so that they look real: SDEdit with a normal ControlNet."""

    def __call__(
        self,
        images: Float[Tensor, "b h w 3"],
        normals: Float[Tensor, "b h w 3"],
        orbits: Sequence[Orbit],
        *,
        noise: tuple[float, float],
        generator: torch.Generator,
    ) -> Float[Tensor, "b h w 3"]:
        """Give target images for renders and their camera-frame normals, both in [0, 1]."""


@runtime_checkable
class EditorPrior(Protocol):
    """An editor that can be told whose renders it will repaint."""

    def condition(self, view: ReferenceView) -> Editor:
        """Compute the embeddings once and keep them in the editor."""


@runtime_checkable
class PerceptualDistance(Protocol):
    """LPIPS or its like."""

    def __call__(
        self, a: Float[Tensor, "b h w 3"], b: Float[Tensor, "b h w 3"]
    ) -> Float[Tensor, ""]:
        """Give the mean distance between images in [0, 1]."""


@dataclass(frozen=True)
class Views:
    """What a prior believes a person looks like from some cameras."""

    orbits: tuple[Orbit, ...]
    colour: Float[Tensor, "b h w 3"]
    """sRGB, on white."""
    mask: Float[Tensor, "b h w"]
    normal: Float[Tensor, "b h w 3"]
    """Unit, camera frame; meaningless outside the mask."""
    colour_confidence: Float[Tensor, "b h w"]
    """In [0, 1]: how sure the prior is of each colour."""
    normal_confidence: Float[Tensor, "b h w"]
    """The same of normals and mask."""


@runtime_checkable
class ViewSampler(Protocol):
    """Draws views of one person, all at once."""

    def __call__(
        self,
        orbits: Sequence[Orbit],
        *,
        generator: torch.Generator,
        normals: Float[Tensor, "b h w 3"] | None = None,
        masks: Float[Tensor, "b h w"] | None = None,
    ) -> Views:
        """Draw what the person looks like from cameras.

        Args:
            orbits: The cameras.
            generator: Source of randomness.
            normals: Of a shape to be coloured: camera frame, mapped to [0, 1] on black.
            masks: Its cover; given with the normals or not at all.
        """


@runtime_checkable
class ViewsPrior(Protocol):
    """A prior of whole views that can be told whom they will show."""

    def condition(self, view: ReferenceView) -> ViewSampler:
        """Look at the photo once."""


@runtime_checkable
class Captioner(Protocol):
    """Says what a photo shows."""

    def __call__(self, colour: Float[Tensor, "h w 3"], mask: Float[Tensor, "h w"]) -> str | None:
        """Describe the person; nothing if no sentence about a person comes out."""


@dataclass(frozen=True)
class Priors:
    """Everything known beforehand. Absent priors add no term."""

    shape: ShapePrior
    image: GuidancePrior | None = None
    """2D: colour renders (GeneMAN-2D's place)."""
    novel_view: GuidancePrior | None = None
    """3D: colour renders against the photo and the relative camera (GeneMAN-3D's place)."""
    normal: GuidancePrior | None = None
    """Camera-frame normals mapped to [0, 1] on black (HumanNorm's place)."""
    depth: GuidancePrior | None = None
    """Inverse depth in [0, 1], three equal channels (HumanNorm's place)."""
    views: ViewsPrior | None = None
    """Whole views drawn once and learnt from directly: minutes where distillation takes hours."""
    editor: EditorPrior | None = None
    perceptual: PerceptualDistance | None = None
    caption: Captioner | None = None
    """Words for a photo that comes without; the framing's stand in for it."""
