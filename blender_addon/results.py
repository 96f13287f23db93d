# SPDX-License-Identifier: GPL-3.0-or-later
"""Results that lie on this machine's disk become what would have come live."""

from pathlib import Path

from .arrays import SurfaceArrays, TextureArrays, corner_uv_of, positions_of, topology_of
from .frames import ProtocolError
from .glb import read_person
from .tensors import read_tensors
from .updates import SurfaceShown, TextureShown

MESH, MODEL = "mesh.safetensors", "model.glb"
ALBEDO, NORMAL = "albedo.png", "normal.png"
"""Names of a stage's files."""


def mesh_file(stage: str) -> str:
    """Name the file that holds a stage's surface."""
    return MODEL if stage == "finish" else MESH


def result_of(
    job: str, stage: str, mesh: Path, albedo: Path, normal_map: Path | None = None
) -> SurfaceShown | TextureShown:
    """Give what a stage's file holds; a texture's pictures are named, not read.

    Raises:
        ProtocolError: It is no mesh.
        OSError: It cannot be read.
    """
    if mesh.name == MODEL:
        person = read_person(mesh)
        surface = SurfaceArrays(
            positions_of(person.vertices), topology_of(person.faces, len(person.vertices))
        )
        corner_uv = corner_uv_of(person.uv, person.uv_faces)
        texture = TextureArrays(surface, corner_uv, albedo, normal_map)
        return TextureShown(job, stage, texture, person.placement)
    arrays = read_tensors(mesh)
    if not {"vertices", "faces"} <= set(arrays):
        raise ProtocolError(f"'{mesh.name}' of {stage} must hold a mesh, but it does not.")
    vertices = arrays["vertices"]
    surface = SurfaceArrays(positions_of(vertices), topology_of(arrays["faces"], len(vertices)))
    if not {"uv", "uv_faces"} <= set(arrays):
        return SurfaceShown(job, stage, 0, surface)
    corner_uv = corner_uv_of(arrays["uv"], arrays["uv_faces"])
    return TextureShown(job, stage, TextureArrays(surface, corner_uv, albedo, normal_map))
