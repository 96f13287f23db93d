"""What dies, stalls and fills up: no job lost, none run twice, every artefact whole."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from backend.client import Client, RequestRefusedError
from backend.jobs import JobTable, Spec
from backend.reconstruction import requested
from blender_addon.protocol import (
    Cancel,
    Done,
    GetJob,
    Job,
    JobIs,
    Jobs,
    JobState,
    Kind,
    ListJobs,
    Ping,
    StageBegan,
    Step,
)
from geneman.run_folder import STAGES, RunFolder
from tests.backend.running import PATIENCE, RECIPE, Running, ended, running, submit
from tests.backend.test_protocol import damage, seeds
from tests.tiny_chain import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="kill -9 and SIGSTOP are POSIX"),
]
PAUSE = 0.01
"""Seconds a step, so that there is something to interrupt."""


def outcome(server: Running, job: str) -> bytes:
    return (server.store / "jobs" / job / "run" / "finish.safetensors").read_bytes()


def check_artefacts(server: Running, job: Job) -> None:
    found = RunFolder.read(server.store / "jobs" / job.id / "run")
    assert [artefact.name for artefact in job.artefacts] == sorted(
        f"{stage}/{stage}.safetensors" for stage in STAGES
    )
    assert all(found.damage(stage) is None for stage in STAGES)


def until_step(client: Client, job: str, stage: str, step: int = 5) -> None:
    def there(event: Any) -> bool:
        return (
            isinstance(event, Step)
            and (event.job, event.stage) == (job, stage)
            and (event.step >= step)
        )

    client.wait(there, PATIENCE)


def undisturbed(tmp_path: Path, server: Running, job: str) -> bytes:
    """Give what the same job makes when nothing happens to it."""
    wanted = requested(
        Spec(photo="photo.png", recipe=RECIPE), server.store / "jobs" / job / "input"
    )
    run(tmp_path / "calm", wanted)
    return (tmp_path / "calm" / "finish.safetensors").read_bytes()


def test_killed_in_each_stage_the_worker_is_replaced_and_the_result_is_the_same(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "store") as server, server.client() as client:
        words = [f"die:{stage}" for stage in ("nerf_init", "finish")]
        done = ended(client, submit(client, " ".join(words)))
        assert done.state is JobState.DONE
        check_artefacts(server, done)
        calm = ended(client, submit(client, " ".join(words).replace("die", "live")))
        assert calm.state is JobState.DONE
        assert server.log().count('"event":"worker ended"') == 2
        name = done.id
    settled = {entry.id: entry for entry in JobTable(server.store / "jobs.sqlite").all()}
    assert settled[name].restarts == 0  # it finished a stage since


def test_a_job_that_always_kills_its_worker_fails_with_a_sentence_and_the_next_one_runs(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "store", "--restarts", "1") as server, server.client() as client:
        bad, good = submit(client, "die-always:sculpt"), submit(client)
        failed = ended(client, bad)
        assert failed.state is JobState.FAILED
        assert failed.restarts == 1
        assert failed.failure is not None
        assert failed.failure.problem.kind is Kind.CRASH
        assert "was killed by signal 9" in failed.failure.problem.sentence
        assert failed.failure.stage == "sculpt"
        assert ended(client, good).state is JobState.DONE


def test_a_worker_that_hangs_or_is_stopped_is_replaced(tmp_path: Path) -> None:
    options = ("--hang-seconds", "2", "--silence-seconds", "3", "--restarts", "0")
    with running(tmp_path / "store", *options, pause=PAUSE) as server, server.client() as client:
        failed = ended(client, submit(client, "hang:sculpt"))
        assert failed.failure is not None
        assert failed.failure.problem.kind is Kind.HANG
        assert "took no step for 2 seconds" in failed.failure.problem.sentence
        name = submit(client)
        until_step(client, name, "nerf_init")
        server.worker().send_signal(signal.SIGSTOP)
        failed = ended(client, name)
        assert failed.failure is not None
        assert failed.failure.problem.kind is Kind.HANG


@pytest.mark.parametrize("both", [False, True], ids=["server", "server and worker"])
def test_after_kill_9_of_the_server_its_jobs_go_on_to_the_same_result(
    tmp_path: Path, both: bool
) -> None:
    with running(tmp_path / "store", pause=PAUSE) as server:
        with server.client() as client:
            first, second = submit(client), submit(client)
            until_step(client, first, "sculpt")
            worker = server.worker()
            if both:
                worker.send_signal(signal.SIGSTOP)  # not even a stopped one may stay behind
            server.kill()
        psutil.wait_procs([worker], 10)
        assert not worker.is_running()
        server.start()
        with server.client() as client:
            begun: list[str] = []

            def both_done(event: Any) -> bool:
                if isinstance(event, StageBegan):
                    begun.append(f"{event.job}/{event.stage}")
                jobs = client.ask(ListJobs(), Jobs).jobs if begun else ()
                return bool(jobs) and all(job.state is JobState.DONE for job in jobs)

            client.wait(both_done, PATIENCE)
            assert f"{first}/nerf_init" not in begun  # what was finished is not run twice
            for job in client.ask(ListJobs(), Jobs).jobs:
                check_artefacts(server, job)
    expected = undisturbed(tmp_path, server, first)
    assert outcome(server, first) == outcome(server, second) == expected


def test_sigterm_writes_a_checkpoint_tells_clients_and_the_next_start_goes_on(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "store", pause=PAUSE) as server:
        with server.client() as client:
            name = submit(client)
            until_step(client, name, "sculpt", 10)
            assert server.stop() == 0
        (entry,) = JobTable(server.store / "jobs.sqlite").all()
        assert entry.state is JobState.QUEUED
        assert entry.restarts == 0  # nobody died
        server.start()
        with server.client() as client:
            client.wait(
                lambda e: isinstance(e, StageBegan) and e.stage == "sculpt" and e.first_step >= 10,
                PATIENCE,
            )
            assert ended(client, name).state is JobState.DONE
    assert outcome(server, name) == undisturbed(tmp_path, server, name)


def test_cancelled_in_any_stage_a_job_stops_within_two_seconds(tmp_path: Path) -> None:
    with running(tmp_path / "store", pause=PAUSE) as server, server.client() as client:
        for stage in STAGES:
            name = submit(client)
            until_step(client, name, stage, 3)
            began = time.monotonic()
            client.command(Cancel(name), JobIs)
            assert ended(client, name).state is JobState.CANCELLED
            assert time.monotonic() - began < 2.0


def test_a_cancelled_jobs_cancellation_survives_kill_9(tmp_path: Path) -> None:
    with running(tmp_path / "store") as server:
        with server.client() as client:
            name = submit(client, "hang:sculpt")
            until_step(client, name, "sculpt")
            client.command(Cancel(name), JobIs)
            server.kill()
        server.start()
        with server.client() as client:
            assert client.ask(GetJob(name), JobIs).job.state is JobState.CANCELLED


def test_a_server_that_is_stopped_for_a_while_goes_on(tmp_path: Path) -> None:
    with running(tmp_path / "store", pause=PAUSE) as server, server.client() as client:
        name = submit(client)
        until_step(client, name, "nerf_init")
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(server.pid, signal.SIGCONT)
        assert ended(client, name).state is JobState.DONE


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        with running(disk / "store") as server, server.client() as client:
            with pytest.raises(RequestRefusedError, match="free disk") as caught:
                submit(client)
            assert caught.value.problem.kind is Kind.DISK
            assert not list(server.store.glob("jobs/*"))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("where", ["requests", "control", "events"])
def test_damaged_messages_never_disturb_a_running_server(tmp_path: Path, where: str) -> None:
    chance, good = random.Random(0), [frames for frames, _ in seeds()]
    with running(tmp_path / "store") as server, server.client() as client:
        other = Client(server.connection())
        socket = other._connected(getattr(server.connection(), where))
        for number in range(5000):
            socket.send_multipart(damage(chance.choice(good), chance) or [b""])
            while socket.poll(0):
                socket.recv_multipart()
            if number % 500 == 0:
                client.command(Ping(), Done)
        other.close()
        client.command(Ping(), Done)
        assert ended(client, submit(client)).state is JobState.DONE
    assert "request failed" not in server.log()
