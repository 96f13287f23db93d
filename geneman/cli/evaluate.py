"""`geneman evaluate`: how close finished people are to their photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from geneman.cli.arguments import parse, say
from geneman.cli.references import measure
from geneman.device import choose, make_reproducible
from geneman.errors import RunFolderError
from geneman.run_folder import RunFolder


@dataclass(frozen=True)
class Evaluate:
    """Measure how close finished people are to their photos.

    At the input view: psnr over the person's pixels at 512 x 512 in dB, overlap of the masks,
    and the mean angle between the normals in degrees.
    """

    runs: Positional[tuple[Path, ...]]
    """The run folders."""
    json: bool = False
    """Print one json object."""


def command(arguments: Sequence[str]) -> int:
    """Print the measures of each run and their mean."""
    options = parse(Evaluate, "evaluate", arguments)
    if not options.runs:
        raise RunFolderError(
            "`geneman evaluate` needs run folders", value="none", remedy="name one or more"
        )
    device = choose("cpu")
    make_reproducible(device)
    measured: dict[str, dict[str, float]] = {}
    for path in options.runs:
        measured[str(path)] = measure(RunFolder.read(path), device)
        if not measured[str(path)]:
            raise RunFolderError(
                "a run must be textured to be measured",
                value=f"'{path}' that is not",
                remedy=f"go on with: geneman reconstruct PHOTO -o {path}",
            )
    names = list(next(iter(measured.values())))
    mean = {name: sum(m[name] for m in measured.values()) / len(measured) for name in names}
    if options.json:
        runs = [{"run": path, "reference": found} for path, found in measured.items()]
        say(msgspec.json.encode({"runs": runs, "mean": mean}).decode())
        return 0
    table = Table(box=None)
    for column in ("run", *mean):
        table.add_column(column, justify="left" if column == "run" else "right")
    for name_of_run, found in measured.items():
        table.add_row(name_of_run, *(f"{found[name]:.3f}" for name in names))
    table.add_row("mean", *(f"{value:.3f}" for value in mean.values()))
    Console().print(table)
    return 0
