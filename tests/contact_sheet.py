"""Make the README's picture: `python -m tests.contact_sheet RUN=PHOTO... -o FILE [--columns N]`.

Only of photos whose licence allows it.
"""

import argparse
from pathlib import Path

from geneman.evaluation.contact_sheet import write_contact_sheet
from geneman.gltf_reader import read_glb
from geneman.stages.finish import MODEL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("people", nargs="+", metavar="RUN=PHOTO", help="finished run, its photo")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--columns", type=int, default=2)
    parser.add_argument("--size", type=int, default=384)
    options = parser.parse_args()
    pairs = [person.split("=", 1) for person in options.people]
    people = [(Path(photo), read_glb(Path(run) / MODEL)) for run, photo in pairs]
    write_contact_sheet(people, options.output, columns=options.columns, size=options.size)


if __name__ == "__main__":
    main()
