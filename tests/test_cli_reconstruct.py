"""`geneman reconstruct`, through the real process: what is refused, what is made, what survives."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geneman.__main__ import main
from geneman.errors import GenemanError
from geneman.priors import weights
from geneman.run_folder import STAGES
from tests.tiny_photo import tiny_recipe, write_photo

FINISHED = {"model.glb", "albedo.png", "preview.png", "turntable.webp", "run.json"}
needs_person = pytest.mark.skipif(
    not weights.present("person"), reason="needs `geneman weights get person`"
)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_photo(tmp_path_factory.mktemp("photo"))


@pytest.fixture(scope="module")
def finished(photo: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole tiny run, made by the real process."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    ended = reconstruct(*photo, "-o", str(folder), *tiny_recipe())
    assert ended.returncode == 0, ended.stderr
    return folder


def reconstruct(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "geneman", "reconstruct", *arguments]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run `reconstruct`, which must refuse, and give its one sentence."""
    assert main(["reconstruct", *(str(argument) for argument in arguments)]) == 2
    err = capsys.readouterr().err
    sentences = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(sentences) == 1, err
    assert err.endswith(f"{sentences[0]}\n")
    assert "Traceback" not in err
    assert ", but got " in sentences[0]
    return sentences[0]


# ---- refused before a folder is made ---------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--preset", "darft"], "did you mean 'draft'"),
        (["--recipe.sculpt.stepz", "5"], "did you mean 'steps'"),
        (["--recipe.sclupt.steps", "5"], "did you mean 'sculpt'"),
        (["--recipe.sculpt.steps", "-5"], "recipe.sculpt.steps must be int >= 0"),
        (["--recipe.sculpt.steps"], "must be followed by a value"),
        (["--from", "sculp"], "did you mean 'sculpt'"),
        (["--until", "nowhere"], "--until must name a stage"),
        (["--device", "tpu"], "--device must be one of auto, cpu, cuda"),
        (["--seed", "many"], "many"),
        (["--unknown"], "--unknown"),
        (["--mask", "/nowhere.png"], "the mask must be a file that can be read"),
    ],
)
def test_a_wrong_option_is_refused_before_a_folder_is_made(
    photo: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    run = tmp_path / "run"
    assert said in refused(capsys, photo[0], "-o", run, *options)
    assert not run.exists()


def test_a_missing_photo_is_refused_before_a_folder_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    said = refused(capsys, tmp_path / "nobody.png", "-o", run)
    assert "the photo must be a file that can be read" in said
    assert not run.exists()


# ---- photos and maps that cannot be used -------------------------------------------------------


def not_an_image(path: Path) -> None:
    path.write_text("Dear diary")


def truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:20_000])


def bomb(path: Path) -> None:
    Image.new("1", (30_000, 30_000)).save(path)


def tiny(path: Path) -> None:
    Image.new("RGB", (8, 8)).save(path)


def nobody(path: Path) -> None:
    Image.new("RGB", (256, 256), (90, 140, 90)).save(path)


@pytest.mark.parametrize(
    "make", [not_an_image, truncated, bomb, tiny, pytest.param(nobody, marks=needs_person)]
)
def test_a_photo_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: "object"
) -> None:
    path = tmp_path / "photo.png"
    make(path)  # type: ignore[operator]
    refused(capsys, path, "-o", tmp_path / "run", *tiny_recipe())


def test_an_empty_mask_is_one_sentence(
    photo: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (128, 128)).save(tmp_path / "mask.png")
    said = refused(
        capsys, photo[0], "--mask", tmp_path / "mask.png", "-o", tmp_path / "run", *tiny_recipe()
    )
    assert "mask" in said.lower()


def test_a_mask_of_another_size_is_one_sentence(
    photo: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = Image.new("L", (100, 77))
    mask.paste(255, (20, 20, 60, 60))
    mask.save(tmp_path / "mask.png")
    said = refused(
        capsys, photo[0], "--mask", tmp_path / "mask.png", "-o", tmp_path / "run", *tiny_recipe()
    )
    assert "mask" in said.lower() or "map" in said.lower()


# ---- folders and disks -------------------------------------------------------------------------


def test_a_folder_of_something_else_is_refused(
    photo: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    assert "new, empty or an earlier run" in refused(capsys, *photo, "-o", tmp_path)


def test_a_read_only_folder_is_refused(
    photo: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    folder = Path("/sys/geneman") if root else tmp_path / "locked" / "run"
    assert "must be writable" in refused(capsys, *photo, "-o", folder)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("kilobytes", [50, 300])
def test_a_disk_that_fills_up_is_one_sentence(
    photo: list[str], tmp_path: Path, kilobytes: int
) -> None:
    limited = [shutil.which("bash") or "bash", "-c", f'ulimit -f {kilobytes}; exec "$0" "$@"']
    ended = subprocess.run(
        [*limited, *command(*photo, "-o", str(tmp_path / "run"), *tiny_recipe())],
        # Python 3.11 keeps bytecode that such a limit cut short, and reads it again ever after.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert "disk that is full" in ended.stderr
    assert "Traceback" not in ended.stderr


# ---- what is made ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_finished_run_holds_what_it_promises(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} >= FINISHED
    record = json.loads((finished / "run.json").read_text())
    assert all(record["stages"][stage]["seconds"] > 0 for stage in STAGES)
    assert record["peak_memory_bytes"] > 2**26
    # At 96 pixels a third of the figure is outline: an empty picture has 3 dB, a shifted one 8.
    assert record["reference"]["psnr"] > 13
    assert record["reference"]["mask_iou"] > 0.85
    assert record["reference"]["normal_deg"] < 12
    assert record["stages"]["prepare"]["facts"]["sources"]["normal"] == "given"
    assert record["preset"] == "draft"
    assert record["recipe"]["sculpt"]["steps"] == 20
    assert record["versions"]["torch"]


@pytest.mark.slow
def test_a_second_run_keeps_everything_and_says_so_in_json(
    photo: list[str], finished: Path
) -> None:
    before = (finished / "model.glb").read_bytes()
    ended = reconstruct(*photo, "-o", str(finished), *tiny_recipe(), "--json")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [e["stage"] for e in events if e.get("resumed")] == list(STAGES)
    assert events[-1]["event"] == "Finished"
    assert (finished / "model.glb").read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")
def test_killed_at_random_moments_it_ends_with_the_same_model(
    photo: list[str], finished: Path, tmp_path: Path
) -> None:
    chance, folder = random.Random(7), tmp_path / "run"
    arguments = command(*photo, "-o", str(folder), *tiny_recipe(), "--json")
    kills = 0
    for _ in range(4):
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                process.communicate(timeout=1 + 4 * chance.random())
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
    assert kills >= 1
    ended = reconstruct(*photo, "-o", str(folder), *tiny_recipe(), "--quiet")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    assert (folder / "model.glb").read_bytes() == (finished / "model.glb").read_bytes()


@pytest.mark.slow
def test_from_with_another_setting_makes_later_stages_stale_until_they_run(
    photo: list[str], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    options = [*tiny_recipe(), "--recipe.sculpt.steps", "5", "--from", "sculpt"]
    assert reconstruct(*photo, "-o", str(folder), *options, "--until", "sculpt").returncode == 0
    assert main(["status", str(folder), "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    states = [stages[stage]["state"] for stage in STAGES]
    assert states == ["done"] * 3 + ["stale"] * 3


@pytest.mark.slow
def test_finished_people_are_measured_filmed_and_exported(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(finished), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"][0]["reference"] == found["mean"]
    film = tmp_path / "film.gif"
    assert main(["turntable", str(finished), "-o", str(film), "--frames=3", "--size=64"]) == 0
    with Image.open(film) as picture:
        assert getattr(picture, "n_frames", 1) == 3
    for ending in (".glb", ".obj", ".ply"):
        assert main(["export", str(finished), "-o", str(tmp_path / f"person{ending}")]) == 0
        assert (tmp_path / f"person{ending}").stat().st_size > 1000


def test_every_error_of_the_tree_has_an_exit_code() -> None:
    kinds = [GenemanError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert kind.exit_code in (1, 2, 4)
