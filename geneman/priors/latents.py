"""Pictures to Stable Diffusion's latents and back: its variational autoencoder as a `Codec`."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.checkpoint import checkpoint

from geneman.priors.diffusion import Latents


@dataclass(frozen=True)
class LatentCodec:
    """The codec of pictures in [0, 1]; latents are an eighth as wide."""

    vae: Any
    """diffusers' `AutoencoderKL`."""
    size: int
    """Side that pictures are resized to: 512 for Stable Diffusion, 256 for Zero-1-to-3."""

    def encode(self, images: Float[Tensor, "b h w 3"]) -> Float[Tensor, "b c y x"]:
        """Give scaled latents; gradients pass.

        The release draws from the posterior; its mean is taken here, so that what guides a render
        is not noise of the codec (its standard deviation is some thousandths of a latent's).
        """
        scaled: Tensor = self.mode(images) * self.vae.config.scaling_factor
        return scaled

    def mode(self, images: Float[Tensor, "b h w 3"]) -> Float[Tensor, "b c y x"]:
        """Give unscaled latents: what Zero-1-to-3 sees beside the noisy ones."""
        planes = interpolate(
            images.movedim(-1, 1), (self.size, self.size), mode="bilinear", align_corners=False
        )
        if not planes.requires_grad:
            return self._mode(planes)
        # What the encoder computes is computed again on the way back, one image after another,
        # instead of kept: at 512 pixels it is more than a gigabyte an image.
        return torch.cat(
            [checkpoint(self._mode, plane[None], use_reentrant=False) for plane in planes]
        )

    def _mode(self, planes: Float[Tensor, "b 3 s s"]) -> Latents:
        posterior = self.vae.encode((planes * 2 - 1).to(self.vae.dtype)).latent_dist
        found: Tensor = posterior.mode().float()
        return found

    @torch.no_grad()
    def decode(self, latents: Latents, size: int) -> Float[Tensor, "b s s 3"]:
        """Give pictures from scaled latents."""
        scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        planes = (self.vae.decode(scaled).sample.float() / 2 + 0.5).clamp(0, 1)
        if planes.shape[-1] != size:
            planes = interpolate(planes, (size, size), mode="bilinear", align_corners=False)
        pictures: Tensor = planes.movedim(1, -1)
        return pictures
