"""`geneman reconstruct --dry-run`: what a run would do, with which models, and what it takes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.console import Console
from rich.table import Table

from geneman.cli.arguments import say
from geneman.device import threads
from geneman.memory.costs import DEVICES, GIGA
from geneman.memory.fitting import Fitted, free_bytes
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
    device: torch.device
    """Where it would run."""

    def roles(self) -> list[str]:
        """Give the weights that take part, in the order of use."""
        named = [role for stage in self.fitted.stages for role in stage.roles]
        return list(dict.fromkeys(named))

    def lacking(self, *, optional: bool) -> list[str]:
        """Give the weights that are not there: those that a run needs, or those that it may use."""
        return [
            role
            for role in self.roles()
            if (role in OPTIONAL) == optional and weights.missing(role, self.root / role)
        ]

    def place(self) -> str:
        """Say in a sentence what it would run on."""
        free = free_bytes(self.device)
        if free is None:
            return (
                f"This machine: {threads()} processors and no CUDA device. The plan is for one "
                f"with {self.fitted.tier.gigabytes} GB; here it would take days."
            )
        name = torch.cuda.get_device_name(self.device)
        return f"This machine: {name}, {free / GIGA:.1f} GB free."

    def facts(self) -> dict[str, Any]:
        """Give everything in json's types."""
        return {
            "preset": self.preset,
            "priors": "full",
            "device": str(self.device),
            "memory_gb": round(self.fitted.largest.memory / GIGA, 1),
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
                    "gigabytes": weights.entry(role).gigabytes,
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
    tier = planned.fitted.tier
    console.print(f"{planned.preset} with the full priors; {tier} (for {tier.gigabytes} GB).")
    console.print(planned.place() + "\n")
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
    console.print(
        "\nGB of the device's memory at once, minutes and seconds on each: planned from counted "
        "arithmetic, not measured.\n"
    )
    models = (
        (
            model["role"],
            f"{model['gigabytes']:.1f}",
            "yes" if model["present"] else "no, optional" if model["optional"] else "no",
            model["commercial"],
            model["licence"],
        )
        for model in facts["models"]
    )
    console.print(_table(("model", "GB", "present", "commercial use", "licence"), models))
    for line in _commands(planned):
        console.print(line, soft_wrap=True)


def _commands(planned: Planned) -> Iterator[str]:
    """Say what gets the weights that are not there."""
    needed, useful = (planned.lacking(optional=optional) for optional in (False, True))
    for roles, which, named in (
        (needed, "Needed", f"--preset {planned.preset}"),
        (useful, "Optional", " ".join(useful)),
    ):
        size = sum(weights.entry(role).gigabytes for role in roles)
        if roles:
            yield f"\n{which}, {size:.0f} GB: geneman weights get {named} --accept-licences"


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
