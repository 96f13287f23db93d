# SPDX-License-Identifier: Apache-2.0
"""Workers on a Ray cluster: the one file that knows Ray (extra `cluster`).

A seat is an actor that holds a share of the cluster (CPUs or GPUs) and runs the same worker
process as a server alone would, on its own node. A job's folder goes there and its results come
back over the object store, as `{path in the folder: bytes}`; checkpoints follow from time to time,
so that a job whose node is lost goes on elsewhere.
"""

import contextlib
import importlib
import os
import platform
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from backend.durable import keep_names, write_durably
from backend.exits import Exit, StartError
from backend.orders import ORDERS, REPORTS, Beat, Described, Do, Ended, Order, Saved
from backend.records import log_to_stderr
from backend.workers import LocalWorker, Post, Worker
from blender_addon.frames import Buffer

Files = dict[str, bytes]
"""Whole files by their path in a job's folder, with forward slashes."""

POLL_SECONDS = 1.0
"""How long a seat waits for something to report before it says that it lives."""
CHECKPOINT_SECONDS = 30.0
"""How much work a lost node may cost, on top of the last checkpoint."""
OBJECT_STORE_BYTES = 512 * 2**20
"""Of a cluster that is started here: some jobs' folders at a time."""


@dataclass(frozen=True)
class Share:
    """What one job gets of a cluster, and how many run at a time."""

    gpus: float = 0.0
    cpus: float = 1.0
    workers: int | None = None
    """None: as many as the cluster has room for now."""

    def fitting(self, resources: dict[str, float]) -> int:
        """Count the workers that fit a cluster, at least one."""
        if self.workers is not None:
            return self.workers
        rooms = [resources.get("CPU", 0.0) / self.cpus] if self.cpus else []
        rooms += [resources.get("GPU", 0.0) / self.gpus] if self.gpus else []
        return max(1, int(min(rooms, default=1.0)))


def ray_posts(
    program: str, share: Share, address: str | None, woken: Callable[[], None]
) -> list[Post]:
    """Join a cluster, or start one on this machine, and give a post for each worker.

    Raises:
        StartError: Ray is not installed, or the cluster does not answer.
    """
    try:
        ray: Any = importlib.import_module("ray")  # absent where the extra is not installed
    except ImportError as error:
        raise StartError(
            Exit.OPTIONS,
            "--executor ray needs the package ray, but it is not installed: "
            "install geneman with its extra 'cluster'.",
        ) from error
    local = {} if address else {"object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(
            address, include_dashboard=None if address else False, log_to_driver=False, **local
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise StartError(
            Exit.OPTIONS,
            f"--ray-address must be a Ray cluster's, but '{address}' gave "
            f"'{str(error).splitlines()[0]}': start one with `ray start --head`, or leave it out.",
        ) from error
    device = "cuda" if share.gpus else "cpu"
    count = share.fitting(ray.cluster_resources())
    return [Post(device, partial(RayWorker, program, device, share, woken)) for _ in range(count)]


class Seat:
    """The actor: a worker process on its node, and the folder of its job."""

    def __init__(self, program: str, device: str) -> None:
        log_to_stderr()  # which Ray keeps in a file of the node
        self._reported = threading.Event()
        self._worker = LocalWorker(program, device, self._reported.set)
        self._scratch = Path(tempfile.mkdtemp(prefix="geneman-"))
        self._job: Path | None = None
        self._kept = 0.0

    def order(self, packed: bytes, files: Files) -> None:
        """Hand an order on; a job's folder comes with it."""
        order = ORDERS.decode(packed)
        if isinstance(order, Do):
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._job, self._kept = self._scratch / order.job, time.monotonic()
            write_files(self._job, files)
            order = msgspec.structs.replace(order, folder=str(self._job))
        self._worker.order(order)

    def end(self) -> None:
        """Let the worker leave."""
        self._worker.end()

    def reports(self) -> tuple[list[tuple[list[bytes], Files]], int | None]:
        """Wait for reports; give each with the files that it speaks of, and the exit code."""
        self._reported.wait(POLL_SECONDS)
        self._reported.clear()
        found: list[tuple[list[bytes], Files]] = []
        with contextlib.suppress(queue.Empty):
            while True:
                frames = self._worker.reports.get_nowait()
                if frames is None:
                    shutil.rmtree(self._scratch, ignore_errors=True)
                    return found, self._worker.exit_code() or 0
                found.append(self._with_files(frames))
        if time.monotonic() - self._kept > CHECKPOINT_SECONDS:
            found.append(([msgspec.msgpack.encode(Beat())], self._checkpoints()))
        return found, None

    def _with_files(self, frames: list[Buffer]) -> tuple[list[bytes], Files]:
        report = REPORTS.decode(frames[0])
        files: Files = {}
        rest = [bytes(frame) for frame in frames[1:]]
        match report:
            case Described(welcome):
                node = platform.node()
                devices = tuple(
                    msgspec.structs.replace(one, name=f"{node}/{one.name}")
                    for one in welcome.devices
                )
                report = Described(msgspec.structs.replace(welcome, devices=devices))
            case Saved(stage=stage) if self._job is not None:
                run = self._job / "run"
                files = read_files(self._job, [run / "run.json", run / "stages" / stage / "result"])
            case Ended() if self._job is not None:
                files = self._checkpoints() | read_files(self._job, _top(self._job / "run"))
        return [msgspec.msgpack.encode(report), *rest], files

    def _checkpoints(self) -> Files:
        self._kept = time.monotonic()
        if self._job is None:
            return {}
        places = self._job.glob("run/stages/*/work")
        return read_files(self._job, [self._job / "run" / "run.json", *places])


def _top(run: Path) -> list[Path]:
    """Give the files on top of a run: run.json and what is published."""
    return [path for path in run.glob("*") if path.is_file() and path.name != ".lock"]


class RayWorker(Worker):
    """A seat as the server sees it; what is large goes through threads of its own."""

    def __init__(self, program: str, device: str, share: Share, woken: Callable[[], None]) -> None:
        super().__init__(device)
        ray: Any = importlib.import_module("ray")
        self._ray = ray
        self._code: int | None = None
        self._folder: Path | None = None
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        kind = ray.remote(Seat).options(
            num_cpus=share.cpus, num_gpus=share.gpus, max_concurrency=2, max_restarts=0
        )
        self._seat: Any = kind.remote(program, device)
        for target in (self._read, self._write):
            threading.Thread(target=target, args=(woken,), daemon=True).start()

    def order(self, order: Order) -> None:
        """Send an order; never waits."""
        self._orders.put(order)

    def end(self) -> None:
        """Let the seat's process leave."""
        self._orders.put(None)

    def _kill(self) -> None:
        self._ray.kill(self._seat)

    def exit_code(self) -> int | None:
        """Give the code of the seat's process, or -9 if the seat was lost."""
        return self._code

    def memory_bytes(self) -> int:
        """Say nothing: it is another machine's."""
        return 0

    def _write(self, _: Callable[[], None]) -> None:
        """Send orders, each after the one before, and a job's folder with its order."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            while (order := self._orders.get()) is not None:
                files: Files = {}
                if isinstance(order, Do):
                    self._folder = Path(order.folder)
                    files = read_files(self._folder, [self._folder])
                self._ray.get(self._seat.order.remote(msgspec.msgpack.encode(order), files))
            self._seat.end.remote()

    def _read(self, woken: Callable[[], None]) -> None:
        """Take reports, and write the files that came with each before it is dealt with."""
        code: int | None = None
        while code is None:
            try:
                found, code = self._ray.get(self._seat.reports.remote())
            except self._ray.exceptions.RayError:
                found, code = [], -9
            for frames, files in found or [([msgspec.msgpack.encode(Beat())], {})]:
                if files and self._folder is not None:
                    arrive(self._folder, files)
                self.reports.put(frames)
            woken()
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._seat)
        self._code = code
        self.reports.put(None)
        woken()


def read_files(folder: Path, places: Iterable[Path]) -> Files:
    """Read every file at or under some places of a folder; locks and half-written files stay."""
    found: Files = {}
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and path.name != ".lock" and "partial" not in name:
                with contextlib.suppress(FileNotFoundError):  # renamed while we read
                    found[name] = path.read_bytes()
    return found


def write_files(folder: Path, files: Files) -> None:
    """Write files into a folder, each whole or not at all, and on the disk."""
    folders = set()
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, data)
        folders.add(path.parent)
    for one in folders:
        keep_names(one, folder)


def arrive(folder: Path, files: Files) -> None:
    """Write what came back; a stage's result takes the old one's place in one move.

    As in a run folder, `stage.json` is written last and then the folder renamed, so that a server
    which dies in between finds a whole result or none.
    """
    results = {name: data for name, data in files.items() if "/result/" in name}
    stages = {name.split("/result/")[0] for name in results}
    for stage in stages:
        whole = folder / stage / "partial"
        shutil.rmtree(whole, ignore_errors=True)
        mine = {n.split("/result/")[1]: d for n, d in results.items() if n.startswith(f"{stage}/")}
        record = mine.pop("stage.json", None)
        write_files(whole, mine)
        if record is None:
            continue
        write_files(whole, {"stage.json": record})
        shutil.rmtree(folder / stage / "result", ignore_errors=True)
        os.replace(whole, folder / stage / "result")
        keep_names(folder / stage, folder)
        shutil.rmtree(folder / stage / "work", ignore_errors=True)
    write_files(folder, {name: data for name, data in files.items() if name not in results})
