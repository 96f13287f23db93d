"""Stable Diffusion 1.5 and what was made of it, in the bundle's places (METHOD sections 3 to 6).

One folder in diffusers' layout is one model: `tokenizer/`, `text_encoder/`, `vae/`, `unet/`,
`scheduler/`. GeneMAN-2D is a `unet/` swapped into Stable Diffusion; HumanNorm's normal-adapted,
depth-adapted and normal-aligned models are whole folders; its ControlNet stands beside.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from geneman.camera import Orbit
from geneman.priors.bundle import Editor, Guidance
from geneman.priors.diffusion import Conditions, Denoiser, Diffusion, Latents, Scheduler, Steering
from geneman.priors.economy import Economy
from geneman.priors.folders import picture_size, read_network, read_part
from geneman.priors.guidance import Repaint, ScoreDistillation
from geneman.priors.latents import LatentCodec
from geneman.priors.prompts import NEGATIVE, Wording
from geneman.priors.text import TextEncoder
from geneman.priors.tiling import Tiled
from geneman.view import ReferenceView

PLAIN = Wording()
WORDS = "encoder_hidden_states"
CONTROL = "controlnet_cond"


@dataclass(frozen=True)
class StableDiffusion:
    """A text-driven latent diffusion model, loaded."""

    text: TextEncoder
    codec: LatentCodec
    unet: nn.Module
    scheduler: Scheduler
    economy: Economy

    @staticmethod
    def from_folder(
        folder: Path, economy: Economy, *, unet: Path | nn.Module | None = None
    ) -> "StableDiffusion":
        """Read a model.

        Args:
            folder: In diffusers' layout.
            economy: Where and how its networks run.
            unet: A folder whose denoiser takes the place of the model's own, or a denoiser that
                another model has read: its weights are then on the device once.
        """
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

        if not isinstance(unet, nn.Module):
            unet = economy.adopt(
                read_network(UNet2DConditionModel, unet or folder / "unet"), often=True
            )
        vae = economy.adopt(read_network(AutoencoderKL, folder / "vae"), resident=True)
        return StableDiffusion(
            TextEncoder.from_folder(folder, economy),
            LatentCodec(vae, picture_size(unet, vae)),
            unet,
            read_part(DDIMScheduler, folder / "scheduler", clip_sample=False),
            economy,
        )

    def told(self, prompts: Sequence[str]) -> Conditions:
        """Give what prompts say, one an image, and what nothing says."""
        absent = self.text(NEGATIVE)
        return Conditions(
            {WORDS: torch.cat([self.text(prompt) for prompt in prompts])},
            {WORDS: absent.expand(len(prompts), -1, -1)},
        )


@dataclass(frozen=True)
class InPrecision:
    """A network as a denoiser: asked in its own precision, answering in the caller's."""

    network: Any
    economy: Economy

    def __call__(self, sample: Latents, timestep: Tensor, **conditions: Tensor) -> Latents:
        """Ask the network."""
        with self.economy.at_work(self.network) as ask:
            kind = self.network.dtype
            told = {name: value.to(kind) for name, value in conditions.items()}
            answer = ask(sample.to(kind), timestep, **told)
        found: Tensor = answer.sample.to(sample.dtype)
        return found


@dataclass(frozen=True)
class Controlled:
    """A denoiser with a ControlNet before it, which sees a picture of what is to be kept."""

    unet: Any
    controlnet: Any
    economy: Economy
    strength: float = 1.0
    """METHOD section 6: the conditioning scale."""

    def __call__(self, sample: Latents, timestep: Tensor, **conditions: Tensor) -> Latents:
        """Ask the ControlNet, then the network with its answers.

        Args:
            sample: Noisy latents.
            timestep: One an image.
            **conditions: Words, and the picture as `controlnet_cond` (B 3 H W in [0, 1]).
        """
        kind = self.unet.dtype
        noisy, words = sample.to(kind), conditions[WORDS].to(kind)
        with self.economy.at_work(self.controlnet) as ask:
            down, middle = ask(
                noisy,
                timestep,
                encoder_hidden_states=words,
                controlnet_cond=conditions[CONTROL].to(kind),
                conditioning_scale=self.strength,
                return_dict=False,
            )
        with self.economy.at_work(self.unet) as ask:
            answer = ask(
                noisy,
                timestep,
                encoder_hidden_states=words,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
            )
        found: Tensor = answer.sample.to(sample.dtype)
        return found


@dataclass(frozen=True)
class TextJudge:
    """A `GuidancePrior`: how well renders fit the caption (GeneMAN-2D's and HumanNorm's place)."""

    model: StableDiffusion
    wording: Wording
    scale: float
    steering: Steering
    name: str

    def condition(self, view: ReferenceView) -> Guidance:
        """Keep the caption; prompts are encoded when a camera first needs them, and kept."""
        denoiser = InPrecision(self.model.unet, self.model.economy)
        diffusion = Diffusion(denoiser, self.model.scheduler, self.scale, self.steering)
        return TextGuidance(self, view, diffusion)


@dataclass(frozen=True)
class TextGuidance:
    """A `Guidance` by text; several views in a call are judged as one image.

    That is the paper's multi-view trick: the same noise in all of them, laid side by side.
    """

    judge: TextJudge
    view: ReferenceView
    diffusion: Diffusion

    def __call__(
        self,
        images: Float[Tensor, "b h w 3"],
        orbits: Sequence[Orbit],
        *,
        noise: tuple[float, float],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Judge renders; see `geneman.priors.bundle.Guidance`."""
        many = len(orbits) > 1
        distillation = ScoreDistillation(
            self._tiled(len(orbits)) if many else self.diffusion,
            self.judge.model.codec,
            self._told,
            shared_noise=many,
        )
        return distillation(images, orbits, noise=noise, generator=generator)

    def _tiled(self, count: int) -> Diffusion:
        columns, rows = grid_of(count)
        diffusion = self.diffusion
        return Diffusion(
            Tiled(diffusion.denoiser, columns, rows),
            diffusion.scheduler,
            diffusion.scale,
            diffusion.steering,
        )

    def _told(self, orbits: Sequence[Orbit]) -> Conditions:
        wording, view = self.judge.wording, self.view
        prompt = wording.together(view.prompt, orbits, view.framing)
        return self.judge.model.told([prompt] * len(orbits))


def grid_of(count: int) -> tuple[int, int]:
    """Give columns and rows of the squarest grid of so many views."""
    rows = next(rows for rows in range(int(count**0.5), 0, -1) if count % rows == 0)
    return count // rows, rows


@dataclass(frozen=True)
class ControlledEditor:
    """An `EditorPrior`: SDEdit held to a render's normals (METHOD section 6)."""

    model: StableDiffusion
    """HumanNorm's normal-aligned text and codec around GeneMAN-2D's denoiser."""
    controlnet: nn.Module
    wording: Wording = PLAIN
    scale: float = 7.5
    strength: float = 1.0
    name: str = "SDEdit with a normal ControlNet"

    def condition(self, view: ReferenceView) -> Editor:
        """Keep the caption."""
        model = self.model
        denoiser: Denoiser = Controlled(model.unet, self.controlnet, model.economy, self.strength)
        diffusion = Diffusion(denoiser, model.scheduler, self.scale)
        return Repaint(diffusion, model.codec, self._conditioning(view))

    def _conditioning(
        self, view: ReferenceView
    ) -> Callable[[Sequence[Orbit], Float[Tensor, "b h w 3"]], Conditions]:
        def told(orbits: Sequence[Orbit], normals: Float[Tensor, "b h w 3"]) -> Conditions:
            prompts = [self.wording.prompt(view.prompt, orbit, view.framing) for orbit in orbits]
            words = self.model.told(prompts)
            size = self.model.codec.size
            control = interpolate(
                normals.movedim(-1, 1), (size, size), mode="bilinear", align_corners=False
            )
            assert words.absent is not None
            # The release shows the normals to both branches: only the words are steered by.
            return Conditions({**words.given, CONTROL: control}, {**words.absent, CONTROL: control})

        return told


def read_controlnet(folder: Path, economy: Economy) -> nn.Module:
    """Read a ControlNet that diffusers has written."""
    from diffusers import ControlNetModel

    return economy.adopt(read_network(ControlNetModel, folder), often=True)
