"""A real server in a process of its own, with the tiny program, for tests over real sockets."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from backend.client import Client, RequestRefusedError
from backend.exits import StartError
from backend.keys import Connection, read_connection
from blender_addon.protocol import ENDED, Event, Job, JobChanged, JobIs, Kind, Ready

PNG = b"\x89PNG\r\n\x1a\n" + b"somebody"
"""Enough of a photo for the tiny chain, which only hashes it."""
STEPS = 30
RECIPE = {stage: {"steps": STEPS} for stage in ("nerf_init", "sculpt", "latent_texture")} | {
    "pixel_texture": {"fit_steps": STEPS}
}
PATIENCE = 120.0
"""Seconds; only what is broken takes them all, even on a machine that is busy with other things."""


class Running:
    """A server and its store; may be killed and started again."""

    def __init__(
        self, store: Path, *options: str, pause: float = 0.0, module: str = "backend"
    ) -> None:
        self.store, self.options, self.pause, self.module = store, options, pause, module
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Running":
        store = str(self.store)
        command = [sys.executable, "-m", self.module, "--store", store, "--device", "cpu"]
        command += ["--program", "tests.backend.tiny_program", *self.options]
        environment = os.environ | {"TINY_PAUSE": str(self.pause)}
        with (self.store.parent / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stderr=log)
        self.until(self._connected)
        return self

    def _connected(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            return self.connection().pid == self.process.pid
        except StartError:
            return False

    def connection(self) -> Connection:
        return read_connection(self.store / "connection.json")

    def log(self) -> str:
        return (self.store.parent / "server.log").read_text()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def worker(self) -> psutil.Process:
        """Give the worker's process, once there is one."""
        found: list[psutil.Process] = []

        def look() -> bool:
            found[:] = psutil.Process(self.pid).children()
            return bool(found)

        self.until(look)
        return found[0]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def until(self, true: Callable[[], bool], seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    @contextmanager
    def client(self, ready: float = PATIENCE, **options: Any) -> Iterator[Client]:
        with Client(self.connection(), **options) as client:
            client.follow()
            client.wait(lambda event: isinstance(event, Ready), ready)
            yield client


@contextmanager
def running(
    store: Path, *options: str, pause: float = 0.0, module: str = "backend"
) -> Iterator[Running]:
    """Run a server for a while; afterwards no process of it is left."""
    server = Running(store, *options, pause=pause, module=module).start()
    family: list[psutil.Process] = []
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            family = psutil.Process(server.pid).children(recursive=True)
            server.stop()
        _, alive = psutil.wait_procs(family, 5)
        assert not alive


def submit(client: Client, prompt: str = "", **wish: Any) -> str:
    """Send the tiny photo and give the job's id."""
    wish = {"label": "tiny", "recipe": RECIPE, "prompt": prompt} | wish
    return client.submit(PNG, **wish).job.id


def ended(client: Client, name: str, seconds: float = PATIENCE) -> Job:
    """Wait until a job has ended and give it."""

    def last(event: Event) -> bool:
        return isinstance(event, JobChanged) and event.job.id == name and event.job.state in ENDED

    event = client.wait(last, seconds)
    assert isinstance(event, JobChanged)
    return event.job


def refused(client: Client, body: Any, *frames: Any) -> Kind:
    """Ask for something that is refused, with a sentence, and give the kind of refusal."""
    with pytest.raises(RequestRefusedError) as caught:
        client.ask(body, JobIs, *frames)
    assert str(caught.value).endswith(".")
    return caught.value.problem.kind


def three_ports() -> int:
    """Give the first of three free ports in a row, as a client elsewhere needs them."""
    while True:
        with ExitStack() as stack:
            first = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            try:
                for port in (first + 1, first + 2):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except (OSError, OverflowError):
                continue
            return int(first)
