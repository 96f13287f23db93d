"""Looking at a person: around it, beside its earlier self, through the photo's camera; export."""

import importlib
from collections.abc import Iterator
from math import pi, radians
from pathlib import Path
from typing import Any

import bpy  # noqa: TID251
import numpy as np
import pytest

PACKAGE = "bl_ext.user_default.geneman"
JOB = "ab" * 16


def of(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


@pytest.fixture
def person() -> Iterator[Any]:
    """Somebody two metres tall and one wide, whom a scene unit makes two metres."""
    bpy.ops.wm.read_homefile(use_empty=True)
    scene_import, arrays = of("scene_import"), of("arrays")
    found = scene_import.new_person(JOB, "Ann", bpy.context.scene)
    corners = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0.5, 0, 2], [-0.5, 0, 2]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    scene_import.write_surface(found.data, corners.reshape(-1), arrays.topology_of(faces, 4))
    scene_import.place(found, of("protocol").Placement(2.0, (0.0, 0.0, -0.5)))
    pixels = arrays.png_of(np.full((8, 8, 3), 128, np.uint8))
    scene_import.write_uv(found.data, arrays.corner_uv_of(corners[:, [0, 2]], faces))
    scene_import.dress(found, JOB, pixels)
    bpy.context.scene.geneman.job = JOB
    bpy.context.view_layer.update()
    yield found
    bpy.ops.wm.read_homefile(use_empty=True)


def mask(width: int, height: int, box: tuple[int, int, int, int]) -> None:
    """Give the job a mask: white from left to right and from top to bottom."""
    left, right, top, bottom = box
    image = of("scene_import").marked(bpy.data.images.new("m", width, height), JOB, "mask")
    pixels = np.zeros((height, width, 4), np.float32)
    pixels[::-1][top:bottom, left:right] = 1
    image.pixels.foreach_set(pixels.reshape(-1))
    image.update()


def test_the_photos_camera_stands_where_the_photo_was_taken_from(person: Any) -> None:
    mask(90, 60, (20, 50, 10, 55))
    person.location.x = 3.0
    assert bpy.ops.geneman.match_camera() == {"FINISHED"}
    scene = bpy.context.scene
    camera = scene.camera
    assert camera.location[:] == pytest.approx((3.0, -6.0, 1.0))
    assert (scene.render.resolution_x, scene.render.resolution_y) == (90, 60)
    frame = of("placement").PhotoFrame(90, 60, 45 / 0.9, 35.0, 32.5)
    assert camera.data.angle == pytest.approx(frame.angle(), rel=1e-3)
    assert (camera.data.shift_x, camera.data.shift_y) == pytest.approx(frame.shift, abs=1e-3)
    count = len(bpy.data.cameras)
    bpy.ops.geneman.match_camera()
    assert len(bpy.data.cameras) == count, "one camera is enough"


def test_an_empty_mask_is_told(person: Any) -> None:
    mask(8, 8, (0, 0, 0, 0))
    with pytest.raises(RuntimeError, match="a mask must show somebody"):
        bpy.ops.geneman.match_camera()


def test_a_turntable_goes_round_once_evenly_and_sees_all_of_the_person(person: Any) -> None:
    from bpy_extras.object_utils import world_to_camera_view

    scene = bpy.context.scene
    for _ in range(2):
        assert bpy.ops.geneman.add_turntable(frames=40) == {"FINISHED"}
    assert scene.frame_end - scene.frame_start + 1 == 40
    (pivot,) = (o for o in scene.objects if o.get("geneman_role") == "turntable")
    angles = []
    for frame in (scene.frame_start, scene.frame_start + 10, scene.frame_start + 20):
        scene.frame_set(frame)
        angles.append(pivot.rotation_euler.z)
        for vertex in person.data.vertices:
            x, y, depth = world_to_camera_view(scene, scene.camera, person.matrix_world @ vertex.co)
            assert 0 < x < 1
            assert 0 < y < 1
            assert depth > 0
    assert angles == pytest.approx([0, pi / 2, pi], abs=1e-4)
    assert scene.camera.data.angle_y == pytest.approx(radians(30))


def test_a_copy_stands_beside_and_stays_as_it_is(person: Any) -> None:
    for _ in range(2):
        assert bpy.ops.geneman.compare_stages() == {"FINISHED"}
    copies = [o for o in bpy.context.scene.objects if "geneman_stage" in o]
    places = sorted(round(o.location.x, 3) for o in copies)
    assert places == pytest.approx([1.3, 2.6])
    assert of("scene_import").person_of(JOB) == person, "results go to the person, not to copies"
    person.data.vertices[0].co.z = 5
    assert all(o.data.vertices[0].co.z == 0 for o in copies)


def test_the_person_alone_is_exported_and_the_selection_is_as_before(
    person: Any, tmp_path: Path
) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    assert bpy.ops.geneman.export_gltf(filepath=str(tmp_path / "ann")) == {"FINISHED"}
    assert bpy.context.view_layer.objects.active == cube
    assert cube.select_get()
    assert not person.select_get()
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(tmp_path / "ann.glb"))
    (back,) = (o for o in bpy.data.objects if o.type == "MESH")
    bpy.context.view_layer.update()
    assert back.dimensions[:] == pytest.approx((1, 0, 2), abs=1e-4)
    (image,) = (i for i in bpy.data.images if i.size[0] == 8)
    assert image.pixels[0] == pytest.approx(128 / 255, abs=0.01)
