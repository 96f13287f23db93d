"""The shape of the geometry prior's network: down level by level, and up again.

The lists belong to the network itself, so that weights keep their names.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

Lists = tuple[nn.ModuleList, nn.ModuleList, nn.ModuleList, nn.ModuleList]
"""Blocks and strides of the way down, blocks and widenings of the way up."""


def u_net(
    levels: Sequence[int], counts: Sequence[int], block: Callable[[int, int], nn.Module]
) -> Lists:
    """Make the parts of a U-Net: `down`, `shrink`, `up` and `grow`.

    Args:
        levels: Channels at each level, the finest first.
        counts: Blocks at each level, each way.
        block: Makes a block for so many channels in and out.
    """
    down, shrink, up, grow = (nn.ModuleList() for _ in range(4))
    for width, wider, count in zip(levels, (*levels[1:], None), counts, strict=True):
        down.append(nn.Sequential(*[block(width, width) for _ in range(count)]))
        if wider is not None:
            shrink.append(nn.Conv2d(width, wider, 3, stride=2, padding=1))
    for width, wider, count in zip(levels[-2::-1], levels[:0:-1], counts[-2::-1], strict=True):
        grow.append(nn.Conv2d(wider, width, 1))
        first = block(2 * width, width)
        up.append(nn.Sequential(first, *[block(width, width) for _ in range(count - 1)]))
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
