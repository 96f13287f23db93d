"""Train the bundled geometry prior on rendered people.

B images, S pixels along a side. Each step's samples follow from its number, so that a run that
was stopped goes on as if it had not been.
"""

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from msgspec import Meta
from torch import Tensor
from torch.nn.functional import avg_pool2d, cosine_similarity
from torch.utils.data import DataLoader, Dataset

from geneman.camera import REFERENCE
from geneman.curation.synthetic.bodies import Wardrobe
from geneman.curation.synthetic.people import People, split
from geneman.curation.synthetic.sample import Sample
from geneman.errors import Cancelled
from geneman.priors.bundled.geometry_network import (
    DEPTH_UNIT,
    STANDARD_WIDTHS,
    BothSides,
    GeometryNetwork,
    Widths,
    quick,
    shown,
    write_weights,
)
from geneman.progress import Event, Report, StepDone
from geneman.training.checkpoints import FileCheckpoints, Stateful, capture
from geneman.training.loop import Losses, minimise

STAGE = "geometry_prior"
ENDLESS = 10_000_000
"""Steps that no run reaches: minutes end it."""


@dataclass(frozen=True)
class GeometryTraining:
    """How the geometry prior is trained."""

    minutes: Annotated[float, Meta(gt=0)] = 60.0
    """How long; a later run in the same folder goes on where this one ended."""
    batch: Annotated[int, Meta(ge=1, le=256)] = 4
    """Samples a step."""
    learning_rate: Annotated[float, Meta(gt=0, le=0.1)] = 6e-4
    """AdamW's, after the warm-up."""
    warm_up: Annotated[int, Meta(ge=1)] = 60
    """Steps in which the learning rate rises."""
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.998
    """Share of the averaged weights that a step keeps, at most."""
    size: Annotated[int, Meta(ge=32, multiple_of=32)] = 256
    """Pixels along a side."""
    workers: Annotated[int, Meta(ge=0, le=64)] = 1
    """Processes that render; 0 renders in this one."""
    write_every: Annotated[float, Meta(gt=0)] = 5.0
    """Minutes between validations, each of which writes the weights."""
    validation: Annotated[int, Meta(ge=1)] = 24
    """Samples of identities never trained on."""
    seed: int = 0
    """Of the samples and the first weights."""


@dataclass(frozen=True)
class Batch:
    """Samples side by side, channels first."""

    colour: Float[Tensor, "b 3 s s"]
    cover: Float[Tensor, "b 1 s s"]
    inside: Bool[Tensor, "b 1 s s"]
    normal: Float[Tensor, "b 3 s s"]
    depth: Float[Tensor, "b 1 s s"]
    hidden_normal: Float[Tensor, "b 3 s s"]
    hidden_depth: Float[Tensor, "b 1 s s"]
    hidden_colour: Float[Tensor, "b 3 s s"]

    @staticmethod
    def of(samples: list[Sample]) -> "Batch":
        """Lay samples side by side; depth is counted from the reference distance."""
        planes = {}
        for name in (item.name for item in fields(Sample)):
            images = torch.stack([getattr(sample, name) for sample in samples])
            planes[name] = images.movedim(-1, 1) if images.ndim == 4 else images[:, None]  # noqa: PLR2004
        whole = Batch(**planes)
        return replace(
            whole,
            depth=whole.depth - REFERENCE.distance,
            hidden_depth=whole.hidden_depth - REFERENCE.distance,
        )

    def mirrored(self, which: Bool[Tensor, "b"]) -> "Batch":
        """Swap left and right in some of the images; a mirrored normal looks the other way."""
        across = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
        flipped = {item.name: getattr(self, item.name).flip(-1) for item in fields(self)}
        flipped["normal"] = flipped["normal"] * across
        flipped["hidden_normal"] = flipped["hidden_normal"] * across
        chosen = which[:, None, None, None]
        return Batch(
            **{
                name: torch.where(chosen, image, getattr(self, name))
                for name, image in flipped.items()
            }
        )


def losses(found: BothSides, wanted: Batch) -> Losses:
    """Compare both sides with the truth, over the person's pixels."""
    inside = wanted.inside
    return {
        "normal": 2.0 * _angle_loss(found.normal, wanted.normal, inside),
        "hidden_normal": _angle_loss(found.hidden_normal, wanted.hidden_normal, inside),
        "depth": 0.3 * _relief_loss(found.depth, wanted.depth, inside),
        "hidden_depth": 0.3 * _relief_loss(found.hidden_depth, wanted.hidden_depth, inside),
        "colour": _relief_loss(
            found.hidden_colour * DEPTH_UNIT, wanted.hidden_colour * DEPTH_UNIT, inside
        ),
    }


def _angle_loss(found: Tensor, wanted: Tensor, inside: Tensor) -> Tensor:
    cosine = (found * wanted).sum(dim=1, keepdim=True)
    return _mean(1 - cosine, inside)


def _relief_loss(found: Tensor, wanted: Tensor, inside: Tensor) -> Tensor:
    """Compare values, and their differences over one, four and sixteen pixels."""
    error = (found - wanted) * inside / DEPTH_UNIT
    total = _mean(error.abs(), inside)
    weight = inside.to(error.dtype)
    for _ in range(3):
        for axis in (-1, -2):
            length = error.shape[axis] - 1
            both = weight.narrow(axis, 1, length) * weight.narrow(axis, 0, length)
            step = error.narrow(axis, 1, length) - error.narrow(axis, 0, length)
            total = total + _mean(step.abs(), both)
        share = avg_pool2d(weight, 4)
        error = avg_pool2d(error * weight, 4) / share.clamp_min(1e-3)
        weight = (share > 0.5).to(error.dtype)  # noqa: PLR2004 (mostly inside)
    return total


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    planes = values.shape[1]
    return (values * weight).sum() / (weight.sum() * planes).clamp_min(1)


class Average:
    """The moving average of a network's weights, which is what is kept."""

    def __init__(self, network: GeometryNetwork, decay: float) -> None:
        self.network, self.decay, self.steps = network, decay, 0
        self.weights = {name: value.clone() for name, value in network.state_dict().items()}

    def follow(self) -> None:
        """Take one step towards the network; early averages forget their beginning faster."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.weights[name].lerp_(value, 1 - keep)

    def state_dict(self) -> dict[str, object]:
        """Give the average and its age."""
        return {"steps": torch.tensor([self.steps]), **self.weights}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go on with an average."""
        steps = state_dict["steps"]
        assert isinstance(steps, Tensor)
        self.steps = int(steps)
        for name, value in self.weights.items():
            kept = state_dict[name]
            assert isinstance(kept, Tensor)
            value.copy_(kept)

    def copied(self) -> GeometryNetwork:
        """Give a network with the averaged weights."""
        network = GeometryNetwork(self.network.widths)
        network.load_state_dict(self.weights)
        network.eval()
        return quick(network)


class _Numbered(Dataset[Sample]):
    """People by number, for torch's loader."""

    def __init__(self, people: People, first: int) -> None:
        self.people, self.first = people, first

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Sample:
        return self.people.sample(self.first + index)


def _batches(people: People, config: GeometryTraining, step: int) -> Iterator[Batch]:
    """Render from a step on, ahead of the training."""
    return iter(
        DataLoader(
            _Numbered(people, step * config.batch),
            batch_size=config.batch,
            num_workers=config.workers,
            collate_fn=Batch.of,
            worker_init_fn=_one_thread,
            multiprocessing_context="spawn" if config.workers else None,
            prefetch_factor=2 if config.workers else None,
        )
    )


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)


@dataclass
class _Run:
    """One training: what the hooks and the report share."""

    config: GeometryTraining
    out: Path
    network: GeometryNetwork
    average: Average
    held_out: People
    began: float = field(default_factory=time.monotonic)
    written: float = field(default_factory=time.monotonic)

    def write(self, step: int, terms: dict[str, float]) -> dict[str, float]:
        """Measure the average, note the figures and keep its weights."""
        network = self.average.copied()
        figures = validate(network, self.held_out, self.config.validation)
        table = self.out / "learning.csv"
        row = {"step": step, "samples": step * self.config.batch, **terms, **figures}
        new = not table.exists()
        with table.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        record = {"samples": step * self.config.batch, "validation": figures}
        write_weights(
            self.out / "geometry.safetensors", network.widths, self.average.weights, record
        )
        self.written = time.monotonic()
        return figures

    def due(self) -> bool:
        """Say whether it is time to write."""
        return time.monotonic() - self.written > 60 * self.config.write_every

    def over(self) -> bool:
        """Say whether the time is up."""
        return time.monotonic() - self.began > 60 * self.config.minutes


def train(
    people: Path,
    wardrobe: Path | None,
    out: Path,
    config: GeometryTraining,
    report: Report,
    widths: Widths = STANDARD_WIDTHS,
) -> None:
    """Train, or go on training, until the minutes are over.

    Args:
        people: Folder of rigged avatars.
        wardrobe: Folder of MakeHuman's clothes, hair and skins, to dress Anny's bodies with.
        out: Gets `geometry.safetensors`, `learning.csv` and the checkpoint.
        config: How.
        report: Receives each step.
        widths: The network's shape.

    Raises:
        MeshFileError: The folder holds no avatar.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    training, held_out = split(people)
    network = quick(GeometryNetwork(widths))
    average = Average(network, config.ema)
    run = _Run(config, out, network, average, People(held_out, config.size, config.seed + 1))
    optimiser = torch.optim.AdamW(
        network.parameters(), config.learning_rate, betas=(0.9, 0.99), weight_decay=0.01
    )
    optimiser.register_step_pre_hook(
        lambda *_: _ignored(torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0))
    )
    optimiser.register_step_post_hook(lambda *_: average.follow())
    parts: dict[str, Stateful] = {"network": network, "average": average}
    checkpoints = FileCheckpoints(out / "checkpoint.safetensors", interval=120.0)
    clothes = None if wardrobe is None else Wardrobe(wardrobe)
    everyone = People(training, config.size, config.seed, clothes)
    source: list[Iterator[Batch]] = []

    def objective(step: int) -> Losses:
        if not source:
            source.append(_batches(everyone, config, step))
        optimiser.param_groups[0]["lr"] = config.learning_rate * min(1, (step + 1) / config.warm_up)
        batch = next(source[0])
        batch = batch.mirrored(torch.rand(len(batch.cover), generator=generator) < 0.5)  # noqa: PLR2004
        photo = shown(batch.colour, batch.cover).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(photo)
        return losses(found, batch)

    def watch(event: Event) -> None:
        report(event)
        if isinstance(event, StepDone) and (run.due() or run.over()):
            run.write(event.step + 1, dict(event.losses))
            if run.over():
                state = capture({**parts, "optimiser": optimiser}, generator)
                checkpoints.save(event.step + 1, state)
                raise Cancelled

    try:
        minimise(
            objective,
            optimiser,
            stage=STAGE,
            steps=ENDLESS,
            report=watch,
            checkpoints=checkpoints,
            parts=parts,
            generator=generator,
        )
    except Cancelled:
        if not run.over():
            raise


def _ignored(_value: object) -> None:
    """Hooks that return something replace the optimiser's arguments."""


@torch.no_grad()
def validate(network: GeometryNetwork, people: People, count: int) -> dict[str, float]:
    """Measure a network on people it has never seen.

    Returns:
        Mean angles of normals in degrees, mean depth errors in scene units and the mean colour
        error, over the person's pixels.
    """
    sums: dict[str, float] = {}
    for index in range(count):
        wanted = Batch.of([people.sample(index)])
        with torch.autocast("cpu", torch.bfloat16):
            found = network(shown(wanted.colour, wanted.cover))
        inside = wanted.inside[:, 0]
        figures = {
            "normal_deg": _degrees(found.normal, wanted.normal)[inside],
            "hidden_normal_deg": _degrees(found.hidden_normal, wanted.hidden_normal)[inside],
            "depth_error": (found.depth - wanted.depth)[:, 0].abs()[inside],
            "hidden_depth_error": (found.hidden_depth - wanted.hidden_depth)[:, 0].abs()[inside],
            "colour_error": (found.hidden_colour - wanted.hidden_colour).abs().mean(1)[inside],
        }
        for name, values in figures.items():
            sums[name] = sums.get(name, 0.0) + float(values.mean()) / count
    return sums


def _degrees(found: Float[Tensor, "b 3 s s"], wanted: Float[Tensor, "b 3 s s"]) -> Tensor:
    return cosine_similarity(found, wanted, dim=1).clamp(-1, 1).acos().rad2deg()
