"""A chain of real but tiny optimisations, to test the pipeline in milliseconds.

Each stage fits a few numbers to the sum of its inputs under noise from its generator, through
the loop that the true stages use; `python -m tests.tiny_chain RUN PHOTO` runs it as a process.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from geneman.pipeline import Request, Stage, Tools, reconstruct
from geneman.presets import DRAFT
from geneman.priors.bundle import Priors, Surfaces
from geneman.progress import Event, Report, StepDone, silent
from geneman.run_folder import STAGES, RunFolder
from geneman.settings import override
from geneman.storage import digest_of_file
from geneman.training.checkpoints import FileCheckpoints
from geneman.training.loop import minimise
from geneman.view import HiddenSide

STEPS = 30
CPU = torch.device("cpu")


class Card:
    """A shape prior that knows nobody: two flat sides, a little apart."""

    name = "card"

    def surfaces(self, colour: Tensor, mask: Tensor, *_: object, **__: object) -> Surfaces:
        depth, towards = torch.full_like(mask, 2.95), torch.zeros_like(colour)
        towards[..., 2] = 1.0
        return Surfaces(towards, depth, HiddenSide(depth + 0.1, -towards, colour))


PRIORS = Priors(shape=Card())


class Numbers(torch.nn.Module):
    """What the tiny stages fit."""

    def __init__(self) -> None:
        super().__init__()
        self.values = torch.nn.Parameter(torch.zeros(4))


def fit(name: str, request: Request, inputs: Mapping[str, Tensor], tools: Tools) -> Tensor:
    seed = int(digest_of_file(request.photo)[:4], 16) / 65536
    steps = getattr(tools["config"], _steps_of(name), STEPS)
    target = torch.full((4,), seed) + sum(inputs.values()) + len(name) + steps
    numbers = Numbers()
    checkpoints = tools["checkpoints"]
    if isinstance(checkpoints, FileCheckpoints):
        checkpoints.interval = 0.0

    def objective(step: int) -> dict[str, Tensor]:
        noise = torch.randn(4, generator=tools["generator"])
        time.sleep(float(os.environ.get("TINY_PAUSE", "0")))
        return {"fit": (numbers.values - target - noise).square().sum()}

    minimise(
        objective,
        torch.optim.Adam(numbers.parameters(), lr=0.1),
        stage=name,
        steps=steps,
        report=tools["report"],
        checkpoints=checkpoints,
        parts={"numbers": numbers},
        generator=tools["generator"],
    )
    return numbers.values.detach()


def _stage(name: str) -> Stage:
    return Stage(
        run=lambda request, inputs, tools: fit(name, request, inputs, tools),
        save=lambda values, folder: save_file({"values": values}, folder / f"{name}.safetensors"),
        load=lambda folder, device: load_file(folder / f"{name}.safetensors")["values"],
    )


CHAIN = {name: _stage(name) for name in STAGES}


def _steps_of(stage: str) -> str:
    """Name the setting that counts a stage's steps."""
    return "fit_steps" if stage == "pixel_texture" else "steps"


def request(photo: Path, **options: object) -> Request:
    """Ask for the tiny chain with few steps."""
    steps = {f"{name}.{_steps_of(name)}": str(STEPS) for name in STAGES[1:-1]}
    recipe = override(DRAFT, steps | dict(options.pop("settings", {})))  # type: ignore[call-overload]
    return Request(photo, recipe, **options)  # type: ignore[arg-type]


def run(folder: Path, wanted: Request, report: Report = silent) -> RunFolder:
    """Run the tiny chain in a folder."""
    with RunFolder.locked(folder) as locked:
        reconstruct(wanted, locked, CHAIN, priors=PRIORS, device=CPU, report=report)
    return RunFolder.read(folder)


def announce(event: Event) -> None:
    """Tell the test that kills this process when it has begun in earnest.

    That is with its first step: torch loads its compiler with the first optimiser, which on a
    busy machine takes longer than the test waits, so that no start would get anywhere.
    """
    if isinstance(event, StepDone) and not announced:
        announced.append(event)
        sys.stdout.write("first step\n")
        sys.stdout.flush()


announced: list[Event] = []

if __name__ == "__main__":
    run(Path(sys.argv[1]), request(Path(sys.argv[2])), announce)
