"""`geneman reconstruct --dry-run`: what a run would do, with which models, and what it takes."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from geneman.cli.arguments import say
from geneman.memory.costs import DEVICES, GIGA
from geneman.memory.fitting import Fitted
from geneman.priors import weights
from geneman.priors.catalogue import OPTIONAL
from geneman.run_folder import STAGES


@dataclass(frozen=True)
class Planned:
    """A run with the full priors, before it runs."""

    preset: str
    fitted: Fitted
    root: Path
    """Of the weights."""

    def roles(self) -> list[str]:
        """Give the weights that take part, in the order of use."""
        named = [role for stage in self.fitted.stages for role in stage.roles]
        return list(dict.fromkeys(named))

    def facts(self) -> dict[str, Any]:
        """Give everything in json's types."""
        return {
            "preset": self.preset,
            "priors": "full",
            "tier": {"gigabytes": self.fitted.tier.gigabytes, "does": str(self.fitted.tier)},
            "stages": [
                {
                    "stage": stage.stage,
                    "steps": stage.steps,
                    "models": list(stage.roles),
                    "memory_gb": round(stage.memory / GIGA, 1),
                    "seconds": {each.name: round(stage.seconds(each)) for each in DEVICES},
                }
                for stage in self.fitted.stages
            ],
            "models": [
                {
                    "role": role,
                    "licence": weights.entry(role).licence,
                    "commercial": weights.entry(role).commercial.value,
                    "present": not weights.missing(role, self.root / role),
                    "optional": role in OPTIONAL,
                }
                for role in self.roles()
            ],
        }


def show(planned: Planned, *, as_json: bool) -> None:
    """Print a plan."""
    facts = planned.facts()
    if as_json:
        say(msgspec.json.encode(facts).decode())
        return
    console = Console(highlight=False)
    console.print(f"{planned.preset} with the full priors; {planned.fitted.tier}.\n")
    devices = [device.name for device in DEVICES]
    rows = [
        (
            *(stage["stage"], f"{stage['steps']:,}", ", ".join(stage["models"])),
            f"{stage['memory_gb']:.1f}",
            *(clock(stage["seconds"][name]) for name in devices),
        )
        for stage in facts["stages"]
    ]
    totals = [sum(stage["seconds"][name] for stage in facts["stages"]) for name in devices]
    rows.append(("all", "", f"then {STAGES[-1]}", "", *map(clock, totals)))
    console.print(_table(("stage", "steps", "models", "GB", *devices), rows))
    console.print("\nTimes and memory are planned from counted arithmetic, not measured.\n")
    models = (
        (
            model["role"],
            "yes" if model["present"] else "no, optional" if model["optional"] else "no",
            model["commercial"],
            model["licence"],
        )
        for model in facts["models"]
    )
    console.print(_table(("model", "present", "commercial use", "licence"), models))


def clock(seconds: float) -> str:
    """Write a duration in minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    table = Table(box=None)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
