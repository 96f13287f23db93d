# SPDX-License-Identifier: Apache-2.0
"""The process that computes: one job at a time, on one device.

`python -m backend.worker PROGRAM DEVICE` reads orders from its standard input and writes reports
to its standard output. Three threads: the main one computes; one reads orders, so that a stop
arrives while a step runs; one writes reports, so that a server that is slow to read never delays
a step. It leaves at once when the server is gone, however that came about.
"""

import ctypes
import importlib
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Hashable, Sequence
from typing import BinaryIO, Protocol, cast, runtime_checkable

import msgspec

from backend import pipes
from backend.orders import ORDERS, Beat, Described, Do, Ended, Stop, Unable, WorkerReport
from blender_addon.frames import Buffer
from blender_addon.protocol import Kind, Picture, Problem, Step, Surface, Welcome

BEAT_SECONDS = 1.0
_DIE_WITH_PARENT = 1
"""Linux's PR_SET_PDEATHSIG."""


class Stopper:
    """Which job shall stop, and how: set by one thread, looked at by another."""

    def __init__(self) -> None:
        self._asked: Stop | None = None

    def stop(self, order: Stop) -> None:
        """Ask a job to stop."""
        self._asked = order

    def begin(self, job: str) -> None:
        """Forget what an earlier attempt at this job was asked: it is to be done again."""
        if self.asked(job) is not None:
            self._asked = None

    def asked(self, job: str) -> Stop | None:
        """Give the order to stop this job, if there is one."""
        asked = self._asked
        return asked if asked is not None and asked.job == job else None


Tell = Callable[[WorkerReport, Sequence[Buffer]], None]


class Program(Protocol):
    """What a worker runs; a module of the worker's command line gives it by `program(device)`."""

    def describe(self) -> Welcome:
        """Say what can be done here."""

    def compute(self, order: Do, tell: Tell, stopper: Stopper) -> Ended:
        """Do a job and tell what happens; never raises but for faults of its own."""


@runtime_checkable
class SlowStarter(Protocol):
    """A program that has something to do once which takes long, such as compiling."""

    def warm(self, tell: Tell) -> None:
        """Do it; `Warming` tells how far it is."""


class Outbox:
    """Reports on their way out: the newest of each preview, and all of the others, in order."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[Buffer]] = {}
        self._count = 0
        self._filled = threading.Condition()

    def put(self, report: WorkerReport, frames: Sequence[Buffer] = ()) -> None:
        """Append a report; a preview takes the place of an older one that still waits."""
        message = [msgspec.msgpack.encode(report), *frames]
        with self._filled:
            self._count += 1
            key = _preview_key(report) or self._count
            self._waiting.pop(key, None)
            self._waiting[key] = message
            self._filled.notify()

    def settle(self, timeout: float = 5.0) -> None:
        """Wait until everything has been taken."""
        deadline = time.monotonic() + timeout
        while self._waiting and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)  # the last one is being written

    def take(self, timeout: float) -> list[Buffer] | None:
        """Give the oldest report, or nothing if none comes in time."""
        with self._filled:
            if not self._waiting:
                self._filled.wait(timeout)
            for key in self._waiting:
                return self._waiting.pop(key)
            return None


def _preview_key(report: WorkerReport) -> Hashable:
    match report:
        case Step():
            return Step, report.stage  # the next stage must not hide how this one ended
        case Picture():
            return Picture
        case Surface():
            # One with faces must not give way to one that relies on them.
            return Surface, report.faces is not None
        case _:
            return None


def read_orders(pipe: BinaryIO, jobs: "queue.SimpleQueue[Do]", stopper: Stopper) -> None:
    """Hand on orders until the server is gone, and leave with it."""
    while (frames := pipes.read(pipe)) is not None:
        match ORDERS.decode(frames[0]):
            case Do() as order:
                stopper.begin(order.job)
                jobs.put(order)
            case Stop() as stop:
                stopper.stop(stop)
    os._exit(0)


def write_reports(pipe: BinaryIO, outbox: Outbox) -> None:
    """Write reports, and a beat when there is none, until the server is gone."""
    beat: list[Buffer] = [msgspec.msgpack.encode(Beat())]
    while True:
        try:
            pipes.write(pipe, outbox.take(BEAT_SECONDS) or beat)
        except OSError:
            os._exit(0)


def die_with_parent() -> None:
    """Let the kernel end this process with the server, even while it is stopped (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def main() -> None:
    """Serve one server until it is gone."""
    die_with_parent()
    orders, reports = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not land among the reports
    outbox, stopper = Outbox(), Stopper()
    jobs: queue.SimpleQueue[Do] = queue.SimpleQueue()
    for target, arguments in (
        (read_orders, (cast(BinaryIO, orders), jobs, stopper)),
        (write_reports, (reports, outbox)),
    ):
        threading.Thread(target=target, args=arguments, daemon=True).start()
    module, device = sys.argv[1:]
    program = begun(module, device, outbox.put)
    if program is None:
        outbox.settle()
        sys.exit(1)
    while True:
        outbox.put(program.compute(jobs.get(), outbox.put, stopper))


def begun(module: str, device: str, tell: Tell) -> Program | None:
    """Start a program and describe it, or say why it cannot be."""
    try:
        program: Program = importlib.import_module(module).program(device)
        if isinstance(program, SlowStarter):
            program.warm(tell)
        tell(Described(program.describe()), ())
    except Exception as error:
        traceback.print_exc()
        remedy = getattr(error, "remedy", "")  # the library's own sentences have one
        text = (
            str(error) if remedy else f"The worker cannot start ({type(error).__name__}): {error}"
        )
        tell(Unable(Problem(Kind.INPUT if remedy else Kind.FAULT, text, remedy)), ())
        return None
    return program


if __name__ == "__main__":
    main()
