r"""Train the bundled geometry prior on rendered people.

Each step's samples follow from its number, so that a run that was stopped goes on as if it had
not been. Two processors do well with smaller pictures first, which cost a quarter, and full ones
at the end, with the learning rate falling over the last third of the second run:

    geneman train geometry-prior --people AVATARS --wardrobe CLOTHES -o OUT \
        --minutes 60 --size 128 --cool-down 0
    geneman train geometry-prior --people AVATARS --wardrobe CLOTHES -o OUT --minutes 30

A machine with a CUDA device and 16 cores sees in 15 minutes, at full size, what the two processors
see in days. All data are folders; nothing is fetched:

    geneman train geometry-prior --people AVATARS --wardrobe CLOTHES -o OUT \
        --minutes 15 --batch 64 --workers 15 --device cuda
"""

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from msgspec import Meta
from safetensors import SafetensorError

from geneman.curation.synthetic.bodies import Wardrobe
from geneman.curation.synthetic.people import People, split
from geneman.device import choose
from geneman.errors import Cancelled, OptionError
from geneman.priors.bundled.geometry_network import (
    STANDARD_WIDTHS,
    GeometryNetwork,
    Widths,
    quick,
    read_weights,
    shown,
    write_weights,
)
from geneman.progress import Event, Report, StepDone
from geneman.storage import write_whole
from geneman.training.checkpoints import FileCheckpoints, Stateful, capture
from geneman.training.geometry_batches import Batch, batches
from geneman.training.geometry_card import model_card
from geneman.training.geometry_losses import losses, validate
from geneman.training.geometry_trust import measure_trust
from geneman.training.learning_curves import draw, note, read
from geneman.training.loop import Losses, minimise
from geneman.training.steps import Average, OrthogonalSteps, sorted_weights

STAGE = "geometry_prior"
WEIGHTS_FILE = "geometry.safetensors"
ENDLESS = 10_000_000
"""Steps that no run reaches: minutes end it."""


TRUSTED = 8
"""Samples on which the network is compared with the inflation, which takes seconds for each."""


@dataclass(frozen=True)
class GeometryTraining:
    """How the geometry prior is trained."""

    minutes: Annotated[float, Meta(gt=0)] = 60.0
    """How long; a later run in the same folder goes on where this one ended."""
    batch: Annotated[int, Meta(ge=1, le=512)] = 16
    """Samples a step."""
    learning_rate: Annotated[float, Meta(gt=0, le=0.1)] = 3e-3
    """After the warm-up."""
    warm_up: Annotated[int, Meta(ge=1)] = 50
    """Steps in which the learning rate rises."""
    cool_down: Annotated[float, Meta(ge=0, le=1)] = 0.33
    """Share of the minutes, the last, over which the learning rate falls to nearly nothing."""
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.99
    """Share of the averaged weights that a step keeps, at most."""
    size: Annotated[int, Meta(ge=64, multiple_of=64)] = 256
    """Pixels along a side."""
    workers: Annotated[int, Meta(ge=0, le=64)] = 1
    """Processes that render; 0 renders in this one."""
    device: str = "auto"
    """Where the network is: auto, cpu or cuda."""
    write_every: Annotated[float, Meta(gt=0)] = 5.0
    """Minutes between validations, each of which writes the weights."""
    validation: Annotated[int, Meta(ge=1)] = 32
    """Samples of people never trained on."""
    part: Literal["all", "colours"] = "all"
    """What learns: everything, or only where the hidden side's colours are borrowed."""
    seed: int = 0
    """Of the samples and the first weights."""


class _Run:
    """One training: its network, what moves it, and what it writes."""

    def __init__(
        self,
        config: GeometryTraining,
        out: Path,
        network: GeometryNetwork,
        everybody: tuple[People, People],
        before: Sequence[str] = (),
    ) -> None:
        self.before = before
        self.config, self.out, self.device = config, out, choose(config.device)
        self.people, self.held_out = everybody
        self.generator = torch.Generator().manual_seed(config.seed)
        self.network = network.to(self.device)
        self.average = Average(self.network, config.ema)
        kernels, others = sorted_weights(self.network)
        self.steps = OrthogonalSteps(kernels, config.learning_rate)
        self.optimiser = torch.optim.AdamW(
            others, config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        self.optimiser.register_step_pre_hook(self._step_kernels)
        self.optimiser.register_step_post_hook(lambda *_: self.average.follow())
        self.parts: dict[str, Stateful] = {
            "network": self.network,
            "average": self.average,
            "kernels": self.steps.muon,
        }
        self.checkpoints = FileCheckpoints(out / "checkpoint.safetensors", interval=120.0)
        self.batches: Iterator[Batch] | None = None
        self.began = self.written = time.monotonic()

    def objective(self, step: int) -> Losses:
        """Look at the next batch, half of it mirrored."""
        if self.batches is None:
            first = step * self.config.batch
            self.batches = batches(
                self.people, first, self.config.batch, self.config.workers, self.device
            )
        self.optimiser.param_groups[0]["lr"] = self._learning_rate(step)
        batch = next(self.batches)
        which = torch.rand(len(batch.cover), generator=self.generator) < 0.5  # noqa: PLR2004
        batch = batch.mirrored(which.to(self.device))
        photo = shown(batch.colour, batch.cover).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            found = self.network(photo)
        return losses(found, batch)

    def write(self, step: int, terms: dict[str, float]) -> None:
        """Measure the average, note the figures and keep its weights."""
        network = GeometryNetwork(self.network.widths)
        network.load_state_dict(self.average.weights)
        figures = validate(
            quick(network.eval().to(self.device)), self.held_out, self.config.validation
        )
        table = self.out / "learning.csv"
        earlier = self._earlier(table, step)
        samples = int(earlier["samples"] + (step - earlier["step"]) * self.config.batch)
        seconds = round(earlier["seconds"] + time.monotonic() - self.written)
        row = {"step": step, "samples": samples, "seconds": seconds, "size": self.config.size}
        note(table, {**row, **terms, **figures})
        draw(read(table), self.out / "learning.png")
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        record: dict[str, object] = {
            "samples": samples,
            "steps": step,
            "seconds": seconds,
            "size": self.config.size,
            "validation": figures,
            "command": command,
            "before": [earlier for earlier in self.before if earlier != command],
            "device": str(self.device),
            "settings": asdict(self.config),
        }
        if self.elapsed >= 1:
            trust = measure_trust(network.cpu(), self.held_out, TRUSTED)
            record["trust"] = asdict(trust)
        weights = self.out / WEIGHTS_FILE
        write_weights(weights, network.widths, self.average.weights, record)
        write_whole(weights.with_suffix(".md"), model_card(record).encode())
        self.written = time.monotonic()

    def keep(self, step: int) -> None:
        """Write the state that a later run goes on from."""
        state = capture({**self.parts, "optimiser": self.optimiser}, self.generator)
        self.checkpoints.save(step, state)

    def due(self) -> bool:
        """Say whether it is time to write."""
        return time.monotonic() - self.written > 60 * self.config.write_every

    @property
    def elapsed(self) -> float:
        """Share of the minutes that is over."""
        return (time.monotonic() - self.began) / (60 * self.config.minutes)

    @staticmethod
    def _earlier(table: Path, step: int) -> dict[str, float]:
        """Give the last row before a step."""
        rows = [row for row in read(table) if row["step"] < step]
        return {"step": 0.0, "samples": 0.0, "seconds": 0.0, **(rows[-1] if rows else {})}

    def _step_kernels(self, *_: object) -> None:
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.steps.step(self.optimiser.param_groups[0]["lr"])

    def _learning_rate(self, step: int) -> float:
        """Rise at first, stay, fall at the end."""
        rising = min(1.0, (step + 1) / self.config.warm_up)
        if self.config.cool_down == 0:
            return self.config.learning_rate * rising
        # A hundredth is left, so that the last steps still do something.
        falling = min(1.0, max(0.01, (1 - self.elapsed) / self.config.cool_down))
        return self.config.learning_rate * rising * falling


def train(
    people: Path,
    wardrobe: Path | None,
    out: Path,
    config: GeometryTraining,
    report: Report,
    widths: Widths = STANDARD_WIDTHS,
    start_from: Path | None = None,
) -> None:
    """Train, or go on training, until the minutes are over.

    Args:
        people: Folder of rigged avatars.
        wardrobe: Folder of MakeHuman's clothes, hair and skins, to dress Anny's bodies with.
        out: Gets `geometry.safetensors`, `learning.csv`, `learning.png` and the checkpoint.
        config: How.
        report: Receives each step.
        widths: The network's shape, if it begins with random weights.
        start_from: Weights to begin with, unless `out` has a checkpoint, which goes first.

    Raises:
        MeshFileError: The folder holds no avatar.
        OptionError: There is no such device here, or these weights cannot be read.
    """
    network = _first(widths, start_from, config.seed)
    if config.part == "colours":
        network.requires_grad_(requires_grad=False)
        network.borrow.requires_grad_()
    everybody = _everybody(people, wardrobe, config)
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(config, out, network, everybody, _commands(out / WEIGHTS_FILE, start_from))

    def watch(event: Event) -> None:
        report(event)
        if isinstance(event, StepDone) and (run.due() or run.elapsed >= 1):
            run.write(event.step + 1, dict(event.losses))
            if run.elapsed >= 1:
                run.keep(event.step + 1)
                raise Cancelled

    try:
        minimise(
            run.objective,
            run.optimiser,
            stage=STAGE,
            steps=ENDLESS,
            report=watch,
            checkpoints=run.checkpoints,
            parts=run.parts,
            generator=run.generator,
        )
    except Cancelled:
        if run.elapsed < 1:
            raise


def _first(widths: Widths, start_from: Path | None, seed: int) -> GeometryNetwork:
    """Give the network as it is before the first step."""
    if start_from is None:
        torch.manual_seed(seed)
        return GeometryNetwork(widths)
    try:
        network, _ = read_weights(start_from)
    except (OSError, KeyError, SafetensorError) as error:
        raise OptionError(
            "--start-from must name weights that `geneman train geometry-prior` wrote",
            value=f"'{start_from}' ({type(error).__name__})",
            remedy="leave it out to begin with random weights",
        ) from error
    # Orthogonal steps take kernels for matrices, row by row as they lie.
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # missing in stubs
    return network.train().requires_grad_()


def _commands(*weights: Path | None) -> tuple[str, ...]:
    """Give the commands that made the first of these weights that are there."""
    for file in weights:
        if file is not None and file.is_file():
            _, record = read_weights(file)
            earlier = record.get("before")
            return (*(earlier if isinstance(earlier, list) else ()), str(record.get("command", "")))
    return ()


def _everybody(
    folder: Path, wardrobe: Path | None, config: GeometryTraining
) -> tuple[People, People]:
    """Give those to train on, and those who never are, in suits that no other wears."""
    training, held_out = split(folder)
    clothes = None if wardrobe is None else Wardrobe(wardrobe)
    unseen = None if wardrobe is None else Wardrobe(wardrobe, held_out=True)
    return (
        People(training, config.size, config.seed, clothes),
        People(held_out, config.size, config.seed + 1, unseen),
    )
