"""Every stage on a CUDA device that is none: what would meet a tensor of the CPU there fails."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from geneman.chain import CHAIN
from geneman.kernels.rasterise import rasterise
from geneman.pipeline import Request, reconstruct
from geneman.presets import PRESETS, SWIFT
from geneman.priors.bundle import Priors
from geneman.priors.bundled.geometry_prior import bundled_shape_prior
from geneman.priors.economy import Economy
from geneman.run_folder import RunFolder
from geneman.settings import override
from tests.benchmarks.full_recipe import TINY, family, stages
from tests.pretend_cuda import MixedDevicesError, pretend_cuda
from tests.priors.test_full_chain import SMALL, TWO_STEPS
from tests.tiny_photo import write_photo


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch):
    with pretend_cuda(monkeypatch) as device:
        yield device


def test_tensors_say_where_they_are_and_stay_there(cuda: torch.device):
    made = torch.zeros(3, device=cuda)
    for value in (made, made + 1, made[1:], torch.stack([made, made]), made.to(torch.float64)):
        assert value.device == cuda
        assert value.is_cuda
    assert made.cpu().device.type == made.to("cpu").device.type == "cpu"
    assert torch.zeros(3).to(made).device == cuda
    layer = torch.nn.Linear(3, 2).to(cuda)
    assert layer(made).device == layer.weight.device == cuda


def test_what_a_gpu_refuses_is_refused(cuda: torch.device):
    there, here = torch.zeros(3, device=cuda), torch.zeros(3)
    with pytest.raises(MixedDevicesError, match="add: 1 of 2 tensors are on the cpu"):
        there + here
    with pytest.raises(TypeError, match="can't convert cuda:0"):
        np.asarray(there)
    with pytest.raises(MixedDevicesError, match="generator"):
        torch.rand(3, device=cuda, generator=torch.Generator())
    with pytest.raises(ValueError, match="works on cuda:0, got a tensor on cpu; move it there"):
        rasterise(torch.zeros(3, 4, device=cuda), torch.zeros(1, 3, dtype=torch.int64), 8)
    assert (there + torch.tensor(2.0)).device == cuda


def test_gradients_reach_weights_that_live_there(cuda: torch.device):
    weights = torch.nn.Parameter(torch.ones(3, device=cuda))
    optimiser = torch.optim.SGD([weights], 1.0)
    (weights * torch.arange(3.0, device=cuda)).sum().backward()
    assert weights.grad is not None
    assert weights.grad.device == cuda
    optimiser.step()
    assert weights.tolist() == [1.0, 0.0, -1.0]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["released", "standard", "swift"])
def test_every_stage_keeps_to_its_device(preset: str, cuda: torch.device, tmp_path: Path):
    photo, *maps = write_photo(tmp_path)
    given = {name.lstrip("-"): Path(path) for name, path in (m.split("=") for m in maps[:4])}
    recipe = override(PRESETS[preset], SMALL | TWO_STEPS)
    request = Request(Path(photo), recipe, preset, given | {"prompt": "a person"})
    priors = Priors(shape=bundled_shape_prior())
    with RunFolder.locked(tmp_path / "run") as run:
        reconstruct(request, run, CHAIN, priors=priors, device=cuda, report=_on_cpu)
    assert (tmp_path / "run" / "model.glb").stat().st_size > 10_000


@pytest.mark.slow
def test_the_papers_judges_keep_to_it_too(cuda: torch.device, monkeypatch: pytest.MonkeyPatch):
    for name in ("reset_peak_memory_stats", "max_memory_allocated", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: 0)
    made = family(TINY, Economy(cuda))
    rows = stages(made, override(SWIFT, SMALL | TWO_STEPS), TINY, None, 1)
    assert [row["stage"] for row in rows] == ["nerf_init", "sculpt", "latent_texture"]


def _on_cpu(event: object) -> None:
    """Events go to other processes: what they carry has been fetched."""
    for value in vars(event).values() if hasattr(event, "__dict__") else ():
        assert not isinstance(value, Tensor) or value.device.type == "cpu"
