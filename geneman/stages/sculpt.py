"""Stage 2: carve the person's surface out of the NeRF (METHOD section 4).

The NeRF's surface becomes a signed distance, frozen; a hash grid learns what to add to it, on a
band of tetrahedra along the surface, so that the extracted mesh looks like the given normals and
fills the mask. Steps alternate between the photo's view and guidance: learned priors judge the
mesh from drawn cameras; without judges the far side is held to the hidden side of the photo, and
in turn the mesh to views that a prior has drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from geneman.fields.adam import optimiser_of
from geneman.fields.fairing import fair_flanks
from geneman.fields.networks import EncodingConfig, FieldConfig, RadianceField, SdfField
from geneman.fields.shape import Shape, largest_component
from geneman.fields.signed_distance import carved, distance_grid, surface_of
from geneman.fields.tetrahedra import Lattice, band_along, evaluate
from geneman.mesh import Mesh
from geneman.priors.bundle import Guidance, Priors
from geneman.priors.drawn_views import DrawnViews
from geneman.progress import MeshPreview, Report
from geneman.renderers.raster import Rasterised, Surface, render, surface
from geneman.renderers.smoothness import normal_consistency, uniform_laplacian
from geneman.renderers.viewpoints import Part, Point, draw_camera, part_centres
from geneman.schedule import Constant, Ramp, Schedule, Switch
from geneman.training.checkpoints import Checkpoints
from geneman.training.loop import Losses, minimise
from geneman.view import ReferenceView

STAGE = "sculpt"
MASK_PIXELS = 512**2
"""The recipe sums the mask's error over this many pixels; at other sizes it is scaled."""

Weight = Annotated[float, Meta(ge=0)]


@dataclass(frozen=True)
class SculptConfig:
    """Numbers of the sculpting stage; defaults are the released recipe's (METHOD section 4)."""

    steps: Annotated[int, Meta(ge=0, le=100_000)] = 3000
    """Gradient steps."""
    learning_rate: Schedule = Constant(2e-5)
    """Of AdamW."""
    field: FieldConfig = field(default_factory=lambda: FieldConfig(EncodingConfig(growth=1.381913)))
    """What is learnt: a hash grid up to 2048 cells and one hidden layer."""
    open_levels: Schedule = Ramp(start=8, stop=16, begin=250, end=2250)
    """Levels of the hash grid in use, rounded down."""
    resolution: Schedule = Constant(256)
    """Cells of the tetrahedral lattice along the longest side of the person's box. The release
    lays 512 along a cube of which a person fills 48 %."""
    size: Annotated[int, Meta(ge=32, le=2048)] = 512
    """Pixels along a side of the renders."""
    reference_every: Annotated[int, Meta(ge=1)] = 2
    """One step in so many looks from the photo's view, the others are guidance."""
    density_threshold: Annotated[float, Meta(gt=0)] = 25.0
    """Density of the NeRF's surface, per scene unit (METHOD section 3)."""
    initial_resolution: Annotated[int, Meta(ge=16, le=512)] = 256
    """Cells along the box's longest side at which the NeRF is read and the distance kept."""
    initial_blur: Annotated[float, Meta(ge=0, le=8)] = 1.0
    """Smoothing of density and of the first distance, in those cells. Ours."""
    normal_weight: Weight = 3000.0
    """Mean of 1 - cos to the given normals."""
    perceptual_weight: Weight = 100.0
    """Perceptual distance of normal maps, where there is such a prior."""
    mask_weight: Weight = 1.0
    """Squared error of the mask, summed over 512 x 512 pixels."""
    hidden_weight: Weight = 3000.0
    """Mean of 1 - cos to the hidden side's normals, where no prior guides. Ours."""
    distance_weight: Weight = 1500.0
    """Squared deviation from the first distance (scene units), as if summed over 100 000 points
    close to the surface."""
    reach: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Scene units that the distance may move from the first one at most; 0 sets no bound. Ours:
    before an arm, where depth jumps, sheets else fold over the body."""
    consistency_weight: Schedule = Switch(before=0.0, after=1000.0, at=2000)
    """Mean of 1 - cos between neighbouring normals."""
    laplacian_weight: Schedule = Switch(before=0.0, after=5000.0, at=2000)
    """Mean distance of vertices from their neighbours' mean, in scene units."""
    guidance_weight: Weight = 1.0
    """Of each learned judge; 0: none is asked."""
    views: Annotated[int, Meta(ge=0, le=64)] = 0
    """Ours: views drawn once by the prior of views, and learnt from where no judge is asked."""
    view_weight: Weight = 1500.0
    """Ours: mean of 1 - cos to the normals of drawn views, by their confidence."""
    view_mask_weight: Weight = 0.2
    """Ours: squared error of the mask in drawn views, summed over 512 x 512 pixels."""
    normal_noise: Schedule = Switch(before=0.80, after=0.21, at=2000)
    """Highest diffusion time drawn for normals; the lowest is 0.02."""
    depth_noise: Schedule = Switch(before=0.81, after=0.11, at=2000)
    """Highest diffusion time drawn for depth; the lowest is 0.02."""
    fairing: Annotated[float, Meta(ge=0, le=0.2)] = 0.0
    """Scene units: bumps shorter than this are taken from the flanks at the end. Ours, for want
    of a prior that has seen flanks."""
    preview_every: Annotated[int, Meta(ge=1)] = 100
    """Steps between mesh previews."""


REGULARISED_POINTS = 100_000
LOWEST_NOISE = 0.02


def run(
    view: ReferenceView,
    field: RadianceField,
    *,
    priors: Priors,
    config: SculptConfig,
    report: Report,
    generator: torch.Generator,
    checkpoints: Checkpoints,
    device: torch.device,
) -> Mesh:
    """Sculpt the person.

    Args:
        view: The photo and what is known about both of its sides.
        field: What stage 1 made of it.
        priors: Judges of normals, depth and likeness; all optional.
        config: Numbers of this stage.
        report: Receives steps and mesh previews; may raise `Cancelled`.
        generator: Source of all randomness.
        checkpoints: Where the state is kept, and looked for first.
        device: Where to compute.

    Returns:
        One closed component that faces outward, in world coordinates.

    Raises:
        EmptySurfaceError: The NeRF holds no surface, or it vanished.
        DivergedError: A loss is not finite.
    """
    box = view.bounds()
    first_distance = _first_distance(field, view, config, device)
    learnt = SdfField(config.field, box, generator, first_distance, reach=config.reach)
    shape = Shape(learnt.to(device))
    optimiser = optimiser_of(learnt.parameters(), learnt.encoding)
    reference = _Reference.of(view, config.size, device)
    lattice = Lattice(box, int(config.resolution(0)))
    band = band_along(learnt.initial, lattice, device=device)
    first = surface(band.surface(evaluate(learnt.initial, band.points)))
    guide = _Guide.of(reference, priors, first, config, generator)

    def objective(step: int) -> Losses:
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate(step)
        learnt.encoding.open_levels = int(config.open_levels(step))
        mesh, deviation = shape.surface(int(config.resolution(step)))
        seen = surface(mesh)
        if step % config.preview_every == 0:
            report(MeshPreview(STAGE, step, mesh.vertices.detach().cpu(), mesh.faces.cpu()))
        if step % config.reference_every == 0:
            losses = reference.losses(seen, config, priors)
        else:
            losses = guide.losses(seen, step)
            losses["distance"] = config.distance_weight * REGULARISED_POINTS * deviation
        losses["consistency"] = config.consistency_weight(step) * normal_consistency(seen)
        losses["laplacian"] = config.laplacian_weight(step) * uniform_laplacian(seen)
        return losses

    minimise(
        objective,
        optimiser,
        stage=STAGE,
        steps=config.steps,
        report=report,
        checkpoints=checkpoints,
        parts={"field": learnt, "shape": shape, "views": guide.views},
        generator=generator,
    )
    last = max(config.steps - 1, 0)
    learnt.encoding.open_levels = int(config.open_levels(last))
    with torch.no_grad():
        mesh = shape.surface(int(config.resolution(last)))[0]
    return fair_flanks(largest_component(mesh), view.camera, config.fairing)


def _first_distance(
    field: RadianceField, view: ReferenceView, config: SculptConfig, device: torch.device
) -> Float[Tensor, "x y z"]:
    """Turn the NeRF into the frozen signed distance that everything is measured from."""
    box, resolution, blur = view.bounds(), config.initial_resolution, config.initial_blur
    threshold = config.density_threshold
    mesh = surface_of(
        field.density, box, resolution=resolution, threshold=threshold, blur=blur, device=device
    )
    return carved(distance_grid(mesh, box, resolution=resolution, blur=blur), box, view)


@dataclass(frozen=True)
class _Reference:
    """The photo's maps at the size of the renders."""

    view: ReferenceView
    mask: Float[Tensor, "s s"]
    normal: Float[Tensor, "s s 3"]
    hidden: Float[Tensor, "s s 3"]

    @staticmethod
    def of(view: ReferenceView, size: int, device: torch.device) -> "_Reference":
        mask = _resized(view.mask[..., None], size)
        inside = view.inside[..., None].to(view.mask)
        front, back = (
            normalize(_resized(normal * inside, size), dim=-1).to(device)
            for normal in (view.normal, view.hidden.normal)
        )
        return _Reference(view, mask[..., 0].to(device), front, back)

    def losses(self, seen: Surface, config: SculptConfig, priors: Priors) -> Losses:
        """Compare the mesh with the photo's own view."""
        drawn = render(seen, self.view.camera, config.size)
        losses = {
            "mask": self.mask_loss(drawn, config),
            "normal": config.normal_weight * self._turned(drawn, self.normal),
        }
        if priors.perceptual is not None:
            pictures = [_normal_picture(n, self.mask) for n in (drawn.normal, self.normal)]
            distance = priors.perceptual(pictures[0][None], pictures[1][None])
            losses["perceptual"] = config.perceptual_weight * distance
        return losses

    def hidden_losses(self, seen: Surface, config: SculptConfig) -> Losses:
        """Compare the far side of the mesh with the hidden side of the photo."""
        drawn = render(seen, self.view.camera, config.size, far_side=True)
        return {
            "mask": self.mask_loss(drawn, config),
            "hidden": config.hidden_weight * self._turned(drawn, self.hidden),
        }

    def mask_loss(self, drawn: Rasterised, config: SculptConfig) -> Float[Tensor, ""]:
        """Squared error of the cover, as if summed over the recipe's pixels."""
        return config.mask_weight * MASK_PIXELS * (drawn.mask - self.mask).square().mean()

    def _turned(self, drawn: Rasterised, normal: Float[Tensor, "s s 3"]) -> Float[Tensor, ""]:
        """Give the mean of 1 - cos where both the photo and the mesh show the person."""
        both = (self.mask > 0.5) & (drawn.raster.triangle >= 0)  # noqa: PLR2004 (half a pixel)
        agreement = (drawn.normal * normal).sum(dim=-1) * both
        return 1 - agreement.sum() / both.sum().clamp(min=1)


@dataclass(frozen=True)
class _Guide:
    """Who judges the sides that the photo does not show."""

    reference: _Reference
    judges: Mapping[str, Guidance]
    centres: Mapping[Part, Point]
    config: SculptConfig
    generator: torch.Generator
    views: DrawnViews

    @staticmethod
    def of(
        reference: _Reference,
        priors: Priors,
        first: Surface,
        config: SculptConfig,
        generator: torch.Generator,
    ) -> "_Guide":
        """Condition the priors on the photo, and find the parts on the first surface."""
        view = reference.view
        named = {"normal": priors.normal, "depth": priors.depth}
        asked = config.guidance_weight > 0
        judges = {name: prior.condition(view) for name, prior in named.items() if prior and asked}
        with torch.no_grad():
            seen = render(first, view.camera, config.size)
            centres = part_centres(view.landmarks, seen, view.framing)
        views = DrawnViews.around(view, priors, config.views, generator)
        return _Guide(reference, judges, centres, config, generator, views)

    def losses(self, seen: Surface, step: int) -> Losses:
        """Judge the mesh from a drawn camera, or hold it to the hidden side without judges."""
        if not self.judges:
            if self.views and step // self.config.reference_every % 2 == 1:
                return self._drawn_losses(seen)
            return self.reference.hidden_losses(seen, self.config)
        _, orbit = draw_camera(self.centres, self.generator)
        drawn = render(seen, orbit, self.config.size)
        pictures = {
            "normal": (_normal_picture(drawn.normal, drawn.mask), self.config.normal_noise),
            "depth": (_depth_picture(drawn), self.config.depth_noise),
        }
        losses = {}
        for name, judge in self.judges.items():
            picture, noise = pictures[name]
            bounds = (LOWEST_NOISE, noise(step))
            loss = judge(picture[None], [orbit], noise=bounds, generator=self.generator)
            losses[f"{name}_guidance"] = self.config.guidance_weight * loss
        return losses

    def _drawn_losses(self, seen: Surface) -> Losses:
        """Compare the mesh with a view that a prior has drawn, as far as it is sure."""
        views, config = self.views(), self.config
        index = int(torch.randint(len(views.orbits), (), generator=self.generator))
        sure, mask = views.normal_confidence[index], views.mask[index]
        drawn = render(seen, views.orbits[index], len(mask))
        both = (mask > 0.5) & (drawn.raster.triangle >= 0)  # noqa: PLR2004 (half a pixel)
        cosine = (drawn.normal * views.normal[index]).sum(dim=-1)
        weight = sure * both
        turned = ((1 - cosine) * weight).sum() / both.sum().clamp(min=1)
        outline = (sure * (drawn.mask - mask).square()).mean()
        return {
            "view_normal": config.view_weight * turned,
            "view_mask": config.view_mask_weight * MASK_PIXELS * outline,
        }


def _normal_picture(
    normal: Float[Tensor, "s s 3"], mask: Float[Tensor, "s s"]
) -> Float[Tensor, "s s 3"]:
    """Map normals to [0, 1], on black."""
    return (normal * 0.5 + 0.5) * mask[..., None]


def _depth_picture(drawn: Rasterised) -> Float[Tensor, "s s 3"]:
    """Map inverse depth to [0, 1] within the person, thrice; 0 outside."""
    covered = drawn.raster.triangle >= 0
    inverse = 1 / torch.where(covered, drawn.depth, torch.ones_like(drawn.depth))
    known = inverse.detach()[covered]
    if len(known) == 0:
        return torch.zeros_like(drawn.normal)
    low, high = known.min(), known.max()
    share = (inverse - low) / (high - low).clamp(min=1e-6)  # a flat person is all near
    return (share * covered)[..., None].expand(-1, -1, 3)


def _resized(image: Float[Tensor, "h w c"], size: int) -> Float[Tensor, "s s c"]:
    """Average down, or interpolate up, to a square."""
    planes = image.permute(2, 0, 1)[None]
    if image.shape[0] >= size:
        resized = interpolate(planes, size=(size, size), mode="area")
    else:
        resized = interpolate(planes, size=(size, size), mode="bilinear", align_corners=False)
    return resized[0].permute(1, 2, 0)
