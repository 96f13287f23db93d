"""Two sides joined along the outline: whose corners, which way round, and no gap."""

import pytest
import torch

from geneman.mesh import Mesh
from geneman.sheets import closed_sheets
from geneman.topology import topology


def test_one_cell_is_a_box():
    """Two triangles a side and two on each of four walls."""
    faces = closed_sheets(torch.ones(2, 2, dtype=torch.bool))
    assert faces.shape == (2 + 2 + 8, 3)
    assert faces[:2].tolist() == [[0, 2, 3], [0, 3, 1]]  # counter-clockwise, row 0 at the top
    assert faces[2:4].flip(1).sub(4).tolist() == faces[:2].tolist()
    corners = torch.tensor([[-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    sides = [torch.nn.functional.pad(corners, (0, 1), value=z) for z in (0.5, -0.5)]
    found = topology(Mesh(torch.cat(sides), faces))
    assert found.watertight
    assert found.volume == pytest.approx(4.0)


def test_pixels_that_are_no_corner_of_a_whole_cell_belong_to_nothing():
    inside = torch.ones(3, 3, dtype=torch.bool)
    inside[:, 2] = False
    near = {0, 1, 3, 4, 6, 7}
    assert set(closed_sheets(inside).unique().tolist()) == near | {9 + pixel for pixel in near}
    inside[1] = False
    assert len(closed_sheets(inside)) == 0
