"""Arrays from files that strangers may have made: npy, npz and safetensors; never pickle.

What a file claims is checked before memory is taken for it.
"""

import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load_file

SUFFIXES: Final = (".npy", ".npz", ".safetensors")
MOST_BYTES = 512 * 2**20
"""Of all arrays in a file, unpacked."""
MOST_ARRAYS = 64
NUMBERS = "biuf"
"""numpy's kinds of booleans, integers and floats."""


class ArrayFileError(Exception):
    """A file holds no arrays of numbers; the text, part of a sentence, says what it is instead."""


def read_arrays(path: Path) -> dict[str, Shaped[ndarray, "..."]]:
    """Read all arrays of a file by name; the one in an npy is called 'array'.

    Raises:
        ArrayFileError: The file is damaged, too large, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return _safetensors(path)
        if path.suffix == ".npz":
            return _npz(path)
        _must_fit({path.name: path.stat().st_size}, path.name)
        return {"array": _npy(path.read_bytes(), path.name)}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        raise ArrayFileError(f"{path.name}, which is none ({_first_line(error)})") from error


def only_array(path: Path) -> Shaped[ndarray, "..."]:
    """Read a file that holds one array.

    Raises:
        ArrayFileError: As `read_arrays`, or there are none or several.
    """
    arrays = read_arrays(path)
    if len(arrays) != 1:
        raise ArrayFileError(f"{len(arrays)} arrays in {path.name}")
    return next(iter(arrays.values()))


def _npz(path: Path) -> dict[str, Shaped[ndarray, "..."]]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _must_fit({member.filename: member.file_size for member in members}, path.name)
        arrays = {}
        for member in members:
            name = member.filename.removesuffix(".npy")
            arrays[name] = _npy(archive.read(member), path.name)
        return arrays


def _npy(content: bytes, name: str) -> Shaped[ndarray, "..."]:
    """Read one array; its header is looked at before its numbers."""
    file = BytesIO(content)
    version = np.lib.format.read_magic(file)
    headers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in headers:
        raise ArrayFileError(f"npy version {version[0]}.{version[1]} in {name}")
    shape, columns_first, dtype = headers[version](file)
    if dtype.kind not in NUMBERS:
        raise ArrayFileError(f"something else than numbers in {name}")
    count = int(np.prod(shape, dtype=object)) if shape else 1
    _must_fit({name: count * dtype.itemsize}, name)
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise ArrayFileError(f"{name}, which is cut short")
    values = np.frombuffer(data, dtype)
    return values.reshape(shape[::-1]).T if columns_first else values.reshape(shape)


def _safetensors(path: Path) -> dict[str, Shaped[ndarray, "..."]]:
    """Read all; the format cannot claim more than the file holds, and its library sees to it."""
    _must_fit({path.name: path.stat().st_size}, path.name)
    try:
        return load_file(path)
    except (KeyError, TypeError) as error:
        raise ArrayFileError(f"numbers that numpy does not know in {path.name}") from error


def _must_fit(sizes: Mapping[str, int], name: str) -> None:
    total = sum(sizes.values())
    if len(sizes) > MOST_ARRAYS or total > MOST_BYTES:
        raise ArrayFileError(f"{len(sizes)} arrays of {total / 1e6:.0f} MB together in {name}")


def _first_line(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0][:120]
