"""What all trainings on rendered people share: batches, steps, averages, curves and checkpoints."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import torch
from msgspec import Meta
from torch import nn

from geneman.curation.synthetic.people import People
from geneman.curation.synthetic.sample import Sample
from geneman.device import choose
from geneman.priors.bundled.geometry_network import write_weights
from geneman.storage import write_whole
from geneman.training.checkpoints import FileCheckpoints, Stateful, capture, refuse_others
from geneman.training.geometry_batches import AnyBatch, batches
from geneman.training.learning_curves import draw, note, read
from geneman.training.loop import Losses
from geneman.training.steps import Average, both_kinds
from geneman.training.timed import Timed


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
    shows: Annotated[int, Meta(ge=1, le=64)] = 1
    """How often each sample is shown, a few steps apart, where rendering costs more than learning;
    divides `batch`, and keeps 24 of its steps' samples each time in memory."""
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
    part: Literal["all", "colours", "details"] = "all"
    """What learns: everything, only where the hidden side's colours are borrowed, or the network
    that draws folds and features (at 512 pixels)."""
    pixels: Annotated[int, Meta(ge=1)] = 2500
    """Pixels of each sample from which details are learnt."""
    seed: int = 0
    """Of the samples and the first weights."""

    @property
    def fresh(self) -> int:
        """Samples that a step is the first to show."""
        return self.batch // self.shows


@runtime_checkable
class Lesson(Protocol):
    """What a network learns from rendered people, and how it is examined."""

    @property
    def file(self) -> str:
        """Name of the weights."""

    def batch(self, samples: list[Sample]) -> AnyBatch:
        """Lay samples side by side, with what else is to be known of them; where they are made."""

    def losses(self, network: nn.Module, batch: AnyBatch, generator: torch.Generator) -> Losses:
        """Compare what the network finds in a batch with the truth."""

    def examined(self, network: nn.Module, people: People, count: int) -> dict[str, float]:
        """Give the figures on people that were never trained on."""

    def final(self, network: nn.Module, people: People) -> Mapping[str, object]:
        """Give what else is to be recorded at the end."""

    def card(self, record: Mapping[str, Any]) -> str:
        """Write what is to be known about the weights."""


class Run:
    """One training: its network, what moves it, and what it writes."""

    def __init__(
        self,
        config: GeometryTraining,
        out: Path,
        network: nn.Module,
        lesson: Lesson,
        everybody: tuple[People, People],
        before: Sequence[str] = (),
    ) -> None:
        self.lesson, self.before = lesson, before
        self.config, self.out, self.device = config, out, choose(config.device)
        self.people, self.held_out = everybody
        self.generator = torch.Generator().manual_seed(config.seed)
        self.network = network.to(self.device)
        self.average = Average(self.network, config.ema)
        self.steps, self.optimiser = both_kinds(self.network, config.learning_rate)
        self.optimiser.register_step_post_hook(lambda *_: self.average.follow())
        self.parts: dict[str, Stateful] = {
            "network": self.network,
            "average": self.average,
            "kernels": self.steps,
        }
        self.checkpoints = FileCheckpoints(out / "checkpoint.safetensors", interval=120.0)
        self.batches: Iterator[AnyBatch] | None = None
        self.clock = Timed.of(out, config.minutes, config.write_every)

    def refuse_others(self) -> None:
        """Say so if the folder's checkpoint is of another network, or of another version's.

        Raises:
            OptionError: It cannot be gone on with.
        """
        refuse_others(
            self.checkpoints,
            self.parts,
            self.generator,
            "take an empty folder, and begin with the weights: --start-from",
        )

    def objective(self, step: int) -> Losses:
        """Look at the next batch, half of it mirrored."""
        if self.batches is None:
            c = self.config
            self.batches = batches(
                self.people,
                self._samples(step),
                c.fresh,
                c.workers,
                self.device,
                c.shows,
                self.lesson.batch,
            )
        self.optimiser.param_groups[0]["lr"] = self._learning_rate(step)
        batch = next(self.batches)
        which = torch.rand(len(batch), generator=self.generator) < 0.5  # noqa: PLR2004
        batch = batch.mirrored(which.to(self.device))
        return self.lesson.losses(self.network, batch, self.generator)

    def write(self, step: int, terms: dict[str, float]) -> None:
        """Measure the average, note the figures and keep its weights."""
        network = deepcopy(self.network)
        network.load_state_dict(self.average.weights)
        figures = self.lesson.examined(network.eval(), self.held_out, self.config.validation)
        table = self.out / "learning.csv"
        samples = self._samples(step)
        seconds = round(self.clock.seconds())
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
        if self.clock.over():
            record |= self.lesson.final(network, self.held_out)
        weights = self.out / self.lesson.file
        write_weights(weights, network.widths, self.average.weights, record)
        write_whole(weights.with_suffix(".md"), self.lesson.card(record).encode())

    def keep(self, step: int) -> None:
        """Write the state that a later run goes on from."""
        state = capture({**self.parts, "optimiser": self.optimiser}, self.generator)
        self.checkpoints.save(step, state)

    def _samples(self, step: int) -> int:
        """Give how many samples were shown before a step, also by runs with other batches."""
        rows = [row for row in read(self.out / "learning.csv") if row["step"] < step]
        last = {"step": 0.0, "samples": 0.0, **(rows[-1] if rows else {})}
        return int(last["samples"] + (step - last["step"]) * self.config.fresh)

    def _learning_rate(self, step: int) -> float:
        """Rise at first, stay, fall at the end."""
        rising = min(1.0, (step + 1) / self.config.warm_up)
        return self.config.learning_rate * rising * self.clock.cooled(self.config.cool_down)
