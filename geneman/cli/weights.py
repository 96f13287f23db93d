"""`geneman weights list|get|verify|path`: the learned weights that are fetched, not shipped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from geneman.cli.arguments import parse, say
from geneman.errors import MissingComponentError, OptionError
from geneman.priors import catalogue, weights
from geneman.settings import nearest

ACTIONS = ("list", "get", "verify", "path")


@dataclass(frozen=True)
class Weights:
    """List, fetch or verify the learned weights, or say where they lie."""

    action: Positional[str]
    """list, get, verify or path."""
    roles: Positional[tuple[str, ...]] = ()
    """Which; if none are named: all (list), those present (verify, path), person (get)."""
    preset: str | None = None
    """Those that a preset cannot do without."""
    accept_licences: bool = False
    """You have read the licences that `list` names, those that forbid commercial use included."""
    source: Annotated[Path | None, arg(name="from")] = None
    """A folder that has one role's files already, in the publisher's layout."""

    def chosen(self) -> tuple[str, ...]:
        """Give the roles that are meant.

        Raises:
            OptionError: A name stands for nothing, or a folder for several roles.
        """
        if self.preset is not None:
            named = catalogue.OF_PRESET.get(self.preset, ("person",))
        else:
            named = self.roles
        for role in named:
            weights.entry(role)
        if self.source is not None and len(named) != 1:
            raise OptionError(
                "--from gives the files of one role",
                value=f"{len(named)} roles",
                remedy="name one, as in: geneman weights get geneman-2d --from FOLDER",
            )
        return named


def command(arguments: Sequence[str]) -> int:
    """Do what is asked with the weights."""
    options = parse(Weights, "weights", arguments)
    if options.action not in ACTIONS:
        raise OptionError(
            "`geneman weights` must be told what to do",
            value=f"'{options.action}'",
            remedy=nearest(options.action, ACTIONS),
        )
    roles = options.chosen()
    everything = tuple(known.role for known in catalogue.TABLE)
    match options.action:
        case "list":
            _list(roles or everything)
        case "get":
            _get(roles or ("person",), options)
        case "verify":
            _verify(roles or tuple(role for role in everything if weights.present(role)))
        case _:
            for role in roles or everything:
                say(f"{role:<18} {weights.folder(role)}")
    return 0


def _list(roles: Sequence[str]) -> None:
    table = Table(box=None)
    for column in ("role", "present", "GB", "commercial", "licence", "from", "what"):
        table.add_column(column, overflow="fold")
    for role in roles:
        known = weights.entry(role)
        sources = (known.hub and known.hub.repository, known.wheel and known.wheel.requirement)
        table.add_row(
            role,
            "yes" if weights.present(role) else "no",
            f"{known.gigabytes + sum(file.size for file in known.files) / 1e9:.2g}",
            known.commercial,
            known.licence,
            ", ".join(source for source in sources if source),
            known.title,
        )
    Console().print(table)


def _get(roles: Sequence[str], options: Weights) -> None:
    for role in roles:
        accept, source = options.accept_licences, options.source
        for path in weights.get(role, say, accept=accept, source=source):
            say(str(path))


def _verify(roles: Sequence[str]) -> None:
    for role in roles:
        broken = weights.verify(role)
        if broken:
            raise MissingComponentError(
                f"every file of the weights '{role}' must be there and whole",
                value=f"{', '.join(broken)} missing or changed in '{weights.folder(role)}'",
                remedy=f"run: geneman weights get {role}",
            )
        say(f"{role}: all files are whole.")
