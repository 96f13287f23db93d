"""Maps that the user brings along, read from files and checked: they replace estimates.

They belong to the photo (same size), or they are square and already recentred as METHOD
section 1 says; which of the two it is, their size tells.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped
from numpy import ndarray
from PIL import Image

from geneman.array_files import SUFFIXES, ArrayFileError, only_array
from geneman.errors import MapError, PhotoError
from geneman.preprocess.framing import POINTS
from geneman.preprocess.photo import open_picture
from geneman.preprocess.registration import is_recentred

_HALF = 0.5
_VECTOR, _POINT = 3, 4
_FULL_8_BIT, _FULL_16_BIT = 255, 65535


@dataclass(frozen=True)
class GivenMaps:
    """Files (and a text) that the user gives beside the photo; each is optional."""

    mask: Path | None = None
    """PNG (white or opaque = person) or a boolean array (npy, npz, safetensors)."""
    normal: Path | None = None
    """8-bit PNG, n = 2 c - 1; camera frame: x right, y up, z towards the viewer."""
    depth: Path | None = None
    """8- or 16-bit PNG or an array; larger = farther; up to scale and shift."""
    landmarks: Path | None = None
    """33 x 4 array: x, y in [-1, 1] with y up, depth (smaller = nearer), visibility."""
    prompt: str | None = None
    """What the photo shows, in words."""


@dataclass(frozen=True)
class Maps:
    """What was read; all maps have one size."""

    mask: Bool[ndarray, "h w"] | None
    normal: Float32[ndarray, "h w 3"] | None
    depth: Float32[ndarray, "h w"] | None
    landmarks: Float32[ndarray, "33 4"] | None

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the maps; nothing if there are none."""
        for values in (self.mask, self.normal, self.depth):
            if values is not None:
                return values.shape[1], values.shape[0]
        return None

    @property
    def support(self) -> Bool[ndarray, "h w"] | None:
        """Where the maps say that there is a person."""
        if self.mask is not None:
            return self.mask
        if self.normal is not None:
            # Cut-out normals lie on black, which decodes to (-1, -1, -1): no unit normal.
            off = np.abs(np.linalg.norm(self.normal, axis=-1) - 1)
            return np.asarray(off < _HALF)
        return None if self.depth is None else np.asarray(self.depth > self.depth.min())


def read_maps(given: GivenMaps, photo_size: tuple[int, int]) -> Maps:
    """Read all given maps and check that they fit each other and the photo.

    Args:
        given: The files.
        photo_size: Width and height of the photo, upright, in pixels.

    Raises:
        MapError: a file is missing, of another kind, shape or size, or an empty mask.
    """
    known: dict[str, Any] = {
        "mask": _read("mask", given.mask, _mask),
        "normal": _read("normal map", given.normal, _normal),
        "depth": _read("depth map", given.depth, _depth),
    }
    _must_agree(known, given)
    maps = Maps(**known, landmarks=_read("landmark file", given.landmarks, _landmarks))
    if maps.mask is not None and not maps.mask.any():
        raise MapError(
            "A mask must mark the person",
            value=f"the empty mask {_name(given.mask)}",
            remedy="paint the person white (or opaque) and everything else black",
        )
    size, support = maps.size, maps.support
    if size is None or size == photo_size or (support is not None and is_recentred(support)):
        return maps
    raise MapError(
        "Given maps must have the photo's size, or be square and recentred on the person",
        value=f"maps of {_times(size)} for a photo of {_times(photo_size)}",
        remedy="export them at the photo's size, or make them from this photo",
    )


def _must_agree(known: Mapping[str, Any], given: GivenMaps) -> None:
    """All maps must have one size: that of the first."""
    sizes = {name: values.shape[1::-1] for name, values in known.items() if values is not None}
    for name, size in sizes.items():
        if size == (first := next(iter(sizes.values()))):
            continue
        raise MapError(
            "Mask, normal map and depth map must have one size",
            value=f"{_times(size)} in {_name(getattr(given, name))} beside {_times(first)}",
            remedy="export them together",
        )


def _read(kind: str, path: Path | None, parse: Callable[[str, Path], Any]) -> Any:
    if path is None:
        return None
    if not path.is_file():
        raise MapError(
            f"The {kind} must be a file",
            value=f"{path}, which is {'a folder' if path.is_dir() else 'not there'}",
            remedy="check the path",
        )
    return parse(kind, path)


def _picture(kind: str, path: Path) -> Image.Image:
    try:
        return open_picture(path)
    except PhotoError as error:
        raise MapError(
            f"The {kind} must be a PNG", value=error.value, remedy=error.remedy
        ) from error


def _array(kind: str, path: Path) -> Shaped[ndarray, "..."]:
    """Read the one array of a file; never a pickled one."""
    try:
        return only_array(path)
    except ArrayFileError as error:
        raise MapError(
            f"The {kind} must be one array of numbers in an npy, npz or safetensors file",
            value=str(error),
            remedy="write it with numpy.save",
        ) from error


def _shaped(
    kind: str, path: Path, values: Shaped[ndarray, "..."], shape: str, *, right: bool
) -> Shaped[ndarray, "..."]:
    if not right:
        raise MapError(
            f"The {kind} must have the shape {shape}",
            value=f"{_times(values.shape)} in {path.name}",
            remedy="write that array with numpy.save",
        )
    if not np.isfinite(values).all():
        raise MapError(
            f"The {kind} must hold finite numbers",
            value=f"NaN or infinity in {path.name}",
            remedy="fill the gaps, with 0 outside the person",
        )
    return values


def _mask(kind: str, path: Path) -> Bool[ndarray, "h w"]:
    if path.suffix in SUFFIXES:
        values = _array(kind, path)
        _shaped(kind, path, values, "height x width", right=values.ndim == 2)  # noqa: PLR2004
        top = _FULL_8_BIT if values.dtype.kind in "iu" and values.max(initial=0) > 1 else 1
        return np.asarray(values > top * _HALF)
    picture = _picture(kind, path)
    if picture.has_transparency_data:
        alpha = np.asarray(picture.convert("RGBA").getchannel("A"))
        if alpha.min() < _FULL_8_BIT:
            return np.asarray(alpha > _FULL_8_BIT * _HALF)
    return np.asarray(_grey(picture) > _HALF)


def _normal(kind: str, path: Path) -> Float32[ndarray, "h w 3"]:
    if path.suffix in SUFFIXES:
        values = _array(kind, path).astype(np.float32)
        right = values.ndim == _VECTOR and values.shape[-1] == _VECTOR
        _shaped(kind, path, values, "height x width x 3", right=right)
        return values
    levels = np.asarray(_picture(kind, path).convert("RGB"), np.float32)
    return levels / np.float32(_FULL_8_BIT / 2) - 1


def _depth(kind: str, path: Path) -> Float32[ndarray, "h w"]:
    if path.suffix in SUFFIXES:
        values = _array(kind, path).astype(np.float32)
        return _shaped(kind, path, values, "height x width", right=values.ndim == 2)  # noqa: PLR2004
    return _grey(_picture(kind, path))


def _landmarks(kind: str, path: Path) -> Float32[ndarray, "33 4"]:
    values = _array(kind, path).astype(np.float32)
    return _shaped(kind, path, values, "33 x 4", right=values.shape == (POINTS, _POINT))


def _grey(picture: Image.Image) -> Float32[ndarray, "h w"]:
    """Give a picture's brightness in [0, 1], 16 bits deep where it has them."""
    if picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.float32) / np.float32(_FULL_16_BIT)
    if picture.mode == "F":
        return np.asarray(picture, np.float32)
    return np.asarray(picture.convert("L"), np.float32) / np.float32(_FULL_8_BIT)


def _name(path: Path | None) -> str:
    return path.name if path is not None else "a map"


def _times(shape: tuple[int, ...] | None) -> str:
    return " x ".join(str(length) for length in shape or ())
