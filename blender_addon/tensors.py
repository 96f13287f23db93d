# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a safetensors file with numpy alone: eight bytes of length, a json header, raw arrays."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .frames import ProtocolError

MAX_HEADER_BYTES = 2**20
_LENGTH = 8
_DTYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I32": "<i4", "I64": "<i8", "U8": "|u1"}


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Give a file's arrays by name; those of types that we do not know are left out.

    Raises:
        ProtocolError: It is no such file, or not whole.
        OSError: It cannot be read.
    """
    data = path.read_bytes()
    size = int.from_bytes(data[:_LENGTH], "little")
    start = _LENGTH + size
    if size > MAX_HEADER_BYTES or start > len(data):
        raise ProtocolError(f"'{path.name}' must be a safetensors file, but its header is not.")
    try:
        header = msgspec.json.decode(data[_LENGTH:start], type=dict[str, msgspec.Raw])
        header.pop("__metadata__", None)
        entries = {name: msgspec.json.decode(raw, type=_Entry) for name, raw in header.items()}
        found: dict[str, NDArray[Any]] = {}
        for name, entry in entries.items():
            if entry.dtype in _DTYPES:
                begin, end = (start + offset for offset in entry.data_offsets)
                values = np.frombuffer(data[begin:end], _DTYPES[entry.dtype])
                found[name] = values.reshape(entry.shape)
    except (msgspec.DecodeError, ValueError) as error:
        raise ProtocolError(f"'{path.name}' must be a whole safetensors file ({error}).") from error
    return found
