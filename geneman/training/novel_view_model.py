"""What of Zero-1-to-3 is trained, and its folder, from the first copy to the last weights."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geneman.errors import MissingComponentError, OptionError
from geneman.priors.diffusion import Latents
from geneman.priors.novel_view import PROJECTION, CameraProjection

MODEL = "model"
"""The folder of the networks, in diffusers' layout."""
PARTS = ("unet", "vae", "image_encoder", PROJECTION, "scheduler")


class Denoiser(nn.Module):
    """What is trained: the network, and the projection of photo and camera to its token."""

    def __init__(self, unet: nn.Module, projection: CameraProjection) -> None:
        super().__init__()
        self.unet, self.projection = unet, projection

    def forward(
        self,
        noisy: Latents,
        times: Tensor,
        *,
        embedding: Float[Tensor, "b d"],
        camera: Float[Tensor, "b 4"],
        photo: Latents,
    ) -> Latents:
        """Predict the noise.

        Args:
            noisy: Scaled latents of views, buried in noise.
            times: Diffusion times.
            embedding: Of photos; 0 where it is dropped: the camera is told all the same.
            camera: T, as `relative_camera` says it.
            photo: Unscaled latents of photos; 0 where they are dropped.
        """
        token = self.projection(embedding, camera)
        unet: Any = self.unet
        found: Tensor = unet(torch.cat([noisy, photo], dim=1), times, token).sample
        return found.float()


def begin(start: Path | None, out: Path) -> Path:
    """Give the folder of the networks: those of an earlier run, or copies of where to start.

    Args:
        start: Zero-1-to-3 in diffusers' layout; not needed where a run goes on.
        out: The training's folder.

    Raises:
        OptionError: There is nothing to start from.
        MissingComponentError: A part of it is missing.
    """
    folder = out / MODEL
    if folder.is_dir():
        return folder
    if start is None:
        raise OptionError(
            "A novel-view prior starts from Zero-1-to-3",
            value="no --start-from",
            remedy="name its folder in diffusers' layout, or its checkpoint",
        )
    absent = [part for part in PARTS if not (start / part).is_dir()]
    if absent:
        raise MissingComponentError(
            "Zero-1-to-3 in diffusers' layout has the folders " + ", ".join(PARTS),
            value=f"'{start}' without {', '.join(absent)}",
            remedy="give it whole, or the original checkpoint",
        )
    partial = out / f".{MODEL}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for part in PARTS:
        shutil.copytree(start / part, partial / part)
    os.replace(partial, folder)
    return folder


def keep_weights(network: Denoiser, folder: Path) -> None:
    """Put a network's weights in the place of a folder's, each file whole or not at all."""
    partial = folder / ".partial"
    unet: Any = network.unet
    unet.save_pretrained(partial / "unet")
    network.projection.save(partial / PROJECTION)
    for file in sorted(partial.rglob("*.*")):
        os.replace(file, folder / file.relative_to(partial))
    shutil.rmtree(partial)
