"""`geneman turntable`: a finished person going round."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from geneman.cli.arguments import parse, say
from geneman.cli.finished import finished_person
from geneman.renderers.pictures import check_animation, write_turntable
from geneman.storage import storage_errors


@dataclass(frozen=True)
class Turntable:
    """Write a picture of the finished person going round."""

    run: Positional[Path]
    """The run folder."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """The file to write: .webp, .gif or .mp4."""
    frames: int = 48
    """Pictures in a full turn."""
    size: int = 512
    """Side of the pictures in pixels."""
    seconds: float = 4.0
    """Length of a full turn."""


def command(arguments: Sequence[str]) -> int:
    """Render the turntable."""
    options = parse(Turntable, "turntable", arguments)
    check_animation(options.output)
    person = finished_person(options.run)
    with storage_errors(options.output.parent):
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_turntable(
            person,
            options.output,
            frames=options.frames,
            size=options.size,
            seconds=options.seconds,
        )
    say(str(options.output))
    return 0
