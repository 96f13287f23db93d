# SPDX-License-Identifier: Apache-2.0
"""The folder that the server keeps: one folder a job, named by its id and by nothing else.

STORE/.lock           held by the one server that works here
STORE/jobs.sqlite     the table
STORE/jobs/ID/input/  what the client sent, under names that the server chose
STORE/jobs/ID/run/    the library's run folder
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from backend.durable import Content, keep_names, write_durably
from backend.refusals import RefusedError
from blender_addon.protocol import Kind

SPARE_BYTES = 512 * 2**20
"""Free disk below which nothing new is taken: a run's checkpoints and textures need it."""


class Store:
    """The jobs' folders."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def folder(self, job: str) -> Path:
        """Give the folder of a job; `job` is a token, so it names nothing else."""
        return self.path / "jobs" / job

    def artefact(self, job: str, name: str) -> Path:
        """Give the file of an artefact whose name stands in the table."""
        stage, _, file = name.partition("/")
        return self.folder(job) / "run" / "stages" / stage / "result" / file

    def check_space(self, incoming: int) -> None:
        """Refuse what the disk could not hold to the end.

        Raises:
            RefusedError: Too little is free.
        """
        free = shutil.disk_usage(self.path).free
        if free < SPARE_BYTES + incoming:
            raise RefusedError(
                Kind.DISK,
                f"a job needs {(SPARE_BYTES + incoming) / 1e6:.0f} MB of free disk on the server",
                value=f"{free / 1e6:.0f} MB",
                remedy="remove old jobs or free some space there",
            )

    def keep(self, job: str, files: Mapping[str, Content]) -> None:
        """Write a client's files into the job's input: on the disk before this returns."""
        folder = self.folder(job) / "input"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in files.items():
            write_durably(folder / name, content)
        keep_names(folder, self.path)

    def delete(self, job: str) -> None:
        """Delete a job's folder."""
        shutil.rmtree(self.folder(job), ignore_errors=True)

    def size(self, job: str) -> int:
        """Count the bytes of a job's folder."""
        total = 0
        for path in self.folder(job).rglob("*"):
            try:
                total += path.lstat().st_size
            except FileNotFoundError:
                continue  # a worker renames while we count
        return total

    def strangers(self, known: set[str]) -> list[str]:
        """Name the job folders that no line of the table speaks of: uploads cut off half way."""
        folder = self.path / "jobs"
        return [p.name for p in folder.iterdir() if p.name not in known] if folder.is_dir() else []
