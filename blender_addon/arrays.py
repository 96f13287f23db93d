# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays as Blender wants them for `foreach_set`, made from those of the wire and back.

Alphabet: V vertices, F triangles, E edges, H W height and width of an image in pixels. World: z
up, the person faces -y, as in Blender. Everything here runs on the client's thread; numpy
releases the interpreter for most of it. All arrays are contiguous and none may be written to.
"""

import itertools
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frames import ProtocolError
from .protocol import MeshFrame

Floats = NDArray[np.float32]
Indices = NDArray[np.int32]
Bytes = NDArray[np.uint8]

CORNERS = 3
"""Of a triangle."""
LEVELS = np.float32(1 / 255)
HALF = 0.5
ICON_SIDE = 256
"""Pixels along a side of a picture in the panel."""
_numbers = itertools.count(1)
_WORD = 32
"""Bits of one vertex in the key of an edge."""


@dataclass(frozen=True, eq=False)
class Topology:
    """How vertices are joined: set once per mesh; `number` tells whether a mesh has it already."""

    number: int
    """Differs from that of any other topology in this Blender session."""
    vertices: int
    """V."""
    corner_vert: Indices
    """(3F,): for `attributes['.corner_vert'].data.foreach_set('value', ...)`."""
    loop_start: Indices
    """(F,): 0, 3, 6 ...: for `polygons.foreach_set('loop_start', ...)`."""
    edge_verts: Indices
    """(2E,), each edge once: for `attributes['.edge_verts']`; saves `calc_edges`."""
    corner_edge: Indices
    """(3F,), which edge leaves each corner: for `attributes['.corner_edge']`."""

    @property
    def faces(self) -> int:
        """F."""
        return len(self.loop_start)

    def has(self, faces: NDArray[Any], vertices: int) -> bool:
        """Say whether it joins so many vertices by these faces, F 3: no new mesh is needed then."""
        return vertices == self.vertices and np.array_equal(faces.reshape(-1), self.corner_vert)

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        return sum(
            one.nbytes
            for one in (self.corner_vert, self.loop_start, self.edge_verts, self.corner_edge)
        )

    @property
    def edges(self) -> int:
        """E."""
        return len(self.edge_verts) // 2


@dataclass(frozen=True, eq=False)
class Pixels:
    """An image for `image.pixels.foreach_set(flat)`."""

    width: int
    height: int
    flat: Floats
    """(4HW,): RGBA in [0, 1], alpha 1, row 0 at the bottom, in the image's own colour space."""
    small: "Pixels | None" = None
    """The same for the panel, where this is too large for it."""


@dataclass(frozen=True, eq=False)
class SurfaceArrays:
    """A surface: positions always, and its topology by reference for whoever lacks it."""

    positions: Floats
    """(3V,): for `attributes['position'].data.foreach_set('vector', ...)`."""
    topology: Topology

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        return self.positions.nbytes + self.topology.nbytes


@dataclass(frozen=True, eq=False)
class TextureArrays:
    """A textured surface."""

    surface: SurfaceArrays
    corner_uv: Floats
    """(6F,): u v of each corner, v up: for `uv_layers[...].uv.foreach_set('vector', ...)`."""
    albedo: bytes | Path
    """A PNG for `image.pack`: of what came live, or the file of what was fetched."""
    normal_map: bytes | Path | None = None
    """The same of the normal map, in tangent space, if there is one."""

    @property
    def nbytes(self) -> int:
        """Of all arrays, and of the pictures that came live."""
        pictures = (self.albedo, self.normal_map)
        live = sum(len(picture) for picture in pictures if isinstance(picture, bytes))
        return self.surface.nbytes + self.corner_uv.nbytes + live


@dataclass(frozen=True, eq=False)
class EditedImage:
    """An image as `image.pixels.foreach_get(flat)` gives it, on its way to the backend."""

    width: int
    height: int
    flat: Floats
    """(C H W,): row 0 at the bottom, values in [0, 1]."""
    channels: int = 4

    def _rows(self) -> NDArray[np.float32]:
        shape = (self.height, self.width, self.channels)
        if self.flat.size != self.width * self.height * self.channels:
            raise ProtocolError(
                f"An image of {self.width} x {self.height} pixels and {self.channels} channels has "
                f"{self.width * self.height * self.channels} values, but got {self.flat.size}."
            )
        return self.flat.reshape(shape)[::-1]

    def rgb(self) -> Bytes:
        """Give H W 3, row 0 on top.

        Raises:
            ProtocolError: The values do not fill the image.
        """
        rows = self._rows()
        rows = np.repeat(rows[..., :1], 3, axis=2) if self.channels < CORNERS else rows[..., :3]
        levels = np.multiply(rows, np.float32(255))
        levels += np.float32(0.5)  # rounds, as truncation follows
        return np.clip(levels, 0, 255, out=levels).astype(np.uint8)

    def mask(self) -> Bytes:
        """Give H W, row 0 on top: 255 where the first channel is at least a half, else 0.

        Raises:
            ProtocolError: The values do not fill the image.
        """
        return np.where(self._rows()[..., 0] >= HALF, np.uint8(255), np.uint8(0))


@dataclass(frozen=True, eq=False)
class EditedMesh:
    """A triangulated mesh as `foreach_get` gives it."""

    positions: Floats
    """(3V,), in `frame`."""
    triangles: Indices
    """(3F,): `loop_triangles.foreach_get('vertices', ...)`."""
    frame: MeshFrame = MeshFrame.SCENE
    corner_uv: Floats | None = None
    """(2L,), u v of each loop; None: the backend unwraps it."""
    triangle_corners: Indices | None = None
    """(3F,): `loop_triangles.foreach_get('loops', ...)`; with `corner_uv`."""


def topology_of(faces: NDArray[Any], vertices: int) -> Topology:
    """Give Blender's arrays for F 3 triangles over `vertices` vertices.

    Raises:
        ProtocolError: A face names a vertex that is not there.
    """
    if faces.ndim != 2 or faces.shape[1] != CORNERS:  # noqa: PLR2004 (rows and columns)
        raise ProtocolError(f"Faces must be F 3, but got {str(faces.shape)[:60]}.")
    if faces.size and (faces.min() < 0 or faces.max() >= vertices):
        raise ProtocolError(
            f"Faces must name one of {vertices} vertices, but got {faces.min()} to {faces.max()}."
        )
    edge_verts, corner_edge = _edges(faces)
    return Topology(
        number=next(_numbers),
        vertices=vertices,
        corner_vert=_fixed(faces.reshape(-1), np.int32),
        loop_start=_fixed(np.arange(0, faces.size, CORNERS), np.int32),
        edge_verts=edge_verts,
        corner_edge=corner_edge,
    )


def _edges(faces: NDArray[Any]) -> tuple[Indices, Indices]:
    """Give each edge once (2E,), its lower vertex first, and the edge behind each corner (3F,).

    One sort of 64-bit keys does it: 0.2 s for a million corners, without the interpreter's lock.
    """
    here = faces.astype(np.int64).reshape(-1)
    there = np.roll(faces, -1, axis=1).astype(np.int64).reshape(-1)
    keys = (np.minimum(here, there) << _WORD) | np.maximum(here, there)
    edges, corner_edge = np.unique(keys, return_inverse=True)
    pairs = np.stack((edges >> _WORD, edges & (2**_WORD - 1)), axis=1)
    return _fixed(pairs.reshape(-1), np.int32), _fixed(corner_edge.reshape(-1), np.int32)


def positions_of(vertices: NDArray[Any]) -> Floats:
    """Give V 3 positions in a row.

    Raises:
        ProtocolError: They are not V 3, or not finite: Blender would draw nothing at all.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3:  # noqa: PLR2004 (rows and columns; x y z)
        raise ProtocolError(f"Vertices must be V 3, but got {str(vertices.shape)[:60]}.")
    if not np.isfinite(vertices).all():
        raise ProtocolError("Vertices must be finite, but some are not.")
    return _fixed(vertices.reshape(-1), np.float32)


def _check_picture(image: NDArray[Any]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:  # noqa: PLR2004 (H W; r g b)
        raise ProtocolError(
            f"A picture must be H W 3 bytes, but got {image.dtype} {str(image.shape)[:60]}."
        )


def pixels_of(image: NDArray[Any]) -> Pixels:
    """Give Blender's floats for H W 3 bytes, row 0 on top.

    Raises:
        ProtocolError: It is no such image.
    """
    _check_picture(image)
    height, width, _ = image.shape
    rgba = np.ones((height, width, 4), np.float32)
    np.multiply(image[::-1], LEVELS, out=rgba[..., :3])
    step = -(-max(width, height) // ICON_SIDE)
    icon = rgba[::step, ::step]
    small = Pixels(icon.shape[1], icon.shape[0], _fixed(icon.reshape(-1), np.float32))
    flat = _fixed(rgba.reshape(-1), np.float32)
    return Pixels(width, height, flat, small if step > 1 else None)


def png_of(image: NDArray[Any]) -> bytes:
    """Give H W 3 bytes, row 0 on top, as a PNG file.

    Blender itself takes a second to pack 2048 x 2048 pixels, and takes it from its window.

    Raises:
        ProtocolError: It is no such image.
    """
    _check_picture(image)
    height, width, channels = image.shape
    rows = np.zeros((height, 1 + channels * width), np.uint8)  # a row's first byte: no filter
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits each of red green blue
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows.data, 1)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    check = zlib.crc32(data, zlib.crc32(name))
    return b"".join((struct.pack(">I", len(data)), name, data, struct.pack(">I", check)))


def corner_uv_of(uv: NDArray[Any], uv_faces: NDArray[Any]) -> Floats:
    """Give u v corner by corner, from T 2 coordinates and F 3 indices into them.

    Raises:
        ProtocolError: A corner names a coordinate that is not there.
    """
    if uv.ndim != 2 or uv.shape[1] != 2 or uv_faces.ndim != 2:  # noqa: PLR2004 (rows; u v)
        raise ProtocolError(
            f"Texture coordinates must be T 2 and F 3, but got {str(uv.shape)[:30]} and "
            f"{str(uv_faces.shape)[:30]}."
        )
    if uv_faces.size and (uv_faces.min() < 0 or uv_faces.max() >= len(uv)):
        raise ProtocolError(
            f"Corners must name one of {len(uv)} texture coordinates, but got {uv_faces.min()} to "
            f"{uv_faces.max()}."
        )
    return _fixed(uv[uv_faces.reshape(-1)].reshape(-1), np.float32)


def _fixed(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Give contiguous values of a type that nobody may write to."""
    own = np.ascontiguousarray(values, dtype)
    own.flags.writeable = False
    return own
