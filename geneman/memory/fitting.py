"""Make a recipe fit a device: choose a tier beforehand, and go one lower where it was too high."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from geneman.errors import DeviceMemoryError
from geneman.memory.costs import GIGA
from geneman.memory.plan import StagePlan, plan
from geneman.presets import Recipe
from geneman.priors.economy import TIERS, Economy, Tier, free
from geneman.schedule import Constant, Ramp, Schedule, Switch

SPARE = 0.92
"""Of a device's free memory that is planned with: allocators leave gaps."""


@dataclass(frozen=True)
class Fitted:
    """A recipe at a tier, and what was changed for it."""

    tier: Tier
    recipe: Recipe
    stages: tuple[StagePlan, ...]

    @property
    def largest(self) -> StagePlan:
        """Give the stage that needs the most memory."""
        return max(self.stages, key=lambda stage: stage.memory)


def fitted(recipe: Recipe, tier: Tier) -> Fitted:
    """Make a recipe's renders as large as a tier allows; the rest of it stays."""
    share = tier.render_share
    if share < 1:
        nerf, sculpt, latent = recipe.nerf_init, recipe.sculpt, recipe.latent_texture
        recipe = dataclasses.replace(
            recipe,
            nerf_init=dataclasses.replace(nerf, resolution=_scaled(nerf.resolution, share)),
            sculpt=dataclasses.replace(sculpt, size=_whole(sculpt.size * share)),
            latent_texture=dataclasses.replace(
                latent, render_size=_whole(latent.render_size * share)
            ),
        )
    return Fitted(tier, recipe, plan(recipe, tier))


def preflight(recipe: Recipe, free_bytes: int) -> Fitted:
    """Choose the first tier that fits into the memory that is free.

    Raises:
        DeviceMemoryError: None does.
    """
    for tier in TIERS:
        made = fitted(recipe, tier)
        if made.largest.memory <= SPARE * free_bytes:
            return made
    needed = made.largest
    raise DeviceMemoryError(
        f"{needed.stage} needs about {needed.memory / GIGA:.1f} GB even with {needed_by(made.tier)}"
        f", but the device has {free_bytes / GIGA:.1f} GB free: close other programs, use a larger "
        "device, or choose --priors bundled."
    )


def needed_by(tier: Tier) -> str:
    """Say what a tier does, as part of a sentence."""
    return str(tier)


def run_within_memory(
    run: Callable[[Recipe], None],
    recipe: Recipe,
    first: Tier,
    economy: Economy,
    say: Callable[[str], None],
) -> None:
    """Run a recipe, and again one tier lower each time the device runs out of memory.

    What was done stays done: a stage whose settings did not change goes on from its checkpoint.

    Args:
        run: Reconstructs by a recipe.
        recipe: The one that is wanted.
        first: The tier to begin with.
        economy: Of the networks.
        say: Is told, in a sentence, what is tried next and why.

    Raises:
        DeviceMemoryError: The lowest tier was too high.
    """
    for tier in TIERS[TIERS.index(first) :]:
        economy.use(tier)
        try:
            run(fitted(recipe, tier).recipe)
        except DeviceMemoryError as error:
            if tier is TIERS[-1]:
                raise
            lower = TIERS[TIERS.index(tier) + 1]
            say(f"{str(error).partition(':')[0]}; trying again with {lower}.")
        else:
            return
        free(economy.device)  # after the error, whose traceback holds tensors, is gone


def free_bytes(device: torch.device) -> int | None:
    """Give the memory that a CUDA device has free; nothing for others, which swap."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def _scaled(schedule: Schedule, share: float) -> Schedule:
    match schedule:
        case Constant(value):
            return Constant(_whole(value * share))
        case Switch(before, after, at):
            # Small renders early cost nothing worth saving.
            low = min(before, _whole(after * share))
            return Switch(low, max(low, _whole(after * share)), at)
        case Ramp(start, stop, begin, end):
            return Ramp(_whole(start * share), _whole(stop * share), begin, end)


def _whole(size: float) -> int:
    """Round to a multiple of 16, which every render here takes."""
    return max(32, round(size / 16) * 16)
