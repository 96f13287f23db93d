"""Set Up Backend: real environments from a small wheel of the real backend, without a network.

The packages are fetched once into a folder; pip and uv then see nothing else.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from blender_addon import environment
from blender_addon.environment import Environment, current
from blender_addon.installation import Plan, SetUp, SetUpState, SetUpStatus, Step, remove
from blender_addon.installers import Reading, failure, pip_torch_options, uv_variables
from blender_addon.launcher import Launch, Launcher, Phase
from blender_addon.service import Choice, Service, Site
from blender_addon.state import Model
from blender_addon.troubles import Remedy, TroubleError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")

REPOSITORY = Path(__file__).parents[2]
NEEDS = ["filelock", "msgspec", "numpy", "platformdirs", "psutil", "pyzmq"]
PROJECT = f"""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "geneman"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = {NEEDS}

[tool.hatch.build.targets.wheel]
packages = ["geneman", "backend", "blender_addon"]
"""
PATIENCE = 240.0


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet"]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real server and protocol, without the library and its torch."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("backend", "blender_addon"):
        shutil.copytree(REPOSITORY / name, source / name)
    (source / "geneman").mkdir()
    (source / "geneman" / "__init__.py").touch()
    (source / "pyproject.toml").write_text(PROJECT)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", output, source)
    (found,) = output.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    pip("download", "--only-binary=:all:", "--dest", folder, *NEEDS, "pip", "uv")
    return folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, packages: Path) -> Path:
    """Let pip and uv see the folder of packages and nothing else."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    return packages


def plan(folder: Path, wheel: Path, **more: object) -> Plan:
    plain = Plan(folder, wheel, Path(sys.executable), online=True, needed_bytes=1, finish=False)
    return replace(plain, **more)  # type: ignore[arg-type]


def done(set_up: SetUp) -> SetUpStatus:
    set_up.start()
    assert set_up.join(PATIENCE)
    return set_up.status


def failed(wanted: Plan) -> SetUpStatus:
    status = done(SetUp(wanted))
    assert status.state is SetUpState.FAILED
    assert status.trouble is not None
    assert status.trouble.sentence.endswith(".")
    return status


def environments(folder: Path) -> list[str]:
    found = folder / environment.ENVIRONMENTS
    return sorted(path.name for path in found.iterdir()) if found.is_dir() else []


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, wheel: Path, packages: Path
) -> Iterator[tuple[Path, list[SetUpStatus]]]:
    """An environment that was set up with uv, and how that was told."""
    folder = tmp_path_factory.mktemp("backend")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(packages))
        patch.setenv("UV_PYTHON_DOWNLOADS", "never")
        patch.delenv("PIP_INDEX_URL", raising=False)
        set_up, told = SetUp(plan(folder, wheel)), []
        set_up.start()
        while not set_up.join(0.02):
            told.append(set_up.status)
        yield folder, [*told, set_up.status]


# ---- it works ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_private_environment_is_made(made: tuple[Path, list[SetUpStatus]], wheel: Path) -> None:
    folder, told = made
    status = told[-1]
    assert status.state is SetUpState.DONE, status
    found = status.environment
    assert found is not None
    assert found == current(folder)
    assert found.python.is_relative_to(folder)
    assert "uv" in (folder / "set_up.log").read_text()
    assert environments(folder) == [found.python.parents[1].name]


@pytest.mark.slow
def test_its_progress_only_grows(made: tuple[Path, list[SetUpStatus]]) -> None:
    _, told = made
    fractions = [status.fraction for status in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    steps = list(dict.fromkeys(status.step for status in told))
    assert [step for step in Step if step in steps] == steps
    assert Step.PACKAGES in steps
    assert all(status.line for status in told)


@pytest.mark.slow
def test_the_backend_in_it_starts(made: tuple[Path, list[SetUpStatus]], tmp_path: Path) -> None:
    found = made[1][-1].environment
    assert found is not None
    wanted = Launch(found.python, tmp_path / "own", os.getpid(), version="0.1.0", device="cpu")
    launcher = Launcher(wanted)
    launcher.start()
    deadline = time.monotonic() + 60
    while launcher.status.phase is not Phase.RUNNING:
        assert time.monotonic() < deadline, launcher.status
        time.sleep(0.05)
    assert launcher.close(30)


@pytest.mark.slow
def test_an_update_takes_the_place_of_the_old_one(
    made: tuple[Path, list[SetUpStatus]], wheel: Path, offline: Path
) -> None:
    folder, told = made
    first = told[-1].environment
    assert first is not None
    again = done(SetUp(plan(folder, wheel)))
    assert again.state is SetUpState.DONE
    second = again.environment
    assert second is not None
    assert second.python != first.python
    assert current(folder) == second
    assert first.python.exists()  # a backend may still run from it; the next set-up removes it
    shutil.rmtree(second.python.parents[1])
    assert current(folder) is None  # somebody deleted it: it is to be set up again
    environment.make_current(folder, first.python.parents[1].name, first)


@pytest.mark.slow
def test_cancelled_it_leaves_the_old_one_and_nothing_half(
    made: tuple[Path, list[SetUpStatus]], wheel: Path, offline: Path
) -> None:
    folder, _ = made
    before = current(folder)
    set_up = SetUp(plan(folder, wheel))
    set_up.start()
    while set_up.status.step is not Step.PACKAGES:
        assert set_up.status.state is SetUpState.RUNNING, set_up.status
        time.sleep(0.002)
    set_up.cancel()
    assert set_up.join(30)
    assert set_up.status.state is SetUpState.CANCELLED
    assert set_up.status.trouble is None
    assert current(folder) == before
    assert before is not None
    assert environments(folder) == [before.python.parents[1].name]
    assert not [p for p in psutil.Process().children(recursive=True) if "uv" in p.name()]


@pytest.mark.slow
def test_without_uv_pip_does_it(wheel: Path, offline: Path, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for path in offline.iterdir():
        if not path.name.startswith("uv-"):
            (packages / path.name).symlink_to(path)
    os.environ["PIP_FIND_LINKS"] = str(packages)  # `offline` restores it
    status = done(SetUp(plan(tmp_path / "own", wheel, torch_backend="")))
    assert status.state is SetUpState.DONE, status
    assert "-m pip" in (tmp_path / "own" / "set_up.log").read_text()
    assert current(tmp_path / "own") == status.environment
    remove(tmp_path / "own")
    assert current(tmp_path / "own") is None
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["set_up.log"]


# ---- it does not ------------------------------------------------------------------------------


def test_without_permission_nothing_is_begun(wheel: Path, tmp_path: Path) -> None:
    status = failed(plan(tmp_path / "own", wheel, online=False))
    assert status.trouble is not None
    assert "does not allow online access" in status.trouble.sentence
    assert status.trouble.remedy is Remedy.ALLOW_ONLINE
    assert not (tmp_path / "own").exists()


def test_too_little_disk_is_said_before_anything_is_fetched(wheel: Path, tmp_path: Path) -> None:
    status = failed(plan(tmp_path / "own", wheel, needed_bytes=10**18))
    assert status.trouble is not None
    assert "needs 1000000000.0 GB of free disk" in status.trouble.sentence
    assert status.trouble.remedy is Remedy.FREE_DISK
    assert not list((tmp_path / "own").iterdir())


def test_a_wheel_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "geneman.whl").write_text("no zip")
    for name in ("geneman.whl", "gone.whl"):
        status = failed(plan(tmp_path / "own", tmp_path / name))
        assert status.trouble is not None
        assert status.trouble.remedy is Remedy.UPDATE_ADDON


def test_a_folder_that_cannot_be_made(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status = failed(plan(tmp_path / "file" / "own", wheel))
    assert status.trouble is not None


def test_without_venv_it_says_so(wheel: Path, tmp_path: Path) -> None:
    bare = script(tmp_path / "python", 'echo "No module named venv" >&2; exit 1')
    status = failed(plan(tmp_path / "own", wheel, base_python=bare))
    assert status.trouble is not None
    assert "Python's venv module" in status.trouble.sentence
    assert status.trouble.remedy is Remedy.OPEN_LOG


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def uv(tmp_path: Path) -> Callable[[str], Path]:
    """A stand-in for uv that makes the environment and then fails in a given way."""

    def made(words: str) -> Path:
        make = f'for last; do :; done; exec {sys.executable} -m venv --without-pip "$last"'
        body = f'case "$*" in *"venv --no-project"*) {make};; esac\n{words}'
        return script(tmp_path / "uv", body)

    return made


@pytest.mark.parametrize(
    ("words", "remedy", "sentence"),
    [
        ("error: No space left on device (os error 28)", Remedy.FREE_DISK, "disk, but it is full"),
        ("error: dns error: failed to lookup", Remedy.SET_UP, "connection failed"),
        ("error: Permission denied (os error 13)", Remedy.OPEN_LOG, "something forbids it"),
        ("error: No solution found when resolving", Remedy.OPEN_LOG, "for this system and Python"),
        ("error: a strange thing", Remedy.OPEN_LOG, "a strange thing"),
    ],
)
def test_installers_fail_in_sentences(
    uv: Callable[[str], Path],
    wheel: Path,
    tmp_path: Path,
    words: str,
    remedy: Remedy,
    sentence: str,
) -> None:
    binary = uv(f'echo "{words}" >&2; exit 2')
    status = failed(plan(tmp_path / "own", wheel, uv=binary))
    assert status.trouble is not None
    assert sentence in status.trouble.sentence
    assert status.trouble.remedy is remedy
    assert words in status.trouble.detail
    assert environments(tmp_path / "own") == []
    assert current(tmp_path / "own") is None
    assert words in (tmp_path / "own" / "set_up.log").read_text()


def test_behind_a_mirror_torch_comes_from_the_mirror(
    uv: Callable[[str], Path], wheel: Path, tmp_path: Path
) -> None:
    out_of_reach = 'echo "Failed to fetch: https://download.pytorch.org/whl/" >&2; exit 2'
    binary = uv(f'case "$*" in *--torch-backend*) {out_of_reach};; esac; exit 0')
    status = failed(plan(tmp_path / "own", wheel, uv=binary))
    assert status.trouble is not None
    assert "no package 'geneman'" in status.trouble.sentence  # the stand-in installs nothing
    commands = [c for c in status_log(tmp_path) if "pip install" in c]
    assert ["--torch-backend auto" in c for c in commands] == [True, False]


def status_log(folder: Path) -> list[str]:
    lines = (folder / "own" / "set_up.log").read_text().splitlines()
    return [line for line in lines if "$ " in line]


STAND_IN = f"""#!{sys.executable}
import pathlib, subprocess, sys
if "venv" in sys.argv:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", sys.argv[-1]], check=True)
elif "--python" in sys.argv:
    environment = pathlib.Path(sys.argv[sys.argv.index("--python") + 1]).parents[1]
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "geneman").mkdir()
    (site / "geneman" / "__main__.py").write_text(
        "import sys, time; print('Compiled 3 of 4 kernel modules', sys.argv[1:], flush=True); "
        "time.sleep(0.5)"
    )
"""
"""Installs a library that only says what the true one says."""


def test_models_and_kernels_are_made_ready_and_counted(wheel: Path, tmp_path: Path) -> None:
    binary = tmp_path / "uv"
    binary.write_text(STAND_IN)
    binary.chmod(0o755)
    set_up, told = SetUp(plan(tmp_path / "own", wheel, uv=binary, finish=True)), []
    set_up.start()
    while not set_up.join(0.02):
        told.append(set_up.status)
    lines = [status.line for status in told if status.step is Step.KERNELS]
    assert "Compiling kernels, 3 of 4" in lines
    log = (tmp_path / "own" / "set_up.log").read_text()
    assert "['weights', 'get', 'person']" in log
    assert "['doctor', '--warm']" in log
    assert log.index("weights") < log.index("doctor")


def test_what_a_crash_left_is_swept_up(
    uv: Callable[[str], Path], wheel: Path, tmp_path: Path
) -> None:
    half = tmp_path / "own" / environment.ENVIRONMENTS / "half"
    half.mkdir(parents=True)
    failed(plan(tmp_path / "own", wheel, uv=uv("exit 2")))
    assert not half.exists()


def test_cancel_ends_an_installer_that_hangs(
    uv: Callable[[str], Path], wheel: Path, tmp_path: Path
) -> None:
    set_up = SetUp(plan(tmp_path / "own", wheel, uv=uv("sleep 600 & sleep 600; exit 0")))
    set_up.start()
    while set_up.status.step is not Step.PACKAGES:
        time.sleep(0.01)
    time.sleep(0.3)
    set_up.cancel()
    assert set_up.join(10)
    assert set_up.status.state is SetUpState.CANCELLED
    assert environments(tmp_path / "own") == []
    assert not [p for p in psutil.Process().children(recursive=True) if p.name() == "sleep"]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"name": "x"}'])
def test_a_damaged_record_is_no_environment(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "environment.json").write_bytes(damage)
    assert current(tmp_path) is None


def test_files_in_use_are_named_when_removing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / environment.CACHE).mkdir()

    def busy(path: Path) -> None:
        raise PermissionError(13, "in use", str(path))

    monkeypatch.setattr(shutil, "rmtree", busy)
    with pytest.raises(TroubleError, match="stop the backend and try again"):
        remove(tmp_path)


def test_the_service_removes_what_was_set_up_once_nothing_runs_from_it(tmp_path: Path) -> None:
    site = Site(tmp_path, Path(__file__).parent, Path(sys.executable))
    python = environment.python_of(site.installed / environment.ENVIRONMENTS / "one")
    python.parent.mkdir(parents=True)
    python.touch()
    environment.make_current(site.installed, "one", Environment(python, "0.1.0", (1, 0)))
    service = Service(site, Model(), Choice())
    assert service.installed
    assert service.removable
    ended: list[bool] = []
    service.launcher = Ending(lambda: ended.append(python.exists()))  # type: ignore[assignment]
    service.remove()
    assert not service.installed
    assert service.removing
    deadline = time.monotonic() + 10
    while service.removing and time.monotonic() < deadline:
        service.watch()
        time.sleep(0.01)
    assert ended == [True], "first it ends, then its files go"
    assert not python.exists()
    assert not service.removable
    assert service.trouble is None
    assert service.model.backend.remedy is Remedy.SET_UP


class Ending:
    """A launcher that is asked to stop and to close, and takes a moment."""

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close

    def stop(self) -> None:
        """Return at once."""

    def close(self, _: float) -> bool:
        """Take a moment."""
        time.sleep(0.1)
        self._close()
        return True


# ---- what installers say and are told ---------------------------------------------------------


def test_uv_and_pip_are_understood() -> None:
    reading = Reading()
    for line in (
        "Resolved 3 packages in 1ms",
        "Downloading numpy (16.0MiB)",
        "Downloading torch (1.5GiB)",
        " Downloaded numpy",
    ):
        reading.take(line)
    assert reading.line == "Downloading torch (1536 MB)"
    assert reading.done / reading.total == pytest.approx(16 / 1552)
    reading.take("Prepared 3 packages in 2s")
    assert reading.installing
    reading = Reading()
    reading.take("  Downloading https://x.org/a/torch-2.13.0-cp311-manylinux.whl (184.3 MB)")
    assert reading.line == "Downloading torch (175 MB)"


def test_uv_hears_what_pip_was_told(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://mirror/simple\nextra-index-url =\n  https://a\n  https://b\n"
        "find-links = /x /y\ncert = /ca.pem\n"
    )
    told = uv_variables(tmp_path / "cache", {"PIP_CONFIG_FILE": str(file), "PIP_CERT": "/own.pem"})
    assert told["UV_DEFAULT_INDEX"] == "https://mirror/simple"
    assert told["UV_INDEX"] == "https://a https://b"
    assert told["UV_FIND_LINKS"] == "/x,/y"
    assert told["SSL_CERT_FILE"] == "/own.pem"
    assert told["UV_CACHE_DIR"] == str(tmp_path / "cache")
    own = uv_variables(tmp_path, {"PIP_CONFIG_FILE": str(file), "UV_DEFAULT_INDEX": "https://me"})
    assert "UV_DEFAULT_INDEX" not in own
    file.write_text("no section")
    assert "UV_INDEX" not in uv_variables(tmp_path, {"PIP_CONFIG_FILE": str(file)})


def test_pip_gets_the_torch_of_the_machine() -> None:
    linux = sys.platform.startswith("linux")
    assert ("cpu" in " ".join(pip_torch_options(nvidia=False))) == linux
    assert "cpu" not in " ".join(pip_torch_options(nvidia=True))


def test_a_silent_failure_still_has_a_sentence(tmp_path: Path) -> None:
    assert "no word" in failure("The packages", "", tmp_path / "x.log").sentence
