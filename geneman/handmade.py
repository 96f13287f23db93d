"""What somebody made by hand, in the place of what a stage would have computed.

A mesh alone takes the place of `sculpt`'s result, a texture alone that of `pixel_texture`'s
albedo, and a mesh with texture coordinates and a texture that of `pixel_texture`'s whole result.
Stages after it then run as ever. The mesh may come in three frames (`MeshFrame`).
"""

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from geneman.errors import MeshFileError
from geneman.mesh import Mesh, TexturedMesh, UnwrappedMesh
from geneman.pipeline import Stage
from geneman.preprocess.alignment import aligned
from geneman.run_folder import RunFolder
from geneman.topology import topology

REACH = 2.0
"""Scene units: the photo's camera sees half a unit to each side of the origin."""
MOST_FACES = 2_000_000
_TOLERANCE = 1e-4
"""How far texture coordinates may stray out of the square by rounding."""
_CORNERS, _PLANE = 3, 2


class MeshFrame(enum.StrEnum):
    """The frame in which a mesh is given. In all of them z is up and the person faces -y."""

    SCENE = "scene"
    """The reconstruction's own until `finish`: a unit is a third of the camera's distance."""
    METRES = "metres"
    """That of the run's model.glb: metres, the feet on the origin."""
    ANYWHERE = "anywhere"
    """Any size and place: brought to where its outline fills the photo's."""


@dataclass(frozen=True)
class GivenMesh:
    """A mesh as it was given, not yet looked at: `checked` says whether it is one."""

    vertices: Shaped[ndarray, "..."]
    """v 3."""
    faces: Shaped[ndarray, "..."]
    """f 3: indices of vertices."""
    uv: Shaped[ndarray, "..."] | None = None
    """t 2, v up."""
    uv_faces: Shaped[ndarray, "..."] | None = None
    """f 3: indices of `uv`, corner by corner."""
    normals: Float32[ndarray, "s s 3"] | None = None
    """Finer normals, as in `TexturedMesh`; they count where the mesh comes with its texture."""


@dataclass(frozen=True)
class HandMade:
    """What is given for one run; nothing by default."""

    mesh: GivenMesh | None = None
    frame: MeshFrame = MeshFrame.SCENE
    albedo: UInt8[ndarray, "h w 3"] | None = None
    """sRGB, row 0 at v = 1."""

    @property
    def stage(self) -> str | None:
        """Name the stage whose result this is."""
        if self.mesh is None:
            return None if self.albedo is None else "pixel_texture"
        whole = self.mesh.uv is not None and self.albedo is not None
        return "pixel_texture" if whole else "sculpt"

    @property
    def fingerprint(self) -> str:
        """One sha256 of everything in it."""
        digest = hashlib.sha256(self.frame.encode())
        mesh = self.mesh
        arrays = [] if mesh is None else [mesh.vertices, mesh.faces, mesh.uv, mesh.uv_faces]
        for array in [*arrays, self.albedo]:
            if array is None:
                digest.update(b"none")
                continue
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        if mesh is not None and mesh.normals is not None:
            digest.update(np.ascontiguousarray(mesh.normals).data)
        return digest.hexdigest()


def with_handmade(
    chain: Mapping[str, Stage], made: HandMade, run: RunFolder, device: torch.device
) -> dict[str, Stage]:
    """Give the chain in which what was made by hand stands for what its stage would compute.

    Args:
        chain: All stages by name.
        made: What somebody gave.
        run: Where; `finish`'s facts tell how metres become scene units.
        device: Where the stage's result shall lie.

    Raises:
        MeshFileError: The mesh is none, or lies where the photo cannot show it. What can only be
            known once `prepare` has run is raised by the stage.
    """
    changed = dict(chain)
    stage = made.stage
    if stage is None:
        return changed
    mesh = None if made.mesh is None else checked(made.mesh)

    def give(_: Any, inputs: Mapping[str, Any], __: Any) -> Mesh | TexturedMesh:
        placed = None if mesh is None else _placed(mesh, made.frame, inputs["prepare"], run)
        if stage == "sculpt":
            assert placed is not None
            return _on(placed, device)
        return _textured(placed, made, chain["pixel_texture"], run, device)

    # A texture alone with a mesh that has no coordinates: the one belongs to a later stage.
    if made.mesh is not None and made.mesh.uv is None and made.albedo is not None:
        raise MeshFileError(
            "a mesh that comes with its texture must have texture coordinates",
            value="one without",
            remedy="send them too, or leave the texture out",
        )
    changed[stage] = replace(chain[stage], run=give, edit=made.fingerprint)
    return changed


def _textured(
    placed: Mesh | None, made: HandMade, stage: Stage, run: RunFolder, device: torch.device
) -> TexturedMesh:
    assert made.albedo is not None
    albedo = torch.from_numpy(np.array(made.albedo)).to(device).float() / 255
    if isinstance(placed, UnwrappedMesh):
        assert made.mesh is not None
        bare = Mesh(placed.vertices.to(device), placed.faces.to(device))
        finer = _finer(made.mesh, placed, device)
        return TexturedMesh(bare, placed.uv.to(device), placed.uv_faces.to(device), albedo, finer)
    if run.stage_record("pixel_texture") is None:
        raise MeshFileError(
            "a texture can only be replaced on a textured person",
            value="a run without a texture",
            remedy="run it up to pixel_texture first",
        )
    textured: TexturedMesh = stage.load(run.result("pixel_texture"), device)
    return replace(textured, albedo=albedo)


def _finer(
    given: GivenMesh, placed: UnwrappedMesh, device: torch.device
) -> Float[Tensor, "s s 3"] | None:
    """Give the finer normals that a mesh came with, outward as its faces are by now."""
    if given.normals is None:
        return None
    kept = np.array_equal(placed.uv_faces.numpy(), np.asarray(given.uv_faces))
    return torch.from_numpy(given.normals).to(device) * (1 if kept else -1)


def _placed(mesh: Mesh, frame: MeshFrame, view: Any, run: RunFolder) -> Mesh:
    """Bring a mesh into the scene."""
    if frame is MeshFrame.ANYWHERE:
        return aligned(mesh, view)
    if frame is MeshFrame.METRES:
        facts = run.facts("finish")
        if not facts:
            raise MeshFileError(
                "a mesh in metres needs a run whose finish tells how large the person is",
                value="one that has not been finished",
                remedy=f"run it to the end first, or say that its frame is {MeshFrame.ANYWHERE}",
            )
        floor = mesh.vertices.new_tensor(facts["floor_units"])
        mesh = replace(mesh, vertices=mesh.vertices / facts["metres_per_unit"] + floor)
    farthest = float(mesh.vertices.abs().max())
    if farthest > REACH:
        raise MeshFileError(
            f"a mesh in the frame {frame} must lie within {REACH:g} scene units of the origin",
            value=f"a vertex {farthest:.3g} away",
            remedy=f"say in which frame it is: {', '.join(MeshFrame)}",
        )
    return mesh


def _on(mesh: Mesh, device: torch.device) -> Mesh:
    moved = {name: value.to(device) for name, value in vars(mesh).items()}
    return replace(mesh, **moved)


def checked(given: GivenMesh) -> Mesh:
    """Give a mesh, without vertices that no face uses, its faces outward.

    Raises:
        MeshFileError: It is no triangle mesh, or its texture coordinates do not fit it.
    """
    vertices, faces = given.vertices, given.faces
    shaped = vertices.ndim == faces.ndim == _PLANE
    if not shaped or vertices.shape[1] != _CORNERS or faces.shape[1] != _CORNERS or not len(faces):
        raise MeshFileError(
            "an edited mesh must be triangles",
            value=f"vertices {vertices.shape} and faces {faces.shape}",
            remedy="triangulate it",
        )
    if len(faces) > MOST_FACES:
        raise MeshFileError(
            f"an edited mesh must have at most {MOST_FACES:,} triangles",
            value=f"{len(faces):,}",
            remedy="decimate it",
        )
    if not np.isfinite(vertices).all():
        raise MeshFileError(
            "every vertex must lie somewhere", value="NaN or infinity", remedy="remove those"
        )
    _check_indices("vertices", faces, len(vertices))
    used, corners = np.unique(faces, return_inverse=True)
    points = torch.from_numpy(vertices[used].astype(np.float32))
    mesh = Mesh(points, torch.from_numpy(corners.reshape(-1, _CORNERS).astype(np.int64)))
    if float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max()) == 0:
        raise MeshFileError(
            "an edited mesh must have some extent", value="a point", remedy="send another"
        )
    if given.uv is not None and given.uv_faces is not None:
        mesh = _unwrapped(mesh, given.uv, given.uv_faces)
    return _outward(mesh)


def _unwrapped(mesh: Mesh, uv: ndarray, uv_faces: ndarray) -> UnwrappedMesh:
    shaped = uv.ndim == _PLANE and uv.shape[1] == _PLANE and uv_faces.shape == mesh.faces.shape
    if not shaped:
        raise MeshFileError(
            "texture coordinates must be pairs, with three for each triangle",
            value=f"uv {uv.shape} and uv_faces {uv_faces.shape} for {len(mesh.faces)} triangles",
            remedy="send those of the same mesh",
        )
    _check_indices("texture coordinates", uv_faces, len(uv))
    low, high = float(uv.min()), float(uv.max())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # NaN is neither
        raise MeshFileError(
            "texture coordinates must lie in [0, 1]",
            value=f"{low:.3g} to {high:.3g}",
            remedy="pack the islands into one square, or leave the coordinates out",
        )
    inside = torch.from_numpy(uv.astype(np.float32).clip(0, 1))
    corners = torch.from_numpy(uv_faces.astype(np.int64))
    return UnwrappedMesh(mesh.vertices, mesh.faces, inside, corners)


def _check_indices(what: str, indices: ndarray, count: int) -> None:
    if indices.min() < 0 or indices.max() >= count:
        raise MeshFileError(
            f"every face must name {what} that exist",
            value=f"indices from {indices.min()} to {indices.max()} for {count}",
            remedy="send both parts of one mesh",
        )


def _outward(mesh: Mesh) -> Mesh:
    """Turn a closed surface that faces inward."""
    found = topology(mesh)
    if found.boundary_edges or found.volume >= 0:
        return mesh
    turned = {"faces": mesh.faces.flip(-1)}
    if isinstance(mesh, UnwrappedMesh):
        turned["uv_faces"] = mesh.uv_faces.flip(-1)
    return replace(mesh, **turned)
