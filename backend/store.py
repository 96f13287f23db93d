# SPDX-License-Identifier: Apache-2.0
"""The folder that the server keeps: one folder a job, named by its id and by nothing else.

    STORE/.lock           held by the one server that works here
    STORE/jobs.sqlite     the table
    STORE/jobs/ID/input/  what the client sent, under names that the server chose
    STORE/jobs/ID/run/    the library's run folder

The server looks only at a file's first bytes; it never decodes what it was sent.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from blender_addon.frames import Array, Message
from blender_addon.protocol import Edits, Kind, Problem

SPARE_BYTES = 512 * 2**20
"""Free disk below which nothing new is taken: a run's checkpoints and textures need it."""

PHOTO_KINDS = "png, jpeg, webp or heic"
_HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1")


class RefusedError(Exception):
    """A request cannot be granted; nothing has changed."""

    def __init__(self, kind: Kind, rule: str, *, value: object, remedy: str) -> None:
        self.problem = Problem(kind, f"{rule}, but got {value}: {remedy}.", remedy)
        super().__init__(self.problem.sentence)


def suffix_of(data: memoryview) -> str:
    """Tell a picture or table by its first bytes; give '' for anything else."""
    head = bytes(data[:16])
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if head.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC:
        return ".heic"
    return ""


class Store:
    """The jobs' folders."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def folder(self, job: str) -> Path:
        """Give the folder of a job; `job` is a token, so it names nothing else."""
        return self.path / "jobs" / job

    def artefact(self, job: str, name: str) -> Path:
        """Give the file of an artefact whose name stands in the table."""
        stage, _, file = name.partition("/")
        return self.folder(job) / "run" / "stages" / stage / "result" / file

    def check_space(self, incoming: int) -> None:
        """Refuse what the disk could not hold to the end.

        Raises:
            RefusedError: Too little is free.
        """
        free = shutil.disk_usage(self.path).free
        if free < SPARE_BYTES + incoming:
            raise RefusedError(
                Kind.DISK,
                f"a job needs {(SPARE_BYTES + incoming) / 1e6:.0f} MB of free disk on the server",
                value=f"{free / 1e6:.0f} MB",
                remedy="remove old jobs or free some space there",
            )

    def keep(self, job: str, files: Mapping[str, memoryview | np.ndarray[Any, Any]]) -> None:
        """Write a client's files into the job's input, each whole before this returns."""
        folder = self.folder(job) / "input"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in files.items():
            partial = folder / f".{name}.partial"
            with partial.open("wb") as file:
                if isinstance(data, np.ndarray):
                    np.save(file, data, allow_pickle=False)
                else:
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, folder / name)

    def delete(self, job: str) -> None:
        """Delete a job's folder."""
        shutil.rmtree(self.folder(job), ignore_errors=True)

    def size(self, job: str) -> int:
        """Count the bytes of a job's folder."""
        total = 0
        for path in self.folder(job).rglob("*"):
            try:
                total += path.lstat().st_size
            except FileNotFoundError:
                continue  # a worker renames while we count
        return total

    def strangers(self, known: set[str]) -> list[str]:
        """Name the job folders that no line of the table speaks of: uploads cut off half way."""
        folder = self.path / "jobs"
        return [p.name for p in folder.iterdir() if p.name not in known] if folder.is_dir() else []


def photo_file(message: Message[Any], header: Array) -> tuple[str, memoryview]:
    """Give a photo's name in the store and its bytes.

    Raises:
        RefusedError: It is no picture of a kind that is taken.
        ProtocolError: It is not even a file.
    """
    data = memoryview(message.file(header))
    suffix = suffix_of(data)
    if not suffix:
        raise RefusedError(
            Kind.INPUT,
            f"a photo must be {PHOTO_KINDS}",
            value=f"{len(data)} bytes of something else",
            remedy="save the picture as one of these",
        )
    return f"photo{suffix}", data


def map_file(
    message: Message[Any], name: str, header: Array
) -> tuple[str, memoryview | np.ndarray[Any, Any]]:
    """Give a map's name in the store and its content: a png file, or an array.

    Raises:
        RefusedError: It is neither.
        ProtocolError: It is not whole.
    """
    values = message.array(header)
    if values.ndim > 1:
        return f"{name}.npy", values != 0 if name == "mask" else values
    data = memoryview(message.file(header))
    if suffix_of(data) != ".png":
        raise RefusedError(
            Kind.INPUT,
            f"a {name} must be a png or an array",
            value=f"{len(data)} bytes of something else",
            remedy="save it as png",
        )
    return f"{name}.png", data


def edit_arrays(message: Message[Any], edits: Edits) -> dict[str, np.ndarray[Any, Any]]:
    """Give what was edited by hand, by name.

    Raises:
        RefusedError: Vertices without faces, or an array of another kind.
        ProtocolError: One is not whole.
    """
    if (edits.vertices is None) != (edits.faces is None):
        raise RefusedError(
            Kind.INPUT,
            "an edited mesh must have vertices and faces",
            value="only one of them",
            remedy="send both",
        )
    kinds = {"vertices": ("f4", 2), "faces": ("i4", 2), "albedo": ("u1", 3), "mask": ("u1", 2)}
    found: dict[str, np.ndarray[Any, Any]] = {}
    for name, (dtype, dimensions) in kinds.items():
        header: Array | None = getattr(edits, name)
        if header is None:
            continue
        fits = header.dtype == dtype and len(header.shape) == dimensions
        if not fits or (name != "mask" and header.shape[-1] != 3):  # noqa: PLR2004 (x y z, r g b)
            raise RefusedError(
                Kind.INPUT,
                f"edited {name} must be {dtype} of {dimensions} dimensions",
                value=f"{header.dtype} of shape {list(header.shape)}",
                remedy="update the add-on",
            )
        found[name] = message.array(header)
    return found
