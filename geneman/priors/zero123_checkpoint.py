"""Zero-1-to-3's original checkpoint into diffusers' layout, once, with every key accounted for.

The original is one pickled file of latent-diffusion names: `model.diffusion_model` and its
average `model_ema`, `first_stage_model` (the codec), `cond_stage_model` (OpenAI's CLIP),
`cc_projection`, and tables of the noise schedule. GeneMAN-3D is such a file.
"""

import importlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geneman.errors import MissingComponentError
from geneman.priors.novel_view import PROJECTION, CameraProjection
from geneman.priors.pickled import read_pickled

Weights = Mapping[str, Tensor]

CHECKPOINT = "last.ckpt"
"""GeneMAN-3D's file."""
UNET, AVERAGE, VAE = "model.diffusion_model.", "model_ema.", "first_stage_model."
EYE, PROJECTED = "cond_stage_model.model.visual.", "cc_projection."
UNUSED = {
    r"cond_stage_model\.model\.(transformer|ln_final)\..*": "CLIP's text tower: photos are asked",
    r"cond_stage_model\.model\.(token_embedding\.weight|positional_embedding)": "the same",
    r"cond_stage_model\.model\.(text_projection|logit_scale)": "the same",
    r"cond_stage_model\.(mean|std)": "CLIP's statistics, which are constants here",
    r"first_stage_model\.(loss|model_ema)\..*": "the codec's training",
    r"model_ema\.(decay|num_updates)": "bookkeeping of the average",
    r"(betas|alphas_cumprod.*|sqrt_.*|log_one_minus.*|posterior_.*|logvar|scale_factor)": (
        "the noise schedule, which its numbers give"
    ),
    r"lvlb_weights": "the same",
}
"""Keys that are left out, as patterns, and why."""


@dataclass(frozen=True)
class Shape:
    """The networks' sizes; defaults are Zero-1-to-3's, as its yaml says."""

    unet: Mapping[str, Any] = field(
        default_factory=lambda: {
            "sample_size": 32,
            "in_channels": 8,
            "out_channels": 4,
            "block_out_channels": (320, 640, 1280, 1280),
            "attention_head_dim": 8,
            "cross_attention_dim": 768,
        }
    )
    vae: Mapping[str, Any] = field(
        default_factory=lambda: {
            "block_out_channels": (128, 256, 512, 512),
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 2,
            "latent_channels": 4,
            "sample_size": 256,
            "scaling_factor": 0.18215,
        }
    )
    eye: Mapping[str, Any] = field(
        default_factory=lambda: {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "patch_size": 14,
            "image_size": 224,
            "projection_dim": 768,
            "hidden_act": "quick_gelu",
        }
    )


SCHEDULE: Mapping[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.0120,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
"""METHOD section 8."""


def in_diffusers_layout(given: Path, made: Path, shape: Shape | None = None) -> Path:
    """Give the folder that `ZeroOneToThree.from_folder` reads, converted once if need be.

    Args:
        given: Such a folder, one with the original `last.ckpt`, or an original checkpoint.
        made: Where the converted networks lie, or will.
        shape: Sizes of a checkpoint that is yet to be converted.

    Raises:
        MissingComponentError: It is none of these.
    """
    if (given / "unet").is_dir():
        return given
    if not made.is_dir():
        convert(given / CHECKPOINT if given.is_dir() else given, made, shape)
    return made


def convert(checkpoint: Path, folder: Path, shape: Shape | None = None) -> None:
    """Write a checkpoint's networks as a folder that `ZeroOneToThree.from_folder` reads.

    The folder appears whole or not at all.

    Raises:
        MissingComponentError: The file is no such checkpoint, or a key of it has no place.
    """
    diffusers: Any = importlib.import_module("diffusers")
    transformers: Any = importlib.import_module("transformers")
    shape = shape or Shape()
    weights = averaged(read_pickled(checkpoint))
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(**shape.unet)
        vae = diffusers.AutoencoderKL(**shape.vae)
        eye = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**shape.eye))
    parts: list[tuple[str, Any, Callable[[Weights], dict[str, Tensor]]]] = [
        ("unet", unet, lambda given: of_unet(given, unet.config)),
        ("vae", vae, lambda given: of_vae(given, vae.config)),
        ("image_encoder", eye, of_eye),
    ]
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        placed: set[int] = set()
        for name, network, translate in parts:
            translated = translate(weights)
            placed |= {tensor.data_ptr() for tensor in translated.values()}
            _fill(network, translated, checkpoint)
            network.save_pretrained(partial / name)
        projection = {
            f"linear.{name.removeprefix(PROJECTED)}": tensor
            for name, tensor in weights.items()
            if name.startswith(PROJECTED)
        }
        placed |= {tensor.data_ptr() for tensor in projection.values()}
        made = CameraProjection(shape.eye["projection_dim"])
        _fill(made, projection, checkpoint)
        made.save(partial / PROJECTION)
        diffusers.DDIMScheduler(**SCHEDULE).save_pretrained(partial / "scheduler")
        _account_for(weights, placed, checkpoint)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def averaged(weights: Weights) -> dict[str, Tensor]:
    """Take the denoiser's running average in its place (the one to infer with; METHOD 10)."""
    taken = dict(weights)
    for name in weights:
        # The average's names are the network's without their dots.
        average = AVERAGE + name.removeprefix("model.").replace(".", "")
        if name.startswith(UNET) and average in taken:
            taken[name] = taken.pop(average)
    return taken


def of_unet(weights: Weights, config: Any) -> dict[str, Tensor]:
    """Rename the denoiser's weights as diffusers does."""
    named = {name: value for name, value in weights.items() if name.startswith(UNET)}
    return dict(_diffusers_own().convert_ldm_unet_checkpoint(named, config))


def of_vae(weights: Weights, config: Any) -> dict[str, Tensor]:
    """Rename the codec's weights as diffusers does; 1 x 1 convolutions become matrices."""
    named = {
        name: value
        for name, value in weights.items()
        if name.startswith(VAE) and unused(name) is None
    }
    return dict(_diffusers_own().convert_ldm_vae_checkpoint(named, config))


def _diffusers_own() -> Any:
    """Give diffusers' own translations of latent diffusion's names."""
    return importlib.import_module("diffusers.loaders.single_file_utils")


EYE_NAMES = {
    r"class_embedding": "embeddings.class_embedding",
    r"positional_embedding": "embeddings.position_embedding.weight",
    r"conv1\.weight": "embeddings.patch_embedding.weight",
    r"ln_pre\.(.*)": r"pre_layrnorm.\1",
    r"ln_post\.(.*)": r"post_layernorm.\1",
    r"transformer\.resblocks\.(\d+)\.ln_1\.(.*)": r"encoder.layers.\1.layer_norm1.\2",
    r"transformer\.resblocks\.(\d+)\.ln_2\.(.*)": r"encoder.layers.\1.layer_norm2.\2",
    r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(.*)": (
        r"encoder.layers.\1.self_attn.out_proj.\2"
    ),
    r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(.*)": r"encoder.layers.\1.mlp.fc1.\2",
    r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(.*)": r"encoder.layers.\1.mlp.fc2.\2",
}
"""OpenAI's names in CLIP's image tower, and transformers'; "layrnorm" is theirs."""
JOINED = re.compile(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")


def of_eye(weights: Weights) -> dict[str, Tensor]:
    """Rename CLIP's image tower as transformers does; queries, keys and values are parted."""
    made: dict[str, Tensor] = {}
    for full, tensor in weights.items():
        if not full.startswith(EYE):
            continue
        name = full.removeprefix(EYE)
        if name == "proj":  # OpenAI multiplies from the right
            made["visual_projection.weight"] = tensor.T
        elif (joined := JOINED.fullmatch(name)) is not None:
            layer, kind = joined.groups()
            for part, values in zip("qkv", tensor.chunk(3), strict=True):
                made[f"vision_model.encoder.layers.{layer}.self_attn.{part}_proj.{kind}"] = values
        else:
            for pattern, replacement in EYE_NAMES.items():
                if re.fullmatch(pattern, name):
                    made["vision_model." + re.sub(pattern, replacement, name)] = tensor
    return made


def unused(name: str) -> str | None:
    """Say why a key is left out; nothing if it is needed."""
    return next((why for pattern, why in UNUSED.items() if re.fullmatch(pattern, name)), None)


def _fill(network: nn.Module, weights: Weights, checkpoint: Path) -> None:
    """Give a network all of its weights, and nothing besides."""
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    wrong = sorted(
        name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name)
    )
    if wrong:
        raise MissingComponentError(
            "a Zero-1-to-3 checkpoint must fill its networks exactly",
            value=f"'{checkpoint}' with {len(wrong)} weights that do not fit, as '{wrong[0]}'",
            remedy="give the original checkpoint, whole",
        )
    exact = {name: value.contiguous() for name, value in weights.items()}
    network.load_state_dict(exact, assign=True)


def _account_for(weights: Weights, placed: set[int], checkpoint: Path) -> None:
    """Hold every key of the file to have a place, or a reason to have none."""
    lost = sorted(
        name
        for name, tensor in weights.items()
        if tensor.data_ptr() not in placed and unused(name) is None
    )
    if lost:
        raise MissingComponentError(
            "every key of a Zero-1-to-3 checkpoint must have its place",
            value=f"'{checkpoint}' with {len(lost)} that have none, as '{lost[0]}'",
            remedy="report it: this release knows no such network",
        )
