# SPDX-License-Identifier: Apache-2.0
"""`geneman jobs`: the backend's jobs from a terminal."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import msgspec

from backend.asking import add_wish, wish
from backend.client import Client, RequestRefusedError, ServerGoneError
from backend.exits import Exit, StartError
from backend.keys import key_pair
from backend.reaching import add_options, named_connection, own_key_file
from blender_addon.frames import Packer
from blender_addon.protocol import (
    ENDED,
    Cancel,
    Done,
    FreeMemory,
    GetJob,
    GetMetrics,
    Job,
    JobChanged,
    JobIs,
    Jobs,
    JobState,
    ListJobs,
    MapName,
    Metrics,
    Move,
    Remove,
    Rerun,
    Shutdown,
    Step,
)

MAPS: tuple[MapName, ...] = get_args(MapName)
QUIET_SECONDS = 3600.0
"""How long `wait` bears that nothing is heard."""


def options() -> argparse.ArgumentParser:
    """Give the command line."""
    parser = argparse.ArgumentParser(prog="geneman jobs", description=__doc__)
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print json")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_submit(commands.add_parser("submit", help="reconstruct a photo"))
    commands.add_parser("list", help="all jobs")
    for name, text in (
        ("show", "one job"),
        ("wait", "until it has ended, with progress"),
        ("cancel", "stop it within two seconds"),
        ("remove", "forget an ended job and its files"),
    ):
        commands.add_parser(name, help=text).add_argument("job")
    rerun = commands.add_parser("rerun", help="run an ended job again")
    rerun.add_argument("job")
    rerun.add_argument("--from", dest="start", help="this stage and those after it")
    move = commands.add_parser("move", help="let a waiting job be the n-th")
    move.add_argument("job")
    move.add_argument("position", type=int)
    fetch = commands.add_parser("fetch", help="get an ended job's files")
    fetch.add_argument("job")
    fetch.add_argument("-o", "--output", type=Path, required=True, help="folder")
    fetch.add_argument("--stage", default="finish")
    commands.add_parser("metrics", help="the server's figures")
    commands.add_parser("free", help="free the device's memory")
    commands.add_parser("shutdown", help="stop the server")
    commands.add_parser("key", help="this machine's public key, for `geneman serve --authorize`")
    return parser


def _add_submit(submit: argparse.ArgumentParser) -> None:
    add = submit.add_argument
    add("photo", type=Path)
    add_wish(submit)
    add("--prompt", default="", help="what the photo shows, in words")
    add("--until", metavar="STAGE", help="the last stage to run")
    for name in MAPS:
        add(f"--{name}", type=Path, help="a file: png, npz or safetensors")
    add("--wait", action="store_true", help="until it has ended")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one command, and give the process's exit code."""
    wanted = options().parse_args(arguments)
    try:
        if wanted.command == "key":
            _say(key_pair(own_key_file()).public)
            return Exit.STOPPED
        with Client(named_connection(wanted)) as client:
            return _do(client, wanted)
    except (StartError, ServerGoneError, RequestRefusedError, OSError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return Exit.OPTIONS


def _do(client: Client, wanted: argparse.Namespace) -> int:
    match wanted.command:
        case "submit":
            return _show(client, _submitted(client, wanted), wanted)
        case "list":
            _print(client.ask(ListJobs(), Jobs).jobs, as_json=wanted.json)
        case "metrics":
            values = dict(sorted(client.ask(GetMetrics(), Metrics).values.items()))
            if wanted.json:
                _say(msgspec.json.encode(values).decode())
            else:
                _say("\n".join(f"{name:<32} {value:.6g}" for name, value in values.items()))
        case "free":
            client.ask(FreeMemory(), Done)
        case "shutdown":
            client.command(Shutdown(), Done)
        case _:
            return _do_with_job(client, wanted)
    return Exit.STOPPED


def _submitted(client: Client, wanted: argparse.Namespace) -> Job:
    packer = Packer()
    given = {name: getattr(wanted, name) for name in MAPS}
    maps = {name: packer.add_file(path.read_bytes()) for name, path in given.items() if path}
    fields = wish(wanted, wanted.photo) | {"prompt": wanted.prompt, "until": wanted.until}
    return client.submit(wanted.photo.read_bytes(), packer, maps=maps, **fields).job


def _do_with_job(client: Client, wanted: argparse.Namespace) -> int:
    job = _named(client, wanted.job)
    match wanted.command:
        case "fetch":
            wanted.output.mkdir(parents=True, exist_ok=True)
            for artefact in job.artefacts:
                stage, _, name = artefact.name.partition("/")
                if stage == wanted.stage:
                    client.fetch(job.id, artefact, wanted.output / Path(name).name)
                    _say(str(wanted.output / Path(name).name))
        case "cancel":
            client.command(Cancel(job.id), JobIs)
        case "remove":
            client.ask(Remove(job.id), Done)
        case "move":
            client.ask(Move(job.id, wanted.position), Jobs)
        case "rerun":
            client.ask(Rerun(job.id, start=wanted.start), JobIs)
        case _:
            return _show(client, job, wanted)
    return Exit.STOPPED


def _named(client: Client, name: str) -> Job:
    """Give the job whose id begins so."""
    found = [job for job in client.ask(ListJobs(), Jobs).jobs if job.id.startswith(name)]
    if len(found) != 1:
        many = "none" if not found else str(len(found))
        raise StartError(
            Exit.OPTIONS,
            f"A job must be named by the beginning of its id, but '{name}' fits {many}: "
            "`geneman jobs list` shows them.",
        )
    return found[0]


def _show(client: Client, job: Job, wanted: argparse.Namespace) -> int:
    """Print a job, after having waited for its end if that is wanted."""
    if wanted.command == "wait" or getattr(wanted, "wait", False):
        client.follow()
        while job.state not in ENDED:
            message = client.event(QUIET_SECONDS)
            if message is None:
                break
            body = message.body
            if isinstance(body, JobChanged) and body.job.id == job.id:
                job = body.job
            elif isinstance(body, Step) and body.job == job.id and sys.stderr.isatty():
                left = f"{body.seconds_left:.0f} s left"
                sys.stderr.write(f"\r{body.stage:<15} {body.step + 1}/{body.steps}  {left:<12}")
        job = client.ask(GetJob(job.id), JobIs).job
    _print((job,), as_json=wanted.json)
    return Exit.FAULT if job.state is JobState.FAILED else Exit.STOPPED


def _print(jobs: Sequence[Job], *, as_json: bool) -> None:
    for job in jobs:
        if as_json:
            _say(msgspec.json.encode(job).decode())
            continue
        state = f"{job.state.value} {job.position}" if job.position else job.state.value
        _say(f"{job.id[:8]}  {state:<11} {job.stage:<15} {job.seconds:7.1f} s  {job.label}")
        if job.failure is not None:
            _say(f"          {job.failure.problem.sentence}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
