"""`geneman jobs`: the jobs of a backend, which the library does not know; started by name."""

from collections.abc import Sequence

from geneman.cli.neighbour import start


def command(arguments: Sequence[str]) -> int:
    """Do one of the commands about jobs."""
    return start("backend.terminal", arguments)
