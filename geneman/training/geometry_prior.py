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

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from geneman.curation.synthetic.bodies import Wardrobe
from geneman.curation.synthetic.people import People, split
from geneman.device import quick_products
from geneman.errors import Cancelled, OptionError
from geneman.priors.bundled.detail_network import (
    STANDARD_DETAIL,
    DetailNetwork,
    read_detail_weights,
)
from geneman.priors.bundled.geometry_network import (
    STANDARD_WIDTHS,
    GeometryNetwork,
    Widths,
    quick,
    read_record,
    read_weights,
    shown,
    shown_bones,
)
from geneman.priors.bundled.geometry_prior import FINE
from geneman.progress import Report, StepDone
from geneman.training.details import WASHED, DetailLesson
from geneman.training.geometry_batches import AnyBatch, Batch
from geneman.training.geometry_card import model_card
from geneman.training.geometry_losses import losses, validate
from geneman.training.geometry_trust import measure_trust
from geneman.training.loop import Losses, minimise
from geneman.training.rendered_run import GeometryTraining, Lesson, Run
from geneman.training.timed import ENDLESS

STAGE = "geometry_prior"
WEIGHTS_FILE = "geometry.safetensors"


TRUSTED = 8
"""Samples on which the network is compared with the inflation, which takes seconds for each."""


class BothSidesLesson:
    """Normals and depth of both sides, and the hidden one's colours."""

    file = WEIGHTS_FILE
    batch = staticmethod(Batch.of)
    card = staticmethod(model_card)

    def losses(self, network: nn.Module, batch: AnyBatch, _generator: torch.Generator) -> Losses:
        """Compare both sides with the truth."""
        assert isinstance(batch, Batch)
        photo = shown(batch.colour, batch.cover).contiguous(memory_format=torch.channels_last)
        with quick_products(photo.device):
            found = network(photo, batch.bones)
        return losses(found, batch)

    def examined(self, network: nn.Module, people: People, count: int) -> dict[str, float]:
        """Give the mean errors of `validate`."""
        assert isinstance(network, GeometryNetwork)
        return validate(quick(network), people, count)

    def final(self, network: nn.Module, people: People) -> Mapping[str, object]:
        """Give how far the network is to be believed."""
        assert isinstance(network, GeometryNetwork)
        return {"trust": asdict(measure_trust(network.cpu(), people, TRUSTED))}


def train(
    people: Path,
    wardrobe: Path | None,
    out: Path,
    config: GeometryTraining,
    report: Report,
    widths: Widths = STANDARD_WIDTHS,
    start_from: Path | None = None,
) -> Path:
    """Train, or go on training, until the minutes are over.

    Args:
        people: Folder of rigged avatars.
        wardrobe: Folder of MakeHuman's clothes, hair and skins, to dress Anny's bodies with.
        out: Gets `geometry.safetensors` (`detail.safetensors`), its card, `learning.csv`,
            `learning.png` and the checkpoint.
        config: How.
        report: Receives each step.
        widths: The geometry network's shape, if it begins with random weights.
        start_from: Weights to begin with, unless `out` has a checkpoint, which goes first.

    Returns:
        The file of the weights.

    Raises:
        MeshFileError: The folder holds no avatar.
        OptionError: There is no such device here, a batch is no multiple of its samples' shows,
            details are to be learnt at another size than they are drawn at, these weights cannot
            be read, or the folder's training is another.
    """
    if config.batch % config.shows:
        raise OptionError(
            "batch must be a multiple of shows",
            value=f"{config.batch} and {config.shows}",
            remedy=f"take batch {(config.batch // config.shows + 1) * config.shows}",
        )
    details = config.part == "details"
    if details and config.size != FINE:
        raise OptionError(
            f"details are learnt from pictures of {FINE} pixels, as they are drawn",
            value=f"--size {config.size}",
            remedy=f"add --size {FINE}",
        )
    lesson: Lesson = DetailLesson.of(config.pixels) if details else BothSidesLesson()
    network = _first(widths, start_from, config)
    if config.part == "colours":
        network.requires_grad_(requires_grad=False)
        network.borrow.requires_grad_()
    everybody = _everybody(people, wardrobe, config)
    out.mkdir(parents=True, exist_ok=True)
    run = Run(config, out, network, lesson, everybody, _commands(out / lesson.file, start_from))

    run.refuse_others()

    def write(done: StepDone) -> None:
        run.write(done.step + 1, dict(done.losses))

    try:
        minimise(
            run.objective,
            run.optimiser,
            stage=STAGE,
            steps=ENDLESS,
            report=run.clock.watched(report, write, run.keep),
            checkpoints=run.checkpoints,
            parts=run.parts,
            generator=run.generator,
        )
    except Cancelled:
        if not run.clock.over():
            raise
    return out / lesson.file


def _first(
    widths: Widths, start_from: Path | None, config: GeometryTraining
) -> GeometryNetwork | DetailNetwork:
    """Give the network as it is before the first step."""
    details = config.part == "details"
    network: GeometryNetwork | DetailNetwork
    if start_from is None:
        torch.manual_seed(config.seed)
        return DetailNetwork(STANDARD_DETAIL) if details else GeometryNetwork(widths)
    try:
        network, _ = (read_detail_weights if details else read_weights)(start_from)
    except (OSError, KeyError, SafetensorError) as error:
        raise OptionError(
            "--start-from must name weights that `geneman train geometry-prior` wrote",
            value=f"'{start_from}' ({type(error).__name__})",
            remedy="leave it out to begin with random weights",
        ) from error
    if isinstance(network, GeometryNetwork):
        network = shown_bones(network)
    return network.train().requires_grad_()


def _commands(*weights: Path | None) -> tuple[str, ...]:
    """Give the commands that made the first of these weights that are there."""
    for file in weights:
        if file is not None and file.is_file():
            record = read_record(file)
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
    washed = WASHED if config.part == "details" else 0.0
    return (
        People(training, config.size, config.seed, clothes, washed=washed),
        People(held_out, config.size, config.seed + 1, unseen, washed=washed),
    )
