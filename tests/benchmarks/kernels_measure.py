"""Time two ways of doing the same, in turn; and what the machine can do at most."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

Call = Callable[[], object]


@dataclass(frozen=True)
class Limits:
    """What this machine was seen to do at most, on all its threads."""

    bytes_per_second: float
    """Read and written by a copy that no cache holds."""
    flops: float
    """Of a matrix product in float32."""

    @staticmethod
    def measured() -> "Limits":
        source = torch.rand(1 << 25)
        target = torch.empty_like(source)
        copy = min(seconds(lambda: target.copy_(source)) for _ in range(5))
        square = torch.rand(1536, 1536)
        product = min(seconds(lambda: square @ square) for _ in range(5))
        return Limits(2 * 4 * len(source) / copy, 2 * 1536**3 / product)

    def share(self, work: "Work", took: float) -> float:
        """Give the least time that the work needs here, as a share of what it took."""
        least = max(work.bytes / self.bytes_per_second, work.flops / self.flops)
        return round(least / took, 4)


@dataclass(frozen=True)
class Work:
    """What a computation cannot do without."""

    bytes: float
    """Inputs read and outputs written once."""
    flops: float = 0.0


@dataclass(frozen=True)
class Peer:
    """Whose time stands beside ours."""

    name: str
    value: float
    goal: float | None = None
    """How many times slower it shall be."""


def seconds(call: Call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def in_turn(calls: Sequence[Call], repeats: int = 5) -> list[float]:
    """Give the median seconds of each call, after one of each that does not count."""
    for call in calls:
        call()
    spent = [[seconds(call) for call in calls] for _ in range(repeats)]
    return [statistics.median(column) for column in zip(*spent, strict=True)]


def row(
    name: str,
    value: float,
    unit: str = "ms",
    *,
    better: str = "lower",
    goal: float | None = None,
    peer: Peer | None = None,
    limit_share: float | None = None,
) -> dict[str, Any]:
    """Give one row; with a peer, the goal is how many times it takes ours."""
    found: dict[str, Any] = {"name": name, "value": round(value, 3), "unit": unit, "better": better}
    found["goal"] = goal if peer is None else peer.goal
    found["peer"] = peer and peer.name
    found["peer_value"] = peer and round(peer.value, 3)
    found["ratio"] = peer and round(peer.value / value, 2)
    found["limit_share"] = limit_share
    return found


def exponent(sizes: Sequence[float], spent: Sequence[float]) -> float:
    """Fit time = size^exponent through logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(spent), 1)[0])


def peak_growth(call: Call) -> float | None:
    """Give the bytes by which a call grows this process at most, or None where nobody tells."""
    forget, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not forget.exists():
        return None

    def read(name: str) -> int:
        line = next(x for x in status.read_text().splitlines() if x.startswith(name))
        return 1024 * int(line.split()[1])

    before = read("VmRSS")
    forget.write_text("5")  # forgets the highest value so far
    call()
    return float(read("VmHWM") - before)
