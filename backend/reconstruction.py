# SPDX-License-Identifier: Apache-2.0
"""What a worker computes: a job's photo through the library's pipeline, told as protocol events."""

import contextlib
import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

import geneman
from backend.jobs import Spec
from backend.orders import Do, Ended, Saved
from backend.worker import Stopper, Tell
from blender_addon.frames import Buffer, Packer, can_compress
from blender_addon.protocol import (
    Artefact,
    Device,
    Failure,
    Kind,
    Picture,
    Problem,
    Setting,
    StageBegan,
    StageEnded,
    Step,
    Surface,
    Texture,
    Welcome,
)
from geneman.chain import CHAIN, bundled_priors
from geneman.cli.references import measure
from geneman.device import choose
from geneman.errors import (
    Cancelled,
    DeviceMemoryError,
    GenemanError,
    InputError,
    MeshFileError,
    OptionError,
)
from geneman.mesh import Mesh, TexturedMesh
from geneman.pipeline import Request, Stage, Tools, reconstruct
from geneman.presets import PRESETS, Recipe
from geneman.priors.bundle import Priors
from geneman.progress import (
    ArtefactSaved,
    Event,
    ImagePreview,
    MeshPreview,
    StageFinished,
    StageStarted,
    StepDone,
)
from geneman.run_folder import STAGES, RunFolder
from geneman.settings import describe, from_json, nearest, to_json
from geneman.storage import FREE_BYTES, FULL_DISK
from geneman.training.checkpoints import FileCheckpoints

LOCK_SECONDS = 30.0
"""How long the run folder of a worker that was just killed may stay locked."""
STEPS_TO_CHECKPOINT = 2
"""A checkpoint is due at the step after the one that runs, and written by the one after that."""


@dataclass(frozen=True)
class Reconstruction:
    """The library's pipeline on one device, as a worker's `Program`."""

    device: torch.device
    chain: Mapping[str, Stage]
    priors: Priors
    measure: Callable[[RunFolder, torch.device], dict[str, float]] | None = None

    def describe(self) -> Welcome:
        """Say what can be done here."""
        fields = describe(PRESETS["paper"])
        return Welcome(
            version=geneman.__version__,
            capabilities=("zstd",) if can_compress() else (),
            ready=True,
            stages=STAGES,
            presets={name: to_json(recipe) for name, recipe in PRESETS.items()},
            settings=tuple(Setting(f.path, f.type, f.default, f.limits, f.text) for f in fields),
            devices=(_described(self.device),),
        )

    def compute(self, order: Do, tell: Tell, stopper: Stopper) -> Ended:
        """Do a job and tell what happens."""
        folder = Path(order.folder)
        teller = Teller(order.job, self.chain, tell, stopper)
        try:
            self._compute(order.spec, folder, teller)
        except Cancelled:
            return Ended(order.job, "stopped")
        except Exception as error:
            failure = Failure(explained(error, folder), teller.stage)
            return Ended(order.job, "failed", failure)
        return Ended(order.job, "done")

    def _compute(self, spec: Spec, folder: Path, teller: "Teller") -> None:
        request = requested(spec, folder / "input")
        wait_for_lock(folder / "run")
        with RunFolder.locked(folder / "run") as run:
            teller.run = run
            chain = edited(self.chain, spec, folder / "input", run, self.device)
            reconstruct(
                request,
                run,
                {name: teller.watched(stage) for name, stage in chain.items()},
                priors=self.priors,
                device=self.device,
                report=teller.report,
            )
            if self.measure is not None and request.until in (None, STAGES[-1]):
                run.record.reference = self.measure(run, self.device)
                run.save()


def program(device: str) -> Reconstruction:
    """Give the method's own pipeline."""
    return Reconstruction(choose(device), CHAIN, bundled_priors(), measure)


class Teller:
    """Turns the library's events into the protocol's, and a stop into `Cancelled`."""

    def __init__(self, job: str, chain: Mapping[str, Stage], tell: Tell, stopper: Stopper) -> None:
        self.stage = ""
        self.run: RunFolder | None = None
        self._job, self._chain, self._tell, self._stopper = job, chain, tell, stopper
        self._checkpoints: FileCheckpoints | None = None
        self._faces: Tensor | None = None
        self._topology = self._steps_since_stop = 0

    def watched(self, stage: Stage) -> Stage:
        """Give the stage with an eye on its checkpoints, so that a stop can hurry one."""

        def run(request: Request, inputs: Mapping[str, Any], tools: Tools) -> Any:
            found = tools["checkpoints"]
            self._checkpoints = found if isinstance(found, FileCheckpoints) else None
            return stage.run(request, inputs, tools)

        return replace(stage, run=run)

    def report(self, event: Event) -> None:
        """Tell the server, unless the job shall stop.

        Raises:
            Cancelled: The job shall stop.
        """
        self.stage = event.stage
        self._stop_if_asked(event)
        match event:
            case StageStarted(stage, steps, first_step):
                self._tell(StageBegan(self._job, stage, steps, first_step), ())
            case StepDone(stage, step, steps, losses, seconds_left):
                told = Step(self._job, stage, step, steps, dict(losses), seconds_left)
                self._tell(told, ())
            case ImagePreview(stage, step, image):
                packer = Packer()
                picture = Picture(self._job, stage, step, packer.add(levels(image)))
                self._tell(picture, packer.frames)
            case MeshPreview(stage, step, vertices, faces):
                self._tell(*self._surface(stage, step, vertices, faces))
            case ArtefactSaved(stage, path):
                self._show(stage, path)
            case StageFinished(stage, seconds, resumed):
                self._tell(StageEnded(self._job, stage, seconds, resumed), ())
                saved = Saved(self._job, stage, seconds, resumed, self._artefacts(stage))
                self._tell(saved, ())

    def _stop_if_asked(self, event: Event) -> None:
        asked = self._stopper.asked(self._job)
        if asked is None:
            return
        if asked.checkpoint and self._checkpoints is not None and isinstance(event, StepDone):
            self._checkpoints.interval = 0.0
            self._steps_since_stop += 1
            if self._steps_since_stop < STEPS_TO_CHECKPOINT and event.step + 1 < event.steps:
                return
        raise Cancelled

    def _surface(
        self, stage: str, step: int, vertices: Tensor, faces: Tensor
    ) -> tuple[Surface, list[Buffer]]:
        packer = Packer()
        new = self._faces is None or not torch.equal(self._faces, faces)
        if new:
            self._faces, self._topology = faces.clone(), self._topology + 1
        return Surface(
            self._job,
            stage,
            step,
            self._topology,
            packer.add(floats(vertices)),
            packer.add(integers(faces)) if new else None,
        ), packer.frames

    def _show(self, stage: str, path: Path) -> None:
        """Tell a finished surface or texture in full."""
        result = self._chain[stage].load(path, torch.device("cpu"))
        if isinstance(result, Mesh):
            self._faces = None
            self._tell(*self._surface(stage, 0, result.vertices, result.faces))
        elif isinstance(result, TexturedMesh):
            packer = Packer()
            texture = Texture(
                self._job,
                stage,
                packer.add(floats(result.mesh.vertices)),
                packer.add(integers(result.mesh.faces)),
                packer.add(floats(result.uv)),
                packer.add(integers(result.uv_faces)),
                packer.add(levels(result.albedo)),
            )
            self._tell(texture, packer.frames)

    def _artefacts(self, stage: str) -> tuple[Artefact, ...]:
        record = self.run.stage_record(stage) if self.run else None
        if self.run is None or record is None:
            return ()
        folder = self.run.result(stage)
        return tuple(
            Artefact(f"{stage}/{name}", (folder / name).stat().st_size, digest)
            for name, digest in record.files.items()
        )


def floats(values: Tensor) -> NDArray[Any]:
    """Give a tensor as the wire's numbers."""
    return values.detach().float().cpu().numpy()


def integers(values: Tensor) -> NDArray[Any]:
    """Give indices as the wire's numbers."""
    return values.detach().int().cpu().numpy()


def levels(image: Tensor) -> NDArray[Any]:
    """Give a picture in [0, 1] as bytes."""
    return (image.detach().clamp(0, 1) * 255).round().byte().cpu().numpy()


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
    settings = to_json(PRESETS[spec.preset])
    for stage, fields in spec.recipe.items():
        settings[stage] = settings.get(stage, {}) | fields
    given: dict[str, Path | str] = {name: folder / file for name, file in spec.maps.items()}
    if spec.prompt:
        given["prompt"] = spec.prompt
    return Request(
        photo=folder / spec.photo,
        recipe=from_json(Recipe, settings),
        preset=spec.preset,
        given=given,
        seed=spec.seed,
        start=spec.start,
        until=spec.until,
    )


def edited(
    chain: Mapping[str, Stage], spec: Spec, folder: Path, run: RunFolder, device: torch.device
) -> dict[str, Stage]:
    """Let what somebody made by hand take the place of what its stage would compute.

    Raises:
        MeshFileError: It does not fit.
    """
    changed = dict(chain)
    arrays = {name: np.load(folder / file, mmap_mode="r") for name, file in spec.edits.items()}
    if "vertices" in arrays:
        mesh = checked_mesh(arrays["vertices"], arrays["faces"], device)
        changed["sculpt"] = replace(chain["sculpt"], run=lambda *_: mesh)
        run.drop("sculpt")
    if "albedo" in arrays:
        folder = run.result("pixel_texture")
        if run.stage_record("pixel_texture") is None:
            raise MeshFileError(
                "a texture can only be replaced on a textured person",
                value="a job without a texture",
                remedy="run the job up to pixel_texture first",
            )
        painted = torch.from_numpy(np.array(arrays["albedo"])).to(device).float() / 255
        result = replace(chain["pixel_texture"].load(folder, device), albedo=painted)
        changed["pixel_texture"] = replace(chain["pixel_texture"], run=lambda *_: result)
        run.drop("pixel_texture")
    return changed


def checked_mesh(vertices: NDArray[Any], faces: NDArray[Any], device: torch.device) -> Mesh:
    """Give a client's mesh.

    Raises:
        MeshFileError: It is no triangle mesh, or reaches outside the world.
    """
    fits = vertices.ndim == faces.ndim == 2 and vertices.shape[1] == faces.shape[1] == 3  # noqa: PLR2004
    if not fits or not len(faces) or not np.isfinite(vertices).all():
        raise MeshFileError(
            "an edited mesh must be finite triangles",
            value=f"vertices {vertices.shape} and faces {faces.shape}",
            remedy="triangulate it and remove broken vertices",
        )
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise MeshFileError(
            "every face must name vertices that exist",
            value=f"indices from {faces.min()} to {faces.max()} for {len(vertices)} vertices",
            remedy="send vertices and faces of one mesh",
        )
    points = torch.from_numpy(np.array(vertices, dtype=np.float32))
    return Mesh(points.to(device), torch.from_numpy(np.array(faces, dtype=np.int64)).to(device))


def wait_for_lock(run: Path) -> None:
    """Wait until a worker that was killed a moment ago has let go of the folder."""
    run.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(filelock.Timeout), filelock.FileLock(run / ".lock", LOCK_SECONDS):
        return


def explained(error: Exception, folder: Path) -> Problem:
    """Say what went wrong, without paths of this machine."""
    sentence = str(error).replace(f"{folder}/", "").replace(str(folder), "the job's folder")
    match error:
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


def _described(device: torch.device) -> Device:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Device("cuda", torch.cuda.get_device_name(device), total, free)
    memory = psutil.virtual_memory()
    return Device("cpu", f"{psutil.cpu_count()} processors", memory.total, memory.available)
