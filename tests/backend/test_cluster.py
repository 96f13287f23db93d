"""Jobs on a Ray cluster of one machine: same messages, same results, lost seats included."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from backend.__main__ import main
from backend.client import Client
from backend.cluster import Share, arrive, read_files, write_files
from blender_addon.protocol import (
    Cancel,
    JobIs,
    JobState,
    StageEnded,
)
from geneman.run_folder import STAGES
from tests.backend.running import Running, ended, running, submit
from tests.backend.test_faults import PAUSE, check_artefacts, outcome, undisturbed, until_step

SECONDS = 120.0
"""A cluster takes its time to start."""

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray (extra 'cluster')"
)
pytestmark = pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("cluster")
    options = ("--executor", "ray", "--ray-cpus", "1", "--workers", "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # of the tests' program
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        with running(folder / "store", *options, pause=PAUSE) as found:
            yield found


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with server.client(ready=SECONDS) as found:
        yield found


@needs_ray
@pytest.mark.slow
def test_a_job_on_the_cluster_tells_every_stage_and_its_artefacts_come_back(
    server: Running, client: Client, tmp_path: Path
) -> None:
    name, told = submit(client), []

    def last(event: object) -> bool:
        if isinstance(event, StageEnded) and event.job == name:
            told.append(event.stage)
        job = getattr(event, "job", None)
        return getattr(job, "id", None) == name and getattr(job, "state", None) is JobState.DONE

    done = client.wait(last, SECONDS)
    assert told == list(STAGES)
    check_artefacts(server, done.job)  # type: ignore[union-attr]
    assert "/cpu" in done.job.device  # type: ignore[union-attr]
    assert outcome(server, name) == undisturbed(tmp_path, server, name)


@needs_ray
@pytest.mark.slow
def test_a_lost_seat_is_replaced_and_a_cancelled_job_stops(server: Running, client: Client) -> None:
    name = submit(client)
    until_step(client, name, "sculpt", 10)
    seats = [p for p in psutil.Process(server.pid).children(recursive=True) if "Seat" in p.name()]
    seats = seats or [p for p in psutil.process_iter() if p.name().startswith("ray::Seat")]
    assert seats
    for seat in seats:
        seat.kill()
    done = ended(client, name, SECONDS)
    assert done.state is JobState.DONE
    check_artefacts(server, done)
    name = submit(client)
    until_step(client, name, "nerf_init")
    client.command(Cancel(name), JobIs)
    assert ended(client, name, SECONDS).state is JobState.CANCELLED


def test_a_share_counts_the_workers_that_fit() -> None:
    assert Share(cpus=2).fitting({"CPU": 7.0}) == 3
    assert Share(gpus=1, cpus=2).fitting({"CPU": 64.0, "GPU": 4.0}) == 4
    assert Share(gpus=1).fitting({"CPU": 2.0}) == 1  # and waits for a node to come
    assert Share(workers=5).fitting({}) == 5


def test_a_result_arrives_whole_or_not_at_all(tmp_path: Path) -> None:
    old, new = b"old", b"new"
    folder = tmp_path / "job"
    write_files(folder, {"run/stages/a/result/x": old, "run/stages/a/result/stage.json": b"{}"})
    arrive(folder, {"run/stages/a/result/x": new})  # without its record it is no result
    assert (folder / "run/stages/a/result/x").read_bytes() == old
    whole = {"run/stages/a/result/x": new, "run/stages/a/result/stage.json": b"[]", "run/y": b"y"}
    arrive(folder, whole)
    assert read_files(folder, [folder]) == whole


def test_without_ray_the_server_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["--store", str(tmp_path / "store"), "--executor", "ray"]) == 2
    assert "extra 'cluster'" in capsys.readouterr().err
