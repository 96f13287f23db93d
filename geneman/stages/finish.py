"""The last touch: metres, a place on the floor, a closed surface, and pictures to judge it by.

Nothing is optimised here. The person keeps facing -y, with z up (`gltf` turns the axes).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from geneman.gltf import encode_image, replace_file, write_glb
from geneman.gltf_reader import read_glb
from geneman.mesh import Mesh, TexturedMesh
from geneman.preprocess.stature import Scale, scale_of
from geneman.priors.bundle import Priors
from geneman.progress import ImagePreview, Report, StageStarted, StepDone
from geneman.renderers.pictures import strip, to_frame, turn, write_animation, write_picture
from geneman.renderers.shading import seated
from geneman.tangents import to_tangent_space
from geneman.topology import Topology, mended, topology
from geneman.training.checkpoints import Checkpoints
from geneman.view import Framing, ReferenceView

STAGE = "finish"
MODEL, PREVIEW, TURNTABLE = "model.glb", "preview.png", "turntable.webp"
ALBEDO, NORMAL = "albedo.png", "normal.png"
FACTS = "facts.json"

STANCE = 0.06
"""Share of the person's height that counts as the feet (or as the cut below a half body)."""


@dataclass(frozen=True)
class FinishConfig:
    """Sizes; ours, the paper ends before this."""

    height_metres: Annotated[float, msgspec.Meta(ge=0.2, le=3.0)] | None = None
    """Standing height of the person; None estimates it from the body's proportions."""
    preview_size: Annotated[int, msgspec.Meta(ge=64, le=4096)] = 768
    """Height in pixels of each row of the preview."""
    turntable_size: Annotated[int, msgspec.Meta(ge=64, le=2048)] = 512
    """Side of the turntable in pixels."""
    turntable_frames: Annotated[int, msgspec.Meta(ge=2, le=720)] = 48
    """Pictures in a full turn."""
    turntable_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 4.0
    """Length of a full turn."""


@dataclass(frozen=True)
class Facts:
    """What `run.json` says about the finished person."""

    height_metres: float
    """Of the mesh: for a half body, of the part that is there."""
    scale_source: str
    """How the size was found, in words."""
    metres_per_unit: float
    floor_units: tuple[float, float, float]
    """The point of the scene that became the origin."""
    vertices: int
    faces: int
    components: int
    watertight: bool
    boundary_edges: int
    odd_edges: int
    degenerate_faces: int
    volume_litres: float
    camera_elevation_deg: float = 0.0
    """How far above the scene's horizon the photo's camera looks at its origin from."""


@dataclass(frozen=True)
class Finished:
    """The person in metres, standing on the origin, with pictures."""

    textured: TexturedMesh
    facts: Facts
    preview: Float[Tensor, "h w 3"] | None = None
    """Front, side and back; textured above, clay below. None when read back from a file."""
    turntable: Sequence[NDArray[np.uint8]] = ()
    seconds: float = 4.0
    """Length of the turntable."""


def run(
    view: ReferenceView,
    textured: TexturedMesh,
    *,
    priors: Priors,
    config: FinishConfig,
    report: Report,
    generator: torch.Generator,
    checkpoints: Checkpoints,
    device: torch.device,
) -> Finished:
    """Turn the scene's textured mesh into a person in metres, and take its pictures.

    Args:
        view: Landmarks and framing, which tell the size.
        textured: In scene units, world axes.
        priors: Not needed.
        config: Sizes.
        report: Receives a step for each picture and the preview.
        generator: Not needed: nothing here is random.
        checkpoints: Not needed: it takes seconds.
        device: Where to draw.
    """
    frames: list[NDArray[np.uint8]] = []
    report(StageStarted(STAGE, config.turntable_frames))
    finished = placed(view, mended(textured), config)
    subject = seated(on_device(finished.textured, device))
    preview = strip(subject, size=config.preview_size).cpu()
    report(ImagePreview(STAGE, 0, preview))
    began = time.monotonic()
    count = config.turntable_frames
    for picture in turn(subject, frames=count, size=config.turntable_size):
        frames.append(to_frame(picture))
        pace = (time.monotonic() - began) / len(frames)
        left = pace * (count - len(frames))
        report(StepDone(STAGE, len(frames) - 1, count, {}, seconds_left=left))
    return replace(finished, preview=preview, turntable=frames, seconds=config.turntable_seconds)


def placed(view: ReferenceView, textured: TexturedMesh, config: FinishConfig) -> Finished:
    """Scale to metres and put the feet (else the lowest point) on the origin; without pictures."""
    scale = scale_of(view, textured.mesh, config.height_metres)
    floor = floor_point(textured.mesh, view.framing)
    vertices = (textured.mesh.vertices - floor) * scale.metres
    mesh = Mesh(vertices, textured.mesh.faces)
    facts = _facts(mesh, topology(mesh), scale, floor, view.camera.elevation_deg)
    return Finished(replace(textured, mesh=mesh), facts)


def floor_point(mesh: Mesh, framing: Framing) -> Float[Tensor, "3"]:
    """Give the point that the person stands on: lowest in z, between the feet in x and y.

    Without feet in the picture, the middle of the lower cut stands for them; a head is centred
    as a whole, because shoulders are cut anywhere.
    """
    lowest, highest = mesh.vertices[:, 2].min(), mesh.vertices[:, 2].max()
    reach = 1.0 if framing is Framing.HEAD else STANCE
    low = mesh.vertices[mesh.vertices[:, 2] <= lowest + reach * (highest - lowest)]
    middle = (low[:, :2].amin(dim=0) + low[:, :2].amax(dim=0)) / 2
    return torch.cat([middle, lowest[None]])


def save(finished: Finished, folder: Path) -> None:
    """Write the model, its maps, preview.png, turntable.webp and facts.json into a folder."""
    facts = msgspec.to_builtins(finished.facts)
    normal_map = to_tangent_space(finished.textured)
    write_glb(folder / MODEL, finished.textured, extras=facts, normal_map=normal_map)
    replace_file(folder / ALBEDO, encode_image(finished.textured.albedo))
    if normal_map is not None:
        replace_file(folder / NORMAL, encode_image(normal_map))
    replace_file(folder / FACTS, msgspec.json.format(msgspec.json.encode(facts)))
    if finished.preview is not None:
        write_picture(finished.preview, folder / PREVIEW)
    if finished.turntable:
        write_animation(finished.turntable, folder / TURNTABLE, seconds=finished.seconds)


def load(folder: Path, device: torch.device) -> Finished:
    """Read back the person and the facts that `save` wrote, not the pictures."""
    facts = msgspec.json.decode((folder / FACTS).read_bytes(), type=Facts)
    return Finished(on_device(read_glb(folder / MODEL), device), facts)


def on_device(textured: TexturedMesh, device: torch.device) -> TexturedMesh:
    """Move every array."""
    mesh = Mesh(textured.mesh.vertices.to(device), textured.mesh.faces.to(device))
    uv, uv_faces, albedo = (
        array.to(device) for array in (textured.uv, textured.uv_faces, textured.albedo)
    )
    normals = None if textured.normals is None else textured.normals.to(device)
    return TexturedMesh(mesh, uv, uv_faces, albedo, normals)


def _facts(
    mesh: Mesh, counted: Topology, scale: Scale, floor: Float[Tensor, "3"], elevation_deg: float
) -> Facts:
    x, y, z = floor.tolist()
    return Facts(
        height_metres=float(mesh.vertices[:, 2].max()),
        scale_source=scale.source,
        metres_per_unit=scale.metres,
        floor_units=(x, y, z),
        vertices=counted.vertices,
        faces=counted.faces,
        components=counted.components,
        watertight=counted.watertight,
        boundary_edges=counted.boundary_edges,
        odd_edges=counted.odd_edges,
        degenerate_faces=counted.degenerate_faces,
        volume_litres=counted.volume * 1000,
        camera_elevation_deg=elevation_deg,
    )
