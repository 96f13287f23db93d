"""GLB 2.0: the one file where axes change.

Ours is z up with the person facing -y; glTF's is y up with the front on +z. Both are
right-handed, so (x, y, z) becomes (x, z, -y): the person's left hand stays on +x. glTF's
texture rows run downward, so v becomes 1 - v. Lengths are metres on both sides.
(Khronos, glTF 2.0 specification: sections 3.4, 3.7, 3.9 and 4.4.)
"""

import io
import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from geneman.mesh import TexturedMesh, smooth_normals
from geneman.tangents import frames_of, to_tangent_space

MAGIC, JSON_CHUNK, BINARY_CHUNK = b"glTF", b"JSON", b"BIN\0"
FLOAT, UINT16, UINT32 = 5126, 5123, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071
LARGEST_UINT16_COUNT = 65535
"""Index 65535 is the primitive restart value, so 16 bits address this many vertices."""

Json = dict[str, object]


def to_gltf_axes(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Turn points or directions from z up, facing -y, to glTF's y up, facing +z."""
    x, y, z = points.unbind(dim=-1)
    return torch.stack([x, z, -y], dim=-1)


def from_gltf_axes(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Turn points or directions from glTF's axes to ours: the inverse of `to_gltf_axes`."""
    x, y, z = points.unbind(dim=-1)
    return torch.stack([x, -z, y], dim=-1)


def split_at_seams(
    textured: TexturedMesh,
) -> tuple[Int[Tensor, "f 3"], Int[Tensor, "s"], Int[Tensor, "s"]]:
    """Give each pair of vertex and texture coordinate in use a number.

    Returns:
        The faces over the s pairs, and for each pair its vertex and its uv.
    """
    corners = torch.stack(
        [textured.mesh.faces.reshape(-1).long(), textured.uv_faces.reshape(-1).long()], dim=-1
    )
    pairs, faces = torch.unique(corners, dim=0, return_inverse=True)
    return faces.reshape(-1, 3), pairs[:, 0], pairs[:, 1]


def encode_image(
    image: Float[Tensor, "h w 3"], image_format: Literal["PNG", "JPEG"] = "PNG"
) -> bytes:
    """Compress an image in [0, 1], sRGB or the numbers of a map, to 8 bits a channel."""
    pixels = (image.detach().clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
    file, picture = io.BytesIO(), Image.fromarray(pixels)
    if image_format == "PNG":
        # Level 3 packs photos to within 3 % of level 6 in a third of the time.
        picture.save(file, "PNG", compress_level=3)
    else:
        # Thin chroma makes seams visible: keep full colour resolution.
        picture.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def write_glb(
    path: Path,
    textured: TexturedMesh,
    *,
    name: str = "Person",
    extras: Mapping[str, object] | None = None,
    image_format: Literal["PNG", "JPEG"] = "PNG",
    normal_map: Float[Tensor, "s s 3"] | None = None,
) -> None:
    """Write one mesh with one matte material to a single file, whole or not at all.

    Vertices are split where the texture has seams; normals are those of the unsplit surface, so
    that seams do not show in the shading. Finer normals become a normal map with its tangents.

    Args:
        path: Where to write; an existing file is replaced.
        textured: Mesh in metres, world axes; the albedo's sides should be powers of two.
        name: Name of the node, its mesh and its material.
        extras: JSON values kept on the node (Blender shows them as custom properties).
        image_format: How the albedo is compressed inside; a normal map is always PNG.
        normal_map: `to_tangent_space` of the mesh, if it is known already.
    """
    replace_file(path, glb_bytes(textured, name, dict(extras or {}), image_format, normal_map))


def replace_file(path: Path, content: bytes) -> None:
    """Write beside the old file, then take its place: no reader ever meets half a file."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def glb_bytes(
    textured: TexturedMesh,
    name: str,
    extras: Json,
    image_format: Literal["PNG", "JPEG"],
    normal_map: Float[Tensor, "s s 3"] | None = None,
) -> bytes:
    """Give the content of the file that `write_glb` writes."""
    normal_map = to_tangent_space(textured) if normal_map is None else normal_map
    faces, arrays = _corners(textured, with_tangents=normal_map is not None)
    index_type = UINT16 if len(arrays["POSITION"]) <= LARGEST_UINT16_COUNT else UINT32
    index_bytes = np.dtype("<u2" if index_type == UINT16 else "<u4")
    binary, accessors = _Binary(), list[Json]()
    for values in arrays.values():
        view = binary.add(_float_bytes(values), ARRAY_BUFFER)
        accessors.append(_accessor(view, FLOAT, len(values), f"VEC{values.shape[1]}"))
    low, high = (_extremes(arrays["POSITION"], of) for of in ("min", "max"))
    accessors[0] |= {"min": low, "max": high}
    indices = faces.reshape(-1).cpu().numpy().astype(index_bytes).tobytes()
    view = binary.add(indices, ELEMENT_ARRAY_BUFFER)
    accessors.append(_accessor(view, index_type, faces.numel(), "SCALAR"))
    images = [("albedo", binary.add(encode_image(textured.albedo, image_format)), image_format)]
    if normal_map is not None:
        # Lossy colours would turn the light; PNG is read as the plain numbers that it holds.
        images.append(("normal", binary.add(encode_image(normal_map)), "PNG"))
    document = _document(name, extras, accessors, list(arrays), images)
    document |= {"bufferViews": binary.views, "buffers": [{"byteLength": binary.length}]}
    return _container(document, b"".join(binary.pieces))


def _corners(
    textured: TexturedMesh, *, with_tangents: bool
) -> tuple[Int[Tensor, "f 3"], dict[str, Tensor]]:
    """Give the faces over corners, and what lies at each of these by glTF's names."""
    if with_tangents:
        frames = frames_of(textured)
        faces, vertex, at, normal = frames.faces, frames.vertex, frames.uv, frames.normal
        # glTF turns v over and the axes with it; the hand is told as if it did not.
        turned = torch.cat([to_gltf_axes(frames.tangent), frames.hand[:, None]], dim=1)
        tangents = {"TANGENT": turned}
    else:
        faces, vertex, uv = split_at_seams(textured)
        at, normal, tangents = textured.uv[uv], smooth_normals(textured.mesh)[vertex], {}
    arrays = {
        "POSITION": to_gltf_axes(textured.mesh.vertices)[vertex],
        "NORMAL": to_gltf_axes(normal),
        "TEXCOORD_0": torch.stack([at[:, 0], 1 - at[:, 1]], dim=-1),
    }
    return faces, arrays | tangents


class _Binary:
    """The binary chunk: pieces one after the other, each aligned to four bytes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.views: list[Json] = []
        self.length = 0

    def add(self, piece: bytes, target: int | None = None) -> int:
        """Lay a piece at the end; give the number of its view."""
        view: Json = {"buffer": 0, "byteOffset": self.length, "byteLength": len(piece)}
        self.views.append(view if target is None else view | {"target": target})
        self.pieces.append(_padded(piece, b"\0"))
        self.length += _aligned(len(piece))
        return len(self.views) - 1


def _document(
    name: str,
    extras: Json,
    accessors: Sequence[Json],
    attributes: Sequence[str],
    images: Sequence[tuple[str, int, Literal["PNG", "JPEG"]]],
) -> Json:
    """Give the JSON chunk but for its buffer: one scene, node, mesh and material.

    Args:
        name: Of the node, the mesh and the material.
        extras: Of the node.
        accessors: Those of the attributes in their order, and of the indices.
        attributes: Their names.
        images: Of albedo and normal map, if there is one: name, view and format.
    """
    node: Json = {"name": name, "mesh": 0}
    if extras:
        node["extras"] = extras
    sampler = {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR}
    material: Json = {
        "name": name,
        "pbrMetallicRoughness": {
            "baseColorTexture": {"index": 0},
            "metallicFactor": 0.0,
            "roughnessFactor": 1.0,
        },
    }
    if len(images) > 1:
        material["normalTexture"] = {"index": 1}
    primitive = {
        "attributes": {attribute: index for index, attribute in enumerate(attributes)},
        "indices": len(attributes),
        "material": 0,
    }
    return {
        "asset": {"version": "2.0", "generator": "GeneMAN for Blender"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{"name": name, "primitives": [primitive]}],
        "materials": [material],
        "textures": [{"sampler": 0, "source": source} for source in range(len(images))],
        "samplers": [sampler | {"wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}],
        "images": [
            {"name": name, "bufferView": view, "mimeType": f"image/{image_format.lower()}"}
            for name, view, image_format in images
        ],
        "accessors": list(accessors),
    }


def _accessor(view: int, component: int, count: int, shape: str) -> Json:
    return {"bufferView": view, "componentType": component, "count": count, "type": shape}


def _container(document: Json, binary: bytes) -> bytes:
    """Wrap the two chunks with their headers (specification, section 4.4)."""
    text = _padded(json.dumps(document, separators=(",", ":")).encode(), b" ")
    chunks = [
        struct.pack("<I4s", len(content), kind) + content
        for kind, content in ((JSON_CHUNK, text), (BINARY_CHUNK, binary))
    ]
    return struct.pack("<4sII", MAGIC, 2, 12 + sum(map(len, chunks))) + b"".join(chunks)


def _aligned(length: int) -> int:
    return -(-length // 4) * 4


def _padded(content: bytes, filler: bytes) -> bytes:
    return content + filler * (_aligned(len(content)) - len(content))


def _float_bytes(array: Float[Tensor, "n c"]) -> bytes:
    return array.detach().cpu().contiguous().numpy().astype("<f4").tobytes()


def _extremes(points: Float[Tensor, "n 3"], of: Literal["min", "max"]) -> list[float]:
    limit = points.amin(dim=0) if of == "min" else points.amax(dim=0)
    return [float(np.float32(value)) for value in limit.tolist()]
