"""`geneman evaluate`: how close reconstructions are to their photos, and to the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from geneman.cli.arguments import parse, say
from geneman.cli.benchmarks import benchmark, normals
from geneman.cli.references import measure
from geneman.device import choose, make_reproducible
from geneman.errors import OptionError, RunFolderError
from geneman.run_folder import RunFolder


@dataclass(frozen=True)
class Evaluate:
    """Measure how close reconstructions are to their photos, or to the truth where it is known.

    Of runs, at the input view: psnr over the person's pixels at 512 x 512 in dB, overlap of the
    masks, and the mean angle between the normals in degrees. Of a benchmark: the product beside
    two baselines, from all around and in space; it goes on where it was stopped.
    """

    runs: Positional[tuple[Path, ...]] = ()
    """Run folders."""
    benchmark: Path | None = None
    """Folder of cases (input.png, camera.json, truth.glb) to reconstruct and measure."""
    normals: Path | None = None
    """Folder of photos with masks and normals, to compare the shape prior's normals with."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Where a benchmark's runs and measures are kept; else beside it, with '-evaluated' added."""
    preset: str = "draft"
    """How a benchmark is reconstructed."""
    cases: int | None = None
    """Only the first so many cases."""
    ablation: bool = False
    """Measure the product without each of its priors, too."""
    weights: Path | None = None
    """The geometry prior's weights for --normals; else the bundled ones."""
    device: str = "auto"
    """auto, cpu or cuda."""
    json: bool = False
    """Print one json object."""


def command(arguments: Sequence[str]) -> int:
    """Measure what was named."""
    options = parse(Evaluate, "evaluate", arguments)
    named = (bool(options.runs), options.benchmark is not None, options.normals is not None)
    if sum(named) > 1:
        raise OptionError(
            "`geneman evaluate` measures runs, a benchmark or normals",
            value="more than one of them",
            remedy="call it once for each",
        )
    if options.benchmark is not None:
        benchmark(
            options.benchmark,
            options.output,
            preset=options.preset,
            cases=options.cases,
            ablation=options.ablation,
            device=choose(options.device),
            json=options.json,
        )
    elif options.normals is not None:
        normals(options.normals, options.weights, json=options.json)
    else:
        _runs(options)
    return 0


def _runs(options: Evaluate) -> None:
    """Print the measures of each run and their mean."""
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
        return
    table = Table(box=None)
    for column in ("run", *mean):
        table.add_column(column, justify="left" if column == "run" else "right")
    for name_of_run, found in measured.items():
        table.add_row(name_of_run, *(f"{found[name]:.3f}" for name in names))
    table.add_row("mean", *(f"{value:.3f}" for value in mean.values()))
    Console().print(table)
