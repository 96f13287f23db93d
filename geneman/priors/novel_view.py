"""Zero-1-to-3: how likely a render is, given the photo and its camera (METHOD section 9).

The photo is told twice: its CLIP embedding with four numbers of the camera, projected to one
token; and its latents beside the noisy ones. Unconditioned, both are zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

from geneman.camera import Orbit
from geneman.priors.bundle import Guidance
from geneman.priors.diffusion import Conditions, Diffusion, Latents, Scheduler
from geneman.priors.economy import Economy
from geneman.priors.folders import picture_size, read_network, read_part
from geneman.priors.guidance import ScoreDistillation
from geneman.priors.latents import LatentCodec
from geneman.priors.relative_camera import relative_camera
from geneman.view import ReferenceView

CAMERA_NUMBERS = 4
"""T: polar angle, sine and cosine of the azimuth, distance; each the target's minus the photo's."""
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's: mean and standard deviation of its training pictures."""
PROJECTION = "cc_projection"


class CameraProjection(nn.Module):
    """From an image embedding and the camera to one token; untrained, it forgets the camera."""

    def __init__(self, width: int = 768) -> None:
        super().__init__()
        self.linear = nn.Linear(width + CAMERA_NUMBERS, width)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @staticmethod
    def from_folder(folder: Path) -> "CameraProjection":
        """Read what `save` wrote."""
        weights = load_file(folder / f"{PROJECTION}.safetensors")
        made = CameraProjection(len(weights["linear.bias"]))
        made.load_state_dict(weights)
        return made

    def save(self, folder: Path) -> None:
        """Write the weights."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(dict(self.state_dict()), folder / f"{PROJECTION}.safetensors")

    def forward(
        self, embedding: Float[Tensor, "p d"], cameras: Float[Tensor, "b 4"]
    ) -> Float[Tensor, "b 1 d"]:
        """Tell of one photo and some cameras, or of a photo for each camera."""
        told = torch.cat([embedding.expand(len(cameras), -1), cameras.to(embedding)], dim=-1)
        token: Tensor = self.linear(told)[:, None]
        return token


@dataclass(frozen=True)
class ZeroOneToThree:
    """The networks, loaded."""

    unet: nn.Module
    codec: LatentCodec
    eye: nn.Module
    """CLIP's image tower with its projection."""
    projection: CameraProjection
    scheduler: Scheduler
    economy: Economy

    @staticmethod
    def from_folder(folder: Path, economy: Economy) -> "ZeroOneToThree":
        """Read `unet/`, `vae/`, `image_encoder/`, `cc_projection/` and `scheduler/`."""
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
        from transformers import CLIPVisionModelWithProjection

        exact = torch.float32  # METHOD section 8: this prior runs in single precision
        unet = read_network(UNet2DConditionModel, folder / "unet")
        vae = read_network(AutoencoderKL, folder / "vae")
        eye = read_network(CLIPVisionModelWithProjection, folder / "image_encoder")
        projection = CameraProjection.from_folder(folder / PROJECTION)
        projection.requires_grad_(False).to(economy.device)
        return ZeroOneToThree(
            economy.adopt(unet, exact, often=True),
            LatentCodec(economy.adopt(vae, exact, resident=True), picture_size(unet, vae)),
            economy.adopt(eye, exact),
            projection,
            read_part(DDIMScheduler, folder / "scheduler", clip_sample=False),
            economy,
        )

    @torch.no_grad()
    def look(
        self, photo: Float[Tensor, "b h w 3"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b c y x"]]:
        """Give the embeddings of photos on white, and their latents, which are not scaled."""
        eye: Any = self.eye
        size = eye.config.image_size
        # As the original: from the codec's size (256 pixels), bicubic without antialiasing.
        small = interpolate(
            interpolate(photo.movedim(-1, 1), (self.codec.size, self.codec.size), mode="area"),
            (size, size),
            mode="bicubic",
            align_corners=True,
        )
        mean, deviation = (small.new_tensor(each)[:, None, None] for each in CLIP_STATISTICS)
        with self.economy.at_work(self.eye):
            embedding = eye(((small - mean) / deviation).to(eye.dtype)).image_embeds.float()
        return embedding, self.codec.mode(photo)


CLIP_STATISTICS = (IMAGE_MEAN, IMAGE_DEVIATION)


@dataclass(frozen=True)
class BesideThePhoto:
    """A denoiser whose input has the photo's latents beside the noisy ones."""

    network: Any
    economy: Economy

    def __call__(
        self, sample: Latents, timestep: Tensor, *, token: Tensor, photo: Tensor
    ) -> Latents:
        """Ask the network."""
        with self.economy.at_work(self.network) as ask:
            both = torch.cat([sample, photo.to(sample)], dim=1).to(self.network.dtype)
            answer = ask(both, timestep, encoder_hidden_states=token.to(both))
        found: Tensor = answer.sample.to(sample.dtype)
        return found


@dataclass(frozen=True)
class NovelViewJudge:
    """A `GuidancePrior` of colours in front of white, given the photo (GeneMAN-3D)."""

    model: ZeroOneToThree
    scale: float = 5.0
    """METHOD section 3."""
    name: str = "Zero-1-to-3"

    def condition(self, view: ReferenceView) -> Guidance:
        """Look at the photo once."""
        share = view.mask[..., None]
        photo = (view.colour * share + 1 - share)[None]
        embedding, latents = self.model.look(photo.to(self.model.economy.device))

        def told(orbits: Sequence[Orbit]) -> Conditions:
            return photo_conditions(self.model.projection, embedding, latents, view.camera, orbits)

        denoiser = BesideThePhoto(self.model.unet, self.model.economy)
        diffusion = Diffusion(denoiser, self.model.scheduler, self.scale)
        return ScoreDistillation(diffusion, self.model.codec, told)


def photo_conditions(
    projection: CameraProjection,
    embedding: Float[Tensor, "1 d"],
    latents: Latents,
    camera: Orbit,
    orbits: Sequence[Orbit],
) -> Conditions:
    """Tell of a photo and of the cameras that look at the same person.

    Args:
        projection: From embedding and camera to a token.
        embedding: The photo's.
        latents: The photo's, not scaled.
        camera: The photo's.
        orbits: One an image.
    """
    cameras = relative_camera(camera, orbits)[:, :CAMERA_NUMBERS].to(embedding)
    with torch.no_grad():
        token = projection(embedding, cameras)
    photo = latents.expand(len(orbits), -1, -1, -1)
    return Conditions(
        {"token": token, "photo": photo},
        {"token": torch.zeros_like(token), "photo": torch.zeros_like(photo)},
    )
