# SPDX-License-Identifier: GPL-3.0-or-later
"""Which photo file each job came from: a small file in the add-on's folder, never in a .blend.

The server knows a job's settings (`Client.recall`) but not where its photo lay on this machine.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

_FILE = msgspec.json.Decoder(dict[str, str])


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a job came from."""

    job: str
    photo: str
    """Its file's path here."""


class History:
    """The last jobs, newest first; a damaged or missing file is an empty history."""

    def __init__(self, path: Path, *, kept: int = 200) -> None:
        """Read the file."""
        self._path, self._kept = path, kept
        self._photos: dict[str, str] = {}
        try:
            self._photos = _FILE.decode(path.read_bytes())
        except (OSError, msgspec.DecodeError):
            return  # nothing is known yet, or nothing that could be read

    def __iter__(self) -> Iterator[Origin]:
        """Go through them, newest first."""
        return iter([Origin(job, photo) for job, photo in reversed(self._photos.items())])

    def get(self, job: str) -> Origin | None:
        """Give where a job came from, if it is known here."""
        photo = self._photos.get(job)
        return None if photo is None else Origin(job, photo)

    def add(self, origin: Origin) -> None:
        """Note a job, in place of an earlier note about it, and write the file.

        Raises:
            OSError: It cannot be written; the note is kept as long as this object is.
        """
        self._photos.pop(origin.job, None)
        self._photos[origin.job] = origin.photo
        for job in list(self._photos)[: -self._kept]:
            del self._photos[job]
        self._write()

    def remove(self, job: str) -> None:
        """Forget a job and write the file.

        Raises:
            OSError: It cannot be written.
        """
        if self._photos.pop(job, None) is not None:
            self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        partial.write_bytes(msgspec.json.encode(self._photos))
        os.replace(partial, self._path)
