"""LPIPS on VGG-16 (Zhang et al. 2018): how different two pictures look.

Written out here because the `lpips` package imports torchvision; its trained channel weights and
VGG-16 itself are read from the weights' folder, as they are published.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, relu
from torch.utils.checkpoint import checkpoint

from geneman.errors import MissingComponentError
from geneman.priors.economy import Economy
from geneman.priors.pickled import read_pickled

BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
"""VGG-16's convolutions, numbered as in its published files; blocks are halved in between."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""ImageNet's statistics for pictures in [-1, 1]."""
VGG, CHANNELS = "model.safetensors", "vgg.pth"


class Vgg(nn.Module):
    """The convolutions of VGG-16, in their blocks."""

    def __init__(self, weights: dict[str, Tensor], channels: list[Tensor]) -> None:
        """Keep published weights.

        Args:
            weights: `features.N.weight` and `.bias`.
            channels: Of each block, what a squared difference of each channel counts.
        """
        super().__init__()
        for number in sum(BLOCKS, ()):
            self.register_buffer(f"kernel{number}", weights[f"features.{number}.weight"])
            self.register_buffer(f"bias{number}", weights[f"features.{number}.bias"])
        for number, each in enumerate(channels):
            self.register_buffer(f"channels{number}", each.reshape(1, -1, 1, 1))

    def block(self, number: int, planes: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d y x"]:
        """Go through one block."""
        if number:
            planes = max_pool2d(planes, 2)
        for layer in BLOCKS[number]:
            kernel, bias = self.get_buffer(f"kernel{layer}"), self.get_buffer(f"bias{layer}")
            planes = relu(conv2d(planes, kernel, bias, padding=1))
        return planes


@dataclass(frozen=True)
class Lpips:
    """A `PerceptualDistance`."""

    network: Vgg
    name: str = "LPIPS-VGG"

    @staticmethod
    def from_folder(folder: Path, economy: Economy) -> "Lpips":
        """Read VGG-16 and the channels' weights.

        Raises:
            MissingComponentError: The files hold something else.
        """
        weights = load_file(folder / VGG)
        told = read_pickled(folder / CHANNELS)
        try:
            channels = [told[f"lin{number}.model.1.weight"] for number in range(len(BLOCKS))]
            network = Vgg(weights, channels)
        except KeyError as error:
            raise MissingComponentError(
                "the perceptual weights must be VGG-16's and LPIPS' 0.1",
                value=f"files in '{folder}' without {error}",
                remedy="run: geneman weights get perceptual",
            ) from error
        economy.adopt(network, torch.float32, resident=True)
        return Lpips(network)

    def __call__(
        self, a: Float[Tensor, "b h w 3"], b: Float[Tensor, "b h w 3"]
    ) -> Float[Tensor, ""]:
        """Give the mean distance between images in [0, 1]."""
        network = self.network
        shift, scale = (a.new_tensor(each)[:, None, None] for each in (SHIFT, SCALE))
        planes = torch.cat([a, b]).movedim(-1, 1) * 2 - 1
        planes = (planes - shift) / scale
        total = a.new_zeros(())
        for number in range(len(BLOCKS)):
            # Maps of 64 channels at the picture's size: computed again rather than kept.
            planes = checkpoint(network.block, number, planes, use_reentrant=False)
            # eps as LPIPS has it, added to the length.
            unit = planes / (planes.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
            first, second = unit.chunk(2)
            channels = network.get_buffer(f"channels{number}")
            total = total + ((first - second).square() * channels).sum(dim=1).mean()
        return total
