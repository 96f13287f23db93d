"""Read GLB 2.0 files, ours and other people's, into one textured mesh in our world.

Understood: node transforms, several meshes, primitives and base colour textures (which are laid
side by side in one albedo), base colour factors, normal maps that share their coordinates and
where no charts lie over each other. Not read: skins, morph targets, animation,
vertex colours. Refused: required extensions (compression, texture transforms), sparse accessors.
"""

import io
import json
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from geneman.errors import MeshFileError
from geneman.gltf import BINARY_CHUNK, JSON_CHUNK, MAGIC, from_gltf_axes
from geneman.mesh import Mesh, TexturedMesh
from geneman.tangents import Frames, frames_of, to_object_space

COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
TRIANGLES = 4
PLAIN_TEXTURE_SIDE = 8
"""Side of the texture that stands for a material which has a colour only."""
FRAME = 7
"""Numbers of a corner's frame: normal, tangent, hand."""
FLAT = (0.5, 0.5, 1.0)
"""Colour of a normal map that changes nothing."""
UNREADABLE = "export it as a plain glTF 2.0 binary with embedded textures"

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class _Part:
    """One primitive in glTF's world: corner arrays, three rows a triangle."""

    positions: NDArray[np.float32]
    uv: NDArray[np.float32]
    material: int | None
    frames: NDArray[np.float32] | None
    """Normal, tangent and hand, if the file has them."""


def read_glb(path: Path) -> TexturedMesh:
    """Read a file; vertices at exactly the same place become one, so that seams close again.

    Returns:
        The mesh in metres, world axes, float32; uv with v up; one albedo for all materials.

    Raises:
        MeshFileError: The file is no GLB 2.0, needs an extension, or holds no triangle.
    """
    try:
        return GlbReader(*chunks(path)).textured()
    except FileNotFoundError as error:
        raise MeshFileError(
            "the mesh file must exist", value=path, remedy="give another path"
        ) from error
    except (KeyError, IndexError, ValueError, UnidentifiedImageError, struct.error) as error:
        raise MeshFileError(
            "the mesh file must be a whole GLB 2.0",
            value=f"{path} ({type(error).__name__}: {error})",
            remedy=UNREADABLE,
        ) from error


def chunks(path: Path) -> tuple[dict[str, Any], bytes]:
    """Take the container apart (specification, section 4.4)."""
    content = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", content)
    if magic != MAGIC or version != 2 or length > len(content):  # noqa: PLR2004 (GLB 2)
        raise ValueError(f"header {magic!r}, version {version}, {length} of {len(content)} bytes")
    document, binary, offset = None, b"", 12
    while offset < length:
        size, kind = struct.unpack_from("<I4s", content, offset)
        chunk = content[offset + 8 : offset + 8 + size]
        if kind == JSON_CHUNK:
            document = json.loads(chunk)
        elif kind == BINARY_CHUNK:
            binary = chunk
        offset += 8 + size
    if not isinstance(document, dict):
        raise ValueError("no JSON chunk")
    return document, binary


class GlbReader:
    """Follows the references inside one document."""

    def __init__(self, document: dict[str, Any], binary: bytes) -> None:
        self.document, self.binary = document, binary
        if required := document.get("extensionsRequired"):
            raise ValueError(f"it requires {', '.join(required)}")

    def textured(self) -> TexturedMesh:
        """Join all primitives of the scene."""
        scene = self.document["scenes"][self.document.get("scene", 0)]
        parts = [part for root in scene["nodes"] for part in self._node(root, np.eye(4))]
        if not any(len(part.positions) for part in parts):
            raise ValueError("no triangles")
        materials = sorted({part.material for part in parts}, key=lambda m: -1 if m is None else m)
        albedo, placed = side_by_side([self.albedo(material) for material in materials])
        uv = [part.uv * placed[materials.index(part.material)] for part in parts]
        offsets = np.cumsum([0.0] + [scale[0] for scale in placed])
        uv = [
            rows + np.array([offsets[materials.index(part.material)], 0])
            for rows, part in zip(uv, parts, strict=True)
        ]
        points, faces = np.unique(
            np.concatenate([part.positions for part in parts]), axis=0, return_inverse=True
        )
        coordinates, uv_faces = np.unique(np.concatenate(uv), axis=0, return_inverse=True)
        coordinates[:, 1] = 1 - coordinates[:, 1]
        bare = TexturedMesh(
            Mesh(
                from_gltf_axes(torch.from_numpy(points.astype(np.float32))),
                torch.from_numpy(faces.reshape(-1, 3)),
            ),
            torch.from_numpy(coordinates.astype(np.float32)),
            torch.from_numpy(uv_faces.reshape(-1, 3)),
            torch.from_numpy(albedo),
        )
        relief = self._normal_map(materials, placed, albedo.shape)
        if relief is None:
            return bare
        given = [part.frames for part in parts if part.frames is not None]
        frames = frames_of(bare)
        if len(given) == len(parts):
            frames = _frames(bare, np.concatenate(given))
        return replace(bare, normals=to_object_space(torch.from_numpy(relief), frames))

    def _normal_map(
        self,
        materials: list[int | None],
        shares: list[NDArray[np.float32]],
        shape: tuple[int, ...],
    ) -> NDArray[np.float32] | None:
        """Lay the materials' normal maps as their albedos lie; flat where one has none."""
        found = [self.normal_map(material) for material in materials]
        if all(image is None for image in found):
            return None
        if len(found) == 1:
            return found[0]
        flat = np.full(shape, FLAT, np.float32)
        begin = 0
        for image, share in zip(found, shares, strict=True):
            width, height = round(share[0] * shape[1]), round(share[1] * shape[0])
            if image is not None:
                whole = torch.from_numpy(image).movedim(-1, 0)[None]
                fitted = torch.nn.functional.interpolate(whole, (height, width), mode="bilinear")
                flat[:height, begin : begin + width] = fitted[0].movedim(0, -1).numpy()
            begin += width
        return flat

    def _node(self, index: int, parent: Matrix) -> list[_Part]:
        """Give the primitives under a node, in world coordinates."""
        node = self.document["nodes"][index]
        matrix = parent @ local_matrix(node)
        parts = []
        if "mesh" in node:
            for primitive in self.document["meshes"][node["mesh"]]["primitives"]:
                if primitive.get("mode", TRIANGLES) == TRIANGLES:
                    parts.append(self._primitive(primitive, matrix))
        for child in node.get("children", []):
            parts += self._node(child, matrix)
        return parts

    def _primitive(self, primitive: dict[str, Any], matrix: Matrix) -> _Part:
        attributes, material = primitive["attributes"], primitive.get("material")
        positions = self.accessor(attributes["POSITION"]).astype(np.float64)
        moved = (positions @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
        if "indices" in primitive:
            indices = self.accessor(primitive["indices"]).reshape(-1, 3)
        else:
            indices = np.arange(len(positions)).reshape(-1, 3)
        if np.linalg.det(matrix[:3, :3]) < 0:  # a mirrored node turns its triangles inside out
            indices = indices[:, ::-1]
        texture = self._base_colour(material).get("baseColorTexture", {})
        channel = f"TEXCOORD_{texture.get('texCoord', 0)}"
        uv = np.zeros((len(positions), 2), np.float32)
        if channel in attributes:
            uv = self.accessor(attributes[channel]).astype(np.float32)
        frames = self._frames(attributes, matrix)
        return _Part(
            moved[indices].reshape(-1, 3),
            _wrapped(uv[indices]).reshape(-1, 2),
            material,
            None if frames is None else frames[indices].reshape(-1, FRAME),
        )

    def _frames(self, attributes: dict[str, int], matrix: Matrix) -> NDArray[np.float32] | None:
        """Give normal, tangent and hand of a primitive's vertices, turned with its node."""
        if not {"NORMAL", "TANGENT"} <= attributes.keys():
            return None
        normal = self.accessor(attributes["NORMAL"]).astype(np.float64)
        tangent = self.accessor(attributes["TANGENT"]).astype(np.float64)
        along = matrix[:3, :3]
        # Normals turn with the inverse transpose; a mirror swaps the hands.
        turned = normal @ np.linalg.pinv(along)  # of a flattened node too
        moved = tangent[:, :3] @ along.T
        turned, moved = (
            v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (turned, moved)
        )
        hand = tangent[:, 3:] * np.sign(np.linalg.det(along))
        return np.concatenate([turned, moved, hand], axis=1).astype(np.float32)

    def _base_colour(self, material: int | None) -> dict[str, Any]:
        if material is None:
            return {}
        found = self.document["materials"][material].get("pbrMetallicRoughness", {})
        return dict(found)

    def accessor(self, index: int) -> NDArray[Any]:
        """Give count x width values; normalised integers become floats."""
        accessor = self.document["accessors"][index]
        if "sparse" in accessor:
            raise ValueError("it has a sparse accessor")
        dtype, width = np.dtype(COMPONENTS[accessor["componentType"]]), WIDTHS[accessor["type"]]
        count = accessor["count"]
        if "bufferView" not in accessor:
            return np.zeros((count, width), dtype)
        view = self.document["bufferViews"][accessor["bufferView"]]
        begin = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        stride = view.get("byteStride", width * dtype.itemsize)
        values: NDArray[Any] = np.ndarray(
            (count, width), dtype, self.binary, begin, (stride, dtype.itemsize)
        )
        if accessor.get("normalized"):
            values = np.maximum(values / np.float32(np.iinfo(dtype).max), -1)
        return values

    def albedo(self, material: int | None) -> NDArray[np.float32]:
        """Give a material's base colour as an sRGB image; its factor is linear light."""
        base = self._base_colour(material)
        factor = np.array(base.get("baseColorFactor", [1.0] * 4)[:3])
        if "baseColorTexture" not in base:
            plain = np.ones((PLAIN_TEXTURE_SIDE, PLAIN_TEXTURE_SIDE, 3))
            return _tinted(plain, factor)
        return _tinted(self._pixels(base["baseColorTexture"]), factor)

    def normal_map(self, material: int | None) -> NDArray[np.float32] | None:
        """Give a material's normal map, its strength applied, if it lies as the base colour."""
        if material is None or "normalTexture" not in self.document["materials"][material]:
            return None
        texture = self.document["materials"][material]["normalTexture"]
        colour = self._base_colour(material).get("baseColorTexture", texture)
        source = self.document["textures"][texture["index"]].get("source")
        embedded = source is not None and "bufferView" in self.document["images"][source]
        if not embedded or texture.get("texCoord", 0) != colour.get("texCoord", 0):
            return None
        strength = np.array([texture.get("scale", 1.0)] * 2 + [1.0], np.float32)
        return np.asarray((self._pixels(texture) - 0.5) * strength + 0.5, np.float32)

    def _pixels(self, reference: dict[str, Any]) -> NDArray[np.float32]:
        """Give the picture that a texture reference names, in [0, 1]."""
        texture = self.document["textures"][reference["index"]]
        image = self.document["images"][texture["source"]]
        view = self.document["bufferViews"][image["bufferView"]]
        begin = view.get("byteOffset", 0)
        with Image.open(io.BytesIO(self.binary[begin : begin + view["byteLength"]])) as picture:
            levels = np.asarray(picture.convert("RGB"), np.float32)
        return np.divide(levels, 255, dtype=np.float32)


def _frames(bare: TexturedMesh, corners: NDArray[np.float32]) -> Frames:
    """Give the frames that a file tells corner by corner, in our axes."""
    given = torch.from_numpy(corners)
    faces = torch.arange(len(given)).reshape(-1, 3)
    vertex, uv = bare.mesh.faces.reshape(-1), bare.uv[bare.uv_faces.reshape(-1)]
    normal, tangent = (from_gltf_axes(given[:, at : at + 3]) for at in (0, 3))
    return Frames(faces, vertex, uv, normal, tangent, given[:, -1])


def _tinted(image: NDArray[Any], factor: NDArray[np.float64]) -> NDArray[np.float32]:
    """Multiply an sRGB image by a colour in linear light (IEC 61966-2-1)."""
    if (factor == 1).all():
        return image.astype(np.float32)
    linear = np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4) * factor  # noqa: PLR2004 (sRGB)
    curved = 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    encoded: NDArray[np.float64] = np.where(linear <= 0.0031308, linear * 12.92, curved)  # noqa: PLR2004 (sRGB)
    return np.asarray(np.clip(encoded, 0, 1), np.float32)


def local_matrix(node: dict[str, Any]) -> Matrix:
    """Give a node's transform to its parent (specification, section 3.5.3)."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array(node.get("scale", (1.0, 1.0, 1.0)))
    matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix


def _wrapped(uv: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move each triangle's repeated texture coordinates (f, 3, 2) into the first tile."""
    centre = uv.mean(axis=1, keepdims=True)
    return np.asarray(np.clip(uv - np.floor(centre), 0, 1), np.float32)


def side_by_side(
    images: list[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Lay images in a row, their upper edges level; rows below the shorter ones stay black.

    Returns:
        The row, and for each image its share of the row's width and height.
    """
    height, width = max(len(image) for image in images), sum(image.shape[1] for image in images)
    row, begin, shares = np.zeros((height, width, 3), np.float32), 0, []
    for image in images:
        row[: len(image), begin : begin + image.shape[1]] = image
        shares.append(np.array([image.shape[1] / width, len(image) / height], np.float32))
        begin += image.shape[1]
    return row, shares
