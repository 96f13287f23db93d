"""`geneman status`: what a run folder holds. Loads no torch, so it answers at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from geneman.cli.arguments import parse, say
from geneman.run_folder import RunFolder, StageState

COLOURS = {StageState.DONE: "green", StageState.STALE: "yellow", StageState.MISSING: "dim"}


@dataclass(frozen=True)
class Status:
    """Say which stages of a run are done, stale or missing, and what they took."""

    run: Positional[Path]
    """The run folder."""
    json: bool = False
    """Print everything as one json object."""


def command(arguments: Sequence[str]) -> int:
    """Print the state of a run."""
    options = parse(Status, "status", arguments)
    run = RunFolder.read(options.run)
    if options.json:
        record = msgspec.to_builtins(run.record)
        for stage, state in run.states().items():
            shown = record["stages"].setdefault(stage, {})
            shown |= {"state": str(state), "edited": run.is_edited(stage)}
        say(msgspec.json.encode(record).decode())
        return 0
    table = Table(box=None)
    for column in ("stage", "state", "seconds", "losses at the last step"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for stage, state in run.states().items():
        summary = run.record.stages.get(stage)
        losses = ", ".join(f"{n} {v:.4g}" for n, v in (summary.losses if summary else {}).items())
        seconds = f"{summary.seconds:.1f}" if summary else ""
        by_hand = ", by hand" if run.is_edited(stage) else ""
        table.add_row(stage, f"[{COLOURS[state]}]{state}[/]{by_hand}", seconds, losses)
    console = Console()
    console.print(table)
    if run.record.reference:
        console.print(", ".join(f"{n} {v:.4g}" for n, v in run.record.reference.items()))
    return 0
