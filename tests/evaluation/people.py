"""A benchmark case of the small textured person, and a candidate who knows the answer."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from PIL import Image

from geneman.camera import REFERENCE, Orbit
from geneman.evaluation.candidates import Answer
from geneman.gltf import write_glb
from geneman.mesh import Mesh, TexturedMesh
from geneman.progress import Report
from geneman.renderers.shading import draw
from tests.textured import textured_figure, view_of

CAMERA = Orbit(20.0, 8.0, 5.4, 20.0, (0.3, -0.2, 0.8))
"""Looks at the person's middle, from the left and above."""


def person(height: float = 1.7) -> TexturedMesh:
    """Give the small textured person in metres, where `CAMERA` looks."""
    figure = textured_figure(height=height)
    place = torch.tensor(CAMERA.centre)
    return replace(figure, mesh=Mesh(figure.mesh.vertices + place, figure.mesh.faces))


def photographed(textured: TexturedMesh, scale: float = REFERENCE.distance / CAMERA.distance):
    """Move a person to where the reference camera sees what `CAMERA` saw."""
    seen = CAMERA.to_camera(textured.mesh.vertices) * scale
    return replace(textured, mesh=Mesh(REFERENCE.to_world(seen), textured.mesh.faces))


def write_case(folder: Path, camera: dict[str, object] | None = None) -> Path:
    """Write a case as `geneman evaluate --benchmark` reads it."""
    folder.mkdir(parents=True)
    drawing = draw(person(), CAMERA, 256)
    rgba = torch.cat([drawing.colour, drawing.cover[..., None]], dim=-1)
    Image.fromarray((rgba * 255).round().to(torch.uint8).numpy()).save(folder / "input.png")
    (folder / "camera.json").write_text(json.dumps(asdict(CAMERA) if camera is None else camera))
    write_glb(folder / "truth.glb", person())
    return folder


@dataclass
class Knowing:
    """Answers with the truth, and counts how often it was asked."""

    fingerprint: str = "knows"
    folder: str = "run"
    asked: list[Path] = field(default_factory=list)

    def answer(self, photo: Path, folder: Path, report: Report) -> Answer:
        self.asked.append(folder)
        figure = photographed(person())
        return Answer(view_of(figure), figure, 2.5)
