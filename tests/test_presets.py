"""RELEASED and PAPER say what METHOD.md says, row by row; every preset keeps its own limits."""

import pytest
import torch

from geneman.presets import PAPER, PRESETS, Recipe
from geneman.schedule import Switch
from geneman.settings import describe, from_json, to_json
from tests.released_recipe import BLOCKS, DOCS, ROWS, Row, at, block, differences


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section} {row.what}")
def test_every_released_number_is_ours_or_the_difference_is_explained(row: Row) -> None:
    assert row.equal or row.why, f"METHOD section {row.section}: {row.ours}"


def test_most_released_numbers_are_ours() -> None:
    named = [row for row in ROWS if row.setting is not None]
    differing = {row.setting for row in named if not row.equal}
    assert differing == {
        "sculpt.initial_resolution",
        "sculpt.resolution",
        "pixel_texture.texture_size",
    }
    assert len(named) > 70


def test_paper_differs_where_the_text_does_and_nowhere_else() -> None:
    assert differences() == {
        "nerf_init.resolution.before",
        "nerf_init.depth",
        "nerf_init.pearson",
        "nerf_init.normal",
        "sculpt.normal_weight",
        "latent_texture.steps",
        "latent_texture.reference_difference",
        "latent_texture.views_per_step",
        "pixel_texture.route",
    }
    assert PAPER.nerf_init.resolution == Switch(256, 384, at=3000)
    assert (PAPER.latent_texture.steps, PAPER.pixel_texture.uv.steps) == (10_000, 1000)
    told = {row.setting for row in ROWS if row.paper is not None}
    assert {path.removesuffix(".before") for path in differences()} <= told


def test_the_papers_normal_loss_is_ours_at_two_thirds() -> None:
    drawn = torch.randn(2, 500, 3, generator=torch.Generator().manual_seed(0))
    first, second = torch.nn.functional.normalize(drawn, dim=-1)
    squared = 3000 * (first - second).square().mean()
    turned = PAPER.sculpt.normal_weight * (1 - (first * second).sum(dim=-1)).mean()
    torch.testing.assert_close(squared, turned)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.paper is not None], ids=lambda r: r.what
)
def test_what_the_text_tells_otherwise_is_papers_or_said_to_be_ours(row: Row) -> None:
    told = row.papers == row.paper
    differs_as_told = isinstance(row.paper, str) and row.papers != row.ours
    assert told or differs_as_told, f"METHOD section {row.section}: {row.papers}"


@pytest.mark.parametrize("name", BLOCKS)
def test_the_tables_in_the_docs_are_what_the_presets_say(name: str) -> None:
    assert block(name, BLOCKS[name]()) in DOCS.read_text(), "run: python -m tests.released_recipe"


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
