"""Stage 3: give the frozen surface a field of colours (METHOD section 5).

Steps alternate between the photo and the learned priors' opinion of random views. Without
judges every step is one of the photo: the hidden side is then taught by what the shape prior
believes of it, and the flanks, which neither side shows, by the smoothest colours between; where
a prior draws views of the very shape, both are taught by these as far as it is sure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import max_pool2d, normalize

from geneman.camera import Orbit
from geneman.fields.adam import optimiser_of
from geneman.fields.atlas import decimate
from geneman.fields.membrane import spread
from geneman.fields.networks import ColourField, FieldConfig
from geneman.mesh import Box, Mesh, face_normals, vertex_normals
from geneman.priors.bundle import Guidance, Priors, ViewSampler
from geneman.priors.drawn_views import ring
from geneman.progress import ImagePreview, Report
from geneman.renderers.gathering import Picture, gather
from geneman.renderers.painting import colours_at
from geneman.renderers.projection import Trust, project
from geneman.renderers.textured import Look, look
from geneman.schedule import Ramp, Schedule
from geneman.training.checkpoints import Checkpoints
from geneman.training.loop import Losses, minimise
from geneman.view import ReferenceView

STAGE = "latent_texture"

PHOTO_TRUST = Trust(cosine=(0.0, 0.05), outline=(0.0, 1e-4))
"""All that the photo shows: METHOD keeps away from the outline by eroding the mask."""
KNOWN_TRUST = Trust(cosine=(0.05, 0.3))
"""What counts as shown well enough to need nothing from its neighbours."""
PREVIEW_SIZE = 320
VIEW_SIZE = 256
"""Pixels along a side of the shape's normals that are shown to a prior of views."""
FLANK_FACES = 20_000
"""Enough for colours that change slowly."""
PULL = 10.0
"""How much stronger a known colour holds than each of a vertex's neighbours."""
FAR = 100.0
"""Scene units: colours are to reach everywhere, not to fade."""


@dataclass(frozen=True)
class LatentTextureConfig:
    """Numbers of the coarse texture; the defaults are the released recipe's."""

    steps: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 2000
    """Gradient steps."""
    render_size: Annotated[int, msgspec.Meta(ge=32, le=2048)] = 1024
    """Side of the renders in pixels."""
    reference_every: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2
    """Every how many steps the photo is shown; the others belong to the learned priors."""
    views_per_step: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    """Random views given to the priors in one call."""
    points_per_step: Annotated[int, msgspec.Meta(ge=256, le=4_194_304)] = 1_048_576
    """Most points drawn from the photo, and as many from the hidden side (ours)."""
    field: FieldConfig = field(default_factory=FieldConfig)
    """Size of the colour field."""
    encoding_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.01
    """Learning rate of the hash grid."""
    network_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.001
    """Learning rate of the network."""
    reference_weight: Annotated[float, msgspec.Meta(ge=0)] = 1000.0
    """Difference from the photo."""
    reference_difference: Literal["l1", "mse"] = "l1"
    """Mean absolute (released recipe) or mean squared (paper) difference from the photo."""
    image_weight: Annotated[float, msgspec.Meta(ge=0)] = 0.1
    """The image prior's score."""
    novel_view_weight: Annotated[float, msgspec.Meta(ge=0)] = 0.3
    """The novel-view prior's score."""
    noise_low: Schedule = Ramp(start=0.7, stop=0.2, begin=0, end=200)
    """Lowest diffusion time drawn, as a share of the training range."""
    noise_high: Schedule = Ramp(start=0.85, stop=0.5, begin=0, end=200)
    """Highest diffusion time drawn."""
    hidden_weight: Annotated[float, msgspec.Meta(ge=0)] = 500.0
    """Mean absolute difference from the believed hidden side, without learned priors (ours)."""
    flank_weight: Annotated[float, msgspec.Meta(ge=0)] = 500.0
    """Mean absolute difference from the smoothest filling of what neither side shows, without
    learned priors (ours)."""
    flank_points: Annotated[int, msgspec.Meta(ge=1, le=4_194_304)] = 131_072
    """Surface points drawn for it, once."""
    views: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    """Views of the shape that the prior of views colours, once, where no prior is asked (ours)."""
    view_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.8
    """How far colours of hidden side and flanks move to the coloured views', where the prior is
    sure and a view faces them (ours)."""
    elevation_low: Annotated[float, msgspec.Meta(ge=-89, le=89)] = -10.0
    """Lowest camera, in degrees."""
    elevation_high: Annotated[float, msgspec.Meta(ge=-89, le=89)] = 45.0
    """Highest camera, in degrees."""
    preview_every: Annotated[int, msgspec.Meta(ge=1)] = 100
    """Steps between previews."""


@dataclass(frozen=True)
class _Shown:
    """Surface points whose colour a picture tells; N of them."""

    points: Float[Tensor, "n 3"]
    directions: Float[Tensor, "n 3"]
    """Unit normals there."""
    colours: Float[Tensor, "n 3"]
    weights: Float[Tensor, "n"]

    def drawn(self, most: int, generator: torch.Generator) -> "_Shown":
        """Pick at most so many, each as likely."""
        if len(self.points) <= most:
            return self
        choice = torch.randint(len(self.points), (most,), generator=generator)
        choice = choice.to(self.points.device)
        return _Shown(
            self.points[choice],
            self.directions[choice],
            self.colours[choice],
            self.weights[choice],
        )


def run(
    view: ReferenceView,
    mesh: Mesh,
    *,
    priors: Priors,
    config: LatentTextureConfig,
    report: Report,
    generator: torch.Generator,
    checkpoints: Checkpoints,
    device: torch.device,
) -> ColourField:
    """Fit a field of colours to the photo and to what the priors say of the rest.

    Args:
        view: The photo, and what is believed of the hidden side.
        mesh: The sculpted surface, closed and outward; it does not change.
        priors: `image` and `novel_view` are used where they are present.
        config: Numbers.
        report: Receives the steps and previews.
        generator: The only source of randomness.
        checkpoints: Where the state is kept.
        device: Where to compute; view and mesh lie there.
    """
    box = Box.around(mesh.vertices).padded(0.02)
    field = ColourField(config.field, box, generator).to(device)
    optimiser = optimiser_of(
        [
            {"params": list(field.encoding.parameters()), "lr": config.encoding_rate},
            {"params": list(field.network.parameters()), "lr": config.network_rate},
        ],
        field.encoding,
    )
    objective = _Objective(view, mesh, field, priors, config, report, generator)
    minimise(
        objective,
        optimiser,
        stage=STAGE,
        steps=config.steps,
        report=report,
        checkpoints=checkpoints,
        parts={"field": field},
        generator=generator,
    )
    return field


class _Objective:
    """What each step minimises."""

    def __init__(
        self,
        view: ReferenceView,
        mesh: Mesh,
        field: ColourField,
        priors: Priors,
        config: LatentTextureConfig,
        report: Report,
        generator: torch.Generator,
    ) -> None:
        self.mesh, self.field, self.config = mesh, field, config
        self.report, self.generator = report, generator
        self.guidance: dict[str, tuple[float, Guidance]] = {}
        if priors.image is not None and config.image_weight > 0:
            self.guidance["image"] = (config.image_weight, priors.image.condition(view))
        if priors.novel_view is not None and config.novel_view_weight > 0:
            weight = config.novel_view_weight
            self.guidance["novel_view"] = (weight, priors.novel_view.condition(view))
        self.photo = _shown(view, mesh, config.render_size, far_side=False)
        if not self.guidance:
            self.hidden = _shown(view, mesh, config.render_size, far_side=True)
            self.flanks = _flanks(view, mesh, config.flank_points, generator)
            if priors.views is not None and config.views:
                pictures = _coloured(mesh, priors.views.condition(view), config.views, generator)
                self.hidden = _believing(self.hidden, mesh, pictures, config.view_share)
                self.flanks = _believing(self.flanks, mesh, pictures, config.view_share)
        previewed = (view.camera, Orbit(azimuth_deg=90.0), Orbit(azimuth_deg=180.0))
        self.previewed = [look(mesh, orbit, PREVIEW_SIZE) for orbit in previewed]

    def __call__(self, step: int) -> Losses:
        if step % self.config.preview_every == 0:
            pictures = [_picture(self.field, seen) for seen in self.previewed]
            self.report(ImagePreview(STAGE, step, torch.cat(pictures, dim=1).cpu()))
        if not self.guidance:
            return self._taught_by_the_photo() | self._completed()
        if step % self.config.reference_every == 0:
            return self._taught_by_the_photo()
        return self._guided(step)

    def _taught_by_the_photo(self) -> Losses:
        shown = self.photo.drawn(self.config.points_per_step, self.generator)
        squared = self.config.reference_difference == "mse"
        return {"reference": self.config.reference_weight * self._misfit(shown, squared=squared)}

    def _completed(self) -> Losses:
        """Teach what the photo does not show, for want of a learned prior."""
        config = self.config
        hidden = self.hidden.drawn(config.points_per_step, self.generator)
        flanks = self.flanks.drawn(config.points_per_step, self.generator)
        return {
            "hidden": config.hidden_weight * self._misfit(hidden),
            "flanks": config.flank_weight * self._misfit(flanks),
        }

    def _misfit(self, shown: _Shown, *, squared: bool = False) -> Float[Tensor, ""]:
        """Weighted mean absolute difference, or mean squared difference."""
        gap = self.field.colour(shown.points) - shown.colours
        difference = (gap.square() if squared else gap.abs()).mean(dim=1)
        # A person who is nowhere seen well leaves no weight; the loss is then zero.
        misfit: Tensor = (shown.weights * difference).sum() / shown.weights.sum().clamp_min(1e-6)
        return misfit

    def _guided(self, step: int) -> Losses:
        config = self.config
        orbits = [_random_orbit(config, self.generator) for _ in range(config.views_per_step)]
        seen = [look(self.mesh, orbit, config.render_size) for orbit in orbits]
        images = torch.stack([each.picture(self.field.colour(each.points)) for each in seen])
        noise = (config.noise_low(step), config.noise_high(step))
        return {
            name: weight * judge(images, orbits, noise=noise, generator=self.generator)
            for name, (weight, judge) in self.guidance.items()
        }


def _random_orbit(config: LatentTextureConfig, generator: torch.Generator) -> Orbit:
    """Draw a camera: elevation half uniform in degrees, half on the sphere (METHOD section 2)."""
    around, height, flat = torch.rand(3, generator=generator).tolist()
    low, high = config.elevation_low, config.elevation_high
    elevation = low + (high - low) * height
    if flat < 0.5:  # noqa: PLR2004 (a half is a half)
        bottom, top = math.sin(math.radians(low)), math.sin(math.radians(high))
        elevation = math.degrees(math.asin(bottom + (top - bottom) * height))
    return Orbit(azimuth_deg=360 * around - 180, elevation_deg=elevation)


def _picture(field: ColourField, seen: Look) -> Float[Tensor, "s s 3"]:
    return seen.picture(colours_at(field.colour, seen.points))


def _shown(view: ReferenceView, mesh: Mesh, size: int, *, far_side: bool) -> _Shown:
    """List the surface points that the pixels of one side show, with their colours."""
    seen = look(mesh, view.camera, size, far_side=far_side)
    found = project(view, mesh, seen.points, seen.directions, trust=PHOTO_TRUST, far_side=far_side)
    weights = found.confidence * _eroded(view, size).flatten()[seen.pixels]
    kept = weights > 0
    return _Shown(seen.points[kept], seen.directions[kept], found.colour[kept], weights[kept])


def _eroded(view: ReferenceView, size: int) -> Float[Tensor, "s s"]:
    """Shrink the mask by a 9 x 9 window at 1024 pixels (METHOD section 5), and resize it."""
    radius = max(1, round(4 * view.size / 1024))
    outside = 1 - view.mask[None, None]
    shrunk = 1 - max_pool2d(outside, 2 * radius + 1, stride=1, padding=radius)
    resized: Tensor = torch.nn.functional.interpolate(shrunk, size=(size, size), mode="nearest")
    return (resized[0, 0] > 0.5).float()  # noqa: PLR2004 (a half is a half)


def _flanks(view: ReferenceView, mesh: Mesh, count: int, generator: torch.Generator) -> _Shown:
    """Draw points where neither side shows the surface, with the smoothest colours there.

    The known colours are spread as a membrane: what agreement between neighbours would end in.
    """
    coarse = decimate(mesh, FLANK_FACES)
    normals = vertex_normals(coarse)
    sides = [
        project(view, coarse, coarse.vertices, normals, trust=KNOWN_TRUST, far_side=side)
        for side in (False, True)
    ]
    trust = torch.stack([side.confidence for side in sides])[..., None]
    colours = (trust * torch.stack([side.colour for side in sides])).sum(dim=0)
    known = trust.sum(dim=0).clamp_min(1e-6)
    filled = spread(colours / known, PULL * known[:, 0].clamp_max(1), coarse, reach=FAR)
    corners = coarse.faces.long()
    need = (1 - known[corners].mean(dim=(1, 2))).clamp_min(0)
    ends = (face_normals(coarse).norm(dim=1) * need).double().cumsum(0)
    place = torch.rand(count, generator=generator, dtype=torch.float64).to(ends.device)
    triangle = torch.searchsorted(ends, place * ends[-1]).clamp_max(len(ends) - 1)
    # Exponential shares, divided by their sum, are uniform over a triangle.
    share = -torch.rand(count, 3, generator=generator).clamp_min(1e-9).log().to(filled)
    share = (share / share.sum(dim=1, keepdim=True))[:, :, None]
    points = (share * coarse.vertices[corners[triangle]]).sum(dim=1)
    directions = normalize((share * normals[corners[triangle]]).sum(dim=1), dim=1)
    return _Shown(
        points,
        directions,
        (share * filled[corners[triangle]]).sum(dim=1),
        torch.ones_like(place).to(points),
    )


def _coloured(
    mesh: Mesh, sampler: ViewSampler, count: int, generator: torch.Generator
) -> list[Picture]:
    """Let a prior colour the shape from all around; its own normals and masks are kept."""
    orbits = ring(count)
    seen = [look(mesh, orbit, VIEW_SIZE) for orbit in orbits]
    covered = [each.picture(torch.ones_like(each.points[:, :1]), background=0.0) for each in seen]
    views = sampler(
        orbits,
        generator=generator,
        normals=torch.stack([each.normals for each in seen]),
        masks=torch.cat(covered, dim=2).permute(2, 0, 1),
    )
    mask = views.mask.to(mesh.vertices)
    # The views stand before white; what is learnt from is the person's own colour.
    white = (1 - mask)[..., None]
    colour = ((views.colour.to(mask) - white) / (1 - white).clamp_min(0.05)).clamp(0, 1)
    sure = views.colour_confidence.to(mask)
    return [Picture(*each) for each in zip(orbits, colour, mask, sure, strict=True)]


def _believing(shown: _Shown, mesh: Mesh, pictures: Sequence[Picture], share: float) -> _Shown:
    """Move colours to those of the pictures that face the points."""
    found = gather(pictures, mesh, shown.points, shown.directions)
    sure = (share * found.confidence)[:, None]
    return replace(shown, colours=shown.colours + sure * (found.colour - shown.colours))
