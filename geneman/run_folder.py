"""The folder that a reconstruction lives in: what joins the stages, and what survives a kill.

    RUN/
      run.json               what was asked for and what came of it
      model.glb ...          the finished files, copied from the last stage's result
      .lock                  held by the one process that writes here
      stages/NAME/
        result/              the stage's artefact and stage.json: there whole, or not there
        work/                checkpoint and clock of an unfinished attempt

A result is *done* while its fingerprint is the one that the present settings, seed, priors and
input artefacts give; it is *stale* once they give another, and *missing* when there is none.
Inputs count by the sha256 of their files, so a mesh or mask that somebody edited by hand makes
the stages after it stale, and a stage that was re-run with the same outcome does not. What was
made by hand stays *done*, whatever is asked for, until it is replaced or discarded.
"""

import contextlib
import enum
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import msgspec

from geneman.errors import RunFolderError
from geneman.storage import (
    check_space,
    digest_of,
    digest_of_file,
    make_last,
    storage_errors,
    write_whole,
)

FORMAT = 1
"""Version of the artefacts' formats. A new one makes every older result stale."""

STAGES = ("prepare", "nerf_init", "sculpt", "latent_texture", "pixel_texture", "finish")
"""The stages in the order in which they run."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "prepare": (),
    "nerf_init": ("prepare",),
    "sculpt": ("prepare", "nerf_init"),
    "latent_texture": ("prepare", "sculpt"),
    "pixel_texture": ("prepare", "sculpt", "latent_texture"),
    "finish": ("prepare", "pixel_texture"),
}
"""Whose artefacts each stage reads."""

FACTS = "facts.json"
"""A file that any result may hold; `run.json` repeats it."""


class StageState(enum.StrEnum):
    """What a stage's result is worth."""

    DONE = "done"
    STALE = "stale"
    MISSING = "missing"


class StageSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `run.json` says about one finished stage."""

    seconds: float
    """Wall clock of all attempts together, killed ones included."""
    losses: dict[str, float] = {}
    """The weighted terms at the last step."""
    facts: dict[str, Any] = {}
    """The result's own `facts.json`: where each map came from, how the mesh is made."""


class StageRecord(msgspec.Struct, frozen=True):
    """`stage.json`: how a result came about, and what it consists of."""

    format: int
    stage: str
    fingerprint: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, str]
    """sha256 of each file by its name."""
    seconds: float
    losses: dict[str, float]
    edited: bool = False
    """Whether somebody made it by hand; `fingerprint` then tells what was given."""

    @property
    def digest(self) -> str:
        """One sha256 for the whole artefact: what later stages' fingerprints hold."""
        return digest_of(self.files)


class RunRecord(msgspec.Struct):
    """`run.json`."""

    format: int = FORMAT
    geneman: str = ""
    versions: dict[str, str] = {}
    photo: str = ""
    inputs: dict[str, str] = {}
    """sha256 of the photo and of each given map or text."""
    preset: str = ""
    recipe: dict[str, dict[str, Any]] = {}
    seed: int = 0
    device: str = ""
    threads: int = 0
    priors: dict[str, str] = {}
    stages: dict[str, StageSummary] = {}
    peak_memory_bytes: int = 0
    reference: dict[str, float] = {}
    """How close the finished person is to the photo: psnr (dB), mask_iou, normal_deg."""


class Clock(msgspec.Struct):
    """`work/clock.json`: which attempt the checkpoint belongs to and how long it took so far."""

    fingerprint: str
    device: str
    seconds: float = 0.0
    losses: dict[str, float] = {}


class RunFolder:
    """A run folder that lies open: `read` to look at it, `locked` to write."""

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path, self.record = path, record

    @classmethod
    def read(cls, path: Path) -> "RunFolder":
        """Look at an existing run.

        Raises:
            RunFolderError: There is none, or its `run.json` cannot be understood.
        """
        file = path / "run.json"
        if not file.is_file():
            raise RunFolderError(
                "a run folder must hold a run.json",
                value=f"'{path}' without one",
                remedy="give the folder that `geneman reconstruct -o` wrote",
            )
        try:
            return cls(path, msgspec.json.decode(file.read_bytes(), type=RunRecord))
        except msgspec.DecodeError as error:
            raise RunFolderError(
                "run.json must be one that geneman wrote",
                value=f"'{file}' ({error})",
                remedy="choose another folder or delete this one",
            ) from error

    @classmethod
    @contextlib.contextmanager
    def locked(cls, path: Path) -> Iterator["RunFolder"]:
        """Open a run for writing, new or old; nobody else may write until the block ends.

        The system drops the lock with its process, so a killed one leaves none behind.

        Raises:
            RunFolderError: The folder belongs to something else or to another process, cannot
                be written, or lies on a disk that is full.
        """
        with storage_errors(path):
            _check_ours(path)
            path.mkdir(parents=True, exist_ok=True)
            check_space(path)
            lock = filelock.FileLock(path / ".lock", timeout=0)
            try:
                lock.acquire()
            except filelock.Timeout as error:
                raise RunFolderError(
                    "a run folder can be written by one process at a time",
                    value=f"'{path}', which another geneman is working on",
                    remedy="wait for it or choose another folder",
                ) from error
            try:
                fresh = not (path / "run.json").exists()
                run = cls(path, RunRecord()) if fresh else cls.read(path)
                run.save()
                for stage in STAGES:
                    run._settle(stage)
                yield run
            finally:
                lock.release()

    def save(self) -> None:
        """Write `run.json`."""
        data = msgspec.json.format(msgspec.json.encode(self.record), indent=2)
        write_whole(self.path / "run.json", data)

    def stage_folder(self, stage: str) -> Path:
        """Give the folder of one stage."""
        return self.path / "stages" / stage

    def result(self, stage: str) -> Path:
        """Give the folder of a stage's artefact."""
        return self.stage_folder(stage) / "result"

    def checkpoint(self, stage: str) -> Path:
        """Give the file that an unfinished attempt is kept in."""
        return self.stage_folder(stage) / "work" / "checkpoint.safetensors"

    def stage_record(self, stage: str) -> StageRecord | None:
        """Give what is known about a stage's result, or nothing if there is none."""
        file = self.result(stage) / "stage.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=StageRecord)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def facts(self, stage: str) -> dict[str, Any]:
        """Give what a result says about itself in `facts.json`, if it does."""
        file = self.result(stage) / FACTS
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any]) if file.exists() else {}

    def damage(self, stage: str) -> str | None:
        """Name the first file of a result that is gone or no longer what was written."""
        record = self.stage_record(stage)
        for name, digest in record.files.items() if record else ():
            file = self.result(stage) / name
            if not file.is_file() or digest_of_file(file) != digest:
                return name
        return None

    def inputs_of(self, stage: str) -> dict[str, str]:
        """Give the digests of everything a stage reads; an absent artefact counts as ''."""
        if not NEEDS[stage]:
            return dict(self.record.inputs)
        records = {need: self.stage_record(need) for need in NEEDS[stage]}
        return {need: record.digest if record else "" for need, record in records.items()}

    def fingerprint(self, stage: str) -> str:
        """Give what a result made now would be known by."""
        return digest_of(
            {
                "format": FORMAT,
                "stage": stage,
                "settings": self.record.recipe.get(stage, {}),
                "seed": self.record.seed,
                "priors": self.record.priors,
                "inputs": self.inputs_of(stage),
            }
        )

    def is_current(self, stage: str) -> bool:
        """Say whether a stage's result is whole and made from the inputs that lie there now."""
        record = self.stage_record(stage)
        if record is None or self.damage(stage) is not None:
            return False
        if record.edited:
            return record.format == FORMAT
        return record.fingerprint == self.fingerprint(stage)

    def is_edited(self, stage: str) -> bool:
        """Say whether a stage's result was made by hand."""
        record = self.stage_record(stage)
        return record is not None and record.edited

    def states(self) -> dict[str, StageState]:
        """Say what each stage's result is worth under the settings in `run.json`, in order."""
        states: dict[str, StageState] = {}
        for stage in STAGES:
            if self.stage_record(stage) is None or self.damage(stage) is not None:
                states[stage] = StageState.MISSING
                continue
            fresh = all(states[need] is StageState.DONE for need in NEEDS[stage])
            done = (fresh or self.is_edited(stage)) and self.is_current(stage)
            states[stage] = StageState.DONE if done else StageState.STALE
        return states

    def state(self, stage: str) -> StageState:
        """Say what one stage's result is worth."""
        return self.states()[stage]

    def drop(self, stage: str) -> None:
        """Throw a result away so that the stage runs again."""
        shutil.rmtree(self.result(stage), ignore_errors=True)

    def begin(self, stage: str, device: str, edit: str = "") -> "Attempt":
        """Start a stage, or go on with an unfinished attempt at the same thing.

        `edit` is the fingerprint of what somebody made by hand to take the result's place.
        """
        work = self.stage_folder(stage) / "work"
        wanted = Clock(fingerprint=edit or self.fingerprint(stage), device=device)
        clock = _read_clock(work / "clock.json")
        if clock is None or (clock.fingerprint, clock.device) != (wanted.fingerprint, device):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            clock = wanted
        attempt = Attempt(work / "clock.json", clock, edited=bool(edit))
        attempt.keep()
        return attempt

    def commit(self, stage: str, attempt: "Attempt", write: Callable[[Path], None]) -> StageRecord:
        """Keep a stage's artefact: `write` puts its files into the folder it is given.

        A kill at any moment leaves the old result, the new one, or none; never half of one.
        """
        folder = self.stage_folder(stage)
        partial = folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write(partial)
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        for file in files:
            make_last(file)
        record = StageRecord(
            format=FORMAT,
            stage=stage,
            fingerprint=attempt.clock.fingerprint,
            settings=self.record.recipe.get(stage, {}),
            inputs=self.inputs_of(stage),
            files={path.relative_to(partial).as_posix(): digest_of_file(path) for path in files},
            seconds=attempt.seconds,
            losses=attempt.clock.losses,
            edited=attempt.edited,
        )
        write_whole(partial / "stage.json", msgspec.json.encode(record))
        make_last(partial)
        self._settle(stage)
        make_last(folder)
        shutil.rmtree(folder / "work", ignore_errors=True)
        self.record.stages[stage] = StageSummary(record.seconds, record.losses, self.facts(stage))
        self.save()
        return record

    def _settle(self, stage: str) -> None:
        """Let a whole partial result take its place: `stage.json` is written into it last."""
        folder = self.stage_folder(stage)
        if (folder / "partial" / "stage.json").exists():
            self.drop(stage)
            os.replace(folder / "partial", folder / "result")

    def publish(self, stage: str, optional: Sequence[str] = ()) -> list[Path]:
        """Copy a result's files, but its facts, to the top of the run, where people look.

        Args:
            stage: Whose result.
            optional: Files that not every result has; an earlier one's would fit this one nowhere.
        """
        record = self.stage_record(stage)
        published = []
        files = {n: d for n, d in record.files.items() if n != FACTS} if record else {}
        for name, digest in files.items():
            target = self.path / name
            if not target.is_file() or digest_of_file(target) != digest:
                write_whole(target, (self.result(stage) / name).read_bytes())
            published.append(target)
        for name in set(optional) - files.keys():
            (self.path / name).unlink(missing_ok=True)
        return published


class Attempt:
    """The clock of a stage that runs: seconds add up over kills, as do the last losses."""

    def __init__(self, path: Path, clock: Clock, *, edited: bool = False) -> None:
        self.path, self.clock, self.edited = path, clock, edited
        self._before, self._began, self._kept = clock.seconds, time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """Wall clock so far, of killed attempts too."""
        return self._before + time.monotonic() - self._began

    def keep(self, losses: Mapping[str, float] | None = None, every: float = 0.0) -> bool:
        """Write the clock down unless that was done less than `every` seconds ago."""
        if losses is not None:
            self.clock.losses = dict(losses)
        if time.monotonic() - self._kept < every:
            return False
        self.clock.seconds, self._kept = self.seconds, time.monotonic()
        temporary = self.path.with_suffix(".partial")
        temporary.write_bytes(msgspec.json.encode(self.clock))
        os.replace(temporary, self.path)
        return True


def _read_clock(path: Path) -> Clock | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Clock)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _check_ours(path: Path) -> None:
    """Refuse to write among files of something else."""
    if path.exists() and not path.is_dir():
        raise RunFolderError(
            "the run folder must be a folder", value=f"the file '{path}'", remedy="choose another"
        )
    strangers = [p.name for p in path.iterdir() if p.name != ".lock"] if path.is_dir() else []
    if strangers and not (path / "run.json").exists():
        raise RunFolderError(
            "the run folder must be new, empty or an earlier run",
            value=f"'{path}', which holds '{sorted(strangers)[0]}' but no run.json",
            remedy="choose another folder with -o",
        )
