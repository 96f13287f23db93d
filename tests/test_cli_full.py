"""The full priors on the command line: what is planned, what is lacking, what runs."""

import json
from pathlib import Path

import pytest

from geneman.__main__ import main
from geneman.cli.family import is_full
from geneman.errors import OptionError
from geneman.memory.costs import DEVICES
from geneman.presets import FULL, PRESETS
from geneman.priors import weights
from geneman.priors.catalogue import REQUIRED


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "weights"))
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"somebody")
    return photo


def test_a_dry_run_tells_stages_models_licences_memory_and_time_and_makes_nothing(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["reconstruct", str(photo), "-o", str(run), "--preset", "paper", "--dry-run"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [stage["stage"] for stage in told["stages"]] == [
        *("prepare", "nerf_init", "sculpt", "latent_texture", "pixel_texture")
    ]
    steps = {stage["stage"]: stage["steps"] for stage in told["stages"]}
    assert (steps["latent_texture"], steps["pixel_texture"]) == (10_000, 1000)
    for stage in told["stages"]:
        assert stage["memory_gb"] > 0
        assert set(stage["seconds"]) == {device.name for device in DEVICES}
    models = {model["role"]: model for model in told["models"]}
    assert set(REQUIRED) <= set(models)
    assert models["normals"]["commercial"] == "no"
    assert models["normals"]["optional"]
    assert "OpenRAIL" in models["stable-diffusion"]["licence"]
    assert not any(model["present"] for model in models.values())
    assert main(command) == 0
    shown = capsys.readouterr().out
    for word in ("10,000", "geneman-3d", "A100", "CC BY-NC 4.0", "not measured", "This machine: "):
        assert word in shown
    # What gets the missing weights, in one line each, to be copied.
    needed, optional = (line for line in shown.splitlines() if "geneman weights get" in line)
    size = sum(weights.entry(role).gigabytes for role in REQUIRED)
    assert needed == f"Needed, {size:.0f} GB: geneman weights get --preset paper --accept-licences"
    assert optional.endswith("geneman weights get normals depth caption --accept-licences")
    assert not run.exists()


def test_settings_count_in_a_dry_run(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def seconds(*more: str) -> float:
        command = ["reconstruct", str(photo), "-o", "run", "--preset", "released", "--dry-run"]
        assert main([*command, "--json", *more]) == 0
        (stage,) = (
            each
            for each in json.loads(capsys.readouterr().out)["stages"]
            if each["stage"] == "sculpt"
        )
        return float(stage["seconds"]["H100 SXM"])

    assert seconds("--recipe.sculpt.steps", "300") == pytest.approx(seconds() / 10, abs=1)


def test_presets_choose_their_priors_and_an_option_overrules_them() -> None:
    assert {name for name in PRESETS if is_full("auto", name)} == FULL
    assert is_full("full", "draft")
    assert not is_full("bundled", "paper")
    with pytest.raises(OptionError, match="did you mean 'bundled'"):
        is_full("bundeld", "paper")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--preset", "paper"], "weights get --preset paper --accept-licences"),
        (["--priors", "full"], "without stable-diffusion, geneman-2d"),
        (["--dry-run"], "--dry-run plans runs with the full priors"),
        (["--preset", "paper", "--priors", "best"], "--priors must be one of auto, bundled, full"),
    ],
)
def test_what_cannot_run_is_refused_before_a_folder_is_made(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    run = tmp_path / "run"
    assert main(["reconstruct", str(photo), "-o", str(run), *options]) == 2
    assert said in capsys.readouterr().err
    assert not run.exists()


def test_doctor_says_what_each_preset_lacks_and_the_command_that_gets_it(
    photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--json"]) == 0
    presets = json.loads(capsys.readouterr().out)["presets"]
    assert presets["draft"] == {
        "lacks": "person",
        "get it": "geneman weights get --preset draft",
    }
    assert set(presets["released"]["lacks"].split(", ")) == {"person", *REQUIRED}
    wanted = "geneman weights get --preset released --accept-licences"
    assert presets["released"]["get it"] == wanted


def test_the_command_that_the_doctor_names_means_those_roles() -> None:
    from geneman.cli.arguments import parse
    from geneman.cli.weights import Weights

    options = parse(Weights, "weights", ["get", "--preset", "paper", "--accept-licences"])
    assert options.chosen() == ("person", *REQUIRED)
    assert options.accept_licences
