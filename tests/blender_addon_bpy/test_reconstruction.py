"""From photo to character against a real backend process, as somebody would do it in the panel."""

import importlib
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy  # noqa: TID251
import driving
import pytest
from driving import done, here, model, person, row, stages, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PACKAGE = driving.PACKAGE


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return driving.photo(tmp_path_factory.mktemp("photo"))


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    """A backend that the add-on itself starts, and that is gone afterwards."""
    session = driving.session()
    session.driven_by_hand = True
    bpy.ops.wm.read_homefile(use_empty=True)
    driving.choose_existing()
    here().service.choose(session.chosen())
    assert bpy.ops.geneman.start() == {"FINISHED"}
    until(
        lambda: model().welcome is not None and model().welcome.ready,
        driving.STARTING,
        what="the backend",
    )
    yield
    launcher = here().service.launcher
    pid = launcher.status.pid
    here().close()
    session.driven_by_hand = False
    assert not driving.alive(pid)


@pytest.fixture(scope="module")
def made(photo: Path) -> SimpleNamespace:
    """One reconstruction, watched."""
    driving.fill_form(photo)
    bpy.context.scene.geneman.seed = 5
    assert bpy.ops.geneman.reconstruct() == {"FINISHED"}
    watched = SimpleNamespace(pictures=0, moved=0, fractions=[], job="")
    last: Any = None

    def watch() -> Any:
        nonlocal last
        found = person()
        if found is not None and len(found.data.vertices):
            place = tuple(found.data.vertices[0].co)
            watched.moved += place != last
            last = place
        watched.pictures = max(watched.pictures, "GeneMAN Live" in bpy.data.images)
        if row() is not None:
            watched.fractions.append(row().fraction)
        return driving.ended()

    until(watch, what="the reconstruction")
    watched.row = done()
    watched.job = bpy.context.scene.geneman.job
    return watched


def test_a_photo_becomes_a_person_while_one_watches(made: SimpleNamespace) -> None:
    assert made.row.job.label == "astronaut"
    assert made.pictures
    assert made.moved > 3, "the mesh moved as it was sculpted"
    assert made.fractions == sorted(made.fractions), "the bar never goes back"
    assert set(stages().values()) == {"done"}
    assert here().notice is None


def test_the_person_is_textured_in_metres_on_the_floor_and_knows_its_run(
    made: SimpleNamespace,
) -> None:
    found = person()
    assert found.name == "astronaut"
    assert 0.2 < found.dimensions.z < 2.5
    assert min(v.co.z for v in found.data.vertices) == pytest.approx(0, abs=1e-3)
    assert found.data.uv_layers
    (material,) = found.data.materials
    image = next(n.image for n in material.node_tree.nodes if n.type == "TEX_IMAGE")
    assert image.size[:] == (128, 128)
    assert image.packed_file is not None, "the file keeps it"
    assert not found.data.validate()
    assert '"seed": 5' in found["geneman_run"]
    assert '"size": 128' in found["geneman_run"]


def test_the_photos_camera_sees_the_person_where_the_photo_has_it(made: SimpleNamespace) -> None:
    from bpy_extras.object_utils import world_to_camera_view

    assert bpy.ops.geneman.match_camera() == {"FINISHED"}
    scene, camera = bpy.context.scene, bpy.context.scene.camera
    assert (scene.render.resolution_x, scene.render.resolution_y) == (512, 512)
    assert camera.data.background_images[0].image.filepath.endswith("astronaut.png")
    bpy.context.view_layer.update()
    seen = [world_to_camera_view(scene, camera, person().matrix_world @ v.co)
            for v in person().data.vertices]  # fmt: skip
    mask = importlib.import_module(f"{PACKAGE}.operators_photo").found_mask(bpy.context)
    width, height = mask.size
    pixels = list(mask.pixels)
    inside = [pixels[i * 4] > 0.5 for i in range(width * height)]
    columns = [i % width for i, one in enumerate(inside) if one]
    rows = [i // width for i, one in enumerate(inside) if one]
    for axis, places, size in ((0, columns, width), (1, rows, height)):
        low, high = min(one[axis] for one in seen) * size, max(one[axis] for one in seen) * size
        assert low == pytest.approx(min(places), abs=0.06 * size)
        assert high == pytest.approx(max(places), abs=0.06 * size)


def test_a_stage_runs_again_with_other_settings_and_later_ones_follow(
    made: SimpleNamespace,
) -> None:
    form = importlib.import_module(f"{PACKAGE}.recipe_form")
    form.group_of(bpy.context.scene, "pixel_texture").texture_size = 64
    bpy.ops.geneman.rerun_stage(stage="pixel_texture")
    until(lambda: row().job.state in ("queued", "running"), what="its start")
    done()
    scene_import = importlib.import_module(f"{PACKAGE}.scene_import")
    assert scene_import.albedo_of(made.job).size[:] == (64, 64)
    assert set(stages().values()) == {"done"}


def test_settings_are_recalled_from_the_history(made: SimpleNamespace, photo: Path) -> None:
    wanted = bpy.context.scene.geneman
    wanted.seed, wanted.photo = 0, ""
    window = bpy.context.window_manager.geneman
    window.job_index = [line.job for line in window.jobs].index(made.job)
    bpy.ops.geneman.recall_settings()
    until(lambda: wanted.seed == 5, 20, what="the settings")
    assert wanted.photo == str(photo)
    form = importlib.import_module(f"{PACKAGE}.recipe_form")
    assert form.changes(bpy.context.scene, "draft")["pixel_texture"]["texture_size"] == 64


def test_an_edited_mesh_is_textured_anew_and_keeps_its_shape(made: SimpleNamespace) -> None:
    found = person()
    for vertex in found.data.vertices:
        vertex.co.x *= 1.3
    found.data.update()
    bpy.context.view_layer.update()
    width = found.dimensions.x
    assert bpy.ops.geneman.rerun_from_mesh() == {"FINISHED"}
    until(lambda: row().job.state in ("queued", "running"), what="its start")
    done()
    bpy.context.view_layer.update()
    proportion = person().dimensions.x / person().dimensions.z
    assert proportion == pytest.approx(width / found.dimensions.z, rel=0.1)
    rows = {one.name: one for one in model().stage_rows(made.job)}
    assert rows["sculpt"].edited


def test_a_painted_texture_stays_in_the_finished_person(made: SimpleNamespace) -> None:
    scene_import = importlib.import_module(f"{PACKAGE}.scene_import")
    image = scene_import.albedo_of(made.job)
    image.pixels.foreach_set([0.0, 1.0, 0.0, 1.0] * (image.size[0] * image.size[1]))
    image.update()
    assert bpy.ops.geneman.keep_texture() == {"FINISHED"}
    until(lambda: row().job.state in ("queued", "running"), what="its start")
    done()
    pixels = list(scene_import.albedo_of(made.job).pixels)
    assert pixels[:4] == pytest.approx([0, 1, 0, 1], abs=0.02)


def test_a_painted_mask_runs_everything_again(made: SimpleNamespace) -> None:
    assert bpy.ops.geneman.paint_mask() == {"FINISHED"}
    mask = bpy.context.scene.geneman.mask
    assert mask.size[:] == (512, 512)
    before = person().dimensions.copy()
    pixels = list(mask.pixels)
    half = len(pixels) // 2
    for place in range(3, half, 4):
        pixels[place] = 0.0  # the lower half is nobody any more
    mask.pixels.foreach_set(pixels)
    assert bpy.ops.geneman.rerun_from_mask() == {"FINISHED"}
    until(lambda: row().job.state in ("queued", "running"), what="its start")
    done()
    bpy.context.view_layer.update()
    assert person().dimensions.z < 0.8 * before.z
    bpy.ops.geneman.clear_mask()


def test_the_person_is_exported_and_can_be_imported_again(
    made: SimpleNamespace, tmp_path: Path
) -> None:
    path = tmp_path / "person.glb"
    assert bpy.ops.geneman.export_gltf(filepath=str(path)) == {"FINISHED"}
    magic, version, length = struct.unpack("<4sII", path.read_bytes()[:12])
    assert (magic, version, length) == (b"glTF", 2, path.stat().st_size)
    names = set(bpy.data.objects.keys())
    bpy.ops.import_scene.gltf(filepath=str(path))
    (back,) = (o for o in bpy.data.objects if o.name not in names and o.type == "MESH")
    bpy.context.view_layer.update()
    assert back.dimensions[:] == pytest.approx(person().dimensions[:], abs=1e-3)
    kinds = {node.type for node in back.data.materials[0].node_tree.nodes}
    assert kinds >= {"TEX_IMAGE", "NORMAL_MAP"}
    bpy.data.objects.remove(back)


def test_any_mesh_is_textured_from_the_photo(made: SimpleNamespace, photo: Path) -> None:
    driving.fill_form(photo)
    here().notice = None
    bpy.ops.mesh.primitive_uv_sphere_add(segments=48, ring_count=32, location=(3, 0, 1))
    ball = bpy.context.object
    ball.scale = (0.4, 0.3, 0.8)
    bpy.context.view_layer.update()
    assert bpy.ops.geneman.texture_selected() == {"FINISHED"}
    until(lambda: bpy.context.scene.geneman.job != made.job, 30, what="its job")
    done()
    assert person() is not None
    assert person() != ball
    assert person().data.uv_layers
    assert "nerf_init" not in {name for name, state in stages().items() if state == "done"}
