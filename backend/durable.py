# SPDX-License-Identifier: Apache-2.0
"""Files that a loss of power does not take back: first what they hold, then their names."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from blender_addon.frames import Buffer

PRIVATE = 0o600

Content = Buffer | np.ndarray[Any, Any]
"""Bytes, or an array, which becomes an npy file."""


def write_durably(path: Path, content: Content) -> None:
    """Write a file that only its owner can read, whole or not at all.

    What it holds is on the disk when this returns; its name is there after `keep_names`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    try:
        with open(descriptor, "wb") as file:
            if isinstance(content, np.ndarray):
                np.save(file, content, allow_pickle=False)
            else:
                file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)  # on a full disk half a file is only in the way
        raise


def keep_names(folder: Path, top: Path | None = None) -> None:
    """Put the names in a folder on the disk, and those in its parents up to `top`.

    Windows does that by itself, and lets nobody ask for it.
    """
    if os.name == "nt":
        return
    for one in (folder, *(() if top is None else folder.parents)):
        descriptor = os.open(one, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if one == top:
            return
