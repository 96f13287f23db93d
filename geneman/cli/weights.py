"""`geneman weights list|get|verify`: the learned weights that are fetched, not shipped."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from geneman.cli.arguments import parse, say
from geneman.errors import MissingComponentError, OptionError
from geneman.priors import weights
from geneman.settings import nearest

ACTIONS = ("list", "get", "verify")


@dataclass(frozen=True)
class Weights:
    """List, fetch or verify the learned weights."""

    action: Positional[str]
    """list, get or verify."""
    roles: Positional[tuple[str, ...]] = ()
    """Which; all if none are named."""


def command(arguments: Sequence[str]) -> int:
    """Do what is asked with the weights."""
    options = parse(Weights, "weights", arguments)
    roles = options.roles or tuple(entry.role for entry in weights.TABLE)
    match options.action:
        case "list":
            _list()
        case "get":
            for role in roles:
                for path in weights.get(role, say):
                    say(str(path))
        case "verify":
            _verify(roles)
        case _:
            raise OptionError(
                "`geneman weights` must be told what to do",
                value=f"'{options.action}'",
                remedy=nearest(options.action, ACTIONS),
            )
    return 0


def _list() -> None:
    table = Table(box=None)
    for column in ("role", "present", "MB", "licence", "what"):
        table.add_column(column)
    for entry in weights.TABLE:
        size = sum(file.size for file in entry.files) / 1e6
        present = "yes" if weights.present(entry.role) else "no"
        table.add_row(entry.role, present, f"{size:.1f}", entry.licence, entry.title)
    Console().print(table)


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
