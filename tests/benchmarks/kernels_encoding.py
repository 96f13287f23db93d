"""The hash grid beside plain torch: 131 072 points, 16 levels, the paper's table."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from geneman.kernels.hash_grid import HashLevels, encode
from tests.benchmarks.kernels_measure import Limits, Peer, Work, in_turn, row
from tests.oracles import hash_grid_torch as plain

POINTS = 131_072
PEER = "plain torch (nerfstudio's fallback)"
GOAL = 30.0


def inputs(points: int = POINTS) -> tuple[HashLevels, Tensor, Tensor, Tensor]:
    """Give the layout, points all over the cube (no two near each other), a table and a probe."""
    generator = torch.Generator().manual_seed(0)
    levels = HashLevels.geometric(16, 16, 1.447269, 2**19)
    table = 2e-4 * torch.rand(levels.offsets[-1], 2, generator=generator)
    return (
        levels,
        torch.rand(points, 3, generator=generator),
        table,
        torch.randn(points, 2 * levels.count, generator=generator),
    )


def rows(limits: Limits) -> list[dict[str, Any]]:
    levels, points, table, probe = inputs()

    def run(encoder: Any, wanted: int | None) -> None:
        given = [points.detach(), table.detach()]
        if wanted is not None:
            given[wanted].requires_grad_()
        features = encoder(*given, levels)
        if wanted is not None:
            torch.autograd.grad(features, given[wanted], probe)

    found = []
    lookups = POINTS * levels.count
    features, entries = 8 * lookups, 8 * 8 * lookups
    # What must move: points, features, and eight entries of eight bytes for each.
    parts = {
        "forward": (None, Work(12 * POINTS + features + entries, 40 * lookups)),
        "forward and backward to the table": (1, Work(2 * (features + 2 * entries))),
        "forward and backward to points": (0, Work(2 * (features + entries))),
    }
    for name, (wanted, work) in parts.items():
        mine, other = in_turn([partial(run, e, wanted) for e in (encode, plain.encode)], 3)
        peer = Peer(PEER, 1e3 * other, GOAL)
        share = limits.share(work, mine)
        found.append(row(f"hash grid {name}", 1e3 * mine, peer=peer, limit_share=share))
    found.append(_half_table(levels, points, table))
    return found


def _half_table(levels: HashLevels, points: Tensor, table: Tensor) -> dict[str, Any]:
    small = table.bfloat16()
    half, whole = in_turn([partial(encode, points, t, levels) for t in (small, table)])
    peer = Peer("float32 table", 1e3 * whole)
    return row("hash grid forward, bfloat16 table", 1e3 * half, peer=peer)
