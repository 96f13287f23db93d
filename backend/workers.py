# SPDX-License-Identifier: Apache-2.0
"""Workers as the server sees them: orders go in, reports come out, and one day they are gone.

What a worker is (a process here, an actor on a Ray cluster) is known to the few methods that
`Worker` leaves open; whoever supervises knows none of that.
"""

import logging
import queue
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import psutil

from backend import pipes
from backend.jobs import Entry
from backend.orders import Order
from blender_addon.frames import Buffer
from blender_addon.protocol import Problem

log = logging.getLogger("backend")

WAITING_REPORTS = 16
"""How many reports the server takes off the wire before it has dealt with them."""
LINE_BYTES = 2000
"""Of what libraries in a worker print, in one record of the log."""


class Worker(ABC):
    """One worker, and what the server knows of it."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.began = self.heard = self.moved = time.monotonic()
        self.ready = False
        self.job: Entry | None = None
        self.stage = ""
        self.stop_by: float | None = None
        self.verdict: Problem | None = None
        """Why it was killed, if it was."""
        self.reports: queue.Queue[list[Buffer] | None] = queue.Queue(WAITING_REPORTS)
        """Frames of each report; nothing when it is gone."""

    @abstractmethod
    def order(self, order: Order) -> None:
        """Send an order; never waits."""

    @abstractmethod
    def end(self) -> None:
        """Let it leave when it has done what it was ordered."""

    def kill(self, verdict: Problem | None = None) -> None:
        """End it now."""
        self.verdict = self.verdict or verdict
        self._kill()

    @abstractmethod
    def _kill(self) -> None: ...

    @abstractmethod
    def exit_code(self) -> int | None:
        """Give the code that it ended with (a signal's, negative), or nothing while it lives."""

    @abstractmethod
    def memory_bytes(self) -> int:
        """Give the memory that it holds; 0 if that is not known here."""


class LocalWorker(Worker):
    """A process of this machine, and the threads that serve its pipes."""

    def __init__(self, program: str, device: str, woken: Callable[[], None]) -> None:
        super().__init__(device)
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backend.worker", program, device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the server's to deal with
        )
        for target in (self._read, self._write, self._log):
            threading.Thread(target=target, args=(woken,), daemon=True).start()

    def order(self, order: Order) -> None:
        """Send an order; never waits."""
        self._orders.put(order)

    def end(self) -> None:
        """Close the pipe: the process leaves."""
        self._orders.put(None)

    def _kill(self) -> None:
        self.process.kill()

    def exit_code(self) -> int | None:
        """Look whether the process has ended."""
        return self.process.poll()

    def memory_bytes(self) -> int:
        """Give the process's resident memory."""
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def _read(self, woken: Callable[[], None]) -> None:
        pipe: Any = self.process.stdout
        frames: list[Buffer] | None = []
        while frames is not None:
            try:
                frames = pipes.read(pipe)
            except OSError:
                frames = None
            if frames is None:
                self.process.wait()
            self.reports.put(frames)
            woken()
        pipe.close()

    def _write(self, _: Callable[[], None]) -> None:
        pipe: Any = self.process.stdin
        try:
            while (order := self._orders.get()) is not None:
                pipes.write(pipe, [msgspec.msgpack.encode(order)])
            pipe.close()
        except OSError:
            return  # it is gone, as the other thread will say

    def _log(self, _: Callable[[], None]) -> None:
        """Put what libraries print into the log, a record a line."""
        pipe: Any = self.process.stderr
        while line := pipe.readline(LINE_BYTES):
            facts = {"pid": self.process.pid, "line": line.decode(errors="replace").rstrip()}
            log.info("worker said", extra={"facts": facts})
        pipe.close()


@dataclass
class Post:
    """A place for one worker: a device of this machine, or a share of a cluster."""

    device: str
    start: Callable[[], Worker]
    worker: Worker | None = None
    failed_starts: int = 0
    not_before: float = 0.0


def local_posts(program: str, devices: list[str], woken: Callable[[], None]) -> list[Post]:
    """Give a post for each device of this machine."""
    return [Post(name, partial(LocalWorker, program, name, woken)) for name in devices]
