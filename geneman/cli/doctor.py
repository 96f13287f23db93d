"""`geneman doctor`: what this machine offers and what of it is used, with reasons."""

import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
import torch
from rich.console import Console

import geneman
from geneman.cli.arguments import parse, say
from geneman.device import choose, threads
from geneman.kernels.accelerators import choice as accelerators
from geneman.kernels.launch import compile_kernels
from geneman.presets import FULL, PRESETS
from geneman.priors import catalogue, weights

PACKAGES = (
    *("torch", "warp-lang", "numpy", "msgspec", "ai-edge-litert", "xatlas"),
    *("diffusers", "transformers"),
)


@dataclass(frozen=True)
class Doctor:
    """Say what this machine has: devices, versions, threads, accelerators, weights."""

    json: bool = False
    """Print it as one json object."""
    warm: bool = False
    """Also compile all kernels now (Warp's and the matting's), so that nothing waits later."""


def command(arguments: Sequence[str]) -> int:
    """Print the diagnosis."""
    options = parse(Doctor, "doctor", arguments)
    if options.warm:
        compile_kernels(choose("auto"), _tell)
        importlib.import_module("pymatting")  # numba compiles at import and keeps the result
    found = diagnosis()
    if options.json:
        say(msgspec.json.encode(found).decode())
        return 0
    console = Console(highlight=False)
    for topic, facts in found.items():
        console.print(f"[bold]{topic}[/]")
        for name, fact in facts.items():
            line = (
                ", ".join(f"{k}: {v}" for k, v in fact.items()) if isinstance(fact, dict) else fact
            )
            console.print(f"  {name:<16} {line}")
    return 0


def _tell(done: int, of: int) -> None:
    """Say how far the compiling is: Blender's Set Up Backend shows it."""
    sys.stderr.write(f"Compiled {done} of {of} kernel modules\n")
    sys.stderr.flush()


def diagnosis() -> dict[str, dict[str, Any]]:
    """Gather everything that decides how a run will go here."""
    return {
        "system": {
            "geneman": geneman.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "threads": threads(),
        },
        "devices": _devices(),
        "packages": {name: _version(name) for name in PACKAGES},
        "accelerators": _accelerators(),
        "weights": {
            entry.role: {
                "present": weights.present(entry.role),
                "folder": str(weights.folder(entry.role)),
                "licence": entry.licence,
                "commercial": entry.commercial,
            }
            for entry in catalogue.TABLE
        },
        "presets": {name: _preset(name) for name in PRESETS},
    }


def _preset(name: str) -> dict[str, str]:
    """Say what a preset lacks here, and the one command that gets it."""
    roles = catalogue.OF_PRESET.get(name, ("person",))
    lacking = [role for role in roles if not weights.present(role)]
    if name in FULL and importlib.util.find_spec("transformers") is None:
        return {"lacks": "the package transformers", "get it": "pip install 'geneman[full]'"}
    if not lacking:
        return {"lacks": "nothing"}
    consent = any(weights.entry(role).commercial != "yes" for role in lacking)
    accept = " --accept-licences" if consent else ""
    command = f"geneman weights get --preset {name}{accept}"
    return {"lacks": ", ".join(lacking), "get it": command}


def _devices() -> dict[str, Any]:
    devices: dict[str, Any] = {"used by auto": choose("auto").type, "cpu": platform.machine()}
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB"
    return devices


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _accelerators() -> dict[str, dict[str, Any]]:
    """Say of each accelerator what it does here, on which terms, and how to have more of it.

    Raises:
        OptionError: An environment variable names what is no accelerator.
    """
    wishes, cuda = accelerators.Wishes.read(os.environ), torch.cuda.is_available()
    rows = {}
    for entry in accelerators.TABLE:
        verdict = accelerators.judge(entry, wishes, cuda=cuda)
        rows[entry.name] = {
            "active": ", ".join(verdict.operations) or "no",
            "could do": ", ".join(entry.operations + entry.by_name),
            "licence": entry.licence,
            "commercial": "yes" if entry.commercial else "no",
            "reason": verdict.reason,
            "install": entry.install,
        }
    return rows
