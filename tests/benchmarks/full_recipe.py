"""What the full recipe's plan says, measured: networks of real size, random weights, in stages.

`python -m tests.benchmarks.full_recipe --preset swift --json` on a CUDA machine gives the time of
each network's call (half precision where a run has it) and the time and memory of each stage's
steps, beside what `geneman.memory` plans. `--compile` does it with compiled networks, `--tiny`
anywhere, with the networks of the tests. Weights are not needed: they change no time.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from diffusers import (  # noqa: TID253 (what is measured)
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    UNet2DConditionModel,
)
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import (  # noqa: TID253 (what is measured)
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from geneman.device import choose, make_reproducible
from geneman.fields.networks import RadianceField
from geneman.fields.signed_distance import surface_of
from geneman.memory import costs
from geneman.memory.plan import BOTH, plan
from geneman.presets import PRESETS, Recipe
from geneman.priors.bundle import Priors
from geneman.priors.bundled.inflation import Inflation
from geneman.priors.compiling import Compiling, compiled, compiler_for
from geneman.priors.diffusion import Steering
from geneman.priors.economy import TIERS, Economy
from geneman.priors.full import HUMANNORM_SCALE, IMAGE_SCALE
from geneman.priors.latents import LatentCodec
from geneman.priors.novel_view import CameraProjection, NovelViewJudge, ZeroOneToThree
from geneman.priors.perceptual import BLOCKS, Lpips, Vgg
from geneman.priors.prompts import Medium, Wording
from geneman.priors.stable_diffusion import StableDiffusion, TextJudge
from geneman.priors.text import TextEncoder
from geneman.priors.zero123_checkpoint import SCHEDULE, Shape
from geneman.progress import Event, StepDone
from geneman.schedule import Constant, Ramp, Switch
from geneman.stages import latent_texture, nerf_init, sculpt
from geneman.stages.nerf_init.targets import shape_grid
from geneman.training.checkpoints import NoCheckpoints
from tests import full_weights
from tests.synthetic import figure_view

WARM = 4
"""Steps and calls that are not counted: kernels are chosen and compiled in them."""


@dataclass(frozen=True)
class Sizes:
    """Of the networks, and of the photo."""

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    zero123: Mapping[str, Any]
    control: Mapping[str, Any]
    text: Mapping[str, Any]
    eye: Mapping[str, Any]
    vgg: tuple[int, ...]
    photo: int


REAL = Sizes(
    unet={"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    vae=Shape().vae,
    zero123=Shape().unet,
    control={"cross_attention_dim": 768, "attention_head_dim": 8},
    text={
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    },
    eye=Shape().eye,
    vgg=(64, 128, 256, 512, 512),
    photo=1024,
)
SMALL = {name: value for name, value in full_weights.UNET.items() if name != "sample_size"}
TINY = Sizes(
    unet={**full_weights.UNET, **full_weights.UP},
    vae=full_weights.VAE,
    zero123={**full_weights.UNET, **full_weights.UP, "in_channels": 8},
    control={**SMALL, "conditioning_embedding_out_channels": (4, 8, 8)},
    text={
        "hidden_size": full_weights.WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    eye=full_weights.EYE,
    vgg=full_weights.CHANNELS,
    photo=64,
)


class Words:
    """A tokenizer that always says the same: what is said changes no time."""

    model_max_length = 77

    def __call__(self, prompt: str, **_: object) -> SimpleNamespace:
        return SimpleNamespace(input_ids=torch.zeros(1, self.model_max_length, dtype=torch.long))


@dataclass(frozen=True)
class Family:
    """The networks that steps ask, on the device."""

    priors: Priors
    control: Any
    economy: Economy


def family(sizes: Sizes, economy: Economy) -> Family:
    """Build the family with random weights, where and as a run would have it."""
    with economy.device:
        text = CLIPTextModel(CLIPTextConfig(max_position_embeddings=77, **sizes.text))
        control = ControlNetModel(**sizes.control)
        eye = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes.eye))
        zero123 = UNet2DConditionModel(**sizes.zero123)
        codec_of_zero123 = AutoencoderKL(**sizes.vae)
        judges = [stable_diffusion(sizes, text, economy) for _ in range(3)]
        projection = CameraProjection(sizes.eye["projection_dim"])
        vgg = Vgg(*vgg_weights(sizes.vgg))
    exact, scheduler = torch.float32, DDIMScheduler(**SCHEDULE)
    economy.adopt(text)
    stages = len(sizes.vae["block_out_channels"]) - 1
    looking = ZeroOneToThree(
        economy.adopt(zero123, exact, often=True),
        LatentCodec(
            economy.adopt(codec_of_zero123, exact, resident=True),
            sizes.zero123["sample_size"] << stages,
        ),
        economy.adopt(eye, exact),
        projection.requires_grad_(False),
        scheduler,
        economy,
    )
    economy.adopt(vgg, exact, resident=True)
    priors = Priors(
        shape=Inflation(),
        image=TextJudge(judges[0], Wording(), IMAGE_SCALE, Steering.FROM_CONDITIONED, "image"),
        novel_view=NovelViewJudge(looking),
        normal=_humannorm(judges[1], Wording(Medium.NORMAL)),
        depth=_humannorm(judges[2], Wording(Medium.DEPTH, parts=True)),
        perceptual=Lpips(vgg),
    )
    return Family(priors, economy.adopt(control, often=True), economy)


def _humannorm(model: StableDiffusion, wording: Wording) -> TextJudge:
    return TextJudge(model, wording, HUMANNORM_SCALE, Steering.FROM_UNCONDITIONED, "humannorm")


def stable_diffusion(sizes: Sizes, text: Any, economy: Economy) -> StableDiffusion:
    unet, vae = UNet2DConditionModel(**sizes.unet), AutoencoderKL(**sizes.vae)
    stages = len(sizes.vae["block_out_channels"]) - 1
    return StableDiffusion(
        TextEncoder(Words(), text, economy),
        LatentCodec(economy.adopt(vae, resident=True), sizes.unet["sample_size"] << stages),
        economy.adopt(unet, often=True),
        DDIMScheduler(**SCHEDULE),
        economy,
    )


def vgg_weights(channels: tuple[int, ...]) -> tuple[dict[str, Tensor], list[Tensor]]:
    weights, before = {}, 3
    for block, width in zip(BLOCKS, channels, strict=True):
        for number in block:
            weights[f"features.{number}.weight"] = torch.randn(width, before, 3, 3) / before
            weights[f"features.{number}.bias"] = torch.zeros(width)
            before = width
    return weights, [torch.rand(1, width, 1, 1) for width in channels]


# ---- networks --------------------------------------------------------------------------------


def calls(made: Family) -> Iterator[tuple[str, costs.Network, int, bool, Callable[[], object]]]:
    """Give what is asked: name, planned cost, images a call, whether there and back, the call."""
    economy, judge = made.economy, made.priors.image.model
    device, looking = economy.device, made.priors.novel_view.model
    width = judge.unet.config.cross_attention_dim
    size, times = judge.unet.config.sample_size, torch.tensor([300, 300], device=device)

    def drawn(network: Any, *shape: int) -> Tensor:
        return torch.randn(shape, device=device, dtype=network.dtype)

    def asked(network: Any, *given: Any, **named: Any) -> Callable[[], object]:
        def call() -> object:
            with torch.no_grad(), economy.at_work(network) as ask:
                return ask(*given, **named)

        return call

    def encoded(codec: LatentCodec) -> Callable[[], object]:
        def call() -> object:
            image = torch.rand(1, codec.size, codec.size, 3, device=device, requires_grad=True)
            return torch.autograd.grad(codec.encode(image).sum(), image)

        return call

    words = drawn(judge.unet, BOTH, 77, width)
    latents = drawn(judge.unet, BOTH, 4, size, size)
    picture = drawn(made.control, BOTH, 3, judge.codec.size, judge.codec.size)
    small = looking.unet.config.sample_size
    beside = drawn(looking.unet, BOTH, 8, small, small)
    token = drawn(looking.unet, BOTH, 1, looking.unet.config.cross_attention_dim)
    yield "denoiser", costs.DENOISER, BOTH, False, asked(judge.unet, latents, times, words)
    control = asked(made.control, latents, times, words, controlnet_cond=picture)
    yield "ControlNet", costs.CONTROLNET, BOTH, False, control
    yield "Zero-1-to-3", costs.ZERO123, BOTH, False, asked(looking.unet, beside, times, token)
    yield "encoder", costs.ENCODER, 1, True, encoded(judge.codec)
    yield "its encoder", costs.ZERO123_ENCODER, 1, True, encoded(looking.codec)
    decoded = latents[:1].float()
    yield "decoder", costs.DECODER, 1, False, lambda: judge.codec.decode(decoded, judge.codec.size)


def networks(made: Family, sheet: costs.Device | None, count: int) -> list[dict[str, Any]]:
    """Time each network's call."""
    rows = []
    for name, cost, images, back, call in calls(made):
        began = time.perf_counter()
        for _ in range(WARM):
            call()
        _settled(made.economy.device)
        first = time.perf_counter() - began
        took = []
        for _ in range(count):
            began = time.perf_counter()
            call()
            _settled(made.economy.device)
            took.append(time.perf_counter() - began)
        work = images * (cost.forward + (cost.backward if back else 0))
        peak = None if sheet is None else sheet.single if cost.single else sheet.half
        rows.append(
            {
                "network": name,
                "ms": 1000 * statistics.median(took),
                "planned_ms": peak and 1000 * work / peak / costs.ARITHMETIC_SHARE,
                "share_of_peak": peak and work / statistics.median(took) / peak,
                "first_calls_s": first,
            }
        )
    return rows


def _settled(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ---- stages ----------------------------------------------------------------------------------


def at_its_last_step(config: Any, steps: int) -> Any:
    """Hold every schedule at its last value, and take so few steps: the dearest ones."""
    last = config.steps - 1
    held = {
        each.name: Constant(value(last))
        for each in dataclasses.fields(config)
        if isinstance(value := getattr(config, each.name), (Constant, Ramp, Switch))
    }
    return dataclasses.replace(config, steps=steps, **held)


T = TypeVar("T")


def on(value: T, device: torch.device) -> T:
    """Bring a tensor, or all that a dataclass holds, to a device."""
    moved: Any = value
    if isinstance(value, torch.Tensor):
        moved = value.to(device)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        moved = dataclasses.replace(value, **{name: on(v, device) for name, v in held.items()})
    return moved  # type: ignore[no-any-return]


def stages(
    made: Family, recipe: Recipe, sizes: Sizes, sheet: costs.Device | None, count: int
) -> list[dict[str, Any]]:
    """Run some steps of each stage that asks the judges at every other step."""
    device = made.economy.device
    view = on(figure_view(sizes.photo), device)
    box = view.bounds()
    field = RadianceField(recipe.nerf_init.field, box, drawn(), shape_grid(view, box)).to(device)
    mesh = on(
        surface_of(field.density, box, resolution=96, threshold=25.0, blur=1.0, device=device),
        device,
    )
    inputs = {nerf_init: (), sculpt: (field.requires_grad_(False),), latent_texture: (mesh,)}
    planned = {stage.stage: stage for stage in plan(recipe, TIERS[0])}
    rows = []
    for stage, given in inputs.items():
        whole = getattr(recipe, stage.STAGE)
        ends: list[float] = []

        def report(event: Event, ends: list[float] = ends) -> None:
            if isinstance(event, StepDone):
                ends.append(time.perf_counter())

        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        stage.run(
            view,
            *given,
            priors=made.priors,
            config=at_its_last_step(whole, WARM + count),
            report=report,
            generator=drawn(),
            checkpoints=NoCheckpoints(),
            device=device,
        )
        step = (ends[-1] - ends[WARM - 1]) / count
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        rows.append(
            {
                "stage": stage.STAGE,
                "ms_a_step": 1000 * step,
                "seconds": step * whole.steps,
                "planned_seconds": sheet and planned[stage.STAGE].seconds(sheet),
                "gb": peak and peak / costs.GIGA,
                "planned_gb": planned[stage.STAGE].memory / costs.GIGA,
            }
        )
    return rows


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def sheet_of(device: torch.device) -> costs.Device | None:
    """Find the data sheet of this device among those that are planned for."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    known = (mark for mark in ("A100", "H100", "4090") if mark in name)
    mark = next(known, None)
    return next((each for each in costs.DEVICES if mark is not None and mark in each.name), None)


def table(rows: list[dict[str, Any]]) -> Table:
    made = Table(*rows[0])
    for row in rows:
        shown = (value if isinstance(value, str) else f"{value or 0:.3g}" for value in row.values())
        made.add_row(*shown)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=("swift", "released", "paper"), default="swift")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--count", type=int, default=16, help="calls and steps that are timed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    device = choose(options.device)
    make_reproducible(device)
    torch.manual_seed(0)
    compiler = (compiled if options.tiny else compiler_for(device)) if options.compile else None
    economy = Economy(device, compiling=None if compiler is None else Compiling(compiler))
    sizes, sheet = TINY if options.tiny else REAL, sheet_of(device)
    made = family(sizes, economy)
    found = {
        "networks": networks(made, sheet, options.count),
        "stages": stages(made, PRESETS[options.preset], sizes, sheet, options.count),
    }
    if options.json:
        print(json.dumps({"device": str(device), "compiled": compiler is not None, **found}))  # noqa: T201
        return
    for rows in found.values():
        Console().print(table(rows))


if __name__ == "__main__":
    main()
