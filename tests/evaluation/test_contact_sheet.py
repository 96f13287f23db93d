import sys

import pytest
import torch
from PIL import Image

from geneman.evaluation.contact_sheet import contact_sheet
from geneman.gltf import write_glb
from geneman.renderers.shading import STUDIO
from tests import contact_sheet as script
from tests.textured import textured_figure


def test_people_stand_in_rows_on_paper():
    photo, figure = torch.zeros(50, 30, 3), textured_figure()
    one, three = (contact_sheet([(photo, figure)] * n, columns=2, size=64) for n in (1, 3))
    assert three.shape[0] - one.shape[0] == 64 + 4
    assert three.shape[1] == one.shape[1]
    torch.testing.assert_close(one[0, 0], torch.tensor(STUDIO.background))
    assert one.min() == 0, "the photo is there"
    # The third person stands alone: the place beside it is paper.
    torch.testing.assert_close(three[-20, -20], torch.tensor(STUDIO.background))


def test_a_landscape_photo_is_cut_to_a_square():
    figure = textured_figure()
    wide, square = torch.zeros(40, 100, 3), torch.zeros(40, 40, 3)
    sheets = [contact_sheet([(photo, figure)], columns=1, size=64) for photo in (wide, square)]
    assert sheets[0].shape == sheets[1].shape


def test_the_script_writes_a_picture(tmp_path, monkeypatch):
    write_glb(tmp_path / "model.glb", textured_figure())
    Image.new("RGBA", (20, 40), (255, 0, 0, 128)).save(tmp_path / "photo.png")
    arguments = ["contact_sheet", f"{tmp_path}={tmp_path / 'photo.png'}", "--size", "64"]
    monkeypatch.setattr(sys, "argv", [*arguments, "-o", str(tmp_path / "sheet.png")])
    script.main()
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > sheet.height > 64
        # Half red over the paper.
        assert sheet.getpixel((20, 40))[:2] == pytest.approx((243, 116), abs=3)
