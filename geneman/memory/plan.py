"""What each stage of a recipe will ask of a device with the full priors: planned before it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from geneman.memory.costs import (
    ACTIVATIONS,
    ARITHMETIC_SHARE,
    BANDWIDTH_SHARE,
    CLIP_EYE,
    CLIP_TEXT,
    CONTROLNET,
    DECODER,
    DENOISER,
    ENCODER,
    GIGA,
    STEP_SECONDS,
    ZERO123,
    ZERO123_ENCODER,
    Device,
    Network,
)
from geneman.presets import Recipe
from geneman.priors.economy import Tier
from geneman.priors.sapiens import LEAST_GIGABYTES
from geneman.schedule import Schedule
from geneman.stages.pixel_texture import Refinement

BOTH = 2
"""Images a call with steering: one with the conditions, one without."""
HASH_BYTES = 16 * 8 * 2 * 4
"""Read for one point: levels, corners, features, bytes."""
MARCHED = 40
"""Samples that a ray of a whole image takes on the mean: a person and the seam of the grid's
cells around it cover a sixth of the frame, some 240 samples deep."""
SAMPLE_BYTES = 1536
"""Kept for the way back of one sample: features at it and at three more for its normal."""
COVERED = 0.35
"""Of a frame's pixels, that a person covers."""
POINT_BYTES = 1024
"""Kept for the way back of one coloured point."""
CHECKED_BYTES = 1 * GIGA
"""Of torch and Warp themselves."""


@dataclass(frozen=True)
class StagePlan:
    """One stage, planned."""

    stage: str
    steps: int
    roles: tuple[str, ...]
    """Weights that take part."""
    half: float = 0.0
    """Floating point operations in half precision."""
    single: float = 0.0
    """In single precision."""
    moved: float = 0.0
    """Bytes read and written by renderers and fields."""
    memory: float = 0.0
    """Most bytes on the device at once."""

    def seconds(self, device: Device) -> float:
        """Estimate the time on a device: arithmetic and memory traffic, one after the other."""
        arithmetic = self.half / device.half + self.single / device.single
        traffic = self.moved / device.bandwidth
        return arithmetic / ARITHMETIC_SHARE + traffic / BANDWIDTH_SHARE + self.steps * STEP_SECONDS


@dataclass
class _Sum:
    """What a stage adds up to."""

    tier: Tier
    half: float = 0.0
    single: float = 0.0
    moved: float = 0.0
    weights: float = 0.0
    largest: float = 0.0
    extra: float = field(default=CHECKED_BYTES)

    def asks(self, network: Network, calls: float, images: int = 1, *, back: bool = False) -> None:
        """Count calls of a network, and its weights."""
        operations = calls * images * (network.forward + (network.backward if back else 0))
        single = network.single and self.tier.exact
        if single:
            self.single += operations
        else:
            self.half += operations
        size = network.parameters * (4 if single else 2)
        self.weights += size
        self.largest = max(self.largest, size)

    @property
    def memory(self) -> float:
        """Give the most bytes at once: all weights, or the largest network's where they go home."""
        return self.extra + (self.largest if self.tier.offload else self.weights)


def plan(recipe: Recipe, tier: Tier) -> tuple[StagePlan, ...]:
    """Plan the stages that ask networks, and `prepare`, which may."""
    made: Mapping[str, Callable[[Recipe, Tier], StagePlan]] = {
        "prepare": _prepare,
        "nerf_init": _nerf_init,
        "sculpt": _sculpt,
        "latent_texture": _latent_texture,
        "pixel_texture": _pixel_texture,
    }
    return tuple(planned(recipe, tier) for planned in made.values())


def _prepare(_: Recipe, tier: Tier) -> StagePlan:
    """Sapiens' two networks, one after the other, where they are there."""
    sapiens = 2_163_000_000 if tier.gigabytes >= LEAST_GIGABYTES else 0  # parameters, on the device
    operations = 2 * 8.709e12  # its paper's count at 1024 x 768, for both
    roles = ("person", "normals", "depth", "caption")
    memory = 4 * sapiens + 2 * GIGA
    return StagePlan("prepare", 2, roles, single=operations, memory=memory)


def _judged(total: _Sum, calls: float, views: int = 1, networks: int = 1) -> None:
    """Count score distillation by Stable Diffusion's family."""
    for _ in range(networks):
        total.asks(DENOISER, calls, BOTH * views)
        total.asks(ENCODER, calls, views, back=True)
    total.extra += views * (ACTIVATIONS["denoiser"] * (0.5 if total.tier.slicing else 1.0))
    total.extra += ACTIVATIONS["encoder"]  # one image after another


def _compared(total: _Sum, calls: float, views: int) -> None:
    """Count score distillation by Zero-1-to-3."""
    total.asks(ZERO123, calls, BOTH * views)
    total.asks(ZERO123_ENCODER, calls, views, back=True)
    total.weights += 4 * CLIP_EYE
    # A quarter of the pixels, twice the bytes.
    total.extra += ACTIVATIONS["encoder"] / (2 if total.tier.exact else 4)


def _nerf_init(recipe: Recipe, tier: Tier) -> StagePlan:
    config = recipe.nerf_init
    total = _Sum(tier)
    asked = config.steps * (1 - 1 / config.reference_every)
    _judged(total, asked)
    _compared(total, asked, 1)
    total.weights += 2 * CLIP_TEXT
    sizes = [config.resolution(step) for step in range(0, config.steps, 10)]
    samples = MARCHED * sum(size**2 for size in sizes) / len(sizes)
    # A sample is read four times (its normal needs three more points), and each twice again
    # on the way back.
    total.moved = config.steps * samples * 4 * 3 * HASH_BYTES
    total.extra += MARCHED * max(sizes) ** 2 * SAMPLE_BYTES
    return _made("nerf_init", config.steps, ("stable-diffusion", "geneman-2d", "geneman-3d"), total)


def _sculpt(recipe: Recipe, tier: Tier) -> StagePlan:
    config = recipe.sculpt
    total = _Sum(tier)
    asked = config.steps * (1 - 1 / config.reference_every)
    _judged(total, asked, networks=2)
    total.weights += 4 * CLIP_TEXT
    # The band along a surface of about one square unit, four cells deep.
    points = 4 * _most(config.resolution, config.steps) ** 2
    total.moved = config.steps * points * 3 * HASH_BYTES
    total.extra += points * POINT_BYTES + 40 * 16 * config.size**2
    roles = ("normal-adapted", "depth-adapted", "perceptual")
    return _made("sculpt", config.steps, roles, total)


def _latent_texture(recipe: Recipe, tier: Tier) -> StagePlan:
    config = recipe.latent_texture
    total = _Sum(tier)
    views = config.views_per_step
    asked = config.steps * (1 - 1 / config.reference_every)
    _judged(total, asked, views)
    _compared(total, asked, views)
    total.weights += 2 * CLIP_TEXT
    points = COVERED * config.render_size**2 * views
    total.moved = config.steps * points * 3 * HASH_BYTES
    total.extra += points * POINT_BYTES
    roles = ("stable-diffusion", "geneman-2d", "geneman-3d")
    return _made("latent_texture", config.steps, roles, total)


def _pixel_texture(recipe: Recipe, tier: Tier) -> StagePlan:
    config = recipe.pixel_texture
    total = _Sum(tier)
    route: Refinement = config.uv if config.route == "uv" else config.field
    # Views are edited when first seen, and at steps that both periods divide.
    guided = route.steps * (1 - 1 / config.reference_every)
    edits = min(config.views, guided)
    if route.edit_every % config.reference_every:
        edits += guided / route.edit_every
    strides = sum(route.noise_high(step) for step in range(0, route.steps, 10))
    calls = edits * (1 + 40 * strides / len(range(0, route.steps, 10)))
    total.asks(DENOISER, calls, BOTH)
    total.asks(CONTROLNET, calls, BOTH)
    total.asks(ENCODER, edits)
    total.asks(DECODER, edits)
    total.extra += ACTIVATIONS["decoder"] * (0.3 if tier.tiling else 1.0)
    total.extra += ACTIVATIONS["denoiser"] * (0.5 if tier.slicing else 1.0)
    total.weights += 2 * CLIP_TEXT
    points = COVERED * max(config.render_size, config.reference_size) ** 2
    total.moved = route.steps * points * 3 * HASH_BYTES
    total.extra += points * POINT_BYTES
    roles = ("normal-aligned", "geneman-2d", "controlnet-normal", "perceptual")
    return _made("pixel_texture", route.steps, roles, total)


def _made(stage: str, steps: int, roles: tuple[str, ...], total: _Sum) -> StagePlan:
    return StagePlan(
        stage, steps, roles, total.half, total.single, total.moved, memory=total.memory
    )


def _most(schedule: Schedule, steps: int) -> float:
    return max(schedule(step) for step in range(0, max(steps, 1), 10))
