"""Learning curves as a table that grows, and as a picture of it."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from geneman.storage import write_whole

WIDTH, HEIGHT, MARGIN = 420, 220, 46
COLUMNS = 3
INK, GRID, LINE = (40, 40, 40), (225, 225, 225), (30, 100, 180)


def note(table: Path, row: Mapping[str, float]) -> None:
    """Append a row to a table; rows of an earlier try at the same or later steps are dropped.

    Args:
        table: A .csv file, made if it is not there.
        row: Values by column; the first column counts steps.
    """
    step, *_ = row
    kept = [old for old in read(table) if old[step] < row[step]]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows([*kept, row])
    write_whole(table, text.getvalue().encode())


def read(table: Path) -> list[dict[str, float]]:
    """Give a table's rows; none if there is no table."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if value != ""}
            for row in csv.DictReader(file)
        ]


def draw(rows: Sequence[Mapping[str, float]], picture: Path) -> None:
    """Draw each column over the first one, a small diagram each.

    Args:
        rows: Of a table.
        picture: A .png file.
    """
    across, *names = rows[-1]
    lines = -(-len(names) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * WIDTH, lines * HEIGHT), "white")
    pen = ImageDraw.Draw(sheet)
    for index, name in enumerate(names):
        points = [
            (row[across], row[name]) for row in rows if name in row and math.isfinite(row[name])
        ]
        left, top = index % COLUMNS * WIDTH, index // COLUMNS * HEIGHT
        if points:
            _diagram(pen, left, top, f"{name} over {across}", points)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_whole(picture, buffer.getvalue())


def _diagram(
    pen: ImageDraw.ImageDraw,
    left: int,
    top: int,
    title: str,
    points: Sequence[tuple[float, float]],
) -> None:
    """Draw one curve between its own bounds."""
    xs, ys = zip(*points, strict=True)
    low, high = min(ys), max(ys)
    if high == low:
        low, high = low - 0.5, high + 0.5
    last = max(xs) or 1.0
    wide, tall = WIDTH - MARGIN - 12, HEIGHT - MARGIN - 12

    def place(x: float, y: float) -> tuple[float, float]:
        return left + MARGIN + wide * x / last, top + 24 + tall * (high - y) / (high - low)

    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        x, y = place(0, value)
        pen.line([(x, y), (x + wide, y)], fill=GRID)
        pen.text((left + 4, y - 6), f"{value:.3g}", fill=INK)
    pen.text((left + MARGIN, top + 6), title, fill=INK)
    pen.text((left + MARGIN + wide - 40, top + HEIGHT - 18), f"{last:.4g}", fill=INK)
    spots = [place(x, y) for x, y in points]
    pen.line(spots, fill=LINE, width=2)
    x, y = spots[-1]
    pen.ellipse([x - 3, y - 3, x + 3, y + 3], fill=LINE)
