"""`geneman curate`: make what reconstructions are measured by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from geneman.cli.arguments import parse, say
from geneman.storage import storage_errors


@dataclass(frozen=True)
class Curate:
    """Make a benchmark from people who are never trained on: photos, cameras and the truth.

    Cases that are there are kept, so that a run that was stopped goes on.
    """

    what: Positional[Literal["benchmark"]]
    """What to make."""
    people: Path
    """Folder of rigged avatars (.glb)."""
    out: Path
    """Folder that gets a folder for each case."""
    wardrobe: Path | None = None
    """Folder of MakeHuman's clothes, hair and skins; without it, avatars alone are shown."""
    cases: int = 24
    """How many; half of them whole bodies, a quarter each half bodies and heads."""
    size: int = 768
    """Pixels along the sides of the photos."""
    seed: int = 0
    """Other seeds, other people."""


def command(arguments: Sequence[str]) -> int:
    """Write the cases, and name each one."""
    from geneman.curation.benchmark import Benchmark, write_cases
    from geneman.curation.synthetic.bodies import Wardrobe
    from geneman.curation.synthetic.people import split

    options = parse(Curate, "curate", arguments)
    _, held_out = split(options.people)
    clothes = None if options.wardrobe is None else Wardrobe(options.wardrobe, held_out=True)
    benchmark = Benchmark(held_out, clothes, options.size, options.seed)
    with storage_errors(options.out):
        for name in write_cases(benchmark, options.cases, options.out):
            say(str(options.out / name))
    return 0
