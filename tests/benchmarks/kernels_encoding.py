"""The hash grid beside plain torch: 131 072 points, 16 levels, the paper's table."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from geneman.fields.adam import FieldAdam
from geneman.fields.networks import ColourField, EncodingConfig, FieldConfig
from geneman.kernels.hash_grid import HashLevels, encode
from geneman.mesh import Box
from tests.benchmarks.kernels_measure import Limits, Peer, Work, in_turn, row
from tests.oracles import hash_grid_torch as plain

POINTS = 131_072
PEER = "plain torch (nerfstudio's fallback)"
GOAL = 30.0
SURFACE_POINTS = 32_768
TABLES = {
    "12 levels of 2^17": EncodingConfig(levels=12, log2_table=17, growth=1.4),
    "14 levels of 2^18": EncodingConfig(levels=14, log2_table=18),
    "16 levels of 2^19": EncodingConfig(),
    "16 levels of 2^22": EncodingConfig(log2_table=22),
}
"""Those of `standard`'s shape and colours, the paper's, and one that few points fill."""


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
    return found + [learning(name, config) for name, config in TABLES.items()]


def learning(name: str, config: EncodingConfig) -> dict[str, Any]:
    """Time forgetting, adjoint and step of a table that learns from points on a sphere.

    Used entries alone beside torch's fused AdamW over the whole table.
    """
    box = Box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(SURFACE_POINTS, 3, generator=generator))
    fields = [ColourField(FieldConfig(config), box, generator) for _ in range(2)]
    optimisers: list[torch.optim.Optimizer] = [
        FieldAdam(fields[0].parameters(), fields[0].encoding),
        torch.optim.AdamW(fields[1].parameters(), 1e-3, (0.9, 0.99), 1e-15, fused=True),
    ]

    def learn(field: ColourField, optimiser: torch.optim.Optimizer) -> None:
        features = field.encoding(0.3 * points)
        optimiser.zero_grad()
        features.sum().backward()
        optimiser.step()

    calls = [partial(learn, *pair) for pair in zip(fields, optimisers, strict=True)]
    mine, whole = in_turn(calls, 9)
    peer = Peer("torch's fused AdamW", 1e3 * whole)
    return row(f"look-up, adjoint and Adam, {name}", 1e3 * mine, peer=peer)


def _half_table(levels: HashLevels, points: Tensor, table: Tensor) -> dict[str, Any]:
    small = table.bfloat16()
    half, whole = in_turn([partial(encode, points, t, levels) for t in (small, table)])
    peer = Peer("float32 table", 1e3 * whole)
    return row("hash grid forward, bfloat16 table", 1e3 * half, peer=peer)
