"""Every model of the full family, tiny: the real classes with random weights, as folders on disk.

The layouts are those in which the models are published. `GAINS` makes random networks answer with
numbers of the size that trained ones give, so that gradients are no mere rounding.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import (  # noqa: TID253 (what is built)
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from torch import Tensor
from transformers import (  # noqa: TID253 (what is built)
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from geneman.priors import catalogue, weights
from geneman.priors.novel_view import PROJECTION, CameraProjection
from geneman.priors.perceptual import BLOCKS
from geneman.priors.zero123_checkpoint import SCHEDULE

WIDTH = 16
"""Of words, tokens and image embeddings."""
SAMPLE = 8
"""Side of the latents; pictures are four times as wide."""
BLOCK = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
UNET = {
    **BLOCK,
    "sample_size": SAMPLE,
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
}
UP = {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
VAE = {
    "block_out_channels": (8, 8, 8),
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "sample_size": SAMPLE * 4,
}
EYE = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 8,
    "image_size": 32,
    "projection_dim": WIDTH,
    "hidden_act": "quick_gelu",
}
TOKENS = 24
CHANNELS = (4, 4, 8, 8, 8)
"""Of tiny VGG's blocks."""


def unet(**options: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(**{**UNET, **UP, **options})


def vae() -> AutoencoderKL:
    return AutoencoderKL(**VAE)


def eye() -> CLIPVisionModelWithProjection:
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**EYE)).eval()


def write_tokenizer(folder: Path) -> None:
    """Write CLIP's own two files: letters and no merges."""
    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    told = {"model_max_length": TOKENS, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


def write_stable_diffusion(folder: Path, prediction: str = "epsilon") -> None:
    write_tokenizer(folder / "tokenizer")
    vocabulary = len(json.loads((folder / "tokenizer/vocab.json").read_text()))
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    vae().save_pretrained(folder / "vae")
    unet().save_pretrained(folder / "unet")
    DDIMScheduler(**{**SCHEDULE, "prediction_type": prediction}).save_pretrained(
        folder / "scheduler"
    )


def write_zero123(folder: Path) -> None:
    """Write Zero-1-to-3 in diffusers' layout."""
    unet(in_channels=8).save_pretrained(folder / "unet")
    vae().save_pretrained(folder / "vae")
    eye().save_pretrained(folder / "image_encoder")
    projection = CameraProjection(WIDTH)
    torch.nn.init.normal_(projection.linear.weight, std=0.3)
    projection.save(folder / PROJECTION)
    DDIMScheduler(**SCHEDULE).save_pretrained(folder / "scheduler")


def write_perceptual(folder: Path) -> None:
    folder.mkdir(parents=True)
    weights: dict[str, Tensor] = {}
    before = 3
    for block, width in zip(BLOCKS, CHANNELS, strict=True):
        for number in block:
            weights[f"features.{number}.weight"] = torch.randn(width, before, 3, 3) / before
            weights[f"features.{number}.bias"] = torch.zeros(width)
            before = width
    save_file(weights, folder / "model.safetensors")
    channels = {
        f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(CHANNELS)
    }
    torch.save(channels, folder / "vgg.pth")


class Scripted(torch.nn.Module):
    """What Sapiens does to a picture, as far as shapes go."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, channels, 1)

    def forward(self, planes: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(self.layer(planes), 2)


def write_scripted(path: Path, channels: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.script(Scripted(channels)).save(str(path))


def write_family(root: Path) -> Path:
    """Write the whole required family, one folder a role."""
    torch.manual_seed(0)
    for role in ("stable-diffusion", "normal-adapted", "depth-adapted", "normal-aligned"):
        write_stable_diffusion(root / role)
    unet().save_pretrained(root / "geneman-2d")
    write_zero123(root / "geneman-3d")
    same = {name: value for name, value in UNET.items() if name != "sample_size"}
    ControlNetModel(**same, conditioning_embedding_out_channels=(4, 8, 8)).save_pretrained(
        root / "controlnet-normal"
    )
    write_perceptual(root / "perceptual")
    return root


def table_for(root: Path) -> tuple[catalogue.Weights, ...]:
    """Give the catalogue with the tiny file in place of LPIPS' published one."""
    path = root / "perceptual" / "vgg.pth"
    tiny = catalogue.WeightFile(path.name, path.name, path.stat().st_size, weights.sha256_of(path))
    return tuple(
        replace(entry, files=(tiny,)) if entry.role == "perceptual" else entry
        for entry in weights.TABLE
    )
