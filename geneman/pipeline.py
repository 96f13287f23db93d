"""A photo goes in, stage follows stage, and the run folder holds what each has made.

A stage whose result is current is skipped; one that was killed goes on from its checkpoint.
Every stage reads its inputs from the run folder, so a run in one go, a resumed one and a
re-run of single stages all compute on the same bits.
"""

import hashlib
import logging
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors import SafetensorError

import geneman
from geneman.device import make_reproducible, memory_errors, peak_memory_bytes, threads
from geneman.errors import EditedError, OptionError, PhotoError, RunFolderError
from geneman.presets import Recipe
from geneman.priors.bundle import Priors
from geneman.progress import ArtefactSaved, Event, Report, StageFinished, StepDone
from geneman.run_folder import NEEDS, STAGES, Attempt, RunFolder
from geneman.settings import nearest, to_json
from geneman.stages.finish import NORMAL
from geneman.storage import digest_of, digest_of_file, storage_errors
from geneman.training.checkpoints import Checkpoints, FileCheckpoints, State

CLOCK_SECONDS = 1.0
"""How much of a stage's time a kill may lose."""

log = logging.getLogger("geneman")


@dataclass(frozen=True)
class Request:
    """What somebody wants reconstructed, and how."""

    photo: Path
    recipe: Recipe
    preset: str = "draft"
    """The preset that the recipe began from; only said in `run.json`."""
    given: Mapping[str, Path | str] = field(default_factory=dict)
    """Maps that replace estimates (mask, normal, depth, landmarks) and the prompt."""
    seed: int = 0
    start: str | None = None
    """Run this stage and those after it again, even if their results are current."""
    until: str | None = None
    """Run no stage after this one."""
    discard: tuple[str, ...] = ()
    """Stages whose results were made by hand and may be computed again."""

    def digests(self) -> dict[str, str]:
        """Give the sha256 of the photo and of everything given with it.

        Raises:
            PhotoError: One of them is not a file that can be read.
        """
        files = {"photo": self.photo, **self.given}
        return {name: _digest(name, value) for name, value in files.items()}

    def selected(self) -> tuple[str, ...]:
        """Give the stages that may run.

        Raises:
            OptionError: `start`, `until` or `discard` names no stage, or the first two are in the
                wrong order.
        """
        for stage in self.discard:
            _index("--discard", stage)
        first = _index("--from", self.start) if self.start else 0
        last = _index("--until", self.until) if self.until else len(STAGES) - 1
        if first > last:
            raise OptionError(
                "--from must not come after --until",
                value=f"'{self.start}' after '{self.until}'",
                remedy="the order is " + ", ".join(STAGES),
            )
        return STAGES[: last + 1]

    def forced(self) -> tuple[str, ...]:
        """Give the stages that run even if nothing changed."""
        return STAGES[STAGES.index(self.start) :] if self.start else ()


class Tools(TypedDict):
    """What every stage's `run` is given besides its inputs."""

    priors: Priors
    config: Any
    report: Report
    generator: torch.Generator
    checkpoints: Checkpoints
    device: torch.device


@dataclass(frozen=True)
class Stage:
    """How one stage is run, and how its artefact lies on disk."""

    run: Callable[[Request, Mapping[str, Any], Tools], Any]
    """Takes the request, the artefacts by the name of their stage, and the tools."""
    save: Callable[[Any, Path], None]
    load: Callable[[Path, torch.device], Any]
    edit: str = ""
    """Fingerprint of what somebody made by hand, if `run` gives that: it needs the view alone."""

    def needs(self, name: str) -> tuple[str, ...]:
        """Give the stages whose artefacts `run` is given."""
        return tuple(need for need in NEEDS[name] if not self.edit or need == STAGES[0])


def reconstruct(
    request: Request,
    run: RunFolder,
    chain: Mapping[str, Stage],
    *,
    priors: Priors,
    device: torch.device,
    report: Report,
) -> None:
    """Bring every selected stage up to date, and copy the finished files to the top of the run.

    Args:
        request: What to do.
        run: Where; locked by the caller.
        chain: The stages by name; `stage_chain.CHAIN` is the method's.
        priors: Everything known about people beforehand.
        device: Where to compute.
        report: Receives the events; raising `Cancelled` from it ends the run and keeps the
            last checkpoint.

    Raises:
        InputError: The photo, an option or the run folder breaks a rule, or what was made by hand
            would be lost.
        DeviceMemoryError: The recipe needs more memory than there is.
    """
    selected = request.selected()
    make_reproducible(device)
    with storage_errors(run.path):
        held = by_hand(request, run, chain)
        _remember(request, run, priors, device)
        for name in needed(selected, held):
            _warn_of_damage(name, run)
            if _is_kept(name, request, run, chain, held):
                seconds = run.record.stages[name].seconds if name in run.record.stages else 0.0
                report(StageFinished(name, seconds, resumed=True))
                continue
            with memory_errors(name, device):
                seconds = _run_stage(name, chain, request, run, priors, device, report)
            run.record.reference = {}  # of the person before this stage ran
            run.record.peak_memory_bytes = max(run.record.peak_memory_bytes, peak_memory_bytes())
            run.save()
            report(ArtefactSaved(name, run.result(name)))
            report(StageFinished(name, seconds))
        if STAGES[-1] in selected:
            run.publish(STAGES[-1], optional=[NORMAL])


def by_hand(request: Request, run: RunFolder, chain: Mapping[str, Stage]) -> frozenset[str]:
    """Give the stages whose results are, or are about to be, made by hand.

    Raises:
        EditedError: One of them would be computed again, and nobody said that it may be.
        RunFolderError: One is damaged: it cannot be computed again.
    """
    given = [name for name in STAGES if chain[name].edit]
    first = [*given[:1], *([request.start] if request.start else [])]
    changed = min((STAGES.index(name) for name in first), default=len(STAGES))
    held = set(given)
    for name in STAGES:
        if name in held or name in request.discard or not run.is_edited(name):
            continue
        if STAGES.index(name) >= changed:
            raise EditedError(name, STAGES[changed])
        damaged = run.damage(name)
        if damaged is not None:
            raise RunFolderError(
                f"what was made by hand for {name} must be as it was given",
                value=f"a changed '{run.result(name) / damaged}'",
                remedy=f"give it again, or let {name} be computed with --discard {name}",
            )
        held.add(name)
    return frozenset(held)


def needed(selected: Sequence[str], held: Collection[str]) -> tuple[str, ...]:
    """Leave out the stages whose results nobody reads, because a later one is made by hand."""
    wanted = {STAGES[0], selected[-1]}
    for name in reversed(selected):
        if name in wanted and name not in held:
            wanted |= set(NEEDS[name])
    return tuple(name for name in selected if name in wanted)


def _is_kept(
    name: str,
    request: Request,
    run: RunFolder,
    chain: Mapping[str, Stage],
    held: Collection[str],
) -> bool:
    """Say whether a stage's result stays as it is."""
    if chain[name].edit:
        record = run.stage_record(name)
        given = record is not None and record.fingerprint == chain[name].edit
        return given and run.is_current(name)
    if name in held:
        return True
    discarded = run.is_edited(name)
    return not discarded and name not in request.forced() and run.is_current(name)


def _run_stage(
    name: str,
    chain: Mapping[str, Stage],
    request: Request,
    run: RunFolder,
    priors: Priors,
    device: torch.device,
    report: Report,
) -> float:
    """Compute one stage from the artefacts before it and keep what it makes; give its seconds."""
    attempt = run.begin(name, device.type, chain[name].edit)
    tools = Tools(
        priors=priors,
        config=getattr(request.recipe, name),
        report=_timed(report, attempt),
        generator=generator_for(request.seed, name),
        checkpoints=RunCheckpoints(run.checkpoint(name)),
        device=device,
    )
    needs = chain[name].needs(name)
    inputs = {need: chain[need].load(run.result(need), device) for need in needs}
    artefact = chain[name].run(request, inputs, tools)
    return run.commit(name, attempt, lambda folder: chain[name].save(artefact, folder)).seconds


def generator_for(seed: int, stage: str) -> torch.Generator:
    """Give each stage a source of randomness of its own, so that skipping one changes nothing.

    It lives on the CPU whatever the device: a seed then draws the same everywhere.
    """
    digest = hashlib.sha256(f"{seed}/{stage}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))


class RunCheckpoints(FileCheckpoints):
    """A run's checkpoint; a damaged one is said aloud and the stage starts anew."""

    def load(self) -> tuple[int, State] | None:
        """Read the file, unless there is none or it is not whole."""
        try:
            return super().load()
        except (SafetensorError, KeyError):
            log.warning("'%s' is damaged; its stage starts from the beginning.", self.path)
            return None


def _timed(report: Report, attempt: Attempt) -> Report:
    """Keep the stage's clock and last losses on the way to `report`."""

    def relay(event: Event) -> None:
        losses = event.losses if isinstance(event, StepDone) else None
        attempt.keep(losses, every=CLOCK_SECONDS)
        report(event)

    return relay


def _remember(request: Request, run: RunFolder, priors: Priors, device: torch.device) -> None:
    """Write down what is wanted: from here on `states` speaks about this request."""
    record = run.record
    record.geneman = geneman.__version__
    names = ("torch", "warp-lang", "numpy")
    record.versions = {"python": platform.python_version()} | {n: version(n) for n in names}
    record.photo, record.inputs = request.photo.name, request.digests()
    record.preset, record.recipe = request.preset, to_json(request.recipe)
    record.seed, record.device, record.threads = request.seed, device.type, threads()
    bundle = {f.name: getattr(priors, f.name) for f in fields_of(priors)}
    record.priors = {
        name: getattr(prior, "name", type(prior).__qualname__)
        for name, prior in bundle.items()
        if prior is not None
    }
    run.save()


def _warn_of_damage(stage: str, run: RunFolder) -> None:
    damaged = run.damage(stage)
    if damaged is not None:
        text = "%s: '%s' is not what was written; the stage runs again."
        log.warning(text, stage, run.result(stage) / damaged)


def _digest(name: str, value: Path | str) -> str:
    """Give the sha256 of a file's bytes or of a text."""
    if isinstance(value, str):
        return digest_of(value)
    try:
        return digest_of_file(value)
    except OSError as error:
        raise PhotoError(
            f"the {name} must be a file that can be read",
            value=f"'{value}' ({error.strerror})",
            remedy="check the path",
        ) from error


def _index(option: str, stage: str) -> int:
    if stage not in STAGES:
        raise OptionError(
            f"{option} must name a stage", value=f"'{stage}'", remedy=nearest(stage, STAGES)
        )
    return STAGES.index(stage)
