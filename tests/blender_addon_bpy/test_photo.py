"""The photo as Blender shows it: upright like the backend's, and the ground of the mask."""

import importlib
import struct
from pathlib import Path
from typing import Any

import bpy  # noqa: TID251
import numpy as np
import pytest

PACKAGE = "bl_ext.user_default.geneman"
photo = importlib.import_module(f"{PACKAGE}.photo")
scene_import = importlib.import_module(f"{PACKAGE}.scene_import")

CORNER = np.array([0.0, 0.0, 1.0, 1.0], np.float32)
"""Blue: marks what must come to lie in the upper left."""


def write(path: Path, kind: str = "PNG", size: tuple[int, int] = (6, 4)) -> Path:
    image = bpy.data.images.new("made", *size)
    pixels = np.full((size[1], size[0], 4), 0.5, np.float32)
    pixels[..., 3] = 1
    pixels[-1, 0] = CORNER
    image.pixels.foreach_set(pixels.reshape(-1))
    image.filepath_raw, image.file_format = str(path), kind
    image.save()
    bpy.data.images.remove(image)
    return path


def held(path: Path, orientation: int, order: str = "<") -> Path:
    """Write into a JPEG how its camera was held."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = mark + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)
    block = b"Exif\0\0" + tiff
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
    return path


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_from_exif_of_either_byte_order(tmp_path: Path, order: str) -> None:
    path = held(write(tmp_path / "a.jpg", "JPEG"), 6, order)
    assert photo.orientation(path) == 6


def test_what_has_no_orientation_is_upright(tmp_path: Path) -> None:
    assert photo.orientation(write(tmp_path / "a.png")) == 1
    assert photo.orientation(write(tmp_path / "a.jpg", "JPEG")) == 1
    cut = held(write(tmp_path / "b.jpg", "JPEG"), 6)
    cut.write_bytes(cut.read_bytes()[:24])
    assert photo.orientation(cut) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_way_to_hold_a_camera_is_turned_upright(orientation: int) -> None:
    """EXIF says where row 0 and column 0 of the file are in the upright picture (TIFF 6, 274)."""
    rows, columns = {
        1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
        5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
    }[orientation]  # fmt: skip
    stored = np.zeros((4, 6, 1), np.float32)
    stored[0, :, 0] += 1.0  # the file's first row
    stored[:, 0, 0] += 2.0  # and its first column; where they meet is 3
    upright = photo.turn(stored[::-1], orientation)[::-1, :, 0]
    sides = {"top": upright[0], "bottom": upright[-1], "left": upright[:, 0],
             "right": upright[:, -1]}  # fmt: skip
    assert set(sides[rows]) == {1.0, 3.0}
    assert set(sides[columns]) == {2.0, 3.0}


def test_a_photo_is_loaded_once_and_a_missing_one_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    assert photo.shown_photo(str(path)) == photo.shown_photo(str(path))
    assert photo.shown_photo(str(tmp_path / "gone.png")) is None
    strange = tmp_path / "a.heic"
    strange.write_bytes(b"no picture at all")
    assert photo.shown_photo(str(strange)) is None
    with pytest.raises(scene_import.SceneError, match="that Blender can read"):
        photo.upright_photo(str(strange))


def test_the_mask_is_painted_on_the_photo_which_stays_faint_outside(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    mask = np.zeros((4, 6), np.float32)
    mask[:2] = 1
    ground = photo.paint_ground(str(path), mask)
    pixels = np.array(ground.pixels).reshape(4, 6, 4)
    assert pixels[-1, 0, :3] == pytest.approx(CORNER[:3], abs=0.02), "colours stay for adding back"
    assert pixels[-1, 0, 3] == pytest.approx(photo.GHOST, abs=0.01)
    painted = photo.painted_mask(ground)
    assert painted.mask()[:2].max() == 0, "row 0 is on top"
    assert painted.mask()[2:].min() == 255


def test_erasing_and_adding_opacity_changes_the_mask(tmp_path: Path) -> None:
    ground = photo.paint_ground(str(write(tmp_path / "a.png")), None)
    pixels = np.array(ground.pixels).reshape(4, 6, 4)
    pixels[0, :, 3] = 0.0
    ground.pixels.foreach_set(pixels.astype(np.float32).reshape(-1))
    assert photo.painted_mask(ground).mask().tolist() == [[255] * 6] * 3 + [[0] * 6]
    pixels[..., 3] = 0.0
    ground.pixels.foreach_set(pixels.astype(np.float32).reshape(-1))
    with pytest.raises(scene_import.SceneError, match="must leave something of the person"):
        photo.painted_mask(ground)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(scene_import.SceneError, match="6 x 4 pixels, but has 5 x 4"):
        photo.paint_ground(str(write(tmp_path / "a.png")), np.ones((4, 5), np.float32))


def test_choosing_a_photo_shows_it_and_forgets_the_mask_of_another(tmp_path: Path) -> None:
    wanted: Any = bpy.context.scene.geneman
    bpy.ops.geneman.choose_photo(filepath=str(write(tmp_path / "a.png")))
    assert wanted.photo_image.filepath.endswith("a.png")
    bpy.ops.geneman.paint_mask()
    assert wanted.mask is not None
    bpy.ops.geneman.choose_photo(filepath=str(write(tmp_path / "b.png")))
    assert wanted.mask is None
    with pytest.raises(RuntimeError, match=r"must be a png, jpeg, webp or heic file.*'b\.tga'"):
        bpy.ops.geneman.choose_photo(filepath=str(tmp_path / "b.tga"))
    assert wanted.photo.endswith("b.png"), "a refusal loses nothing"


def test_a_dropped_file_is_taken_without_asking(tmp_path: Path) -> None:
    handler = next(c for c in bpy.types.FileHandler.__subclasses__() if "GENEMAN" in c.__name__)
    assert handler.bl_import_operator == "geneman.drop_photo"
    assert {".png", ".jpg", ".heic"} <= set(handler.bl_file_extensions.split(";"))
    bpy.ops.geneman.drop_photo("INVOKE_DEFAULT", filepath=str(write(tmp_path / "a.png")))
    assert bpy.context.scene.geneman.photo.endswith("a.png")
