"""How fast the backend answers and shows, and whether its memory stays flat.

`python -m tests.benchmarks.backend --json` prints the rows of DESIGN.md section 6. Ages of events
are measured with the system-wide monotonic clock, from their making in the worker.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from backend.client import Client
from blender_addon.frames import Envelope, encode, new_token
from blender_addon.protocol import (
    Cancel,
    GetJob,
    GetMetrics,
    Job,
    JobChanged,
    JobIs,
    JobState,
    Metrics,
    Picture,
    Ready,
    Step,
    Surface,
)
from geneman.run_folder import STAGES
from tests.backend.running import PNG, Running, ended, running, submit

JOBS = 200
CLIENTS = 50
HOUR = 3600
STEPS = 2000


def row(
    name: str, value: float, unit: str, goal: float | None, better: str = "lower"
) -> dict[str, Any]:
    """Give one row; nobody else's server does the same, so there is no peer."""
    empty = dict.fromkeys(("peer", "peer_value", "ratio", "limit_share"))
    return {"name": name, "value": value, "unit": unit, "better": better, "goal": goal} | empty


def share(values: list[float], percent: float) -> float:
    """Give a percentile."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def start(client: Client, prompt: str) -> Job:
    return client.submit(PNG, label="benchmark", prompt=prompt).job


def until_running(client: Client, job: Job) -> None:
    client.wait(lambda e: isinstance(e, Step) and e.job == job.id, 60)


def is_done(event: JobChanged, job: Job) -> bool:
    return event.job.id == job.id and event.job.state is JobState.DONE


def latency(server: Running) -> list[dict[str, Any]]:
    """Ask 500 times while a job computes and tells a step every two milliseconds."""
    with server.client() as client:
        job, spent = start(client, "previews 1500 0.002"), []
        until_running(client, job)
        for _ in range(500):
            began = time.perf_counter()
            client.ask(GetJob(job.id), JobIs)
            spent.append(1e3 * (time.perf_counter() - began))
            time.sleep(0.003)
        client.follow()  # who said nothing for a minute, on a busy machine, is forgotten
        ended(client, job.id, 120)
    return [
        row("request latency p50 while a job computes", share(spent, 50), "ms", 5),
        row("request latency p99 while a job computes", share(spent, 99), "ms", 25),
    ]


def ages(server: Running, what: str, kind: type[Surface | Picture], count: int) -> float:
    """Give the median age in milliseconds of large events when a client has them."""
    with server.client() as client:
        job, found = start(client, f"{what} {count} 0.25"), []
        while True:
            message = client.event(60)
            assert message is not None
            body = message.body
            if isinstance(body, kind):
                found.append(1e3 * (time.monotonic() - body.step / 1e6))
            elif isinstance(body, JobChanged) and is_done(body, job):
                return statistics.median(found)


def throughput(server: Running) -> float:
    """Give the share in percent that a client hears of a thousand steps a second."""
    with server.client() as client:
        job, heard = start(client, f"previews {STEPS} 0.001"), 0
        while True:
            message = client.event(60)
            assert message is not None
            heard += isinstance(message.body, Step) and message.body.job == job.id
            if isinstance(message.body, JobChanged) and is_done(message.body, job):
                return 100 * heard / STEPS


def memory(client: Client) -> float:
    return client.ask(GetMetrics(), Metrics).values["server.memory_bytes"] / 2**20


def growth_over_jobs(server: Running) -> float:
    """Give MiB that the server grows by from the 20th to the last job."""
    with server.client() as client:
        for number in range(JOBS):
            ended(client, start(client, "previews 5 0").id)
            if number == 20:
                before = memory(client)
        return memory(client) - before


def growth_under_stall(server: Running) -> float:
    """Give MiB that the server grows by while 100 meshes pass a client that takes none."""
    with server.client() as client, Client(server.connection()) as stalled:
        ended(client, start(client, "mesh 5 0").id)
        stalled.follow()
        before = memory(client)
        ended(client, start(client, "mesh 100 0.02").id, 120)
        return memory(client) - before


def growth_over_an_hour_of_previews(server: Running) -> float:
    """Give MiB that the server grows by while 3600 previews, one a second, pass such a client."""
    with server.client() as client, Client(server.connection()) as stalled:
        ended(client, start(client, "pictures 50 0").id)
        stalled.follow()
        before = memory(client)
        ended(client, start(client, f"pictures {HOUR} 0.002").id, 240)
        return memory(client) - before


def many_clients(server: Running) -> list[float]:
    """Give milliseconds until each of 50 clients is answered, when all ask at once."""
    clients = [Client(server.connection()) for _ in range(CLIENTS)]
    try:
        for client in clients:
            client.ask(GetMetrics(), Metrics)  # the handshake is not what is measured
        asked = [encode(Envelope(id=new_token(), body=GetMetrics())) for _ in clients]
        began, spent = time.perf_counter(), []
        for client, frames in zip(clients, asked, strict=True):
            client._requests.send_multipart(frames)
        for client in clients:
            assert client._requests.poll(10_000)
            client._requests.recv_multipart()
            spent.append(1e3 * (time.perf_counter() - began))
        return spent
    finally:
        for client in clients:
            client.close()


def slowest_cancel() -> float:
    """Give the longest of the times that a job takes to stop, cancelled in each stage once."""
    spent = []
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "store", pause=0.01) as server,
        server.client() as client,
    ):
        for stage in STAGES:
            name = submit(client)
            client.wait(lambda e, at=stage: isinstance(e, Step) and e.stage == at, 60)  # type: ignore[misc]  # mypy has no types for defaults of lambdas
            began = time.perf_counter()
            client.command(Cancel(name), JobIs)
            assert ended(client, name).state is JobState.CANCELLED
            spent.append(1e3 * (time.perf_counter() - began))
    return max(spent)


def measure() -> list[dict[str, Any]]:
    """Give all rows."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--program", "tests.backend.heavy_program")
        with running(Path(folder) / "store", *options) as server:
            with Client(server.connection()) as client:
                client.follow()
                client.wait(lambda event: isinstance(event, Ready), 60)
            return [
                *latency(server),
                row(
                    "200k-vertex mesh, worker to client",
                    ages(server, "mesh", Surface, 20),
                    "ms",
                    30,
                ),
                row(
                    "2048 px texture, worker to client",
                    ages(server, "texture", Picture, 20),
                    "ms",
                    60,
                ),
                row("steps heard, of 1000 a second", throughput(server), "%", None, "higher"),
                row(
                    f"last answer when {CLIENTS} clients ask at once",
                    max(many_clients(server)),
                    "ms",
                    25,
                ),
                row(
                    "server memory over 100 meshes and a stalled client",
                    growth_under_stall(server),
                    "MiB",
                    32,
                ),
                row(
                    f"server memory over {HOUR} previews and a stalled client",
                    growth_over_an_hour_of_previews(server),
                    "MiB",
                    32,
                ),
                row("cancel, slowest of the six stages", slowest_cancel(), "ms", 2000),
                row(f"server memory over {JOBS} jobs", growth_over_jobs(server), "MiB", 8),
            ]


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    rows = measure()
    if wanted.json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return
    for one in rows:
        goal = "" if one["goal"] is None else f"  (goal {one['goal']:g})"
        sys.stdout.write(f"{one['name']:<52} {one['value']:9.2f} {one['unit']}{goal}\n")


if __name__ == "__main__":
    main()
