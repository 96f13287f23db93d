"""How a server begins and ends, and how it gives back what it does not need."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from backend.client import Client
from backend.exits import Exit
from blender_addon.protocol import (
    Done,
    FreeMemory,
    GetJob,
    GetMetrics,
    JobState,
    Kind,
    Metrics,
    Ping,
    Shutdown,
    Step,
    Stopping,
)
from tests.backend.running import (
    PATIENCE,
    Running,
    ended,
    refused,
    running,
    submit,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kill and permissions are POSIX")


def test_free_memory_ends_the_idle_worker_and_the_next_job_starts_one(
    server: Running, client: Client
) -> None:
    worker = server.worker()
    client.ask(FreeMemory(), Done)
    psutil.wait_procs([worker], 10)
    assert not worker.is_running()
    assert ended(client, submit(client)).state is JobState.DONE


def test_an_idle_worker_gives_its_memory_back(tmp_path: Path) -> None:
    with (
        running(tmp_path / "store", "--idle-seconds", "0.5") as server,
        server.client() as client,
    ):
        assert client.ask(GetMetrics(), Metrics).values["workers.memory_bytes"] > 2**26
        worker = server.worker()
        psutil.wait_procs([worker], PATIENCE)
        assert not worker.is_running()
        server.until(lambda: client.ask(GetMetrics(), Metrics).values["workers"] == 0)
        assert client.ask(GetMetrics(), Metrics).values["workers.memory_bytes"] == 0


def serve(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "backend", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_two_servers_never_share_a_store(server: Running) -> None:
    other = serve("--store", str(server.store))
    assert other.returncode == Exit.STORE_IN_USE
    assert "another has" in other.stderr


def test_a_taken_port_and_an_open_address_are_exit_codes(server: Running, tmp_path: Path) -> None:
    taken = serve("--store", str(tmp_path), "--port", str(server.connection().requests))
    assert taken.returncode == Exit.PORT_TAKEN
    assert "choose another" in taken.stderr
    wide = serve("--store", str(tmp_path), "--bind", "0.0.0.0")
    assert wide.returncode == Exit.OPTIONS
    assert "geneman serve --authorize KEY" in wide.stderr
    named = serve("--store", str(tmp_path), "--bind", "localhost.example")
    assert named.returncode == Exit.OPTIONS


def test_the_connection_file_is_private_and_goes_with_the_server(tmp_path: Path) -> None:
    with running(tmp_path / "store") as server:
        file = server.store / "connection.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with Client(server.connection()) as client:
            client.follow()
            client.command(Shutdown(), Done)
            client.wait(lambda event: isinstance(event, Stopping), 10)
        assert server.process is not None
        assert server.process.wait(30) == Exit.STOPPED
        assert not file.exists()


def test_who_asks_a_server_that_stops_is_told_so(tmp_path: Path) -> None:
    with running(tmp_path / "store") as server, server.client() as client:
        name = submit(client, "hang:nerf_init")  # its last checkpoint is waited for
        client.wait(lambda e: isinstance(e, Step) and e.job == name, PATIENCE)
        client.command(Shutdown(), Done)
        client.wait(lambda event: isinstance(event, Stopping), PATIENCE)
        assert refused(client, GetJob(name)) is Kind.STOPPING
        client.command(Ping(), Done)
        server.worker().kill()
        assert server.process is not None
        assert server.process.wait(PATIENCE) == Exit.STOPPED


def test_the_server_leaves_with_its_parent(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "100"]) as parent:
        server = Running(tmp_path / "store", "--parent-pid", str(parent.pid)).start()
        parent.send_signal(signal.SIGKILL)
    assert server.process is not None
    assert server.process.wait(30) == Exit.STOPPED
