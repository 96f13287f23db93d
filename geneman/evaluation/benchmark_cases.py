"""The cases of a benchmark: a photo, the camera that took it, and the truth in 3D.

V vertices, F triangles, S pixels along a side. `geneman.curation.benchmark` writes such folders;
anybody else may, too.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from geneman.camera import Orbit
from geneman.curation.benchmark import CAMERA, PHOTO, TRUTH
from geneman.errors import OptionError
from geneman.evaluation.metrics import COVERED, SIDE, mask_iou
from geneman.gltf import from_gltf_axes
from geneman.gltf_reader import read_glb
from geneman.mesh import Mesh, TexturedMesh
from geneman.renderers.shading import draw, enclosing

LEAST_OVERLAP = 0.5
"""Of the photo's cover and the truth's, below which camera and truth are not of one photo."""

SLACK = 2.0 / SIDE
"""Image coordinates past the photo's last covered pixel at which the truth still counts."""


class CameraFile(msgspec.Struct, frozen=True):
    """`camera.json`."""

    fov_deg: float
    distance: float
    elevation_deg: float = 0.0
    azimuth_deg: float = 0.0
    centre: tuple[float, float, float] | None = None
    """Metres, z up or as in the truth's file; None: the middle of the truth."""


@dataclass(frozen=True)
class Case:
    """One folder, read."""

    name: str
    photo: Path
    camera: Orbit
    """Metres, z up."""
    whole: TexturedMesh
    """Metres, z up: all of the person."""
    covered: Bool[Tensor, "s s"]
    """Where the photo shows them."""

    @cached_property
    def truth(self) -> TexturedMesh:
        """Give what of the person the photo shows, from whichever side: the rest is not asked."""
        rows, columns = (torch.where(self.covered.any(dim=d))[0] for d in (1, 0))
        step = 2.0 / len(self.covered)
        left, right = (float(columns[i] + i % 2) * step - 1 for i in (0, -1))
        top, bottom = (1 - float(rows[i] + i % 2) * step for i in (0, -1))
        low = torch.tensor([left, bottom]) - SLACK
        high = torch.tensor([right, top]) + SLACK
        mesh = self.whole.mesh
        at = self.camera.project(mesh.vertices[mesh.faces.long()].mean(dim=1))[:, :2]
        return chosen(self.whole, ((at >= low) & (at <= high)).all(dim=1))

    @property
    def height(self) -> float:
        """Give the whole person's height in metres, which lengths are shares of."""
        return float(self.whole.mesh.vertices[:, 2].max() - self.whole.mesh.vertices[:, 2].min())


def chosen(textured: TexturedMesh, faces: Bool[Tensor, "f"]) -> TexturedMesh:
    """Keep some of the faces, and the vertices that they need."""
    kept, numbers = torch.unique(textured.mesh.faces[faces].long(), return_inverse=True)
    mesh = Mesh(textured.mesh.vertices[kept], numbers)
    return replace(textured, mesh=mesh, uv_faces=textured.uv_faces[faces])


def cases_in(folder: Path) -> tuple[Path, ...]:
    """List a benchmark's cases by name.

    Raises:
        OptionError: There is none.
    """
    found = tuple(sorted(file.parent for file in folder.glob(f"*/{CAMERA}")))
    if not found:
        raise OptionError(
            f"a benchmark must hold folders with {PHOTO}, {CAMERA} and {TRUTH}",
            value=f"'{folder}' without one",
            remedy="make one with: geneman curate benchmark --out DIR",
        )
    return found


def read_case(folder: Path) -> Case:
    """Read a case.

    Raises:
        OptionError: Photo or camera cannot be read, or the camera does not see the truth where
            the photo shows the person.
        MeshFileError: The truth is no whole GLB.
    """
    try:
        with Image.open(folder / PHOTO) as picture:
            alpha = picture.convert("RGBA").getchannel("A").resize((SIDE, SIDE))
        about = msgspec.json.decode((folder / CAMERA).read_bytes(), type=CameraFile)
    except (OSError, UnidentifiedImageError, msgspec.DecodeError) as error:
        raise OptionError(
            f"a case must hold {PHOTO} and a {CAMERA} with fov_deg and distance",
            value=f"'{folder}' ({error})",
            remedy="make it anew, or take it out of the benchmark",
        ) from error
    covered = torch.from_numpy(np.asarray(alpha, np.float32) / 255) > COVERED
    whole = read_glb(folder / TRUTH)
    return Case(folder.name, folder / PHOTO, _camera(about, whole, covered, folder), whole, covered)


def _camera(
    about: CameraFile, whole: TexturedMesh, covered: Bool[Tensor, "s s"], folder: Path
) -> Orbit:
    """Find the camera among the ways in which a centre may be meant, by what it sees."""
    if about.centre is None:
        centres = [torch.tensor(enclosing(whole.mesh).centre)]
    else:
        centres = [torch.tensor(about.centre), from_gltf_axes(torch.tensor([about.centre]))[0]]
    found: list[tuple[float, Orbit]] = []
    for centre in centres:
        x, y, z = centre.tolist()
        orbit = Orbit(
            about.azimuth_deg, about.elevation_deg, about.distance, about.fov_deg, (x, y, z)
        )
        seen = draw(whole, orbit, SIDE, supersample=1).cover > COVERED
        # A photo may be cut where the camera would see more.
        rows, columns = (torch.where(covered.any(dim=d))[0] for d in (1, 0))
        inside = torch.zeros_like(seen)
        if len(rows):
            inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        found.append((mask_iou(seen & inside, covered), orbit))
    overlap, orbit = max(found, key=lambda pair: pair[0])
    if overlap < LEAST_OVERLAP:
        raise OptionError(
            "the camera of a case must see the truth where the photo shows the person",
            value=f"an overlap of {overlap:.0%} in '{folder}'",
            remedy="check camera.json against truth.glb: metres, azimuth 0 is the front",
        )
    return orbit
