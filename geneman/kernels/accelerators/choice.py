"""Which optional packages do the work of our kernels on CUDA, and why the others do not.

A function marked `accelerated` is an operation. On the CPU it is itself. On CUDA a chosen package
may do its work: the package's owner file, beside this one, has a function of the same name,
signature and meaning, and is the only file that imports the package.

Two environment variables decide, so that workers hear them too:

    GENEMAN_ACCELERATORS     auto (the default), none, or names: tinycudann,nvdiffrast
    GENEMAN_ACCEPT_LICENCES  names of packages whose non-commercial licence the user has read
"""

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from torch import Tensor

from geneman.errors import MissingComponentError, OptionError

CHOICE_VARIABLE = "GENEMAN_ACCELERATORS"
CONSENT_VARIABLE = "GENEMAN_ACCEPT_LICENCES"

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Accelerator:
    """A package, what it can do for us, and on which terms."""

    name: str
    """Of the package and of its owner file."""
    licence: str
    commercial: bool
    """Whether the licence allows commercial use; if not, the user must consent."""
    install: str
    """The command that installs it; all of them need a CUDA build of torch."""
    operations: tuple[str, ...] = ()
    """What it does where it is installed and allowed."""
    by_name: tuple[str, ...] = ()
    """What it does besides where `GENEMAN_ACCELERATORS` names it."""
    by_name_reason: str = ""
    """Why nobody takes those unasked."""
    same_bits: bool = True
    """Whether it gives the same bits each time, gradients included."""


TABLE = (
    Accelerator(
        "tinycudann",
        licence="BSD-3-Clause",
        commercial=True,
        install="pip install --no-build-isolation "
        "'git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch'",
        by_name=("encode",),
        by_name_reason="nobody has timed it beside ours yet, and it adds gradients in any order",
        same_bits=False,
    ),
    Accelerator(
        "nvdiffrast",
        licence="NVIDIA Source Code License (1-Way Commercial): non-commercial use only",
        commercial=False,
        install="pip install --no-build-isolation 'git+https://github.com/NVlabs/nvdiffrast.git'",
        operations=("rasterise", "interpolate", "read_texture"),
        by_name=("antialias",),
        by_name_reason="it misses silhouettes of triangles as small as a pixel",
        same_bits=False,
    ),
    Accelerator(
        "kaolin",
        licence="Apache-2.0 (its legacy part, kaolin.non_commercial, is not called)",
        commercial=True,
        install="pip install kaolin==0.18.0 "
        "-f https://nvidia-kaolin.s3.us-east-2.amazonaws.com/torch-TORCH_cuCUDA.html",
        by_name=("march",),
        by_name_reason="it sorts the edges at every call, where ours are numbered beforehand",
    ),
)


@dataclass(frozen=True)
class Wishes:
    """What the user said about accelerators."""

    named: frozenset[str] | None = None
    """Those to use and no others; None chooses automatically."""
    accepted: frozenset[str] = frozenset()
    """Those whose non-commercial licence was accepted."""

    @staticmethod
    def read(environment: Mapping[str, str]) -> "Wishes":
        """Read the two variables.

        Raises:
            OptionError: One holds a word that is no accelerator's name.
        """
        choice = environment.get(CHOICE_VARIABLE, "auto").strip()
        named = None if choice in ("", "auto") else _names(CHOICE_VARIABLE, choice)
        return Wishes(named, _names(CONSENT_VARIABLE, environment.get(CONSENT_VARIABLE, "")))


@dataclass(frozen=True)
class Verdict:
    """What an accelerator does here."""

    operations: tuple[str, ...]
    """None of them where it is not used."""
    reason: str
    remedy: str = ""
    """What would change that."""


def judge(accelerator: Accelerator, wishes: Wishes, *, cuda: bool) -> Verdict:
    """Say which operations an accelerator takes over, and why not more.

    Args:
        accelerator: One of `TABLE`.
        wishes: What the user said.
        cuda: Whether there is a CUDA device.
    """
    obstacle = _obstacle(accelerator, wishes, cuda=cuda)
    if obstacle is not None:
        return obstacle
    taken, remedy = accelerator.operations, ""
    if wishes.named is not None:
        taken, reasons = taken + accelerator.by_name, [f"{CHOICE_VARIABLE} names it"]
    elif accelerator.by_name:
        reasons = [f"{', '.join(accelerator.by_name)} only by name: {accelerator.by_name_reason}"]
        remedy = f"set {CHOICE_VARIABLE}={accelerator.name}"
    else:
        reasons = ["installed, and its licence allows it"]
    if taken and not accelerator.same_bits:
        reasons.append("a resumed run ends with the same result to rounding, not to the bit")
    return Verdict(taken, "; ".join(reasons), remedy)


def _obstacle(accelerator: Accelerator, wishes: Wishes, *, cuda: bool) -> Verdict | None:
    """Say why an accelerator does nothing here, if that is so."""
    name = accelerator.name
    if wishes.named is not None and name not in wishes.named:
        return Verdict((), f"{CHOICE_VARIABLE} leaves it out")
    if not cuda:
        return Verdict((), "there is no CUDA device here; the Warp kernels run on every device")
    if importlib.util.find_spec(name) is None:
        return Verdict((), "not installed; the Warp kernels do its work", accelerator.install)
    if not accelerator.commercial and name not in wishes.accepted:
        consent = f"read it, then set {CONSENT_VARIABLE}={name}"
        return Verdict((), f"its licence forbids commercial use: {consent}", consent)
    failure = _import_failure(name)
    if failure:
        return Verdict((), f"its import failed: {failure}", "install it again for this torch")
    return None


def accelerated(operation: Callable[P, R]) -> Callable[P, R]:
    """Let a chosen accelerator do an operation's work on CUDA.

    Args:
        operation: Its first tensor says on which device it works.
    """
    name = operation.__name__

    @functools.wraps(operation)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        first = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        if first.device.type != "cuda":
            return operation(*args, **kwargs)
        implementation: Callable[P, R] = chosen(os.environ).get(name, operation)
        return implementation(*args, **kwargs)

    return call


def chosen(environment: Mapping[str, str]) -> Mapping[str, Callable[..., Any]]:
    """Give the functions that take operations over on CUDA, by the operations' names.

    Raises:
        OptionError: A variable holds a word that is no accelerator's name.
        MissingComponentError: One that was named cannot be used.
    """
    said = (environment.get(CHOICE_VARIABLE, "auto"), environment.get(CONSENT_VARIABLE, ""))
    return _chosen(*said)


@functools.cache
def _chosen(choice: str, consent: str) -> Mapping[str, Callable[..., Any]]:
    """Choose once for each pair of values: operations ask thousands of times a run."""
    wishes = Wishes.read({CHOICE_VARIABLE: choice, CONSENT_VARIABLE: consent})
    found: dict[str, Callable[..., Any]] = {}
    for accelerator in TABLE:
        verdict = judge(accelerator, wishes, cuda=True)
        if wishes.named and accelerator.name in wishes.named and not verdict.operations:
            raise MissingComponentError(
                f"{accelerator.name}, which {CHOICE_VARIABLE} names, must be usable",
                value=verdict.reason,
                remedy=verdict.remedy,
            )
        if verdict.operations:
            owner = importlib.import_module(f"{__package__}.{accelerator.name}")
            found |= {operation: getattr(owner, operation) for operation in verdict.operations}
    return found


def _names(variable: str, said: str) -> frozenset[str]:
    """Split a list of names; `none` is an empty one.

    Raises:
        OptionError: A word is no accelerator's name.
    """
    names = frozenset(word.strip() for word in said.split(",")) - {"", "none"}
    known = {accelerator.name for accelerator in TABLE}
    if names - known:
        raise OptionError(
            f"{variable} must name accelerators",
            value=", ".join(sorted(names - known)),
            remedy=f"choose from {', '.join(sorted(known))}",
        )
    return names


@functools.cache
def _import_failure(name: str) -> str:
    """Import an installed package and give what went wrong; nothing if nothing did."""
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:  # what packages built for others raise
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""
