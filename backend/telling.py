# SPDX-License-Identifier: Apache-2.0
"""How a worker tells what the library does: its events as the protocol's, its arrays as frames."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.orders import Saved
from backend.worker import Stopper, Tell
from blender_addon.frames import Buffer, Packer
from blender_addon.protocol import (
    Artefact,
    Picture,
    Placement,
    StageBegan,
    StageEnded,
    StageIs,
    StageState,
    Step,
    Surface,
    Texture,
)
from geneman.errors import Cancelled
from geneman.mesh import Mesh, TexturedMesh
from geneman.pipeline import Request, Stage, Tools
from geneman.progress import (
    ArtefactSaved,
    Event,
    ImagePreview,
    MeshPreview,
    StageFinished,
    StageStarted,
    StepDone,
)
from geneman.run_folder import RunFolder
from geneman.stages.finish import Finished
from geneman.tangents import to_tangent_space
from geneman.training.checkpoints import FileCheckpoints

STEPS_TO_CHECKPOINT = 2
"""A checkpoint is due at the step after the one that runs, and written by the one after that."""


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
                artefacts = self._artefacts(stage)
                saved = Saved(self._job, stage, seconds, resumed, artefacts, self.stages())
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
            self._tell(*_texture(self._job, stage, result))
        elif isinstance(result, Finished):
            facts = result.facts
            placement = Placement(
                facts.metres_per_unit, facts.floor_units, facts.camera_elevation_deg
            )
            self._tell(*_texture(self._job, stage, result.textured, placement))

    def stages(self) -> tuple[StageIs, ...]:
        """Say how every stage stands on disk."""
        run = self.run
        if run is None:
            return ()
        seconds = {name: summary.seconds for name, summary in run.record.stages.items()}
        return tuple(
            StageIs(name, StageState(state.value), run.is_edited(name), seconds.get(name, 0.0))
            for name, state in run.states().items()
        )

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


def _texture(
    job: str, stage: str, textured: TexturedMesh, placement: Placement | None = None
) -> tuple[Texture, list[Buffer]]:
    packer, normal_map = Packer(), to_tangent_space(textured)
    texture = Texture(
        job,
        stage,
        packer.add(floats(textured.mesh.vertices)),
        packer.add(integers(textured.mesh.faces)),
        packer.add(floats(textured.uv)),
        packer.add(integers(textured.uv_faces)),
        packer.add(levels(textured.albedo)),
        placement,
        None if normal_map is None else packer.add(levels(normal_map)),
    )
    return texture, packer.frames
