"""The network that draws folds, fingers and features into the geometry prior's normals.

Whoever looks at a whole person in 256 pixels sees limbs and trunk. This one looks at 512 or more,
at what is near each pixel alone: how light falls on cloth and skin tells how they turn. B images,
S pixels along a side (a multiple of 16).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pixel_shuffle, pixel_unshuffle, silu

from geneman.priors.bundled.geometry_network import PAPER, read_network, unit
from geneman.priors.bundled.u_net import through, u_net

BLOCK = 2
"""Side of the blocks of pixels that the convolutions see as one."""


AROUND, DARK = 17, 0.03
"""Pixels along the side of a neighbourhood, and what keeps the darkest from counting most."""


@dataclass(frozen=True)
class DetailWidths:
    """Channels at each level, from half the image's side to a 16th."""

    levels: tuple[int, ...] = (16, 32, 64, 96)
    blocks: tuple[int, ...] = (1, 2, 2, 2)
    """Residual blocks at each level, each way."""


STANDARD_DETAIL = DetailWidths()
"""0.9 million weights: 1.7 MB in half precision."""


class DetailNetwork(nn.Module):
    """A U-Net that adds to given normals. Nothing is normalised: a part is judged as the whole."""

    def __init__(self, widths: DetailWidths) -> None:
        super().__init__()
        self.widths = widths
        levels, counts = widths.levels, widths.blocks
        self.enter = nn.Conv2d(8 * BLOCK**2, levels[0], 3, padding=1)
        self.down, self.shrink, self.up, self.grow = u_net(levels, counts, _Plain)
        self.leave = nn.Conv2d(levels[0], 3 * BLOCK**2, 3, padding=1)
        # Untrained, it leaves the normals as they are.
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]  # there is one

    def forward(
        self, photo: Float[Tensor, "b 4 s s"], normal: Float[Tensor, "b 3 s s"]
    ) -> Float[Tensor, "b 3 s s"]:
        """Draw the details that a photo shows into smooth normals.

        Args:
            photo: As `geometry_network.shown` lays it out.
            normal: Unit, camera frame; anything outside the person.

        Returns:
            Unit normals, camera frame.
        """
        cover = (photo[:, 3:] + 1) / 2
        given = torch.cat([photo, normal * cover, contrast(photo)], dim=1)
        x = self.enter(pixel_unshuffle(given, BLOCK))
        x, _ = through(x, (self.down, self.shrink, self.up, self.grow))
        return unit(normal + pixel_shuffle(self.leave(silu(x)).float(), BLOCK))


def contrast(photo: Float[Tensor, "b 4 s s"]) -> Float[Tensor, "b 1 s s"]:
    """Give how much lighter each pixel is than what is around it: black cloth has folds, too.

    Args:
        photo: As `geometry_network.shown` lays it out.
    """
    cover = (photo[:, 3:] + 1) / 2
    light = photo[:, :3].mean(dim=1, keepdim=True) * PAPER + PAPER * cover
    tone = (light / cover.clamp_min(1e-2) + DARK).log() * cover
    around = _around(tone) / _around(cover).clamp_min(1e-2)
    return ((tone - around * cover) * 3).clamp(-2, 2)


def _around(plane: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b 1 s s"]:
    """Give the means of neighbourhoods: down, then across, which costs a sixth."""
    down = avg_pool2d(plane, (AROUND, 1), 1, (AROUND // 2, 0))
    return avg_pool2d(down, (1, AROUND), 1, (0, AROUND // 2))


class _Plain(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, out, 3, padding=1)
        self.second = nn.Conv2d(out, out, 3, padding=1)
        self.shortcut = nn.Identity() if width == out else nn.Conv2d(width, out, 1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Add what the convolutions find."""
        out: Tensor = self.shortcut(x) + self.second(silu(self.first(silu(x))))
        return out


def read_detail_weights(path: Path) -> tuple[DetailNetwork, dict[str, object]]:
    """Give the network that a file holds, ready to be asked, and its training record."""
    return read_network(
        path,
        lambda shape: DetailNetwork(DetailWidths(tuple(shape["levels"]), tuple(shape["blocks"]))),
    )
