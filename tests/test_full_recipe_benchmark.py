"""The benchmark of the full recipe runs anywhere with tiny networks; on CUDA it has real ones."""

import torch

from geneman.memory import costs
from geneman.presets import SWIFT
from geneman.priors.economy import Economy
from geneman.schedule import Constant
from tests.benchmarks.full_recipe import TINY, at_its_last_step, calls, family, networks


def test_each_network_is_timed_beside_its_plan() -> None:
    made = family(TINY, Economy())
    sheet = costs.Device("slow", 1, half=1e9, single=1e9, bandwidth=1e9)
    rows = {row["network"]: row for row in networks(made, sheet, count=1)}
    assert set(rows) == {
        *("denoiser", "ControlNet", "Zero-1-to-3", "encoder", "its encoder", "decoder")
    }
    # Two images a call, 40 % of a billion operations a second.
    planned = 2 * costs.DENOISER.forward / 1e9 / 0.4 * 1000
    assert abs(rows["denoiser"]["planned_ms"] - planned) < 1e-6 * planned
    assert all(row["ms"] > 0 for row in rows.values())
    answers = {name: call() for name, *_, call in calls(made)}
    assert answers["denoiser"].sample.shape == (2, 4, 8, 8)
    (gradient,) = answers["encoder"]
    assert gradient.abs().max() > 0
    assert torch.isfinite(gradient).all()


def test_a_stage_is_timed_at_its_dearest_steps() -> None:
    held = at_its_last_step(SWIFT.latent_texture, 20)
    assert (held.steps, held.render_size) == (20, SWIFT.latent_texture.render_size)
    assert held.noise_low == Constant(0.2)
    assert at_its_last_step(SWIFT.sculpt, 4).consistency_weight == Constant(1000.0)
