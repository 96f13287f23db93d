"""The command line: every error one sentence with rule, value and remedy, and its exit code."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import geneman.__main__ as command_line
from geneman.__main__ import COMMANDS, main
from geneman.errors import DeviceMemoryError
from geneman.progress import Cancelled
from geneman.run_folder import STAGES
from tests.tiny_chain import request, run


@pytest.fixture
def tiny_run(tmp_path: Path) -> Path:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"somebody")
    return run(tmp_path / "run", request(photo)).path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command that must be refused, and give its one sentence."""
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    assert ", but got " in err
    assert err.endswith(".\n")
    return err


def test_help_names_every_command_and_loads_no_torch() -> None:
    program = (
        "import sys; from geneman.__main__ import main; code = main(['--help'])\n"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0
    for name in COMMANDS:
        assert name in ended.stdout


def test_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "geneman 0.1.0\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        assert main([name, "--help"]) == 0
    assert f"geneman {name}" in capsys.readouterr().out


def test_an_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'reconstruct'" in refused(capsys, "reconstuct")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status"], "PATH"),
        (["status", "a", "b"], "b"),
        (["weights"], "STR"),
    ],
)
def test_incomplete_arguments_are_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in refused(capsys, *arguments)


def test_weights_must_be_told_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'verify'" in refused(capsys, "weights", "verfy")


def test_status_of_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "must hold a run.json" in refused(capsys, "status", tmp_path)


def test_status_tells_states_seconds_and_losses(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(tiny_run)]) == 0
    shown = capsys.readouterr().out
    for stage in STAGES:
        assert stage in shown
    assert "done" in shown
    assert main(["status", str(tiny_run), "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [stages[stage]["state"] for stage in STAGES] == ["done"] * len(STAGES)
    assert all(stages[stage]["seconds"] > 0 for stage in STAGES)
    assert "fit" in stages["sculpt"]["losses"]


def test_doctor_tells_devices_threads_and_accelerators(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["system"]["threads"] >= 1
    assert found["packages"]["warp-lang"]
    assert {"tinycudann", "nvdiffrast", "kaolin"} == set(found["accelerators"])
    for row in found["accelerators"].values():
        assert set(row) == {"active", "could do", "licence", "commercial", "reason", "install"}
        assert row["install"].startswith("pip install ")
        assert row["active"] != "no" or row["reason"]
    assert "non-commercial" in found["accelerators"]["nvdiffrast"]["licence"]
    assert found["accelerators"]["nvdiffrast"]["commercial"] == "no"
    assert found["weights"]["person"]["licence"] == "Apache-2.0"


def test_doctor_refuses_names_of_no_accelerator(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENEMAN_ACCELERATORS", "nvidia")
    assert main(["doctor", "--json"]) == 2
    assert "GENEMAN_ACCELERATORS must name accelerators" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Cancelled(), 3, "goes on from the last checkpoint"),
        (KeyboardInterrupt(), 3, "goes on from the last checkpoint"),
        (DeviceMemoryError("sculpt needs more memory."), 4, "sculpt needs more memory."),
        (ZeroDivisionError("by zero"), 1, "ZeroDivisionError: by zero (our fault"),
    ],
)
def test_every_end_has_its_exit_code_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def fail(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(command_line, "_dispatch", fail)
    assert main([]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_the_traceback_is_shown_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENEMAN_DEBUG", "1")
    assert main(["unknown"]) == 2
    assert "Traceback" in capsys.readouterr().err
