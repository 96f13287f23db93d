"""`geneman batch`: a folder of photos through a backend, which the library knows by name only."""

from collections.abc import Sequence

from geneman.cli.neighbour import start


def command(arguments: Sequence[str]) -> int:
    """Reconstruct every photo of a folder."""
    return start("backend.batch", arguments)
