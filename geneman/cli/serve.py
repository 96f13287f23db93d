"""`geneman serve`: the backend, which the library does not know; it is started by name."""

from collections.abc import Sequence

from geneman.cli.neighbour import start


def command(arguments: Sequence[str]) -> int:
    """Serve until told to stop."""
    return start("backend.__main__", arguments)
