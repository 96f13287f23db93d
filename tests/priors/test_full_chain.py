"""The paper's recipe through the whole chain with every full prior, tiny, at two steps a stage."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from geneman.chain import CHAIN
from geneman.pipeline import Request, reconstruct
from geneman.presets import PRESETS
from geneman.priors import weights
from geneman.priors.bundle import Priors
from geneman.priors.bundled.inflation import Inflation
from geneman.priors.economy import Economy
from geneman.priors.full import full_priors
from geneman.progress import StepDone
from geneman.run_folder import STAGES, RunFolder
from geneman.settings import override
from tests.full_weights import table_for, write_family
from tests.tiny_photo import write_photo

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
PLACES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_CUDA])]
"""On CUDA the networks run in half precision."""
SMALL = {
    "prepare.size": "128",
    "nerf_init.resolution": "48",
    "nerf_init.preview_size": "16",
    "nerf_init.field.encoding.log2_table": "12",
    "nerf_init.ray_step": "0.02",
    "sculpt.resolution": "48",
    "sculpt.size": "64",
    "sculpt.initial_resolution": "48",
    "sculpt.field.encoding.log2_table": "12",
    "sculpt.density_threshold": "5",
    "latent_texture.render_size": "64",
    "latent_texture.points_per_step": "2048",
    "latent_texture.field.encoding.log2_table": "12",
    "pixel_texture.target_faces": "1000",
    "pixel_texture.texture_size": "128",
    "pixel_texture.normal_map_size": "64",
    "pixel_texture.reference_size": "64",
    "pixel_texture.render_size": "48",
    "pixel_texture.views": "4",
    "finish.preview_size": "64",
    "finish.turntable_size": "64",
    "finish.turntable_frames": "4",
}
"""Sizes alone; every weight, schedule and switch stays the preset's."""
TWO_STEPS = {
    "nerf_init.steps": "2",
    "sculpt.steps": "2",
    "latent_texture.steps": "2",
    "pixel_texture.uv.steps": "2",
    "pixel_texture.field.steps": "2",
    "pixel_texture.fit_steps": "2",
}


def weights_behind(image: Tensor) -> list[Tensor]:
    """Give the weights that a render was computed from, by walking its graph to the leaves."""
    found, seen, waiting = [], set(), [image.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found += [node.variable] if hasattr(node, "variable") else []
            waiting += [before for before, _ in node.next_functions]
    return found


class Listened:
    """A judge whose gradients to the renders are written down.

    Each of them alone, without the stage's other terms, must reach the field's weights.
    """

    def __init__(self, judge, said: list[Tensor]) -> None:
        self.judge, self.said, self.name = judge, said, judge.name

    def condition(self, view):
        guidance = self.judge.condition(view)

        def listened(images, orbits, **options):
            assert images.requires_grad
            field = weights_behind(images)
            loss = guidance(images, orbits, **options)
            render, *reached = torch.autograd.grad(
                loss, [images, *field], retain_graph=True, allow_unused=True
            )
            self.said.append(render)
            assert max(float(g.abs().max()) for g in reached if g is not None) > 0, self.name
            return loss

        return listened


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("family"))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "released"])
@pytest.mark.parametrize("place", PLACES)
def test_every_stage_runs_with_every_prior_and_each_ones_gradient_reaches_the_field(
    preset: str, place: str, family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device(place)
    monkeypatch.setattr(weights, "TABLE", table_for(family))
    priors = full_priors(family, Priors(shape=Inflation()), Economy(device))
    said: dict[str, list[Tensor]] = {
        name: [] for name in ("image", "novel_view", "normal", "depth")
    }
    listened = {name: Listened(getattr(priors, name), kept) for name, kept in said.items()}
    photo, *maps = write_photo(tmp_path)
    given = {name.lstrip("-"): Path(path) for name, path in (m.split("=") for m in maps[:4])}
    recipe = override(PRESETS[preset], SMALL | TWO_STEPS)
    losses: dict[str, set[str]] = {}

    def report(event: object) -> None:
        if isinstance(event, StepDone):
            losses.setdefault(event.stage, set()).update(event.losses)

    request = Request(Path(photo), recipe, preset, given | {"prompt": "a person"})
    with RunFolder.locked(tmp_path / "run") as run:
        reconstruct(
            request, run, CHAIN, priors=replace(priors, **listened), device=device, report=report
        )
        assert set(run.record.priors) == {"shape", *said, "editor", "perceptual"}
    assert {"guidance_0", "guidance_1", "depth" if preset == "released" else "pearson"} <= losses[
        "nerf_init"
    ]
    assert {"normal_guidance", "depth_guidance", "perceptual"} <= losses["sculpt"]
    assert {"image", "novel_view", "reference"} <= losses["latent_texture"]
    assert {"edit", "perceptual", "reference"} <= losses["pixel_texture"]
    views = 4 if preset == "paper" else 1
    for name, gradients in said.items():
        assert len(gradients) == (2 if name in ("image", "novel_view") else 1)
        for gradient in gradients:
            assert torch.isfinite(gradient).all()
            assert gradient.abs().max() > 0, name
    assert [len(gradient) for gradient in said["image"]] == [1, views]
    assert (tmp_path / "run" / "model.glb").stat().st_size > 10_000
    assert all((tmp_path / "run" / "stages" / name / "result").is_dir() for name in STAGES)
