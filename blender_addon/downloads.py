# SPDX-License-Identifier: GPL-3.0-or-later
"""Artefacts come to this machine's disk piece by piece, whole or not at all."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from .frames import Message, ProtocolError
from .protocol import MAX_CHUNK_BYTES, Artefact, Chunk, Fetch, Reply
from .troubles import Remedy, Trouble

MAX_CHANGES = 3
"""How often a file may change under our hands before we give up."""

Arrived = Callable[[Path | None, Trouble | None], None]
"""Told where the file lies, or why it does not."""


class Ask(Protocol):
    """Sends a request; `then` hears of it on the client's thread."""

    def __call__(
        self, body: Fetch, then: Callable[[Message[Reply] | None, Trouble | None], None]
    ) -> None:
        """Send it."""


@dataclass
class Download:
    """One artefact on its way."""

    job: str
    name: str
    path: Path
    ask: Ask
    progress: Callable[[float], None]
    arrived: Arrived
    _artefact: Artefact | None = None
    _file: BinaryIO | None = None
    _digest: Any = field(default_factory=hashlib.sha256)
    _offset: int = 0
    _changes: int = 0

    @property
    def _partial(self) -> Path:
        return self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")

    def start(self) -> None:
        """Ask for the first piece."""
        self._next()

    def _next(self) -> None:
        self.ask(Fetch(self.job, self.name, self._offset, MAX_CHUNK_BYTES), self._on_chunk)

    def _on_chunk(self, message: Message[Reply] | None, trouble: Trouble | None) -> None:
        if message is None or trouble is not None or not isinstance(message.body, Chunk):
            self._fail(trouble or Trouble("The piece of a file must be one, but is not."))
            return
        try:
            self._take(message, message.body)
        except ProtocolError as error:
            self._fail(Trouble(str(error), Remedy.RETRY))
        except OSError as error:
            self._fail(
                Trouble(
                    "A download must fit on this machine's disk, but '{name}' could not be written "
                    "({cause}): free some space, or choose another folder.",
                    Remedy.FREE_DISK,
                    values={"name": self.path.name, "cause": error.strerror},
                )
            )

    def _take(self, message: Message[Reply], chunk: Chunk) -> None:
        """Write a piece, and ask for the next or finish.

        Raises:
            ProtocolError: It changes again and again, or is not what the server says it is.
            OSError: The disk refuses it.
        """
        if self._artefact is not None and self._artefact.sha256 != chunk.artefact.sha256:
            self._begin_anew()
        elif chunk.offset == self._offset:
            self._artefact = chunk.artefact
            if self._offset == 0 and _is_there(self.path, chunk.artefact):
                self._finish()
                return
            data = message.file(chunk.data)
            self._write(data)
            if self._offset >= chunk.artefact.size or not len(data):
                self._check(chunk.artefact)
                return
        self._next()

    def _write(self, data: Any) -> None:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._partial.open("wb")
        self._file.write(data)
        self._digest.update(data)
        self._offset += memoryview(data).nbytes
        assert self._artefact is not None
        self.progress(min(self._offset / max(self._artefact.size, 1), 1.0))

    def _check(self, artefact: Artefact) -> None:
        self._close()
        if self._digest.hexdigest() != artefact.sha256:
            raise ProtocolError(
                f"A file must arrive as it was sent, but '{self.name}' did not: fetch it again."
            )
        os.replace(self._partial, self.path)
        self._finish()

    def _begin_anew(self) -> None:
        """The stage has run again meanwhile."""
        self._changes += 1
        if self._changes > MAX_CHANGES:
            raise ProtocolError(
                f"A file must stay as it is while it is fetched, but '{self.name}' changes: fetch "
                "it when its job has ended."
            )
        self._close()
        self._artefact, self._offset, self._digest = None, 0, hashlib.sha256()

    def _finish(self) -> None:
        self.arrived(self.path, None)

    def _fail(self, trouble: Trouble) -> None:
        self._close()
        with contextlib.suppress(OSError):  # the disk's own trouble is being told already
            self._partial.unlink(missing_ok=True)
        self.arrived(None, trouble)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _is_there(path: Path, artefact: Artefact) -> bool:
    """Say whether that very file lies here already."""
    try:
        if path.stat().st_size != artefact.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == artefact.sha256
    except OSError:
        return False
