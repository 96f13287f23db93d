"""What dies, stalls and fills up: no job lost, none run twice, every artefact whole."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from backend.client import Client, RequestRefusedError
from backend.jobs import JobTable
from backend.reconstruction import requested
from backend.specs import Spec
from blender_addon.protocol import (
    Cancel,
    GetJob,
    Job,
    JobChanged,
    JobIs,
    JobRemoved,
    Jobs,
    JobState,
    Kind,
    ListJobs,
    Rerun,
    StageBegan,
    StageEnded,
    Step,
)
from geneman.run_folder import STAGES, RunFolder
from tests.backend.disks import fill, small_disk
from tests.backend.fuzzing import (
    fuzz_by_coverage,
    fuzz_decoders,
    fuzz_server,
    joined,
    parted,
    read_all,
)
from tests.backend.running import PATIENCE, RECIPE, Running, ended, running, submit
from tests.backend.test_protocol import seeds
from tests.tiny_chain import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="kill -9 and SIGSTOP are POSIX"),
]
PAUSE = 0.01
"""Seconds a step, so that there is something to interrupt."""
CANCEL_SECONDS = 2.0


def outcome(server: Running, job: str) -> bytes:
    return (server.store / "jobs" / job / "run" / "finish.safetensors").read_bytes()


def check_artefacts(server: Running, job: Job) -> None:
    found = RunFolder.read(server.store / "jobs" / job.id / "run")
    assert [artefact.name for artefact in job.artefacts] == sorted(
        f"{stage}/{stage}.safetensors" for stage in STAGES
    )
    assert all(found.damage(stage) is None for stage in STAGES)


def recorded(told: list[Any], true: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Give the same test of events, which also notes each of them."""

    def look(event: Any) -> bool:
        told.append(event)
        return true(event)

    return look


def until_step(
    client: Client, job: str, stage: str, step: int = 5, told: list[Any] | None = None
) -> None:
    def there(event: Any) -> bool:
        return (
            isinstance(event, Step)
            and (event.job, event.stage) == (job, stage)
            and (event.step >= step)
        )

    client.wait(there if told is None else recorded(told, there), PATIENCE)


def is_done(event: Any, job: str) -> bool:
    return (
        isinstance(event, JobChanged) and event.job.id == job and event.job.state is JobState.DONE
    )


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
        words = " ".join(f"die:{stage}" for stage in STAGES)
        done = ended(client, submit(client, words), 4 * PATIENCE)
        assert done.state is JobState.DONE
        check_artefacts(server, done)
        assert server.log().count('"event":"worker ended","code":-9') == len(STAGES)
        assert done.restarts == 0  # it finished a stage since each of them
    assert outcome(server, done.id) == undisturbed(tmp_path, server, done.id)


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
def test_after_kill_9_of_the_server_in_each_stage_its_jobs_go_on_to_the_same_result(
    tmp_path: Path, both: bool
) -> None:
    told: list[Any] = []
    with running(tmp_path / "store", pause=PAUSE) as server:
        with server.client() as client:
            first, second = submit(client), submit(client)
        for number, stage in enumerate(STAGES):
            with Client(server.connection()) as client:
                client.follow()
                until_step(client, first, stage, told=told)
                worker = server.worker()
                if both:
                    worker.kill()
                elif number % 2:
                    worker.suspend()  # not even one that is stopped may stay behind
                server.kill()
            psutil.wait_procs([worker], 10)
            assert not worker.is_running()
            server.start()
        with Client(server.connection()) as client:
            client.follow()
            client.wait(recorded(told, lambda e: is_done(e, second)), 2 * PATIENCE)
            jobs = client.ask(ListJobs(), Jobs).jobs
            assert {(job.id, job.state) for job in jobs} == {
                (first, JobState.DONE),
                (second, JobState.DONE),
            }
            for job in jobs:
                check_artefacts(server, job)
    begun = [(e.job, e.stage) for e in told if isinstance(e, StageBegan)]
    ended_at = {e.stage: i for i, e in enumerate(told) if isinstance(e, StageEnded) and not e.kept}
    assert begun.count((first, "finish")) >= 2
    for i, event in enumerate(told):  # what was finished is not run twice
        if isinstance(event, StageBegan) and event.job == first:
            assert i < ended_at.get(event.stage, len(told))
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


def test_cancelled_in_any_stage_a_job_stops_and_keeps_what_it_has(tmp_path: Path) -> None:
    with running(tmp_path / "store", pause=PAUSE) as server, server.client() as client:
        for stage in STAGES:
            name = submit(client)
            until_step(client, name, stage, 3)
            began = time.monotonic()
            client.command(Cancel(name), JobIs)
            stopped = ended(client, name)
            assert time.monotonic() - began < CANCEL_SECONDS
            assert stopped.state is JobState.CANCELLED
            finished = STAGES[: STAGES.index(stage)]
            assert [a.name.split("/")[0] for a in stopped.artefacts] == sorted(finished)


def test_cancelled_where_it_hangs_in_any_stage_a_job_stops_all_the_same(tmp_path: Path) -> None:
    with running(tmp_path / "store") as server, server.client() as client:
        for stage in STAGES:
            name = submit(client, f"hang:{stage}")
            until_step(client, name, stage)
            began = time.monotonic()
            client.command(Cancel(name), JobIs)
            assert ended(client, name).state is JobState.CANCELLED
            assert time.monotonic() - began < CANCEL_SECONDS


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


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", "64m") as disk,
        running(disk / "store") as server,
        server.client() as client,
    ):
        with pytest.raises(RequestRefusedError, match="free disk") as caught:
            submit(client)
        assert caught.value.problem.kind is Kind.DISK
        assert not list(server.store.glob("jobs/*"))


def test_a_disk_that_fills_up_under_a_job_loses_nothing(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", "900m") as disk,
        running(disk / "store", pause=PAUSE) as server,
        server.client() as client,
    ):
        done, name = submit(client), submit(client)
        assert ended(client, done).state is JobState.DONE
        until_step(client, name, "sculpt")
        worker = server.worker()
        worker.suspend()
        fill(disk)
        worker.resume()
        failed = ended(client, name)
        assert failed.failure is not None
        assert failed.failure.problem.kind is Kind.DISK
        (disk / "filling").unlink()
        client.ask(Rerun(name), JobIs)
        again = ended(client, name)
        assert again.state is JobState.DONE, again.failure
        check_artefacts(server, again)
        check_artefacts(server, client.ask(GetJob(done), JobIs).job)


def test_a_clock_that_jumps_disturbs_nobody(tmp_path: Path) -> None:
    options = ("--hang-seconds", "20", "--silence-seconds", "20")
    module = "tests.backend.jumping_clock"
    with (
        running(tmp_path / "store", *options, pause=PAUSE, module=module) as server,
        server.client() as client,
    ):
        first, second = submit(client), submit(client)
        assert ended(client, first).state is JobState.DONE
        done = ended(client, second)
        assert done.state is JobState.DONE
        assert done.restarts == 0
        assert 0 < done.seconds < 60
    assert outcome(server, first) == outcome(server, second)


def test_old_jobs_go_by_policy_and_everybody_is_told_why(tmp_path: Path) -> None:
    with running(tmp_path / "store") as server:
        with server.client() as client:
            name = submit(client)
            ended(client, name)
        server.stop()
        server.start()
        with server.client() as client:  # without a policy everything stays
            assert client.ask(GetJob(name), JobIs).job.state is JobState.DONE
        server.stop()
        server.options = ("--keep-days", "0.00001")
        server.start()
        with Client(server.connection()) as client:
            client.follow()
            gone = client.wait(lambda e: isinstance(e, JobRemoved) and e.job == name, PATIENCE)
            assert "--keep-days" in getattr(gone, "reason", "")
            server.until(lambda: not (server.store / "jobs" / name).exists())
        assert '"event":"job removed"' in server.log()


def test_two_workers_share_the_queue_and_one_that_dies_takes_only_its_own_job(
    tmp_path: Path,
) -> None:
    options = ("--device", "cpu", "--restarts", "0")  # a second one beside the first
    with running(tmp_path / "store", *options, pause=PAUSE) as server, server.client() as client:
        bad, good = submit(client, "hang:sculpt"), submit(client)
        both = {(bad, "sculpt"), (good, "nerf_init")}

        def come_so_far(event: Any) -> bool:  # in whatever order
            if isinstance(event, Step) and event.step >= 5:
                both.discard((event.job, event.stage))
            return not both

        client.wait(come_so_far, PATIENCE)
        workers = psutil.Process(server.pid).children()
        assert len(workers) == 2
        # The good one may have ended meanwhile: its last event is not waited for again.
        server.until(lambda: client.ask(GetJob(good), JobIs).job.state is JobState.DONE)
        client.command(Cancel(bad), JobIs)
        assert ended(client, bad).state is JobState.CANCELLED
        assert ended(client, submit(client)).state is JobState.DONE


def test_damaged_messages_never_disturb_a_running_server(tmp_path: Path) -> None:
    with running(tmp_path / "store") as server, server.client() as client:
        fuzz_server(server, client, 3000)


def test_nothing_but_a_protocol_error_comes_out_of_the_decoders(tmp_path: Path) -> None:
    assert fuzz_decoders(1000) >= 1000
    for frames, _ in seeds():
        assert parted(joined(frames)) == frames
        assert read_all(parted(joined(frames))) == 1  # the search begins with whole messages
    made = fuzz_by_coverage(2000, tmp_path)
    if made is None:
        pytest.skip("needs atheris, which has no wheel for every system")
    assert made >= 2000
