"""Power loss: what was answered is on the disk, and a job goes on from its last checkpoint."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from backend.cluster import arrive
from backend.jobs import JobTable
from backend.keys import key_pair
from backend.specs import Spec
from backend.store import Store
from blender_addon.frames import new_token
from blender_addon.protocol import GetJob, JobChanged, JobIs, JobState, StageBegan
from tests.backend.disks import Disk
from tests.backend.running import PATIENCE, Running, ended, running, submit
from tests.backend.test_faults import (
    PAUSE,
    check_artefacts,
    is_done,
    outcome,
    undisturbed,
    until_step,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="mounts a file as a disk"),
]


def test_what_was_written_durably_is_there_and_what_was_not_is_lost(tmp_path: Path) -> None:
    disk, job = Disk(tmp_path, "64M"), new_token()
    result = {"run/stages/a/result/x": b"x" * 9999, "run/stages/a/result/stage.json": b"{}"}
    with disk.powered() as folder:
        store = Store(folder / "store")
        store.path.mkdir()
        (folder / "unflushed").write_bytes(b"x" * 9999)
        table = JobTable(store.path / "jobs.sqlite")
        photo = os.urandom(100_000)
        store.keep(job, {"photo.png": memoryview(photo)})
        table.add(job, owner="me", label="x", spec=Spec(photo="photo.png"), request="r")
        arrive(store.folder(job), result)
        keys = key_pair(folder / "keys" / "server.key")
        (folder / "last").touch()
        with disk.after_power_loss() as left:
            assert (left / "unflushed").read_bytes() == b""  # or the test would show nothing
            assert not (left / "last").exists()
            folder_left = Store(left / "store").folder(job)
            assert (folder_left / "input" / "photo.png").read_bytes() == photo
            for name, data in result.items():
                assert (folder_left / name).read_bytes() == data
            assert key_pair(left / "keys" / "server.key") == keys
            with closing(JobTable(left / "store" / "jobs.sqlite")) as again:
                assert again.waiting() == [job]
        table.close()


def test_a_job_in_the_middle_goes_on_and_a_finished_one_is_whole(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with disk.powered() as folder:
        with running(folder / "store", pause=PAUSE) as server, server.client() as client:
            done, name = submit(client), submit(client)
            ended(client, done)
            until_step(client, name, "latent_texture")
            with suspended(server), disk.after_power_loss() as left:
                result = seen_through(left / "store", done, name)
            assert ended(client, name).state is JobState.DONE
        expected = undisturbed(tmp_path, server, name)
        assert result == outcome(server, name) == expected


@contextmanager
def suspended(server: Running) -> Iterator[None]:
    """Let a server and its worker stand still for a while."""
    top = psutil.Process(server.pid)
    processes = [top, *top.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def seen_through(store: Path, done: str, name: str) -> bytes:
    """Start a server where the power was lost, see its jobs through, and give what came out."""
    with running(store, pause=PAUSE) as server, server.client() as client:
        whole = client.ask(GetJob(done), JobIs).job
        assert whole.state is JobState.DONE
        check_artefacts(server, whole)
        begun: list[str] = []

        def last(event: Any) -> bool:
            if isinstance(event, StageBegan) and event.job == name:
                begun.append(event.stage)
            return is_done(event, name)

        again = client.wait(last, PATIENCE)
        assert isinstance(again, JobChanged)
        check_artefacts(server, again.job)
        assert begun[0] == "latent_texture"  # what was finished before is not run again
        return outcome(server, name)
