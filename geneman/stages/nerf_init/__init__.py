"""Stage 1: a radiance field that looks like the photo (paper section 3.2; METHOD sections 2, 3).

Reference steps compare the field with the photo; guidance steps ask the priors about other
views. Without judges, guidance steps compare the field's far side with what the reference view
believes about it, keep the rest of space empty, and in turn look at views that a prior has drawn.
"""

import contextlib
import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.camera import Orbit, Rays, pixel_grid
from geneman.errors import EmptySurfaceError
from geneman.fields.adam import optimiser_of
from geneman.fields.networks import RadianceField
from geneman.fields.signed_distance import surface_of
from geneman.priors.bundle import Guidance, Priors
from geneman.priors.drawn_views import DrawnViews
from geneman.progress import ImagePreview, MeshPreview, Report
from geneman.renderers.occupancy import OccupancyGrid
from geneman.renderers.volume import Rendering, Sampling, render
from geneman.schedule import Constant, Schedule
from geneman.stages.nerf_init.config import NerfInitConfig as NerfInitConfig
from geneman.stages.nerf_init.drawn import DrawnTargets
from geneman.stages.nerf_init.targets import (
    GRID_CELLS,
    SURFACE_DENSITY,
    Side,
    Targets,
    shape_grid,
)
from geneman.stages.nerf_init.terms import (
    aligned_error,
    axial,
    decorrelation,
    half_transparent,
    mean_inside,
    metric_error,
    normal_error,
    normal_errors,
    orientation,
    roughness,
    sparsity,
)
from geneman.training.checkpoints import Checkpoints
from geneman.training.loop import Losses, minimise
from geneman.view import ReferenceView

STAGE = "nerf_init"


def run(
    view: ReferenceView,
    *,
    priors: Priors,
    config: NerfInitConfig,
    report: Report,
    generator: torch.Generator,
    checkpoints: Checkpoints,
    device: torch.device,
) -> RadianceField:
    """Fit a radiance field to a photo and the priors.

    Args:
        view: What the photo shows.
        priors: Those of images and novel views take part if they are there.
        config: Settings.
        report: Receives events.
        generator: Only source of randomness.
        checkpoints: Where the state is kept.
        device: Where to compute.

    Raises:
        DivergedError: A loss stopped being a finite number.
    """
    box = view.bounds()
    grid = shape_grid(view, box).to(device) if config.start_from_surfaces else None
    volume = RadianceField(config.field, box, generator, grid).to(device)
    occupancy = OccupancyGrid(box, config.occupancy_resolution).to(device)
    work = _NerfInit(view, priors, config, volume, occupancy, generator, device)
    optimiser = optimiser_of(
        volume.parameters(), volume.encoding, rate=config.learning_rate, epsilon=1e-8, decay=0.0
    )

    def objective(step: int) -> Losses:
        if step == 0 and grid is not None:
            # Long before anything is learnt, somebody can judge pose and outline.
            _show_start(volume, report, device)
        if step % config.preview_every == 0:
            report(ImagePreview(STAGE, step, work.picture(step)))
        return work.losses(step)

    minimise(
        objective,
        optimiser,
        stage=STAGE,
        steps=config.steps,
        report=report,
        checkpoints=checkpoints,
        parts={"field": volume, "occupancy": occupancy, "views": work.views},
        generator=generator,
    )
    return volume.requires_grad_(False)


def _show_start(volume: RadianceField, report: Report, device: torch.device) -> None:
    """Report the surface that the field starts from, if it encloses anything."""
    with contextlib.suppress(EmptySurfaceError):
        mesh = surface_of(
            volume.density,
            volume.box,
            resolution=GRID_CELLS,
            threshold=SURFACE_DENSITY,
            blur=1.0,
            device=device,
        )
        report(MeshPreview(STAGE, 0, mesh.vertices.cpu(), mesh.faces.cpu()))


class _NerfInit:
    """The objective of the stage: everything that stays the same from step to step."""

    def __init__(
        self,
        view: ReferenceView,
        priors: Priors,
        config: NerfInitConfig,
        volume: RadianceField,
        occupancy: OccupancyGrid,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.config, self.generator, self.device = config, generator, device
        self.volume, self.occupancy = volume, occupancy
        self.camera = view.camera
        self.targets = Targets(view, device)
        self.sampling = Sampling(config.ray_step, least_alpha=config.occupancy_threshold)
        named = ((priors.image, config.guidance_2d), (priors.novel_view, config.guidance_3d))
        self.guidance: list[tuple[Guidance, Schedule]] = [
            (prior.condition(view), weight)
            for prior, weight in named
            if prior is not None and weight != Constant(0)
        ]
        self.views = DrawnViews.around(view, priors, config.views, generator)

    @functools.cached_property
    def drawn(self) -> DrawnTargets:
        """The drawn views as targets."""
        return DrawnTargets(self.views(), self.device)

    def losses(self, step: int) -> Losses:
        """Give the weighted terms of a step."""
        config = self.config
        self.volume.encoding.open_levels = int(config.open_levels(step))
        if step % config.occupancy_every == 0:
            for _ in range(4 if step == 0 else 1):  # a first look must not miss a thin limb
                self.occupancy.update(
                    self.volume.density,
                    step=config.ray_step,
                    threshold=config.occupancy_threshold,
                    generator=self.generator,
                )
        if step % config.reference_every == 0:
            terms = self._reference(step)
        elif self.guidance:
            terms = self._ask_priors(step)
        elif self.views and step // config.reference_every % config.view_every == 0:
            terms = self._drawn_view(step)
        else:
            terms = self._hidden_side(step)
        return terms

    @torch.no_grad()
    def picture(self, step: int) -> Float[Tensor, "h w 3"]:
        """Render a small picture from a camera that goes round as the steps go by."""
        size = self.config.preview_size
        turn = 30.0 * (step // self.config.preview_every)
        rays = _to(Orbit(azimuth_deg=turn).rays(pixel_grid(size).reshape(-1, 2)), self.device)
        chunk = 16_384
        parts = [
            render(
                self.volume,
                Rays(rays.origins[i : i + chunk], rays.directions[i : i + chunk]),
                self.occupancy,
                self.sampling,
            ).over(self.config.background)
            for i in range(0, size * size, chunk)
        ]
        return torch.cat(parts).reshape(size, size, 3).clamp(0, 1).cpu()

    def _reference(self, step: int) -> Losses:
        """Compare the visible side with the photo."""
        config = self.config
        side, rays = self._draw_pixels(step, hidden=False)
        seen = self._render(rays)
        error = seen.over(config.background) - side.over(config.background)
        depth = axial(seen.depth, side)
        terms = {
            "rgb": config.rgb(step) * error.square().mean(),
            "mask": config.mask(step) * side.pixels * (seen.opacity - side.mask).square().mean(),
            "depth": config.depth(step) * aligned_error(depth, side),
            "pearson": config.pearson(step) * decorrelation(depth, side),
            "normal": config.normal(step) * normal_error(seen, side),
            **self._regularise(step, seen, rays, side.patch),
        }
        if not self.guidance:
            terms["metric_depth"] = config.metric_depth(step) * metric_error(depth, side)
        return _in_force(terms)

    def _hidden_side(self, step: int) -> Losses:
        """Compare the far side with what the view believes of it, and empty the rest."""
        config = self.config
        side, rays = self._draw_pixels(step, hidden=True)
        seen = self._render(rays)
        error = seen.over(config.background) - side.over(config.background)
        terms = {
            "hidden_colour": config.hidden_colour(step) * error.square().mean(),
            "mask": config.mask(step) * side.pixels * (seen.opacity - side.mask).square().mean(),
            "metric_depth": config.metric_depth(step) * metric_error(axial(seen.depth, side), side),
            "hidden_normal": config.hidden_normal(step) * normal_error(seen, side),
            "hull": config.hull(step) * self._outside_hull(),
            "symmetry": config.symmetry(step) * self.targets.mirrored * self._asymmetry(),
            "sparsity": config.sparsity(step) * sparsity(seen),
            **self._regularise(step, seen, rays, side.patch),
        }
        return _in_force(terms)

    def _drawn_view(self, step: int) -> Losses:
        """Compare the field with a view that a prior has drawn, as far as it is sure."""
        config = self.config
        index = int(self._random() * len(self.views.orbits))
        count = config.rays_per_step // 4
        drawn = self.drawn.pick(index, self._random(count) if count else None)
        side = drawn.side
        seen = self._render(drawn.rays)
        error = (seen.over(config.background) - side.over(config.background)).square().mean(dim=1)
        outline = (seen.opacity - side.mask).square() * drawn.normal_confidence
        turned = normal_errors(seen, side) * drawn.normal_confidence
        terms = {
            "view_colour": config.view_colour(step) * (error * drawn.colour_confidence).mean(),
            "view_mask": config.view_mask(step) * side.pixels * outline.mean(),
            "view_normal": config.view_normal(step) * mean_inside(turned, side),
            "hull": config.hull(step) * self._outside_hull(),
            **self._regularise(step, seen, drawn.rays, side.patch),
        }
        return _in_force(terms)

    def _ask_priors(self, step: int) -> Losses:
        """Show a whole image from a random side to the priors."""
        config, size = self.config, int(self.config.resolution(step))
        orbit = draw_camera(config, step, self.generator)
        rays = _to(orbit.rays(pixel_grid(size).reshape(-1, 2)), self.device)
        seen = self._render(rays)
        image = seen.over(config.background).reshape(1, size, size, 3)
        noise = config.noise_low(step), config.noise_high(step)
        terms = self._regularise(step, seen, rays, size)
        terms["sparsity"] = config.sparsity(step) * sparsity(seen)
        for index, (guidance, weight) in enumerate(self.guidance):
            judged = guidance(image, [orbit], noise=noise, generator=self.generator)
            terms[f"guidance_{index}"] = weight(step) * judged
        return _in_force(terms)

    def _regularise(self, step: int, seen: Rendering, rays: Rays, patch: int) -> Losses:
        """Give the terms that need no target; pixels come in squares of `patch` x `patch`."""
        config = self.config
        terms = {
            "orientation": config.orientation(step) * orientation(seen, rays),
            "opaque": config.opaque(step) * half_transparent(seen),
            "normal_smoothness": config.normal_smoothness(step) * roughness(seen.normal, patch),
        }
        weight = config.normal_smoothness_3d(step)
        if weight > 0 and len(seen.points) > 0:
            chosen = self._random(min(len(seen.points), 1024)) * len(seen.points)
            points = seen.points[chosen.long()]
            shift = torch.randn(
                points.shape, generator=self.generator, device=self.generator.device
            )
            moved = points + 0.01 * shift.to(self.device)
            nearby = self.volume.normal(moved, self.volume.density(moved))
            here = seen.point_normals[chosen.long()]
            terms["normal_smoothness_3d"] = weight * (here - nearby).abs().mean()
        return terms

    def _outside_hull(self) -> Tensor:
        """Mean opacity of random points that no person with this mask could reach."""
        points = self._random_points(2048)
        outside = ~self.targets.in_hull(points, self.camera)
        alpha = -torch.expm1(-self.volume.density(points) * self.config.ray_step)
        return (alpha * outside).sum() / outside.sum().clamp_min(1)

    def _asymmetry(self) -> Tensor:
        """Mean squared difference of the opacities of mirrored points inside the hull."""
        points = self._random_points(1024)
        mirrored = points * points.new_tensor([-1.0, 1.0, 1.0])
        both = self.targets.in_hull(points, self.camera)
        both &= self.targets.in_hull(mirrored, self.camera)
        density = self.volume.density(torch.cat([points, mirrored]))
        alpha = -torch.expm1(-density * self.config.ray_step)
        difference = alpha[: len(points)] - alpha[len(points) :]
        return (difference.square() * both).sum() / both.sum().clamp_min(1)

    def _draw_pixels(self, step: int, *, hidden: bool) -> tuple[Side, Rays]:
        """Choose the pixels of a step and give their targets and rays."""
        size = int(self.config.resolution(step))
        count = self.config.rays_per_step // 4
        draws = self._random(count) if count else None
        side = self.targets.side(size, hidden=hidden, draws=draws)
        return side, self.targets.rays(side, self.camera)

    def _render(self, rays: Rays) -> Rendering:
        jitter = self._random(len(rays.origins))
        return render(self.volume, rays, self.occupancy, self.sampling, jitter=jitter, normals=True)

    def _random(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) from the given generator, wherever that lives."""
        drawn = torch.rand(shape, generator=self.generator, device=self.generator.device)
        return drawn.to(self.device)

    def _random_points(self, count: int) -> Tensor:
        box = self.volume.box
        share = self._random(count, 3)
        return share.new_tensor(box.minimum) + share * share.new_tensor(box.size)


def draw_camera(config: NerfInitConfig, step: int, generator: torch.Generator) -> Orbit:
    """Draw a camera: half of them uniform in elevation, half uniform on the sphere's band.

    Args:
        config: Gives the ranges.
        step: The ranges open linearly from the reference pose until `progressive_until`.
        generator: Source of randomness.
    """
    opened = min(1.0, (step + 1) / max(config.progressive_until, 1))
    low, high = (opened * bound for bound in config.elevation)
    draws = torch.rand(3, generator=generator, device=generator.device).tolist()
    if draws[0] < 0.5:  # noqa: PLR2004 (half of them)
        elevation = low + draws[1] * (high - low)
    else:
        bottom, top = (math.sin(math.radians(bound)) for bound in (low, high))
        elevation = math.degrees(math.asin(bottom + draws[1] * (top - bottom)))
    azimuth = opened * (draws[2] * 360 - 180)
    return Orbit(azimuth_deg=azimuth, elevation_deg=elevation)


def _in_force(terms: Losses) -> Losses:
    """Drop terms without a gradient: weight 0, or nothing seen."""
    return {name: value for name, value in terms.items() if value.requires_grad}


def _to(rays: Rays, device: torch.device) -> Rays:
    return Rays(rays.origins.to(device), rays.directions.to(device))
