"""Programs that live beside the library and are known to it by name only."""

import importlib
from collections.abc import Sequence

from geneman.errors import MissingComponentError


def start(module: str, arguments: Sequence[str]) -> int:
    """Run a module's `main` in this process and give its exit code.

    Raises:
        MissingComponentError: It, or a package that it needs, is not installed.
    """
    try:
        main = importlib.import_module(module).main
    except ModuleNotFoundError as error:
        raise MissingComponentError(
            "the backend needs its packages",
            value=f"no module '{error.name}'",
            remedy="install geneman with all its dependencies",
        ) from error
    return int(main(list(arguments)))
