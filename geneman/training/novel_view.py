r"""Train the full family's novel-view prior: Zero-1-to-3 on people (GeneMAN-3D; METHOD section 10).

What Zero-1-to-3 has learnt of objects is the start. Its denoiser and the projection of the camera
are trained; its codec and CLIP are not. People are rendered beforehand where there are processors:

    geneman train novel-view --people AVATARS --wardrobe CLOTHES --rings RINGS --render 20000
    geneman train novel-view --start-from ZERO123 --rings RINGS --limit 20000 -o OUT \
        --minutes 600 --batch 16 --accumulate 12 --pool 512 --fresh 4

`OUT/model` is then what `geneman weights get geneman-3d --from` takes. Nobody has trained it at
full size yet: see docs/full-recipe.md for what it takes. B pairs of a photo and a view.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from geneman.curation.rings import Rings
from geneman.errors import Cancelled, OptionError
from geneman.priors.diffusion import Diffusion, Latents
from geneman.priors.economy import Economy
from geneman.priors.novel_view import CAMERA_NUMBERS, ZeroOneToThree
from geneman.progress import Report, StepDone
from geneman.storage import write_whole
from geneman.training.checkpoints import FileCheckpoints, Stateful, capture
from geneman.training.half_precision import GradientScale, Precision, type_of
from geneman.training.learning_curves import draw, note, read
from geneman.training.loop import Losses, minimise
from geneman.training.novel_view_card import model_card
from geneman.training.novel_view_model import MODEL, Denoiser, begin, keep_weights
from geneman.training.novel_view_validation import examine
from geneman.training.photo_dropout import Known, draw_known
from geneman.training.steps import Follow
from geneman.training.timed import ENDLESS, Timed, device_name
from geneman.training.view_batches import Pairs, Pool
from geneman.training.view_validation import HeldOut

STAGE = "novel_view"
LARGEST_GRADIENT = 1.0
"""Norm to which a step's gradient is cut (ours: one bad batch must not undo many good ones)."""


@dataclass(frozen=True)
class NovelViewTraining:
    """How the novel-view prior is trained: the paper's numbers, or else Zero-1-to-3's.

    Those marked "ours" are neither.
    """

    minutes: Annotated[float, Meta(gt=0)] = 60.0
    """How long; a later run in the same folder goes on where this one ended."""
    batch: Annotated[int, Meta(ge=1, le=4096)] = 4
    """Pairs of a photo and a view at once (Zero-1-to-3: 192 on each of 8 devices)."""
    accumulate: Annotated[int, Meta(ge=1, le=4096)] = 1
    """Batches, one after another, whose gradients make a step together."""
    pool: Annotated[int, Meta(ge=1, le=65_536)] = 64
    """Rings at hand, among which each step chooses (ours); 5 MB each on the device."""
    fresh: Annotated[float, Meta(ge=0, le=256)] = 0.5
    """Rings that are replaced in a step, on average (ours)."""
    learning_rate: Annotated[float, Meta(gt=0, le=0.1)] = 1e-4
    """AdamW's, of the denoiser, after the warm-up (the paper's)."""
    projection_rate: Annotated[float, Meta(gt=0, le=1000)] = 10.0
    """How many times as fast the camera's projection learns (Zero-1-to-3's)."""
    warm_up: Annotated[int, Meta(ge=1)] = 100
    """Steps in which the learning rates rise (Zero-1-to-3's)."""
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.9999
    """Share of the averaged weights that a step keeps, at most (latent diffusion's)."""
    dropped: Annotated[float, Meta(ge=0, le=0.3)] = 0.05
    """Share of each of the three buckets: token, latents, or both dropped (Zero-1-to-3's)."""
    precision: Precision = "auto"
    """bf16, fp16 or single; auto: single on CPUs, on CUDA bf16 where the device has it, or fp16."""
    recompute: bool = False
    """Whether the denoiser computes its inside again on the way back: less memory, more time."""
    workers: Annotated[int, Meta(ge=0, le=64)] = 1
    """Processes that render or read; 0 does it in this one."""
    write_every: Annotated[float, Meta(gt=0)] = 30.0
    """Minutes between validations, each of which writes weights and checkpoint."""
    validation: Annotated[int, Meta(ge=1, le=1024)] = 16
    """Rings of identities never trained on."""
    size: Annotated[int, Meta(ge=32, le=512, multiple_of=32)] = 256
    """Pixels along a side of the views, which must be those of the networks: 256 in Zero-1-to-3."""
    seed: int = 0
    """Of the rings and the noise."""


@dataclass(frozen=True)
class Draws:
    """What chance decides about a batch."""

    times: Tensor
    noise: Latents
    known: Known


@dataclass(frozen=True)
class Told:
    """Pairs as the networks that are not trained see them."""

    latents: Latents
    """Of the views, scaled."""
    embedding: Float[Tensor, "b d"]
    photo: Latents
    """Not scaled."""
    camera: Float[Tensor, "b 4"]


@torch.no_grad()
def told(model: ZeroOneToThree, pairs: Pairs) -> Told:
    """Look at photos and views, on white, with the codec and CLIP."""
    photo, view = pairs.on_white()
    embedding, beside = model.look(photo)
    return Told(model.codec.encode(view), embedding, beside, pairs.camera[:, :CAMERA_NUMBERS])


def draw_chances(
    shape: tuple[int, int, int, int], length: int, dropped: float, generator: torch.Generator
) -> Draws:
    """Draw times, noise and what is known of the photo.

    Args:
        shape: Of the latents.
        length: Times of the schedule.
        dropped: Share of each bucket.
        generator: Source of randomness, and the device.
    """
    device = generator.device
    return Draws(
        times=torch.randint(length, shape[:1], generator=generator, device=device),
        noise=torch.randn(shape, generator=generator, device=device),
        known=draw_known(shape[0], dropped, generator),
    )


def losses(
    network: Denoiser, diffusion: Diffusion, seen: Told, draws: Draws, scale: GradientScale
) -> Losses:
    """Compare the predicted noise with the added one: the mean squared difference."""
    noisy = diffusion.noised(seen.latents, draws.noise, draws.times)
    predicted = network(
        noisy,
        draws.times,
        embedding=seen.embedding * draws.known.tokens[:, None],
        camera=seen.camera,
        photo=seen.photo * draws.known.patches[:, None, None, None],
    )
    found = diffusion.noise_in(scale.entered(predicted), noisy, draws.times)
    return {"noise": (found - draws.noise).square().mean()}


@dataclass(frozen=True)
class _Run:
    """One training: what is written, and what is said of it."""

    config: NovelViewTraining
    out: Path
    model: ZeroOneToThree
    average: AveragedModel
    held_out: HeldOut
    timed: Timed
    said: dict[str, str]
    """The command, and the start."""

    def write(self, event: StepDone) -> None:
        """Measure the average, note the figures and keep its weights."""
        network: Denoiser = self.average.module  # type: ignore[assignment]
        figures, sheet = examine(network, self.model, self.held_out)
        step, seconds = event.step + 1, self.timed.seconds()
        pairs = step * self.config.batch * self.config.accumulate
        table = self.out / "learning.csv"
        note(table, {"step": step, "pairs": pairs, "seconds": seconds, **event.losses, **figures})
        draw(read(table), self.out / "learning.png")
        write_whole(self.out / "samples.png", sheet)
        keep_weights(network, self.out / MODEL)
        record = {
            **self.said,
            "pairs": pairs,
            "steps": step,
            "seconds": round(seconds),
            "device": device_name(self.held_out.device),
            "settings": asdict(self.config),
            "validation": figures,
        }
        write_whole(self.out / MODEL / "README.md", model_card(record).encode())


def train(
    people: tuple[Rings, Rings],
    start: Path | None,
    out: Path,
    config: NovelViewTraining,
    report: Report,
    *,
    device: torch.device,
    said: dict[str, str],
) -> None:
    """Train, or go on training, until the minutes are over.

    Args:
        people: To learn from, and of identities that are never learnt from.
        start: Zero-1-to-3 in diffusers' layout; nothing where a run goes on.
        out: Gets the networks (`model`, with its card), `learning.csv` and `.png`, `samples.png`
            and the checkpoint.
        config: How.
        report: Receives each step.
        device: Where to compute.
        said: For the card: the `command`, and what it began with (`start`).

    Raises:
        OptionError: There is nothing to start from, its pictures have another size, or a ring
            is missing and there is nobody to render.
        MissingComponentError: The start holds something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    model = ZeroOneToThree.from_folder(begin(start, out), Economy(device))
    if model.codec.size != config.size:
        raise OptionError(
            f"These networks see pictures of {model.codec.size} pixels",
            value=config.size,
            remedy=f"train with --size {model.codec.size}, on rings of that size",
        )
    kind = type_of(config.precision, device)
    network = _taught(model, config).to(device)
    average = AveragedModel(network, multi_avg_fn=Follow(config.ema))
    average.requires_grad_(False)
    diffusion, scale = Diffusion(network, model.scheduler), GradientScale(kind)
    generator = torch.Generator(device).manual_seed(config.seed)
    held_out = HeldOut.of(people[1], config.validation, device, config.seed)
    timed = Timed.of(out, config.minutes, config.write_every)
    run = _Run(config, out, model, average, held_out, timed, said)
    optimiser = _optimiser(network, average, scale, config)
    parts: dict[str, Stateful] = {"network": network, "average": average, "scale": scale}
    # Fourteen gigabytes at full size: written with the weights, and now and then between.
    checkpoints = FileCheckpoints(out / "checkpoint.safetensors", interval=900.0)
    pool = Pool(people[0], config.pool, config.workers, device)

    def objective(step: int) -> Iterator[Losses]:
        warmed = min(1, (step + 1) / config.warm_up)
        for group in optimiser.param_groups:
            group["lr"] = group["full_rate"] * warmed
        pool.advance(math.floor(step * config.fresh))
        for _ in range(config.accumulate):
            pairs = pool.draw(config.batch, generator)
            turned = torch.rand(config.batch, generator=generator, device=device) < 0.5  # noqa: PLR2004
            with torch.autocast(device.type, kind, enabled=kind != torch.float32):
                seen = told(model, pairs.mirrored(turned))
                shape = (*seen.latents.shape,)
                draws = draw_chances(shape, diffusion.length, config.dropped, generator)
                terms = losses(network, diffusion, seen, draws, scale)
            yield {name: value / config.accumulate for name, value in terms.items()}

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


def _taught(model: ZeroOneToThree, config: NovelViewTraining) -> Denoiser:
    """Let the denoiser and the projection learn; the rest of the model stays as it is."""
    model.economy.dismiss(model.unet)  # it stays on the device, whatever is asked
    network = Denoiser(model.unet, model.projection)
    if config.recompute:
        unet: Any = model.unet
        unet.enable_gradient_checkpointing()
    return network.requires_grad_(True).train()


def _optimiser(
    network: Denoiser, average: AveragedModel, scale: GradientScale, config: NovelViewTraining
) -> torch.optim.Optimizer:
    """Give AdamW, which bounds the gradient before each step and averages after it."""
    rates = {
        network.unet: config.learning_rate,
        network.projection: config.learning_rate * config.projection_rate,
    }
    groups = [
        {"params": list(part.parameters()), "lr": rate, "full_rate": rate}
        for part, rate in rates.items()
    ]
    fused = next(network.parameters()).is_cuda
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.999), weight_decay=0.01, fused=fused)

    def settle(*_: object) -> None:
        scale.settle(network.parameters(), LARGEST_GRADIENT)

    optimiser.register_step_pre_hook(settle)
    optimiser.register_step_post_hook(lambda *_: average.update_parameters(network))
    return optimiser
