"""Recipes are made to fit, run again one tier lower, and refused in one sentence."""

import dataclasses

import pytest
import torch

from geneman.errors import DeviceMemoryError
from geneman.memory.costs import DEVICES, GIGA
from geneman.memory.fitting import SPARE, fitted, preflight, run_within_memory
from geneman.memory.plan import plan
from geneman.presets import FULL, PRESETS, RELEASED, Recipe
from geneman.priors.economy import TIERS, Economy
from geneman.schedule import Switch


@pytest.mark.parametrize("name", sorted(FULL))
@pytest.mark.parametrize("gigabytes", [8, 12, 16, 24])
def test_every_preset_fits_every_size_of_device_that_has_a_tier(name: str, gigabytes: int) -> None:
    made = preflight(PRESETS[name], gigabytes * GIGA)
    assert made.largest.memory <= SPARE * gigabytes * GIGA
    higher = TIERS[: TIERS.index(made.tier)]
    for tier in higher:  # the first that fits
        needed = fitted(PRESETS[name], tier).largest.memory
        assert needed > SPARE * gigabytes * GIGA


def test_the_highest_tier_that_fits_is_taken_and_changes_nothing_but_sizes() -> None:
    assert preflight(RELEASED, 80 * GIGA).tier is TIERS[0]
    assert preflight(RELEASED, 80 * GIGA).recipe == RELEASED
    small = preflight(RELEASED, 8 * GIGA).recipe
    assert small.nerf_init.resolution == Switch(128, 160, at=3000)
    assert (small.sculpt.size, small.latent_texture.render_size) == (208, 416)
    back = dataclasses.replace(
        small,
        nerf_init=dataclasses.replace(small.nerf_init, resolution=RELEASED.nerf_init.resolution),
        sculpt=dataclasses.replace(small.sculpt, size=512),
        latent_texture=dataclasses.replace(small.latent_texture, render_size=1024),
    )
    assert back == RELEASED


def test_too_small_a_device_is_refused_with_stage_numbers_and_remedy() -> None:
    with pytest.raises(
        DeviceMemoryError, match=r"nerf_init needs about 6\.\d GB even with atten"
    ) as e:
        preflight(RELEASED, 4 * GIGA)
    assert "has 4.0 GB free: close other programs" in str(e.value)


def test_needs_fall_from_tier_to_tier_and_grow_with_the_recipe() -> None:
    needs = [max(stage.memory for stage in fitted(RELEASED, tier).stages) for tier in TIERS]
    assert needs == sorted(needs, reverse=True)
    views = dataclasses.replace(RELEASED.latent_texture, views_per_step=4)
    larger = plan(dataclasses.replace(RELEASED, latent_texture=views), TIERS[0])
    for before, after in zip(plan(RELEASED, TIERS[0]), larger, strict=True):
        more = before.stage == "latent_texture"
        assert (after.memory > before.memory) == more
        assert (after.half > before.half) == more


def test_time_is_arithmetic_and_traffic_of_the_steps() -> None:
    for device in DEVICES:
        for stage in plan(RELEASED, TIERS[0]):
            twice = dataclasses.replace(
                stage, half=2 * stage.half, single=2 * stage.single, moved=2 * stage.moved
            )
            idle = stage.steps * 0.02
            assert twice.seconds(device) - idle == pytest.approx(2 * (stage.seconds(device) - idle))


class Hungry:
    """A run that needs more memory than the first tiers leave."""

    def __init__(self, fits_at: int) -> None:
        self.fits_at, self.tried = fits_at, list[Recipe]()

    def __call__(self, recipe: Recipe) -> None:
        self.tried.append(recipe)
        if len(self.tried) <= self.fits_at:
            raise DeviceMemoryError("sculpt needs more memory than the cuda has free: close.")


def test_a_run_that_runs_out_of_memory_goes_on_one_tier_lower_and_says_so() -> None:
    run, economy, said = Hungry(fits_at=2), Economy(), list[str]()
    run_within_memory(run, RELEASED, TIERS[0], economy, said.append)
    assert run.tried == [fitted(RELEASED, tier).recipe for tier in TIERS[:3]]
    assert economy.tier is TIERS[2]
    assert said == [
        f"sculpt needs more memory than the cuda has free; trying again with {tier}."
        for tier in TIERS[1:3]
    ]


def test_where_the_lowest_tier_is_too_high_the_error_stands() -> None:
    run, said = Hungry(fits_at=9), list[str]()
    with pytest.raises(DeviceMemoryError, match="sculpt needs more"):
        run_within_memory(run, RELEASED, TIERS[2], Economy(), said.append)
    assert (len(run.tried), len(said)) == (2, 1)


def test_other_errors_are_not_tried_again() -> None:
    def broken(recipe: Recipe) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_within_memory(broken, RELEASED, TIERS[0], Economy(), lambda line: None)


def test_a_lower_tier_frees_what_the_failed_try_held() -> None:
    import weakref

    held: list[weakref.ref[torch.Tensor]] = []

    def run(recipe: Recipe) -> None:
        assert all(each() is None for each in held)
        tensor = torch.zeros(1000)
        held.append(weakref.ref(tensor))
        if len(held) < 3:
            raise DeviceMemoryError("sculpt needs more memory: close.")

    run_within_memory(run, RELEASED, TIERS[0], Economy(), lambda line: None)
    assert len(held) == 3
