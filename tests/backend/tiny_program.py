"""The tiny chain as a worker's program, with tricks for tests in the job's prompt.

The chain is `tests.tiny_chain`'s: real optimisations of four numbers each, through the pipeline
and the loop that the true stages use. Words of the prompt make a stage misbehave the way that
real ones may: `die:sculpt` ends the process there (once), `hang:sculpt` stops without a word.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from backend.reconstruction import Reconstruction
from geneman.pipeline import Request, Stage, Tools
from geneman.progress import ImagePreview, MeshPreview, StepDone
from tests.tiny_chain import CHAIN, CPU, PRIORS

SHOWN = 7
"""A preview every so many steps."""


def leave_the_compiler_out() -> None:
    """Spare each worker the seconds in which torch loads its compiler with the first optimiser.

    Nothing is compiled here: torch only asks the compiler to stay away from optimisers.
    """
    compiler: Any = ModuleType("torch._dynamo")
    compiler.disable = lambda function, *_, **__: function
    compiler.graph_break = lambda: None
    sys.modules[compiler.__name__] = torch._dynamo = compiler


def misbehaving(name: str, stage: Stage) -> Stage:
    def run(request: Request, inputs: Mapping[str, Any], tools: Tools) -> Any:
        words = str(request.given.get("prompt", "")).split()
        marker = request.photo.parent / f"{name}.died"
        tell = tools["report"]

        def report(event: Any) -> None:
            tell(event)
            if not isinstance(event, StepDone) or event.step % SHOWN:
                return
            tell(ImagePreview(name, event.step, torch.rand(8, 8, 3)))
            tell(MeshPreview(name, event.step, torch.rand(4, 3), torch.tensor([[0, 1, 2]])))
            if event.step != 2 * SHOWN:
                return
            if f"die:{name}" in words and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if f"die-always:{name}" in words:
                os.kill(os.getpid(), signal.SIGKILL)
            if f"hang:{name}" in words:
                time.sleep(3600)
            if f"hungry:{name}" in words:
                torch.empty(2**60, dtype=torch.uint8)
            if f"fault:{name}" in words:
                raise ValueError(f"odd number in {Path(request.photo)}")

        return stage.run(request, inputs, Tools(**(tools | {"report": report})))  # type: ignore[typeddict-item]

    return replace(stage, run=run)


def program(device: str) -> Reconstruction:
    assert device == "cpu"
    leave_the_compiler_out()
    chain = {name: misbehaving(name, stage) for name, stage in CHAIN.items()}
    return Reconstruction(CPU, chain, PRIORS, kernels=False)
