# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one program after another, word for word into a log, until somebody cancels."""

import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from . import processes

TICK_SECONDS = 0.2
TAIL_LINES = 60


class CancelledError(Exception):
    """Somebody has cancelled; the program that ran is gone."""


class CommandError(Exception):
    """A program could not be started, or did not end well."""

    def __init__(self, code: int, words: str) -> None:
        self.code, self.words = code, words
        super().__init__(words)


@dataclass
class Commands:
    """Runs programs on the caller's thread."""

    log: TextIO
    on_line: Callable[[str], None]
    """Told each line, as soon as it is there."""
    on_tick: Callable[[], None]
    """Called a few times a second."""
    cancelled: threading.Event = field(default_factory=threading.Event)

    def run(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> str:
        """Run a program to its end and give the end of what it said.

        Raises:
            CancelledError: Somebody cancelled before or meanwhile.
            CommandError: It did not end well.
        """
        self._stop_if_cancelled()
        self._note(f"$ {' '.join(str(part) for part in command)}")
        try:
            process = processes.start(
                command, folder=folder, environment=environment, output=subprocess.PIPE
            )
        except OSError as error:
            raise CommandError(-1, f"{command[0]}: {error.strerror}") from error
        try:
            words = self._listen(process)
        finally:
            processes.end(process)
            if process.stdout is not None:
                process.stdout.close()
        if process.returncode:
            raise CommandError(process.returncode, words)
        return words

    def _listen(self, process: "subprocess.Popen[bytes]") -> str:
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        tail: list[str] = []
        try:
            while True:
                try:
                    line = lines.get(timeout=TICK_SECONDS)
                except queue.Empty:
                    line = ""
                if line is None:
                    process.wait()
                    return "\n".join(tail)
                if line:
                    tail = [*tail[-TAIL_LINES:], line]
                    self._note(line)
                    self.on_line(line)
                self._stop_if_cancelled()
                self.on_tick()
        except CancelledError:
            processes.end(process)
            raise
        finally:
            reader.join(1.0)

    def _note(self, line: str) -> None:
        self.log.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        self.log.flush()

    def _stop_if_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise CancelledError


def _read(pipe: Any, lines: "queue.SimpleQueue[str | None]") -> None:
    for raw in pipe:
        lines.put(raw.decode(errors="replace").rstrip())
    lines.put(None)
