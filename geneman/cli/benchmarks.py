"""What `geneman evaluate` prints of benchmarks and of normals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.console import Console
from rich.table import Table

from geneman.chain import CHAIN, bundled_priors
from geneman.cli.arguments import say
from geneman.errors import OptionError
from geneman.evaluation.benchmark_cases import cases_in
from geneman.evaluation.candidates import BASELINES, OURS, ablations, candidates
from geneman.evaluation.flip import require_flip
from geneman.evaluation.normals import photos_with_normals
from geneman.evaluation.protocol import Row, across_views, evaluate, mean_of, table
from geneman.presets import PRESETS
from geneman.priors.bundle import ShapePrior
from geneman.priors.bundled.geometry_prior import WEIGHTS, bundled_shape_prior
from geneman.priors.bundled.inflation import Inflation
from geneman.progress import silent
from geneman.settings import nearest
from geneman.storage import storage_errors


def benchmark(
    folder: Path,
    output: Path | None,
    *,
    preset: str,
    cases: int | None,
    ablation: bool,
    device: torch.device,
    json: bool,
) -> None:
    """Measure the product and its baselines on a benchmark, and print what came of it."""
    require_flip()
    if preset not in PRESETS:
        raise OptionError(
            "--preset must be one of " + ", ".join(PRESETS),
            value=f"'{preset}'",
            remedy=nearest(preset, PRESETS),
        )
    if cases is not None and cases < 1:
        raise OptionError(
            "--cases must be at least 1", value=cases, remedy="leave it out for all of them"
        )
    named = cases_in(folder)[:cases]
    out = folder.with_name(f"{folder.resolve().name}-evaluated") if output is None else output
    means = (PRESETS[preset], bundled_priors(), CHAIN, device)
    taking_part, absent = candidates(*means), dict[str, str]()
    if ablation:
        reduced, absent = ablations(*means)
        taking_part |= reduced
    console = Console(stderr=True, highlight=False)
    total, count = len(named) * len(taking_part), 0

    def tell(row: Row) -> None:
        nonlocal count
        count += 1
        kept = "  (kept)" if row.resumed else ""
        console.print(f"{count}/{total}  {row.case}  {row.candidate}  {row.seconds:.0f} s{kept}")

    with storage_errors(out):
        found = evaluate(named, taking_part, out, silent, tell)
    tables = {name: table(rows) for name, rows in found.items()}
    if json:
        whole = {**tables.pop(OURS), "preset": preset}
        whole["baselines"] = {name: tables.pop(name) for name in BASELINES}
        if ablation:
            whole["ablation"] = {**tables, "absent": absent}
        say(msgspec.json.encode(whole).decode())
        return
    _print({name: found["mean"] for name, found in tables.items()}, absent)


def _print(means: Mapping[str, Mapping[str, Any]], absent: Mapping[str, str]) -> None:
    """Print a column a candidate: the photo's view, the mean over the views around, space."""
    sheet = Table(box=None)
    sheet.add_column("")
    for name in means:
        sheet.add_column(name, justify="right", overflow="fold")
    lines = {name: _lines(mean) for name, mean in means.items()}
    for label in next(iter(lines.values())):
        sheet.add_row(label, *(f"{line[label]:.4g}" for line in lines.values()))
    Console().print(sheet)
    for name, reason in absent.items():
        say(f"{name}: not measured, {reason}")


def _lines(mean: Mapping[str, Any]) -> dict[str, float]:
    """Give what is printed of a mean, by its name."""
    views = across_views(mean)
    return {
        **{f"input {name}": value for name, value in mean["input"].items()},
        **{f"views {name}": value for name, value in views.items()},
        **mean["geometry"],
        "seconds": mean["seconds"],
    }


def normals(folder: Path, weights: Path | None, *, json: bool) -> None:
    """Compare the shape prior's normals with those that lie beside photos."""
    if weights is not None and not weights.is_file():
        raise OptionError(
            "--weights must name a file of weights",
            value=f"'{weights}'",
            remedy="leave it out for the bundled ones",
        )
    learned = bundled_shape_prior(WEIGHTS if weights is None else weights)
    priors: dict[str, ShapePrior] = {learned.name: learned, Inflation().name: Inflation()}
    found = {photo.name: photo.angles(priors) for photo in photos_with_normals(folder)}
    mean = mean_of(list(found.values()))
    if json:
        rows = [{"photo": name, "normal_deg": angles} for name, angles in found.items()]
        say(msgspec.json.encode({"photos": rows, "mean": mean}).decode())
        return
    sheet = Table(box=None)
    sheet.add_column("photo")
    for name in priors:
        sheet.add_column(f"{name}, degrees", justify="right")
    for name, angles in {**found, "mean": mean}.items():
        sheet.add_row(name, *(f"{angle:.1f}" for angle in angles.values()))
    Console().print(sheet)
