"""The launcher against real backend processes: starts, watches, restarts, leaves nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from backend.exits import Exit
from blender_addon import endings, keeper
from blender_addon.endings import ending, hopeless
from blender_addon.environment import Environment, check, examine, interpreter
from blender_addon.frames import MAJOR
from blender_addon.launcher import Launch, Launcher, Limits, Phase, Status
from blender_addon.processes import NICENESS, clean_environment
from blender_addon.troubles import Remedy, TroubleError
from tests.blender_addon.listening import PATIENCE

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")

LIMITS = Limits(hang=2.0, stop=10.0, pause=0.2, restarts=2, ask=0.2)
REPOSITORY = Path(__file__).parents[2]


def launch(folder: Path, **more: Any) -> Launch:
    plain = Launch(
        Path(sys.executable),
        folder,
        os.getpid(),
        device="cpu",
        options=("--program", "tests.backend.tiny_program"),
        working_folder=REPOSITORY,  # where the worker finds that program
    )
    return replace(plain, **more)


def until(launcher: Launcher, true: Callable[[Status], bool], seconds: float = PATIENCE) -> Status:
    deadline = time.monotonic() + seconds
    while not true(launcher.status):
        assert time.monotonic() < deadline, launcher.status
        time.sleep(0.01)
    return launcher.status


def phase(launcher: Launcher, *wanted: Phase) -> Status:
    return until(launcher, lambda status: status.phase in wanted)


def family(folder: Path) -> list[psutil.Process]:
    """Give every process that was told of this folder, and their children."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in part for part in process.info["cmdline"] or []):
            found += [process, *process.children(recursive=True)]
    return found


def nothing_is_left(processes: list[psutil.Process], seconds: float = PATIENCE) -> bool:
    return not psutil.wait_procs(processes, seconds)[1]


@pytest.fixture
def launchers() -> Iterator[list[Launcher]]:
    made: list[Launcher] = []
    yield made
    for launcher in made:
        assert launcher.close(PATIENCE)


@pytest.fixture
def start(launchers: list[Launcher]) -> Callable[..., Launcher]:
    def begin(wanted: Launch, limits: Limits = LIMITS) -> Launcher:
        launchers.append(Launcher(wanted, limits))
        launchers[-1].start()
        return launchers[-1]

    return begin


Start = Callable[..., Launcher]


# ---- life -------------------------------------------------------------------------------------


def test_it_starts_and_stops_and_nothing_is_left(start: Start, tmp_path: Path) -> None:
    launcher = start(launch(tmp_path / "own"))
    status = phase(launcher, Phase.RUNNING)
    wanted = launch(tmp_path / "own")
    assert wanted.connection_file.exists()
    assert psutil.Process(status.pid).is_running()
    processes = family(tmp_path)
    assert processes
    assert {one.nice() for one in processes} == {os.nice(0) + NICENESS}, "Blender comes first"
    launcher.stop()
    assert phase(launcher, Phase.STOPPED).trouble is None
    assert nothing_is_left(processes)
    assert not wanted.connection_file.exists()
    assert "stopped" in wanted.log.read_text()  # it had the time to end in order
    launcher.start()
    phase(launcher, Phase.RUNNING)
    launcher.restart()
    until(launcher, lambda s: s.phase is Phase.RUNNING and s.pid != status.pid)


def test_a_killed_backend_is_started_again_until_the_limit(start: Start, tmp_path: Path) -> None:
    launcher = start(launch(tmp_path / "own"))
    for restarts in range(LIMITS.restarts):
        status = phase(launcher, Phase.RUNNING)
        assert status.restarts == restarts
        os.kill(status.pid, signal.SIGKILL)
        waiting = phase(launcher, Phase.WAITING, Phase.STARTING)
        assert waiting.trouble is not None
        assert "was killed" in waiting.trouble.sentence
        phase(launcher, Phase.STARTING)
    os.kill(phase(launcher, Phase.RUNNING).pid, signal.SIGKILL)
    failed = phase(launcher, Phase.FAILED)
    assert failed.trouble is not None
    assert failed.trouble.sentence.endswith("That happened 3 times in a row.")
    assert failed.trouble.remedy is Remedy.OPEN_LOG
    launcher.start()  # the button forgets earlier failures
    assert phase(launcher, Phase.RUNNING).restarts == 0


def test_a_backend_that_hangs_is_replaced(start: Start, tmp_path: Path) -> None:
    launcher = start(launch(tmp_path / "own"))
    first = phase(launcher, Phase.RUNNING).pid
    os.kill(first, signal.SIGSTOP)
    waiting = phase(launcher, Phase.WAITING, Phase.STARTING)
    assert waiting.trouble is not None
    assert "must answer within 2 seconds, but hung" in waiting.trouble.sentence
    assert phase(launcher, Phase.RUNNING).pid != first
    assert not psutil.pid_exists(first)


def test_a_backend_that_never_comes_up_is_given_up(start: Start, tmp_path: Path) -> None:
    limits = replace(LIMITS, start=0.05, restarts=0)
    failed = phase(start(launch(tmp_path / "own"), limits), Phase.FAILED)
    assert failed.trouble is not None
    assert "must be there within" in failed.trouble.sentence
    assert nothing_is_left(family(tmp_path))


def test_two_blenders_share_one_backend(start: Start, tmp_path: Path) -> None:
    first = start(launch(tmp_path / "own"))
    status = phase(first, Phase.RUNNING)
    second = start(launch(tmp_path / "own"))
    phase(second, Phase.SHARED)
    second.stop()
    phase(second, Phase.STOPPED)
    assert psutil.Process(status.pid).is_running()  # it is the other's
    second.start()
    phase(second, Phase.SHARED)
    assert first.close(PATIENCE)
    assert phase(second, Phase.RUNNING).pid != status.pid


def test_it_may_outlive_blender_and_is_found_again(start: Start, tmp_path: Path) -> None:
    first = start(launch(tmp_path / "own", keep_running=True))
    pid = phase(first, Phase.RUNNING).pid
    assert first.close(PATIENCE)
    assert psutil.Process(pid).is_running()
    second = start(launch(tmp_path / "own"))
    phase(second, Phase.SHARED)
    psutil.Process(pid).terminate()
    until(second, lambda _: not psutil.pid_exists(pid))  # not even as a zombie
    phase(second, Phase.RUNNING)


def test_it_ends_with_the_blender_that_started_it(tmp_path: Path) -> None:
    """A Blender that is killed, with no chance to say anything."""
    program = (
        "import os, sys, time; from pathlib import Path\n"
        "from blender_addon.launcher import Launch, Launcher\n"
        f"launch = Launch(Path(sys.executable), Path({str(tmp_path / 'own')!r}), os.getpid(), "
        f"device='cpu', options=('--program', 'tests.backend.tiny_program'), "
        f"working_folder=Path({str(REPOSITORY)!r}))\n"
        "Launcher(launch).start(); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY) as blender:
        deadline = time.monotonic() + PATIENCE
        while not launch(tmp_path / "own").connection_file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        processes = family(tmp_path / "own" / "store")
        assert processes
        blender.kill()
    assert nothing_is_left(processes)


# ---- what cannot start ------------------------------------------------------------------------


def test_without_an_environment_it_says_set_up(start: Start, tmp_path: Path) -> None:
    wrong = launch(tmp_path / "own", python=tmp_path / "gone" / "python")
    failed = phase(start(wrong), Phase.FAILED)
    assert failed.trouble is not None
    assert "must be startable" in failed.trouble.sentence
    assert failed.trouble.remedy is Remedy.SET_UP


def test_another_version_is_not_started(start: Start, tmp_path: Path) -> None:
    failed = phase(start(launch(tmp_path / "own", version="99.0")), Phase.FAILED)
    assert failed.trouble is not None
    assert "must have the add-on's version 99.0" in failed.trouble.sentence
    assert failed.trouble.remedy is Remedy.SET_UP


def test_a_folder_that_cannot_be_made(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = phase(start(launch(tmp_path / "file" / "own")), Phase.FAILED)
    assert failed.trouble is not None
    assert "must have a folder of its own" in failed.trouble.sentence
    assert failed.trouble.remedy is Remedy.FREE_DISK


def test_a_full_disk(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    failed = phase(start(launch(tmp_path / "own")), Phase.FAILED)
    assert failed.trouble is not None
    assert "needs 64 MB of free disk" in failed.trouble.sentence
    assert failed.trouble.remedy is Remedy.FREE_DISK


def test_options_that_are_refused_come_in_its_own_words(start: Start, tmp_path: Path) -> None:
    failed = phase(start(launch(tmp_path / "own", options=("--bind", "nowhere"))), Phase.FAILED)
    assert failed.trouble is not None
    assert failed.trouble.sentence.startswith("--bind must be an IP address, but got 'nowhere'")
    assert failed.restarts == 0  # that could not help


def test_a_long_log_is_put_aside(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOG_BYTES", 10)
    wanted = launch(tmp_path / "own")
    wanted.folder.mkdir()
    wanted.log.write_text("an older story\n")
    phase(start(wanted), Phase.RUNNING)
    assert "older" not in wanted.log.read_text()
    assert (wanted.folder / "backend.1.log").read_text() == "an older story\n"


# ---- sentences --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words", "sentence", "remedy", "is_hopeless"),
    [
        (Exit.STOPPED, "", "stopped, as somebody asked", Remedy.START, True),
        (Exit.FAULT, "ValueError: x", "a fault of its own", Remedy.OPEN_LOG, False),
        (1, "python: No module named backend", "not installed whole", Remedy.SET_UP, True),
        (1, "OSError: No space left on device", "disk full", Remedy.FREE_DISK, True),
        (Exit.OPTIONS, "Error: Wrong thing.", "Wrong thing.", Remedy.CONNECT, True),
        (Exit.STORE_IN_USE, "", "in use by another backend", Remedy.RESTART, False),
        (Exit.PORT_TAKEN, "", "port is taken", Remedy.OPEN_LOG, True),
        (Exit.STORE_UNUSABLE, "Error: The store.", "The store.", Remedy.FREE_DISK, True),
        (Exit.KEYS_UNSAFE, "", "key file", Remedy.OPEN_LOG, True),
        (-signal.SIGKILL, "", "ran out of memory", Remedy.OPEN_LOG, False),
        (-signal.SIGSEGV, "", "crashed", Remedy.OPEN_LOG, False),
        (-64, "", "signal 64", Remedy.OPEN_LOG, False),
        (0xC0000005, "", "crashed", Remedy.OPEN_LOG, False),
        (0xC0000135, "", "Visual C++", Remedy.OPEN_LOG, False),
        (77, "", "code 77", Remedy.OPEN_LOG, False),
    ],
)
def test_every_ending_has_a_sentence(
    code: int, words: str, sentence: str, remedy: Remedy, is_hopeless: bool
) -> None:
    trouble = ending(code, words)
    assert sentence in trouble.sentence
    assert trouble.sentence.endswith(".")
    assert trouble.remedy is remedy
    assert hopeless(code, words) is is_hopeless


def test_the_codes_are_the_backends() -> None:
    assert {code.name: code.value for code in Exit} == {
        name: getattr(endings, name) for name in Exit.__members__
    }


# ---- environments -----------------------------------------------------------------------------


def test_an_environment_is_examined_without_loading_torch() -> None:
    found = examine(Path(sys.executable))
    assert found.protocol[0] == MAJOR
    assert found.version
    assert found.torch
    check(found, version=found.version)


def test_environments_that_will_not_do(tmp_path: Path) -> None:
    import venv

    venv.create(tmp_path / "empty", with_pip=False)
    python = interpreter(tmp_path / "empty")
    with pytest.raises(TroubleError, match="has no package 'geneman'"):
        examine(python)
    script = tmp_path / "odd"
    script.write_text("#!/bin/sh\necho wrong >&2\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(TroubleError, match="says 'wrong'"):
        examine(script)
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(TroubleError, match="no answer for 0 seconds"):
        examine(script, seconds=0.2)
    with pytest.raises(TroubleError, match="has no Python in it"):
        interpreter(tmp_path)


@pytest.mark.parametrize(
    ("major", "remedy"), [(MAJOR + 1, Remedy.UPDATE_ADDON), (MAJOR - 1, Remedy.SET_UP)]
)
def test_another_protocol_says_whom_to_update(major: int, remedy: Remedy) -> None:
    with pytest.raises(TroubleError) as caught:
        check(Environment(Path("python"), "1.0", (major, 0)))
    assert caught.value.trouble.remedy is remedy


def test_a_foreign_python_is_not_bent_to_blenders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/blender/python")
    monkeypatch.setenv("PYTHONPATH", "/blender/scripts")
    found = clean_environment({"X": "1"})
    assert "PYTHONHOME" not in found
    assert "PYTHONPATH" not in found
    assert found["X"] == "1"
    assert examine(Path(sys.executable)).version
