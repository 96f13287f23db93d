# SPDX-License-Identifier: Apache-2.0
"""What a worker computes: a job's photo through the library's pipeline, told as protocol events."""

import contextlib
import importlib
import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import torch

from backend.describing import welcome
from backend.orders import Do, Ended
from backend.specs import HandMadeFiles, Spec
from backend.telling import Teller
from backend.worker import Stopper, Tell
from blender_addon.protocol import Failure, Kind, Problem, Warming, Welcome
from geneman.chain import CHAIN, bundled_priors
from geneman.cli.family import is_full, run_with_full, weights_root
from geneman.cli.references import measure
from geneman.device import choose
from geneman.errors import (
    Cancelled,
    DeviceMemoryError,
    EditedError,
    GenemanError,
    InputError,
    MeshFileError,
    OptionError,
)
from geneman.handmade import HandMade, MeshFrame, with_handmade
from geneman.handmade_files import mesh_of, read_mesh, read_texture
from geneman.kernels.launch import compile_kernels
from geneman.pipeline import Request, Stage, reconstruct
from geneman.presets import PRESETS
from geneman.priors.bundle import Priors
from geneman.run_folder import STAGES, RunFolder
from geneman.settings import nearest, overlay
from geneman.storage import FREE_BYTES, FULL_DISK

LOCK_SECONDS = 30.0
"""How long the run folder of a worker that was just killed may stay locked."""


@dataclass(frozen=True)
class Reconstruction:
    """The library's pipeline on one device, as a worker's `Program`."""

    device: torch.device
    chain: Mapping[str, Stage]
    priors: Priors
    measure: Callable[[RunFolder, torch.device], dict[str, float]] | None = None
    kernels: bool = True
    """Whether the chain runs kernels that must be compiled."""
    full: bool = False
    """Whether presets that are made for the full priors are given them."""

    def warm(self, tell: Tell) -> None:
        """Compile what would otherwise be compiled in the middle of somebody's click."""
        if not self.kernels:
            return
        device = str(self.device)
        compile_kernels(self.device, lambda done, of: tell(Warming(device, done, of), ()))
        importlib.import_module("pymatting")  # numba compiles at import and keeps the result
        importlib.import_module("torch._dynamo")  # which torch asks to stay away from optimisers

    def describe(self) -> Welcome:
        """Say what can be done here."""
        return welcome(self.device)

    def compute(self, order: Do, tell: Tell, stopper: Stopper) -> Ended:
        """Do a job and tell what happens."""
        folder = Path(order.folder)
        teller = Teller(order.job, self.chain, tell, stopper)
        try:
            self._compute(order.spec, folder, teller)
        except Cancelled:
            return Ended(order.job, "stopped", stages=teller.stages())
        except Exception as error:
            failure = Failure(explained(error, folder), teller.stage)
            return Ended(order.job, "failed", failure, stages=teller.stages())
        return Ended(order.job, "done", stages=teller.stages())

    def _compute(self, spec: Spec, folder: Path, teller: Teller) -> None:
        request = requested(spec, folder / "input")
        wait_for_lock(folder / "run")
        with RunFolder.locked(folder / "run") as run:
            teller.run = run
            chain = dict(self.chain)
            for stage, files in spec.handmade.items():
                given = made(stage, files, folder / "input")
                chain = with_handmade(chain, given, run, self.device)
            watched = {name: teller.watched(stage) for name, stage in chain.items()}

            def once(request: Request, priors: Priors) -> None:
                reconstruct(
                    request, run, watched, priors=priors, device=self.device, report=teller.report
                )

            if self.full and is_full("auto", spec.preset):
                run_with_full(request, self.device, weights_root(None), once)
            else:
                once(request, self.priors)
            if self.measure is not None and request.until in (None, STAGES[-1]):
                run.record.reference = self.measure(run, self.device)
                run.save()


def program(device: str) -> Reconstruction:
    """Give the method's own pipeline."""
    return Reconstruction(choose(device), CHAIN, bundled_priors(), measure, full=True)


def requested(spec: Spec, folder: Path) -> Request:
    """Give the pipeline's request for what a client wants.

    Raises:
        OptionError: The preset or a setting does not exist or is out of range.
    """
    if spec.preset not in PRESETS:
        raise OptionError(
            "the preset must be one of " + ", ".join(PRESETS),
            value=f"'{spec.preset}'",
            remedy=nearest(spec.preset, PRESETS),
        )
    given: dict[str, Path | str] = {name: folder / file for name, file in spec.maps.items()}
    if spec.prompt:
        given["prompt"] = spec.prompt
    return Request(
        photo=folder / spec.photo,
        recipe=overlay(PRESETS[spec.preset], spec.recipe),
        preset=spec.preset,
        given=given,
        seed=spec.seed,
        start=spec.start,
        until=spec.until,
        discard=spec.discard,
    )


def made(stage: str, files: HandMadeFiles, folder: Path) -> HandMade:
    """Read what somebody made by hand for one stage.

    Raises:
        MeshFileError: A file is not what its first bytes promised, or its parts do not fit.
    """
    paths = {name: folder / file for name, file in files.files.items()}
    arrays = {n: np.load(p, allow_pickle=False) for n, p in paths.items() if p.suffix == ".npy"}
    albedo = arrays.pop("albedo", None)
    if "albedo" in paths and albedo is None:
        albedo = read_texture(paths["albedo"])
    frame = MeshFrame(files.frame.value)
    if "mesh" not in paths:
        return HandMade(mesh_of(arrays) if arrays else None, frame, albedo)
    mesh, own = read_mesh(paths["mesh"])
    if stage == "sculpt":
        return HandMade(mesh, frame)
    albedo = own if albedo is None else albedo
    if albedo is None:
        raise MeshFileError(
            "a mesh after which only finish shall run must bring its texture",
            value="one without",
            remedy="start at latent_texture, or export it with its texture",
        )
    return HandMade(mesh, frame, albedo)


def wait_for_lock(run: Path) -> None:
    """Wait until a worker that was killed a moment ago has let go of the folder."""
    run.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(filelock.Timeout), filelock.FileLock(run / ".lock", LOCK_SECONDS):
        return


def explained(error: Exception, folder: Path) -> Problem:
    """Say what went wrong, without paths of this machine."""
    sentence = str(error).replace(f"{folder}/", "").replace(str(folder), "the job's folder")
    match error:
        case EditedError():
            return Problem(Kind.EDITED, sentence, error.remedy)
        case InputError() if _disk_is_full(error, folder):
            return Problem(Kind.DISK, sentence, error.remedy)
        case InputError():
            return Problem(Kind.INPUT, sentence, error.remedy)
        case DeviceMemoryError():
            return Problem(Kind.MEMORY, sentence)
        case GenemanError():
            return Problem(Kind.FAULT, sentence)
    lines = (
        f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    )
    name = type(error).__name__
    text = f"{name}: {' '.join(sentence.split())[:500]} (our fault; please report it)."
    return Problem(Kind.FAULT, text, traceback="\n".join(lines))


def _disk_is_full(error: BaseException, folder: Path) -> bool:
    cause = error.__cause__
    code = cause.errno if isinstance(cause, OSError) else None
    return code in FULL_DISK or shutil.disk_usage(folder).free < FREE_BYTES
