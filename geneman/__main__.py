"""The command line: `geneman COMMAND ...`.

Each command is a module of `geneman.cli` and is imported only when it is called for, so that
help and status answer at once.
"""

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence

from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

import geneman
from geneman.errors import Cancelled, GenemanError, OptionError
from geneman.settings import nearest

COMMANDS = {
    "reconstruct": "Turn one photo of a person into a textured 3D person.",
    "status": "Say which stages of a run are done, stale or missing.",
    "export": "Write a finished person as .glb, .obj or .ply.",
    "turntable": "Write a picture of the finished person going round.",
    "evaluate": "Measure how close finished people are to their photos.",
    "curate": "Make a benchmark from rendered people who are never trained on.",
    "train": "Make the weights of the bundled priors from rendered people.",
    "serve": "Start the backend that Blender and `geneman jobs` talk to.",
    "jobs": "Submit, list, cancel, re-run and fetch the backend's jobs.",
    "batch": "Reconstruct every photo of a folder, on this machine or on a cluster.",
    "weights": "List, fetch and verify the learned weights.",
    "doctor": "Say what this machine has: devices, versions, threads, accelerators, weights.",
}
"""What each module of `geneman.cli` with a `command` does."""

DEBUG_VARIABLE = "GENEMAN_DEBUG"
"""Environment variable that, set to 1, shows the traceback of every error."""

CANCELLED = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give the process's exit code.

    0 done, 1 our fault, 2 bad input or options, 3 cancelled, 4 out of memory.
    """
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    _log_to(errors)
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except (Cancelled, KeyboardInterrupt):
        errors.print("Cancelled; the same command goes on from the last checkpoint.")
        return CANCELLED
    except GenemanError as error:
        _show(errors, str(error))
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        fault = f"{type(error).__name__}: {' '.join(str(error).split())}"
        _show(errors, f"{fault} (our fault: set {DEBUG_VARIABLE}=1 to see where, and report it).")
        return 1


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        _help()
        return 0
    name, *rest = arguments
    if name == "--version":
        sys.stdout.write(f"geneman {geneman.__version__}\n")
        return 0
    if name not in COMMANDS:
        raise OptionError(
            "geneman must be given a command", value=f"'{name}'", remedy=nearest(name, COMMANDS)
        )
    command = importlib.import_module(f"geneman.cli.{name}").command
    return int(command(rest))


def _help() -> None:
    console = Console(highlight=False)
    console.print("usage: geneman COMMAND ...\n")
    console.print("One photo of a person in, one textured 3D person out.\n")
    for name, text in COMMANDS.items():
        console.print(f"  [bold]{name:<12}[/] {text}")
    console.print("\n`geneman COMMAND --help` says more; `geneman --version` says which this is.")


def _show(errors: Console, sentence: str) -> None:
    """Print one sentence, and the traceback if it was asked for."""
    if os.environ.get(DEBUG_VARIABLE) == "1":
        errors.print(escape(traceback.format_exc()))
    errors.print(f"[bold red]Error:[/] {escape(sentence)}")


def _log_to(errors: Console) -> None:
    """Say aloud what the library wants said, one line each."""
    handler = RichHandler(console=errors, show_time=False, show_path=False, show_level=True)
    log = logging.getLogger("geneman")
    log.handlers[:] = [handler]


if __name__ == "__main__":
    sys.exit(main())
