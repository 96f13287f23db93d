# SPDX-License-Identifier: GPL-3.0-or-later
"""The photo as a Blender image: shown, upright, and as the ground that a mask is painted on."""

import struct
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .arrays import EditedImage
from .scene_import import SceneError, marked
from .translations import told

PHOTO, MASK = "photo", "mask"
"""Roles."""
UPRIGHT = 1
_ORIENTATION = 0x0112
_HEAD_BYTES = 256 * 1024
"""A JPEG's EXIF block is at most 64 KiB and stands in front."""
_TURNS = {1: (0, False), 2: (0, True), 3: (2, False), 4: (2, True),
          5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}  # fmt: skip
"""EXIF orientation -> quarter turns counter-clockwise, after which it is mirrored or not."""
GHOST = 0.3
"""Opacity of what is not the person while a mask is painted: enough to see what to add."""
INSIDE = 0.5
_RGBA = 4


def readable(path: str) -> Path | None:
    """Give the photo's file, if it is there."""
    found = Path(bpy.path.abspath(path)) if path else None
    return found if found is not None and found.is_file() else None


def shown_photo(path: str) -> Any | None:
    """Give the photo as an image; None if Blender cannot read it (heic) or it is gone."""
    found = readable(path)
    if found is None:
        return None
    try:
        image = bpy.data.images.load(str(found), check_existing=True)
    except RuntimeError:
        return None
    return image if image.size[0] else None


def orientation(path: Path) -> int:
    """Read how a JPEG's camera was held (EXIF, 1 to 8); 1 for anything else."""
    with path.open("rb") as file:
        data = file.read(_HEAD_BYTES)
    begin = data.find(b"Exif\0\0")
    if data[:2] != b"\xff\xd8" or begin < 0:
        return UPRIGHT
    tiff = data[begin + 6 :]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return UPRIGHT
    try:
        (place,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, place)
        for entry in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, place + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if value in _TURNS else UPRIGHT
    except struct.error:
        return UPRIGHT
    return UPRIGHT


def upright_photo(path: str) -> Any:
    """Give the photo as the backend sees it: Blender itself does not turn photos.

    Raises:
        SceneError: The photo is gone, or Blender cannot read its kind.
    """
    found, image = readable(path), shown_photo(path)
    if found is None or image is None:
        text = (
            "The photo must be a picture that Blender can read, but got '{path}': choose a png, "
            "jpeg or webp"
        )
        raise SceneError(told(text, path=path))
    held = orientation(found)
    if held == UPRIGHT:
        return image
    name = f"{image.name} Upright"
    known = bpy.data.images.get(name)
    if known is not None:
        return known
    width, height = image.size
    pixels = np.empty(width * height * _RGBA, np.float32)
    image.pixels.foreach_get(pixels)
    turned = turn(pixels.reshape(height, width, _RGBA), held)
    made = marked(bpy.data.images.new(name, turned.shape[1], turned.shape[0]), name, PHOTO)
    made.pixels.foreach_set(np.ascontiguousarray(turned).reshape(-1))
    made.update()
    made.pack()
    return made


def turn(pixels: "np.ndarray[Any, Any]", held: int) -> "np.ndarray[Any, Any]":
    """Turn pixels (H W C, row 0 at the bottom) upright."""
    turns, mirrored = _TURNS[held]
    turned = np.rot90(pixels[::-1], turns)[::-1]
    return turned[:, ::-1] if mirrored else turned


# ---- the mask ---------------------------------------------------------------------------------


def paint_ground(path: str, mask: "np.ndarray[Any, np.dtype[np.float32]] | None") -> Any:
    """Give an image to paint a mask on: the photo, faint where the person is not.

    Colours never change under the brush; it adds and erases opacity.

    Args:
        path: The photo.
        mask: H W in [0, 1], row 0 at the bottom, of the upright photo's size; None: all of it.

    Raises:
        SceneError: The photo cannot be shown.
    """
    photo = upright_photo(path)
    width, height = photo.size
    pixels = np.empty(width * height * _RGBA, np.float32)
    photo.pixels.foreach_get(pixels)
    shaped = pixels.reshape(height, width, _RGBA)
    if mask is None:
        shaped[..., 3] = 1.0
    elif mask.shape != (height, width):
        text = "The mask must be of the photo's {size} pixels, but has {has}: run Prepare again"
        has = f"{mask.shape[1]} x {mask.shape[0]}"
        raise SceneError(told(text, size=f"{width} x {height}", has=has))
    else:
        shaped[..., 3] = GHOST + (1 - GHOST) * mask
    name = f"{photo.name} Mask"
    made = bpy.data.images.get(name)
    if made is None or tuple(made.size) != (width, height):
        if made is not None:
            bpy.data.images.remove(made)
        made = marked(bpy.data.images.new(name, width, height, alpha=True), name, MASK)
    made.pixels.foreach_set(pixels)
    made.update()
    return made


def painted_mask(image: Any) -> EditedImage:
    """Give what was painted, in one channel: 1 is the person.

    Raises:
        SceneError: Nothing is left of the person.
    """
    width, height = image.size
    pixels = np.empty(width * height * _RGBA, np.float32)
    image.pixels.foreach_get(pixels)
    inside = (pixels[3::_RGBA] > (GHOST + 1) / 2).astype(np.float32)
    if not inside.any():
        text = "A mask must leave something of the person: add to it before you use it"
        raise SceneError(told(text))
    return EditedImage(width, height, inside, channels=1)
