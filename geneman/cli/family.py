"""Which priors a run is given, and how a run with the large ones is kept within memory."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from geneman.chain import bundled_priors, full_family
from geneman.errors import OptionError
from geneman.memory.fitting import Fitted, fitted, free_bytes, preflight, run_within_memory
from geneman.pipeline import Request
from geneman.presets import FULL
from geneman.priors import full, weights
from geneman.priors.bundle import Priors
from geneman.priors.compiling import Compiling, compiler_for
from geneman.priors.economy import TIERS, Economy
from geneman.settings import nearest

FAMILIES = ("auto", "bundled", "full")

Run = Callable[[Request, Priors], None]

log = logging.getLogger("geneman")


def is_full(family: str, preset: str) -> bool:
    """Say whether the paper's priors are wanted.

    Args:
        family: One of `FAMILIES`; auto takes those that the preset is made for.
        preset: Its name.

    Raises:
        OptionError: There is no such family.
    """
    if family not in FAMILIES:
        raise OptionError(
            "--priors must be one of " + ", ".join(FAMILIES),
            value=f"'{family}'",
            remedy=nearest(family, FAMILIES),
        )
    return family == "full" or (family == "auto" and preset in FULL)


def fit_to(request: Request, device: torch.device) -> Fitted:
    """Make a request's recipe fit the memory that a device has free.

    Raises:
        DeviceMemoryError: It cannot be made to.
    """
    known = free_bytes(device)
    return fitted(request.recipe, TIERS[0]) if known is None else preflight(request.recipe, known)


def weights_root(folder: Path | None) -> Path:
    """Give the folder of all weights: the named one, or the usual."""
    return weights.root() if folder is None else folder


def run_with_bundled(request: Request, run: Run) -> None:
    """Run with the priors that need no download."""
    run(request, bundled_priors())


def run_with_full(
    request: Request, device: torch.device, root: Path, run: Run, *, compiling: bool = False
) -> None:
    """Run with the paper's priors, at the highest tier that the device's memory allows.

    Args:
        request: What to do.
        device: Where.
        root: Of the weights.
        run: Reconstructs.
        compiling: Whether networks are to be compiled where that is possible.

    Raises:
        MissingComponentError: Weights are missing.
        DeviceMemoryError: The lowest tier was too high.
    """
    full.check(root)
    first = fit_to(request, device)
    if first.tier is not TIERS[0]:
        log.warning("The device is small for this recipe: %s.", first.tier)
    economy = Economy(device, first.tier, compiling=_compiling(device) if compiling else None)
    priors = full_family(root, economy)
    run_within_memory(
        lambda recipe: run(replace(request, recipe=recipe), priors),
        request.recipe,
        first.tier,
        economy,
        log.warning,
    )


def _compiling(device: torch.device) -> Compiling | None:
    compiler = compiler_for(device)
    if compiler is None:
        log.warning("Nothing is compiled: that needs a CUDA device and the package triton.")
        return None
    return Compiling(compiler)
