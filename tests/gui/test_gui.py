"""`make test-gui`: what somebody sees who clicks through a reconstruction in a real Blender."""

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.gui.running import Played, play

pytestmark = [pytest.mark.slow, pytest.mark.timeout(6000)]


@pytest.fixture(scope="module")
def played() -> Played:
    folder = os.environ.get("GENEMAN_GUI")
    if not folder:
        pytest.skip("a real Blender's window is tested by `make test-gui`")
    return play(Path(folder).resolve())


def facts(played: Played, step: str) -> dict[str, Any]:
    found: dict[str, Any] = played.report.get(step, {})
    assert found, f"the play did not come to {step}: {last_words(played)}"
    assert "trouble" not in found, found["trouble"]
    return found


def last_words(played: Played) -> str:
    troubles = [f"{s}: {f['trouble']}" for s, f in played.report.items() if "trouble" in f]
    return "\n".join(troubles) or played.log[-2000:]


def test_blender_lives_to_the_end_and_nothing_complains(played: Played) -> None:
    assert played.code == 0, last_words(played)
    for word in ("Traceback", "Error:", "Segmentation"):
        assert word not in played.log, played.log[-3000:]


def test_the_photo_goes_in_by_typing_its_path(played: Played) -> None:
    assert facts(played, "open_the_panel")["tab"] == "GeneMAN"
    assert facts(played, "choose_the_photo")["photo"] == "/shared/astronaut.png"


def test_the_photo_goes_in_by_pasting_its_path(played: Played) -> None:
    assert facts(played, "paste_the_photo")["photo"] == "/shared/astronaut.png"


def test_the_photo_goes_in_by_dropping_its_file_onto_panel_or_scene(played: Played) -> None:
    seen = facts(played, "drop_the_photo")
    assert seen["panel"] == "/shared/astronaut.png"
    assert seen["scene"] == "/shared/astronaut.png"


def test_the_button_starts_it_and_a_first_picture_comes(played: Played) -> None:
    assert "GeneMAN Live" in facts(played, "press_the_button")["images"]


def test_the_mesh_arrives_and_moves_while_it_is_sculpted(played: Played) -> None:
    seen = facts(played, "watch_the_mesh")
    assert seen["first"]["vertices"] > 1000
    assert seen["still_running"]


def test_undo_takes_back_the_users_own_step_and_not_the_mesh(played: Played) -> None:
    seen = facts(played, "work_meanwhile")
    assert seen["moved"] == pytest.approx(1)
    assert seen["undone"] == pytest.approx(0)
    assert seen["person"]
    assert seen["job"]


def test_a_person_of_a_persons_size_stands_there_textured(played: Played) -> None:
    seen = facts(played, "see_it_done")
    assert seen["state"] == "done", seen["sentence"]
    assert seen["textured"]
    assert 0.3 < seen["size"][2] < 2.5  # metres; the photo shows head and shoulders


def test_undo_and_redo_take_an_artefact_away_and_bring_it_back(played: Played) -> None:
    seen = facts(played, "undo_and_redo")
    assert seen["undone"] != seen["before"]
    assert seen["redone"] == seen["before"]
    assert seen["job"], "undo must not make the scene forget its job"


def test_a_stage_runs_again(played: Played) -> None:
    seen = facts(played, "run_a_stage_again")
    assert seen["state"] == "done"
    assert seen["rows"]["pixel_texture"] == "done"
    assert seen["textured"]


def test_the_sculpture_stands_beside_and_the_photos_camera_is_looked_through(
    played: Played,
) -> None:
    seen = facts(played, "compare_and_match")
    assert seen["copy"] == "astronaut Sculpt"
    assert seen["copied_vertices"] > 1000
    assert seen["view"] == "CAMERA"


def test_looking_at_everything_makes_nothing_stale(played: Played) -> None:
    seen = facts(played, "unfold_everything")
    assert seen["scrolled"]
    assert set(seen["rows"].values()) == {"done"}


def test_pictures_show_a_panel_that_changes(played: Played) -> None:
    facts(played, "look_in_other_lights")
    pictures = sorted(played.pictures.glob("*.png"), key=lambda p: int(p.name.partition("-")[0]))
    assert len(pictures) == 14
    panels = [np.asarray(Image.open(path).convert("L"))[80:900, 900:1390] for path in pictures]
    for before, after in itertools.pairwise(panels):
        assert (before != after).mean() > 0.005, "nothing happened between two steps"
