# SPDX-License-Identifier: Apache-2.0
"""`geneman batch`: every photo of a folder through a backend, with progress and a contact sheet.

A photo's job is named by its content and what is wanted of it, so the same command given again
goes on where the last one ended: what is done is only fetched.
"""

import argparse
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.asking import add_wish, wish
from backend.client import Client, RequestRefusedError, ServerGoneError
from backend.exits import Exit, StartError
from backend.keys import Connection, read_connection
from backend.reaching import add_options, is_named, named_connection
from blender_addon.protocol import (
    ENDED,
    GetJob,
    Job,
    JobChanged,
    JobIs,
    JobState,
    Kind,
    Rerun,
    Step,
)

PHOTOS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".heic"})
OPEN_JOBS = 50
"""How many wait on the server at a time: its limit is 100 for a client."""
START_SECONDS = 60.0
QUIET_SECONDS = 5.0
"""After so long without an event the server is asked how things stand."""
SHEET_PEOPLE = 24
"""On one contact sheet; a larger folder gets several."""


@dataclass
class Batch:
    """The photos of a folder, and how far they are."""

    output: Path
    photos: Mapping[str, Path]
    """By the ids of their jobs."""
    ended: dict[str, Job] = field(default_factory=dict)

    def folder(self, job: str) -> Path:
        """Give the folder of one photo's results."""
        return self.output / self.photos[job].stem

    def done(self) -> list[tuple[Path, Path]]:
        """Give the photos that became people, and their models."""
        models = ((job, self.folder(job) / "model.glb") for job in self.photos)
        return [(self.photos[job], model) for job, model in models if model.exists()]


def options() -> argparse.ArgumentParser:
    """Give the command line."""
    parser = argparse.ArgumentParser(prog="geneman batch", description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, help="of photos: png, jpeg, webp, heic")
    add("-o", "--output", type=Path, required=True, help="folder of results")
    add_wish(parser)
    add_options(parser)
    add(
        "--serve",
        metavar="OPTIONS",
        default="",
        help="without a server one is started with these, as in '--executor ray'",
    )
    add("--no-sheet", action="store_true", help="make no contact sheet")
    add("--json", action="store_true", help="print one json object a photo")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Reconstruct a folder; 0 if every photo became a person, 1 if some did not."""
    wanted = options().parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    try:
        batch = Batch(wanted.output, named(wanted))
        wanted.output.mkdir(parents=True, exist_ok=True)
        with backend(wanted) as connection, Client(connection) as client:
            run(client, batch, wanted, console)
    except (StartError, ServerGoneError, RequestRefusedError, OSError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return Exit.OPTIONS
    failed = [job for job in batch.ended.values() if job.state is not JobState.DONE]
    for job in failed:
        why = job.failure.problem.sentence if job.failure else job.state.value
        console.print(f"{batch.photos[job.id].name}: {why}", style="red", markup=False)
    if not wanted.no_sheet and batch.done():
        for sheet in sheets(batch):
            console.print(str(sheet))
    return Exit.FAULT if failed else Exit.STOPPED


def named(wanted: argparse.Namespace) -> dict[str, Path]:
    """Give the photos by the ids of their jobs.

    Raises:
        StartError: There is none, or two would write into the same folder.
    """
    found = sorted(p for p in _entries(wanted.folder) if p.suffix.lower() in PHOTOS)
    if not found:
        raise StartError(
            Exit.OPTIONS,
            f"The folder must hold photos, but '{wanted.folder}' holds none: give one with "
            "png, jpeg, webp or heic files.",
        )
    stems = [photo.stem for photo in found]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise StartError(
            Exit.OPTIONS,
            f"Photos must differ in more than their endings, but '{twice[0]}' is there twice: "
            "rename one.",
        )
    wished = (wanted.preset, wanted.seed, wanted.recipe)
    packed = msgspec.json.encode(wished, order="deterministic")
    return {_id(photo, packed): photo for photo in found}


def _entries(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise StartError(
            Exit.OPTIONS,
            f"The photos must lie in a folder, but '{folder}' is none ({error.strerror}): "
            "give another.",
        ) from error


def _id(photo: Path, wished: bytes) -> str:
    digest = hashlib.sha256(wished + photo.name.encode() + photo.read_bytes())
    return digest.hexdigest()[:32]


@contextmanager
def backend(wanted: argparse.Namespace) -> Iterator[Connection]:
    """Give a running backend's connection, or that of one for the time of the batch."""
    if is_named(wanted):
        yield named_connection(wanted)
        return
    store = wanted.output / ".backend"
    command = [sys.executable, "-m", "backend", "--store", str(store), *wanted.serve.split()]
    store.mkdir(mode=0o700, exist_ok=True)
    with (store / "server.log").open("ab") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            yield _started(process, store)
        finally:
            process.terminate()


def _started(process: "subprocess.Popen[bytes]", store: Path) -> Connection:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            connection = read_connection(store / "connection.json")
        except StartError:
            connection = None
        if connection is not None and connection.pid == process.pid:
            return connection
        time.sleep(0.05)
    last = (store / "server.log").read_text(errors="replace").splitlines()[-1:]
    raise StartError(
        Exit.FAULT, f"The backend did not start: {' '.join(last) or 'it said nothing'}"
    )


def run(client: Client, batch: Batch, wanted: argparse.Namespace, console: Console) -> None:
    """Submit, wait and fetch until every photo's job has ended."""
    waiting, going = list(batch.photos), set[str]()
    client.follow()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=wanted.json) as shown:
        bar = shown.add_task("starting", total=len(waiting))
        while waiting or going:
            while waiting and len(going) < OPEN_JOBS:
                name = waiting.pop(0)
                job = _submitted(client, name, batch, wanted)
                going.add(name)
                if job.state in ENDED:
                    _conclude(client, batch, job, wanted, going)
            message = client.event(QUIET_SECONDS) if going else None
            if message is None:
                _look(client, batch, wanted, going)
            elif isinstance(message.body, JobChanged) and message.body.job.id in going:
                if message.body.job.state in ENDED:
                    _conclude(client, batch, message.body.job, wanted, going)
            elif isinstance(message.body, Step) and message.body.job in going:
                step = message.body
                told = f"{batch.photos[step.job].name}: {step.stage} {step.step + 1}/{step.steps}"
                shown.update(bar, description=told)
            shown.update(bar, completed=len(batch.ended))


def _submitted(client: Client, name: str, batch: Batch, wanted: argparse.Namespace) -> Job:
    """Give the photo's job: a new one, or the one that an earlier batch began."""
    try:
        job = client.ask(GetJob(name), JobIs).job
        again = job.state in (JobState.FAILED, JobState.CANCELLED)
        return client.ask(Rerun(name), JobIs).job if again else job
    except RequestRefusedError as error:
        if error.problem.kind is not Kind.UNKNOWN_JOB:
            raise
    photo = batch.photos[name]
    return client.submit(photo.read_bytes(), job=name, **wish(wanted, photo)).job


def _look(client: Client, batch: Batch, wanted: argparse.Namespace, going: set[str]) -> None:
    """Ask how the jobs stand, and listen again: who fetches for a minute is forgotten."""
    client.follow()
    for name in sorted(going):
        job = client.ask(GetJob(name), JobIs).job
        if job.state in ENDED:
            _conclude(client, batch, job, wanted, going)


def _conclude(
    client: Client, batch: Batch, job: Job, wanted: argparse.Namespace, going: set[str]
) -> None:
    """Fetch what a job has made, and say how it ended."""
    going.discard(job.id)
    batch.ended[job.id] = job
    finished = [a for a in job.artefacts if a.name.startswith("finish/")]
    folder = batch.folder(job.id)
    if job.state is JobState.DONE:
        folder.mkdir(exist_ok=True)
        for artefact in finished:
            client.fetch(job.id, artefact, folder / Path(artefact.name).name)
    if wanted.json:
        facts = {"photo": batch.photos[job.id].name, "state": job.state, "seconds": job.seconds}
        facts |= {"folder": str(folder)} if job.state is JobState.DONE else {}
        facts |= {"problem": job.failure.problem.sentence} if job.failure else {}
        sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
        sys.stdout.flush()


def sheets(batch: Batch) -> Iterator[Path]:
    """Draw the photos beside their people, some on each sheet; give the sheets' files."""
    from geneman.evaluation.contact_sheet import write_contact_sheet
    from geneman.gltf_reader import read_glb

    people = batch.done()
    for page, first in enumerate(range(0, len(people), SHEET_PEOPLE), 1):
        some = [(photo, read_glb(model)) for photo, model in people[first : first + SHEET_PEOPLE]]
        several = len(people) > SHEET_PEOPLE
        path = batch.output / (f"contact_sheet_{page}.png" if several else "contact_sheet.png")
        write_contact_sheet(some, path, columns=min(2, len(some)))
        yield path


if __name__ == "__main__":
    sys.exit(main())
