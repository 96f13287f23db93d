"""PAPER says what METHOD.md says, section by section; every preset keeps its own limits."""

import pytest

from geneman.presets import PAPER, PRESETS, Recipe
from geneman.schedule import Constant, Ramp, Switch
from geneman.settings import describe, from_json, to_json

GOLDEN: dict[str, dict[str, object]] = {
    "1 preprocessing": {
        "prepare.size": 1024,
    },
    "3 NeRF initialisation": {
        "nerf_init.steps": 5000,
        "nerf_init.learning_rate": 0.01,
        "nerf_init.resolution": Switch(128, 384, at=3000),
        "nerf_init.field.encoding.levels": 16,
        "nerf_init.field.encoding.log2_table": 19,
        "nerf_init.field.encoding.base": 16,
        "nerf_init.field.encoding.growth": 1.447269,
        "nerf_init.field.width": 64,
        "nerf_init.field.blob_density": 10.0,
        "nerf_init.field.blob_radius": 0.5,
        "nerf_init.open_levels": Ramp(8, 16, 2000, 6000),
        "nerf_init.occupancy_resolution": 32,
        "nerf_init.occupancy_threshold": 0.01,
        "nerf_init.reference_every": 4,
        "nerf_init.elevation": (-10.0, 45.0),
        "nerf_init.progressive_until": 200,
        "nerf_init.background": 1.0,
        "nerf_init.rgb": Constant(1000),
        "nerf_init.mask": Constant(0.05),
        "nerf_init.depth": Constant(10),
        "nerf_init.pearson": Constant(0),
        "nerf_init.normal": Constant(0),
        "nerf_init.normal_smoothness": Constant(5),
        "nerf_init.normal_smoothness_3d": Switch(5, 2, at=4000),
        "nerf_init.orientation": Switch(1, 10, at=2000),
        "nerf_init.sparsity": Switch(0.1, 10, at=2000),
        "nerf_init.opaque": Switch(0.1, 10, at=2000),
        "nerf_init.guidance_2d": Constant(0.1),
        "nerf_init.guidance_3d": Constant(0.3),
        "nerf_init.noise_low": Ramp(0.7, 0.2, 0, 200),
        "nerf_init.noise_high": Ramp(0.85, 0.5, 0, 200),
    },
    "4 sculpting": {
        "sculpt.steps": 3000,
        "sculpt.learning_rate": Constant(2e-5),
        "sculpt.field.encoding.levels": 16,
        "sculpt.field.encoding.log2_table": 19,
        "sculpt.field.encoding.base": 16,
        "sculpt.field.encoding.growth": 1.381913,
        "sculpt.field.width": 64,
        "sculpt.open_levels": Ramp(8, 16, 250, 2250),
        "sculpt.size": 512,
        "sculpt.reference_every": 2,
        "sculpt.density_threshold": 25.0,
        "sculpt.normal_weight": 3000.0,
        "sculpt.perceptual_weight": 100.0,
        "sculpt.mask_weight": 1.0,
        "sculpt.distance_weight": 1500.0,
        "sculpt.consistency_weight": Switch(0.0, 1000.0, at=2000),
        "sculpt.laplacian_weight": Switch(0.0, 5000.0, at=2000),
        "sculpt.guidance_weight": 1.0,
        "sculpt.normal_noise": Switch(0.80, 0.21, at=2000),
        "sculpt.depth_noise": Switch(0.81, 0.11, at=2000),
    },
    "5 coarse texture": {
        "latent_texture.steps": 2000,
        "latent_texture.render_size": 1024,
        "latent_texture.reference_every": 2,
        "latent_texture.field.encoding.levels": 16,
        "latent_texture.field.encoding.log2_table": 19,
        "latent_texture.field.encoding.growth": 1.447269,
        "latent_texture.field.width": 64,
        "latent_texture.encoding_rate": 0.01,
        "latent_texture.network_rate": 0.001,
        "latent_texture.reference_weight": 1000.0,
        "latent_texture.image_weight": 0.1,
        "latent_texture.novel_view_weight": 0.3,
        "latent_texture.noise_low": Ramp(0.7, 0.2, 0, 200),
        "latent_texture.noise_high": Ramp(0.85, 0.5, 0, 200),
        "latent_texture.elevation_low": -10.0,
        "latent_texture.elevation_high": 45.0,
    },
    "6 refinement": {
        "pixel_texture.views": 120,
        "pixel_texture.render_size": 512,
        "pixel_texture.reference_every": 2,
        "pixel_texture.reference_weight": 1000.0,
        "pixel_texture.field_rate": 0.01,
        "pixel_texture.field.steps": 10_000,
        "pixel_texture.uv.steps": 1000,
    },
}


def at(recipe: object, path: str) -> object:
    for name in path.split("."):
        recipe = getattr(recipe, name)
    return recipe


@pytest.mark.parametrize(
    ("section", "path", "value"),
    [(s, path, value) for s, values in GOLDEN.items() for path, value in values.items()],
)
def test_paper_holds_the_numbers_of_the_method(section: str, path: str, value: object) -> None:
    assert at(PAPER, path) == value, f"METHOD section {section}"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_keeps_its_limits_and_survives_json(name: str) -> None:
    assert from_json(Recipe, to_json(PRESETS[name])) == PRESETS[name]


def test_every_setting_has_a_text() -> None:
    silent = [field.path for field in describe(PAPER) if not field.text]
    assert silent == []


def test_presets_grow_from_draft_to_paper() -> None:
    for stage in ("nerf_init", "sculpt", "latent_texture"):
        steps = [int(str(at(PRESETS[n], f"{stage}.steps"))) for n in ("draft", "standard", "paper")]
        assert steps == sorted(steps), stage
