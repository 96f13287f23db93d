"""Command lines into dataclasses, and into one sentence when they do not fit."""

import contextlib
import io
import re
import sys
from collections.abc import Sequence
from typing import TypeVar

import tyro

from geneman.errors import OptionError

T = TypeVar("T")

RECIPE = "--recipe."


def parse(kind: type[T], command: str, arguments: Sequence[str]) -> T:
    """Read a command's arguments.

    Raises:
        OptionError: An argument is missing, unknown or of another type.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                kind,
                prog=f"geneman {command}",
                args=list(arguments),
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise OptionError(
            f"the arguments of `geneman {command}` must be complete and known",
            value=_in_one_line(said.getvalue()),
            remedy=f"see `geneman {command} --help`",
        ) from None


def _in_one_line(box: str) -> str:
    """Take the words out of the box that tyro draws, up to its advice."""
    lines = (line.strip("│╭╮╰╯─ \t") for line in box.splitlines())
    words = " ".join(line for line in lines if line.strip("-"))
    words = re.split(r"For full helptext|Perhaps you meant", words)[0]
    titles = r"Parsing error|Value error|Unrecognized options:?|Missing argument|Required options"
    words = re.sub(titles + r"|from geneman [a-z]+(?=:)", "", words)
    return " ".join(words.split()).replace(" :", ":")


def take_overrides(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Part `--recipe.STAGE.FIELD VALUE` (or `=VALUE`) from the other arguments.

    Raises:
        OptionError: A setting has no value.
    """
    others: list[str] = []
    overrides: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith(RECIPE):
            others.append(argument)
            continue
        name, _, value = argument.removeprefix(RECIPE).partition("=")
        if "=" not in argument:
            value = next(rest, "")
        if not value or value.startswith("--"):
            raise OptionError(
                f"{argument} must be followed by a value",
                value=f"'{value}'",
                remedy="as in --recipe.sculpt.steps 50",
            )
        overrides[name.replace("-", "_")] = value
    return others, overrides


def wants_help(arguments: Sequence[str]) -> bool:
    """Say whether somebody asks what there is."""
    return any(argument in ("-h", "--help") for argument in arguments)


def say(text: str) -> None:
    """Write a line of a command's answer."""
    sys.stdout.write(f"{text}\n")
