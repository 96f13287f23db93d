"""Meshes and textures that somebody made by hand, read from their files."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from geneman.array_files import ArrayFileError, read_arrays
from geneman.errors import MeshFileError, PhotoError
from geneman.gltf_reader import read_glb
from geneman.handmade import GivenMesh
from geneman.preprocess.photo import open_picture

MESH_SUFFIXES = (".glb", ".npz", ".safetensors")
MOST_TEXELS = 8192
"""Side of the largest texture that is read: as the recipe's own."""


def read_mesh(path: Path) -> tuple[GivenMesh, UInt8[ndarray, "h w 3"] | None]:
    """Read a mesh, with its texture coordinates if it has some.

    Args:
        path: A glb (its axes are turned: z up, facing -y), or an npz or safetensors with arrays
            `vertices` and `faces`, and perhaps `uv` and `uv_faces`.

    Returns:
        The mesh as given, a glb's finer normals with it, and a glb's own texture.

    Raises:
        MeshFileError: It is no such file.
    """
    if path.suffix.lower() == ".glb":
        return _glb(path)
    if path.suffix not in MESH_SUFFIXES:
        raise MeshFileError(
            "a mesh's file name must end in " + ", ".join(MESH_SUFFIXES),
            value=f"'{path.name}'",
            remedy="export it as .glb",
        )
    try:
        arrays = read_arrays(path)
        return mesh_of(arrays), None
    except ArrayFileError as error:
        raise MeshFileError(
            f"a {path.suffix} mesh must hold arrays", value=error, remedy="export it as .glb"
        ) from error


def mesh_of(arrays: dict[str, ndarray]) -> GivenMesh:
    """Give the mesh in arrays `vertices`, `faces`, and perhaps `uv` and `uv_faces`.

    Raises:
        MeshFileError: One is missing, or one too many is there.
    """
    names = frozenset(arrays)
    if names not in (WHOLE, WHOLE | LAID_OUT):
        raise MeshFileError(
            "a mesh must have vertices and faces, and uv and uv_faces or neither",
            value=", ".join(sorted(names)) or "nothing",
            remedy="send all of one mesh",
        )
    return GivenMesh(**arrays)


WHOLE, LAID_OUT = frozenset({"vertices", "faces"}), frozenset({"uv", "uv_faces"})


def _glb(path: Path) -> tuple[GivenMesh, UInt8[ndarray, "h w 3"] | None]:
    try:
        found = read_glb(path)
    except (TypeError, MemoryError, RecursionError, Image.DecompressionBombError) as error:
        raise MeshFileError(
            "the mesh file must be a whole GLB 2.0",
            value=f"{path.name} ({type(error).__name__})",
            remedy="export it as a plain glTF 2.0 binary with embedded textures",
        ) from error
    vertices, faces = found.mesh.vertices.numpy(), found.mesh.faces.numpy()
    if np.ptp(found.uv.numpy(), axis=0).max() == 0:  # as the reader says that there are none
        return GivenMesh(vertices, faces), None
    levels = (found.albedo.numpy() * 255).round().astype(np.uint8)
    finer = None if found.normals is None else found.normals.numpy()
    return GivenMesh(vertices, faces, found.uv.numpy(), found.uv_faces.numpy(), finer), levels


def read_texture(path: Path) -> UInt8[ndarray, "h w 3"]:
    """Read a painted texture; transparency is dropped.

    Raises:
        MeshFileError: It is no picture, or too large.
    """
    try:
        picture = open_picture(path)
    except PhotoError as error:
        raise MeshFileError(
            "a texture must be a picture", value=error.value, remedy=error.remedy
        ) from error
    if max(picture.size) > MOST_TEXELS:
        raise MeshFileError(
            f"a texture must have at most {MOST_TEXELS} texels along a side",
            value=f"{picture.width} x {picture.height}",
            remedy="make it smaller",
        )
    return np.asarray(picture.convert("RGB"))
