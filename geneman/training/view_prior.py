r"""Train the bundled view prior: diffusion of a person's picture from any side, given one photo.

It is shown sketches, what the geometry prior makes of the photo seen from the view's camera, and
learns what they are wrong about (docs/view-prior.md). The real training wants a CUDA device, and
people rendered beforehand where there are processors (a ring of 8 views and their sketches: a
second of one core, 78 kB on disk; 12,000 of them: a quarter of an hour of 15 cores):

    geneman train view-prior --people AVATARS --wardrobe CLOTHES --rings RINGS --render 12000
    geneman train view-prior --rings RINGS --limit 12000 -o OUT --minutes 30 --batch 256 \
        --pool 4096 --fresh 8 --warm-up 500 --ema 0.9995 --workers 15

Not measured yet on a GPU: 8 GFLOP a pair with the gradient, 2 TFLOP a step of 256. Two CPU cores
take a sixth of a second for a pair, and an hour of them was not enough for weights worth shipping.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from geneman.curation.rings import Rings
from geneman.device import quick_products
from geneman.errors import Cancelled
from geneman.priors.bundled.view_network import (
    ABSENT,
    KNOWN,
    NOISY,
    STANDARD_SHAPE,
    ViewNetwork,
    ViewShape,
    folded,
    quick,
    view_scheduler,
    write_view_weights,
)
from geneman.priors.diffusion import Diffusion
from geneman.progress import Report, StepDone
from geneman.storage import write_whole
from geneman.training.checkpoints import FileCheckpoints, Stateful, capture, refuse_others
from geneman.training.learning_curves import draw, note, read
from geneman.training.loop import Losses, minimise
from geneman.training.photo_dropout import Known, draw_known
from geneman.training.steps import Follow, both_kinds
from geneman.training.timed import ENDLESS, Timed, device_name
from geneman.training.view_batches import Pairs, Pool
from geneman.training.view_card import model_card
from geneman.training.view_validation import HeldOut

STAGE = "view_prior"


@dataclass(frozen=True)
class ViewTraining:
    """How the view prior is trained."""

    minutes: Annotated[float, Meta(gt=0)] = 60.0
    """How long; a later run in the same folder goes on where this one ended."""
    batch: Annotated[int, Meta(ge=1, le=4096)] = 8
    """Pairs of a photo and a view in a step."""
    pool: Annotated[int, Meta(ge=1, le=65_536)] = 64
    """Rings at hand, among which each step chooses."""
    fresh: Annotated[float, Meta(ge=0, le=256)] = 0.5
    """Rings that are replaced in a step, on average."""
    learning_rate: Annotated[float, Meta(gt=0, le=0.1)] = 3e-3
    """Of both kinds of steps, after the warm-up and before the end."""
    warm_up: Annotated[int, Meta(ge=1)] = 100
    """Steps in which the learning rate rises (METHOD section 10)."""
    cool_down: Annotated[float, Meta(ge=0, le=1)] = 0.3
    """Share of each run's minutes over which the learning rate falls to a hundredth at its end."""
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.999
    """Share of the averaged weights that a step keeps, at most."""
    dropped: Annotated[float, Meta(ge=0, le=0.3)] = 0.05
    """Share of each of Zero-1-to-3's three buckets: tokens, patches with the sketch, or all of
    them dropped."""
    alone: Annotated[float, Meta(ge=0, le=0.3)] = 0.15
    """Share of pictures that are colours alone, and of those that are normals alone, so that
    either can be judged where the other is unknown."""
    known: Annotated[float, Meta(ge=0, le=0.3)] = 0.2
    """Share of pictures whose cover and normals are given without noise, to be coloured."""
    pure_noise: Annotated[float, Meta(ge=0, le=1)] = 0.2
    """Share of pictures of which nothing but noise is left: where every drawing begins."""
    plain: bool = False
    """Whether views differ from the photo in their angles alone; else some look closely."""
    workers: Annotated[int, Meta(ge=0, le=64)] = 1
    """Processes that render or read; 0 does it in this one."""
    write_every: Annotated[float, Meta(gt=0)] = 5.0
    """Minutes between validations, each of which writes the weights."""
    validation: Annotated[int, Meta(ge=1, le=1024)] = 16
    """Rings of identities never trained on."""
    size: Annotated[int, Meta(ge=32, le=256, multiple_of=32)] = 128
    """Pixels along a side of the pictures; the photo has twice as many."""
    seed: int = 0
    """Of the rings, the noise and the first weights."""


@dataclass(frozen=True)
class Draws:
    """What chance decides about a batch."""

    times: Tensor
    noise: Float[Tensor, "b k n n"]
    known: Known
    present: Float[Tensor, "b 3"]
    """`ABSENT`, `NOISY` or `KNOWN` for each layer."""


def draw_chances(
    clean: Float[Tensor, "b k n n"],
    length: int,
    config: ViewTraining,
    generator: torch.Generator,
) -> Draws:
    """Draw times, noise, the three disjoint buckets, and what is known of each layer."""
    count, device = len(clean), generator.device
    known = draw_known(count, config.dropped, generator)
    kind = torch.rand(count, generator=generator, device=device)
    coloured, shaped = kind < config.alone, kind >= 1 - config.alone
    given = (kind >= config.alone) & (kind < config.alone + config.known)
    shape = torch.where(given, KNOWN, torch.where(coloured, ABSENT, NOISY))
    colour = torch.where(shaped, ABSENT, NOISY)
    cover = torch.where(shaped, ABSENT, shape)
    times = torch.randint(length, (count,), generator=generator, device=device)
    pure = torch.rand(count, generator=generator, device=device) < config.pure_noise
    return Draws(
        times=times.masked_fill(pure, length - 1),
        noise=torch.randn(clean.shape, generator=generator, device=device),
        known=known,
        present=torch.stack([colour, cover, shape], dim=1),
    )


def losses(network: ViewNetwork, diffusion: Diffusion, pairs: Pairs, draws: Draws) -> Losses:
    """Compare the predicted v with the true one, over the layers that it is asked for."""
    patch = network.shape.patch
    clean = folded(pairs.picture, patch)
    there = network.spread(draws.present)
    asked = (there == NOISY).to(clean)
    noisy = diffusion.noised(clean, draws.noise, draws.times) * asked + clean * (there == KNOWN)
    left = diffusion.share_left(draws.times).to(clean)
    wanted = left.sqrt() * draws.noise - (1 - left).sqrt() * clean
    seen = draws.known.patches[:, None, None, None]
    with quick_products(clean.device):
        tokens, patches = network.look(pairs.photo)
        found = network(
            noisy.contiguous(memory_format=torch.channels_last),
            draws.times,
            tokens=tokens * draws.known.tokens[:, None, None],
            patches=patches * seen,
            sketch=folded(pairs.sketched, patch) * seen,
            camera=pairs.camera,
            present=draws.present,
        )
    squared = (found.float() - wanted).square() * asked
    return {"v": squared.sum() / (asked.sum() * wanted.shape[2] * wanted.shape[3])}


@dataclass(frozen=True)
class _Run:
    """One training: what is written, and what is said of it."""

    config: ViewTraining
    out: Path
    average: AveragedModel
    diffusion: Diffusion
    held_out: HeldOut
    shape: ViewShape
    command: str
    timed: Timed

    def write(self, event: StepDone) -> None:
        """Measure the average, note the figures and keep its weights."""
        network: ViewNetwork = self.average.module  # type: ignore[assignment]
        figures, sheet = self.held_out.examine(network, self.diffusion)
        step, seconds = event.step + 1, self.timed.seconds()
        row = {"step": step, "pairs": step * self.config.batch, "seconds": seconds}
        table = self.out / "learning.csv"
        note(table, {**row, **event.losses, **figures})
        draw(read(table), self.out / "learning.png")
        write_whole(self.out / "samples.png", sheet)
        record = {
            "command": self.command,
            "pairs": step * self.config.batch,
            "steps": step,
            "seconds": round(seconds),
            "device": device_name(self.held_out.device),
            "settings": asdict(self.config),
            "validation": figures,
        }
        write_view_weights(self.out / "view.safetensors", self.shape, network.state_dict(), record)
        write_whole(self.out / "view.md", model_card(record).encode())


def train(
    training: Rings,
    validation: Rings,
    out: Path,
    config: ViewTraining,
    report: Report,
    *,
    device: torch.device,
    shape: ViewShape = STANDARD_SHAPE,
    command: str = "",
) -> None:
    """Train, or go on training, until the minutes are over.

    Args:
        training: People to learn from.
        validation: People of identities that are never trained on.
        out: Gets `view.safetensors`, its card, `learning.csv` and `.png`, `samples.png` and the
            checkpoint.
        config: How.
        report: Receives each step.
        device: Where to compute.
        shape: The network's shape.
        command: What made the weights, for the card.

    Raises:
        OptionError: A ring is missing and there is nobody to render, rings have no sketches, or
            the folder's training is another.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    generator = torch.Generator(device).manual_seed(config.seed)
    network = quick(ViewNetwork(shape)).to(device)
    diffusion = Diffusion(network, view_scheduler())
    average = AveragedModel(network, multi_avg_fn=Follow(config.ema))
    average.requires_grad_(False)
    held_out = HeldOut.of(validation, config.validation, device, config.seed)
    timed = Timed.of(out, config.minutes, config.write_every)
    run = _Run(config, out, average, diffusion, held_out, shape, command, timed)
    steps, optimiser = both_kinds(network, config.learning_rate, fused=device.type == "cuda")
    optimiser.register_step_post_hook(lambda *_: average.update_parameters(network))
    parts: dict[str, Stateful] = {"network": network, "average": average, "kernels": steps}
    checkpoints = FileCheckpoints(out / "checkpoint.safetensors", interval=120.0)
    refuse_others(checkpoints, parts, generator, "take an empty folder")
    pool = Pool(training, config.pool, config.workers, device)

    def objective(step: int) -> Losses:
        rising = min(1.0, (step + 1) / config.warm_up)
        rate = config.learning_rate * rising * timed.cooled(config.cool_down)
        optimiser.param_groups[0]["lr"] = rate
        pool.advance(math.floor(step * config.fresh))
        pairs = pool.draw(config.batch, generator)
        turned = torch.rand(config.batch, generator=generator, device=device) < 0.5  # noqa: PLR2004
        pairs = pairs.mirrored(turned)
        clean = folded(pairs.picture, shape.patch)
        return losses(
            network,
            diffusion,
            pairs,
            draw_chances(clean, diffusion.length, config, generator),
        )

    def keep(step: int) -> None:
        checkpoints.save(step, capture({**parts, "optimiser": optimiser}, generator))

    try:
        minimise(
            objective,
            optimiser,
            stage=STAGE,
            steps=ENDLESS,
            report=timed.watched(report, run.write, keep),
            checkpoints=checkpoints,
            parts=parts,
            generator=generator,
        )
    except Cancelled:
        if not timed.over():
            raise
