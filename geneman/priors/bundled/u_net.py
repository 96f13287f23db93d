"""The shape of the geometry prior's network: down level by level, and up again.

The lists belong to the network itself, so that weights keep their names.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

Lists = tuple[nn.ModuleList, nn.ModuleList, nn.ModuleList, nn.ModuleList]
"""Blocks and strides of the way down, blocks and widenings of the way up."""


def u_net(levels: Sequence[int], counts: Sequence[int]) -> Lists:
    """Make the parts of a U-Net: `down`, `shrink`, `up` and `grow`.

    Args:
        levels: Channels at each level, the finest first.
        counts: Blocks at each level, each way.
    """
    down, shrink, up, grow = (nn.ModuleList() for _ in range(4))
    for width, wider, count in zip(levels, (*levels[1:], None), counts, strict=True):
        down.append(nn.Sequential(*[_Residual(width, width) for _ in range(count)]))
        if wider is not None:
            shrink.append(nn.Conv2d(width, wider, 3, stride=2, padding=1))
    for width, wider, count in zip(levels[-2::-1], levels[:0:-1], counts[-2::-1], strict=True):
        grow.append(nn.Conv2d(wider, width, 1))
        first = _Residual(2 * width, width)
        up.append(nn.Sequential(first, *[_Residual(width, width) for _ in range(count - 1)]))
    return down, shrink, up, grow


def through(x: Tensor, lists: Lists) -> tuple[Tensor, Tensor]:
    """Go down and up again; gives the finest level's features, and those of the one before."""
    down, shrink, up, grow = lists
    passed = []
    for level, blocks in enumerate(down):
        x = blocks(x)
        if level < len(shrink):
            passed.append(x)
            x = shrink[level](x)
    wider = x
    for widen, blocks in zip(grow, up, strict=True):
        wider, x = x, interpolate(widen(x), scale_factor=2.0)
        x = blocks(torch.cat([x, passed.pop()], dim=1))
    return x, wider


class _Residual(nn.Module):
    """Two normalised convolutions beside a shortcut."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, out, 3, padding=1)
        self.second_norm = nn.GroupNorm(8, out)
        self.second = nn.Conv2d(out, out, 3, padding=1)
        self.shortcut = nn.Identity() if width == out else nn.Conv2d(width, out, 1)
        # The block begins as its shortcut, which keeps deep networks calm at first.
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Add what the convolutions find."""
        inner = self.first(silu(self.first_norm(x)))
        inner = self.second(silu(self.second_norm(inner)))
        out: Tensor = self.shortcut(x) + inner
        return out
