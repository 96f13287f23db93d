# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the person out of the library's model.glb: one mesh, one primitive, facts on its node.

A glb repeats a vertex for each texture coordinate that it has; here they are one again, so that
the surface is closed and can be sculpted. Axes turn from glTF's y up to Blender's z up.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .arrays import CORNERS
from .frames import ProtocolError
from .protocol import Placement

_HEADER, _CHUNK = struct.Struct("<4sII"), struct.Struct("<I4s")
_NUMBERS = {5126: "<f4", 5123: "<u2", 5125: "<u4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}


class _Accessor(msgspec.Struct):
    view: int = msgspec.field(name="bufferView")
    number: int = msgspec.field(name="componentType")
    count: int
    type: str


class _View(msgspec.Struct):
    length: int = msgspec.field(name="byteLength")
    offset: int = msgspec.field(name="byteOffset", default=0)


class _Primitive(msgspec.Struct):
    attributes: dict[str, int]
    indices: int


class _Mesh(msgspec.Struct):
    primitives: list[_Primitive]


class _Facts(msgspec.Struct):
    metres_per_unit: float
    floor_units: tuple[float, float, float]
    camera_elevation_deg: float = 0.0

    @property
    def placement(self) -> Placement:
        """Say how the person came from the scene to metres."""
        return Placement(self.metres_per_unit, self.floor_units, self.camera_elevation_deg)


class _Node(msgspec.Struct):
    extras: _Facts | None = None


class _Document(msgspec.Struct):
    accessors: list[_Accessor]
    views: list[_View] = msgspec.field(name="bufferViews")
    meshes: list[_Mesh]
    nodes: list[_Node]


@dataclass(frozen=True, eq=False)
class Person:
    """What a model.glb holds, in metres and Blender's axes."""

    vertices: NDArray[np.float32]
    """V 3."""
    faces: NDArray[np.int32]
    """F 3."""
    uv: NDArray[np.float32]
    """T 2, v up."""
    uv_faces: NDArray[np.int32]
    """F 3."""
    placement: Placement | None
    """How it came from the scene to metres."""


def read_person(path: Path) -> Person:
    """Read a file that `finish` wrote.

    Raises:
        ProtocolError: It is no such file, or not whole.
        OSError: It cannot be read.
    """
    data = path.read_bytes()
    try:
        return _person(data)
    except (struct.error, msgspec.DecodeError, ValueError, LookupError) as error:
        raise ProtocolError(
            f"'{path.name}' must be a person as the backend writes it, but is not ({error})."
        ) from error


def _person(data: bytes) -> Person:
    magic, version, length = _HEADER.unpack_from(data)
    if magic != b"glTF" or version != 2 or length != len(data):  # noqa: PLR2004 (glTF 2)
        raise ValueError("it is no whole glb")
    text, start = _chunk(data, _HEADER.size, b"JSON")
    binary, _ = _chunk(data, start, b"BIN\0")
    document = msgspec.json.decode(text, type=_Document)
    (primitive,) = document.meshes[0].primitives

    def array(index: int) -> NDArray[Any]:
        accessor = document.accessors[index]
        view = document.views[accessor.view]
        piece = binary[view.offset : view.offset + view.length]
        values = np.frombuffer(piece, _NUMBERS[accessor.number])
        return values.reshape(accessor.count, _WIDTHS[accessor.type])

    uv_faces = array(primitive.indices).reshape(-1, CORNERS).astype(np.int32)
    x, y, z = array(primitive.attributes["POSITION"]).T
    points = np.stack((x, -z, y), axis=1)
    vertices, same = np.unique(points, axis=0, return_inverse=True)
    u, v = array(primitive.attributes["TEXCOORD_0"]).T
    facts = document.nodes[0].extras
    return Person(
        vertices=vertices,
        faces=same.reshape(-1)[uv_faces].astype(np.int32),
        uv=np.stack((u, 1 - v), axis=1),
        uv_faces=uv_faces,
        placement=None if facts is None else facts.placement,
    )


def _chunk(data: bytes, offset: int, wanted: bytes) -> tuple[bytes, int]:
    """Give a chunk's content and where the next begins."""
    length, kind = _CHUNK.unpack_from(data, offset)
    begin = offset + _CHUNK.size
    if kind != wanted or begin + length > len(data):
        raise ValueError("a chunk is missing")
    return data[begin : begin + length], begin + length
