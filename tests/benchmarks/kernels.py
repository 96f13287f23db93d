"""How fast the kernels are, beside what others use for the same and what the machine allows.

`python -m tests.benchmarks.kernels --json` prints the rows of DESIGN.md section 6; a goal beside
a peer is how many times the peer's time (or memory) it shall be of ours. Mitsuba 3 stands in
where it is installed (`pip install '.[bench]'`).
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from geneman.device import choose, make_reproducible
from geneman.kernels.launch import compile_kernels
from tests.benchmarks import kernels_encoding, kernels_steps, kernels_surfaces
from tests.benchmarks.kernels_measure import Limits, row

GROUPS: dict[str, Callable[[Limits], list[dict[str, Any]]]] = {
    "encoding": kernels_encoding.rows,
    "raster": kernels_surfaces.rasterising,
    "tets": kernels_surfaces.marching,
    "steps": kernels_steps.steps,
    "threads": kernels_steps.threads,
    "growth": kernels_steps.growth,
}


def measured(groups: Sequence[str]) -> list[dict[str, Any]]:
    """Run groups of benchmarks, one after the other."""
    device = choose("cpu")
    make_reproducible(device)
    compile_kernels(device)
    limits = Limits.measured()
    found = [
        row("copy bandwidth", limits.bytes_per_second / 1e9, "GB/s", better="higher"),
        row("matrix product, float32", limits.flops / 1e9, "GFLOP/s", better="higher"),
    ]
    for name in groups:
        found += GROUPS[name](limits)
    return found


def as_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("what", "ours", "unit", "goal", "peer", "its", "ratio", "of limit")
    for each in rows:
        shown = [each[key] for key in ("value", "unit", "goal", "peer", "peer_value", "ratio")]
        cells = ["" if cell is None else str(cell) for cell in (*shown, each["limit_share"])]
        table.add_row(each["name"], *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="*", choices=GROUPS, default=list(GROUPS))
    options = parser.parse_args()
    rows = measured(options.only)
    if options.json:
        json.dump(rows, sys.stdout, indent=1)
    else:
        Console(width=160).print(as_table(rows))


if __name__ == "__main__":
    main()
