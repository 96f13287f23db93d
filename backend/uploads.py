# SPDX-License-Identifier: Apache-2.0
"""What a client sent, under the names that the store keeps it by: told by first bytes only.

Pictures and meshes are never decoded here; the worker does that, and refuses what does not hold
what its first bytes promised.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backend.durable import Content
from backend.refusals import RefusedError
from backend.specs import HandMadeFiles
from blender_addon.frames import Array, Message
from blender_addon.protocol import Edits, Kind, Rerun, Submit

PHOTOS = (".png", ".jpg", ".webp", ".heic")
MAPS = (".png", ".npz", ".safetensors")
MESHES = (".glb", ".npz", ".safetensors")
TEXTURES = (".png", ".jpg", ".webp")
_HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1")
_NPZ_HEAD = 30
"""Bytes of a zip's local header before the name of its first file."""
_ARRAYS = {"vertices": ("f4", 3), "faces": ("i4", 3), "uv": ("f4", 2), "uv_faces": ("i4", 3)}
"""Of a mesh's arrays the numbers, and how many there are in a row."""

Files = dict[str, Content]


@dataclass
class Upload:
    """The files of one request, and what they are for."""

    files: Files = field(default_factory=dict)
    photo: str = ""
    maps: dict[str, str] = field(default_factory=dict)
    handmade: dict[str, HandMadeFiles] = field(default_factory=dict)


def suffix_of(data: memoryview) -> str:
    """Tell a file by its first bytes; give '' for anything that is not taken."""
    head = bytes(data[:16])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC:
        return ".heic"
    if head[:4] == b"PK\x03\x04" and b".npy" in bytes(data[_NPZ_HEAD : _NPZ_HEAD + 100]):
        return ".npz"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") + 8 <= len(data):
        return ".safetensors"
    starts = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg", b"glTF": ".glb"}
    return next((name for start, name in starts.items() if head.startswith(start)), "")


def unpacked_bytes(wanted: Submit | Rerun) -> int:
    """Count the bytes of all arrays that a request speaks of, as they will lie here.

    Raises:
        ProtocolError: The header of one breaks a limit.
    """
    told = [getattr(wanted.edits, name) for name in wanted.edits.__struct_fields__]
    if isinstance(wanted, Submit):
        told += [wanted.photo, *wanted.maps.values()]
    return sum(header.nbytes for header in told if isinstance(header, Array))


def add_photo(upload: Upload, message: Message[Any], header: Array) -> None:
    """Take the photo.

    Raises:
        RefusedError: It is no picture of a kind that is taken.
        ProtocolError: It is not even a file.
    """
    upload.photo = _add_file(upload, message, header, "photo", PHOTOS)


def add_maps(upload: Upload, message: Message[Any], maps: Mapping[Any, Array]) -> None:
    """Take maps: files, or arrays; errors as `add_photo`."""
    for name, header in maps.items():
        if len(header.shape) > 1:
            values = message.array(header)
            upload.maps[name] = f"{name}.npy"
            upload.files[f"{name}.npy"] = values != 0 if name == "mask" else values
        else:
            upload.maps[name] = _add_file(upload, message, header, name, MAPS)


def add_edits(upload: Upload, message: Message[Any], edits: Edits, start: str | None) -> None:
    """Take what was made by hand, for the stage that it belongs to; errors as `add_photo`."""
    if edits.mask is not None:
        add_maps(upload, message, {"mask": edits.mask})
    stage = stage_of(edits, start)
    if stage is None:
        return
    found: dict[str, str] = {}
    for name, (dtype, width) in _ARRAYS.items():
        header = getattr(edits, name)
        if header is not None:
            found[name] = f"{stage}.{name}.npy"
            upload.files[found[name]] = _array(message, name, header, dtype, (None, width))
    if edits.mesh is not None:
        found["mesh"] = _add_file(upload, message, edits.mesh, f"{stage}.mesh", MESHES)
    if edits.albedo is not None and len(edits.albedo.shape) == 1:
        found["albedo"] = _add_file(upload, message, edits.albedo, f"{stage}.albedo", TEXTURES)
    elif edits.albedo is not None:
        found["albedo"] = f"{stage}.albedo.npy"
        values = _array(message, "albedo", edits.albedo, "u1", (None, None, 3))
        upload.files[found["albedo"]] = values
    upload.handmade[stage] = HandMadeFiles(found, edits.frame)


def stage_of(edits: Edits, start: str | None) -> str | None:
    """Name the stage whose result the edits replace; nothing if they hold no mesh or texture.

    Raises:
        RefusedError: They are no whole mesh, or do not belong together.
    """
    given = {name for name in _ARRAYS if getattr(edits, name) is not None}
    mesh, laid_out = {"vertices", "faces"}, {"uv", "uv_faces"}
    whole = given in (set(), mesh, mesh | laid_out) and not (given and edits.mesh is not None)
    if not whole:
        raise RefusedError(
            Kind.INPUT,
            "an edited mesh must be a file, or vertices and faces, with uv and uv_faces or neither",
            value=", ".join(sorted(given)) + (" and a file" if edits.mesh is not None else ""),
            remedy="send all of one mesh",
        )
    if not given and edits.mesh is None:
        return None if edits.albedo is None else "pixel_texture"
    if edits.albedo is None:
        # A file may bring its own texture; only `finish` then has something left to do.
        return "pixel_texture" if edits.mesh is not None and start == "finish" else "sculpt"
    if given == mesh:
        raise RefusedError(
            Kind.INPUT,
            "a mesh that comes with its texture must have texture coordinates",
            value="one without",
            remedy="send uv and uv_faces too, or leave the texture out",
        )
    return "pixel_texture"


def _array(
    message: Message[Any], name: str, header: Array, dtype: str, shape: tuple[int | None, ...]
) -> np.ndarray[Any, Any]:
    fits = header.dtype == dtype and len(header.shape) == len(shape)
    if not fits or any(w not in (None, got) for w, got in zip(shape, header.shape, strict=True)):
        form = " x ".join("any" if size is None else str(size) for size in shape)
        raise RefusedError(
            Kind.INPUT,
            f"edited {name} must be {dtype} of the shape {form}",
            value=f"{header.dtype} of shape {list(header.shape)}",
            remedy="update the add-on",
        )
    return message.array(header)


def _add_file(
    upload: Upload, message: Message[Any], header: Array, name: str, kinds: tuple[str, ...]
) -> str:
    data = memoryview(message.file(header))
    suffix = suffix_of(data)
    if suffix not in kinds:
        what = name.rpartition(".")[2]
        *others, last = (kind.removeprefix(".").replace("jpg", "jpeg") for kind in kinds)
        raise RefusedError(
            Kind.INPUT,
            f"a {what} must be {', '.join(others)} or {last}",
            value=f"{len(data)} bytes of {suffix.removeprefix('.') or 'something else'}",
            remedy="save it as one of these",
        )
    upload.files[f"{name}{suffix}"] = data
    return f"{name}{suffix}"
