"""`geneman export`: a finished person as a file for other programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from geneman.cli.arguments import parse, say
from geneman.cli.finished import finished_person
from geneman.export import check_export, export
from geneman.storage import storage_errors


@dataclass(frozen=True)
class Export:
    """Write a finished person as .glb, .obj or .ply, in metres."""

    run: Positional[Path]
    """The run folder."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """The file to write; its ending says the format."""
    lod: int = 0
    """Level of detail: how often to halve the triangles and the texture's side."""


def command(arguments: Sequence[str]) -> int:
    """Write the file."""
    options = parse(Export, "export", arguments)
    check_export(options.output, options.lod)
    person = finished_person(options.run)
    with storage_errors(options.output.parent):
        options.output.parent.mkdir(parents=True, exist_ok=True)
        export(person, options.output, lod=options.lod)
    say(str(options.output))
    return 0
