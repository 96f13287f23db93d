"""The table and the picture of a training."""

import numpy as np

from geneman.training import learning_curves


def test_a_table_forgets_what_a_killed_try_wrote_about_later_steps(tmp_path):
    table = tmp_path / "t.csv"
    for step, loss in ((10, 1.0), (20, 0.5), (15, 0.7)):
        learning_curves.note(table, {"step": step, "loss": loss})
    rows = learning_curves.read(table)
    assert [(row["step"], row["loss"]) for row in rows] == [(10, 1), (15, 0.7)]


def test_a_curve_falls_in_its_picture_as_in_its_table(tmp_path):
    from PIL import Image

    learning_curves.draw(
        [{"step": step, "loss": 1 / (1 + step)} for step in range(10)], tmp_path / "c.png"
    )
    pixels = np.asarray(Image.open(tmp_path / "c.png").convert("RGB")).astype(int)
    blue = (pixels == learning_curves.LINE).all(axis=2)
    columns = np.flatnonzero(blue.any(axis=0))
    heights = [np.flatnonzero(blue[:, column]).mean() for column in columns[5:-8]]
    assert heights[0] < heights[len(heights) // 2] < heights[-1]  # row 0 is the top
