"""One picture of the main steps, for the README: `python -m tests.gui.pictures FOLDER FILE.jpg`.

FOLDER is where `make test-gui` worked. Only the public-domain portrait is ever seen in it.
"""

import sys
from pathlib import Path

from PIL import Image

STEPS = ("3-photo", "4-first-renders", "5-mesh", "6-person", "9-beside", "14-light-german")
COLUMNS = 2
SEEN = (330, 28, 1325, 905)
"""The viewport with its sidebar, without the other editors."""
SCALE = 0.6
GAP = 6


def strip(pictures: Path) -> Image.Image:
    """Lay the steps side by side, in rows."""
    width, height = (round(SCALE * (SEEN[i + 2] - SEEN[i])) for i in (0, 1))
    rows = -(-len(STEPS) // COLUMNS)
    size = COLUMNS * (width + GAP) - GAP, rows * (height + GAP) - GAP
    whole = Image.new("RGB", size, "white")
    for number, step in enumerate(STEPS):
        with Image.open(pictures / f"{step}.png") as shot:
            seen = shot.convert("RGB").crop(SEEN)
            small = seen.resize((width, height), Image.Resampling.LANCZOS)
        row, column = divmod(number, COLUMNS)
        whole.paste(small, (column * (width + GAP), row * (height + GAP)))
    return whole


def main() -> None:
    """Write it."""
    folder, file = map(Path, sys.argv[1:])
    strip(folder / "shared" / "pictures").save(file, quality=84, optimize=True, progressive=True)


if __name__ == "__main__":
    main()
