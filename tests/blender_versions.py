"""Test the add-on's zip in Blender as a Python module, one environment a version.

`python -m tests.blender_versions 4.5` tests one version, `--all` every one. An environment is made
when it is missing: bpy, numpy and pytest, and none of the packages that the zip must bring itself.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import build_addon

ROOT = Path(__file__).resolve().parent.parent
ZIPS = ROOT / "build" / "addon"
TESTS = ROOT / "tests" / "blender_addon_bpy"
NEEDED_BYTES = 2_500_000_000
"""The wheel, and what it unfolds to."""
EXIT_MISSING = 2


class MissingError(Exception):
    """Something that the tests need is not on this machine; the text is one sentence."""


@dataclass(frozen=True)
class Blender:
    """A version that the add-on is tested in."""

    series: str
    """As in '4.5'."""
    module: str
    """The version of the package bpy."""
    python: str
    """Blender's own Python, for which alone there are wheels."""
    folder: str
    """The environment's."""

    @property
    def interpreter(self) -> Path:
        """The environment's Python."""
        return ROOT / self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def stamp(self) -> Path:
        """A file that says what the environment was made for; written when it is whole."""
        return ROOT / self.folder / ".made-for"

    @property
    def packages(self) -> tuple[str, ...]:
        """What is installed. No pyzmq, no msgspec: those of the zip are on trial."""
        return (f"bpy=={self.module}", "pytest>=8.3", "pytest-timeout>=2.3")


BLENDERS = (
    Blender("4.2", "4.2.23", "3.11", ".venv-blender-4.2"),
    Blender("4.5", "4.5.15", "3.11", ".venv-blender"),
    Blender("5.0", "5.0.1", "3.11", ".venv-blender-5.0"),
    Blender("5.2", "5.2.3", "3.13", ".venv-blender-5.2"),
)
"""`make test` uses 4.5, the LTS that most people have."""


def pythons(version: str, environment: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Give where a Python of that version may be: on the path, pyenv's, then uv's."""
    name = f"python{version}"
    for folder in environment.get("PATH", "").split(os.pathsep):
        if folder and (Path(folder) / name).is_file():
            yield Path(folder) / name
    pyenv = Path(environment.get("PYENV_ROOT", home / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/{name}"))
    uv = shutil.which("uv", path=environment.get("PATH"))
    if uv:
        for order in ("find", "install"):
            subprocess.run([uv, "python", order, version], capture_output=True, check=False)
        found = subprocess.run([uv, "python", "find", version], capture_output=True, text=True)  # noqa: PLW1510
        if found.returncode == 0:
            yield Path(found.stdout.strip())


def find_python(version: str, environment: Mapping[str, str], home: Path) -> Path:
    """Give an interpreter of that version which really starts (pyenv's shims may not).

    Raises:
        MissingError: There is none.
    """
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for python in pythons(version, environment, home):
        asked = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        if asked.stdout.strip() == version:
            return python
    raise MissingError(
        f"Blender as a module needs Python {version} with venv, but there is none on the path, "
        f"from pyenv or from uv: install it, as in 'uv python install {version}'."
    )


def ensure_environment(blender: Blender) -> None:
    """Make an environment unless it is there; half-made ones are made anew.

    Raises:
        MissingError: Python, disk or a package is missing.
    """
    made_for = "\n".join(blender.packages)
    if blender.stamp.exists() and blender.stamp.read_text() == made_for:
        return
    python = find_python(blender.python, os.environ, Path.home())
    free = shutil.disk_usage(ROOT).free
    if free < NEEDED_BYTES:
        raise MissingError(
            f"An environment for Blender {blender.series} needs {NEEDED_BYTES / 1e9:.1f} GB of "
            f"disk, but {free / 1e9:.1f} GB are free: free some space."
        )
    say(f"making {blender.folder} with bpy {blender.module}")
    shutil.rmtree(ROOT / blender.folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", ROOT / blender.folder], check=True)
    pip = [str(blender.interpreter), "-m", "pip", "install", "-qq", "--no-compile"]
    pip += ["--disable-pip-version-check"]
    done = subprocess.run([*pip, *blender.packages], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MissingError(f"Blender {blender.series} could not be installed: pip says '{last}'.")
    blender.stamp.write_text(made_for)


def run_tests(blender: Blender, zip_file: Path, arguments: Sequence[str]) -> int:
    """Run the tests in one version and give pytest's exit code."""
    say(f"Blender {blender.series}, Python {blender.python}")
    command = [str(blender.interpreter), "-m", "pytest", "-c", str(TESTS / "pytest.ini")]
    command += [str(TESTS), *arguments]
    wanted = {"GENEMAN_ADDON_ZIP": str(zip_file), "GENEMAN_PYTHON": sys.executable}
    return subprocess.run(command, cwd=ROOT, env=os.environ | wanted, check=False).returncode


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stdout.write(f"==== {text}\n")
    sys.stdout.flush()


def versions_tested(blenders: Sequence[Blender], arguments: Sequence[str]) -> int:
    """Test one version after the other, and give 0 if all passed."""
    (zip_file,) = build_addon.build(
        ROOT, [build_addon.this_platform()], ZIPS, ROOT / "build" / "wheels"
    )
    lines, worst = [], 0
    for blender in blenders:
        began = time.monotonic()
        try:
            ensure_environment(blender)
            code = run_tests(blender, zip_file, arguments)
            outcome = "passed" if code == 0 else "FAILED"
        except MissingError as error:
            code, outcome = EXIT_MISSING, str(error)
        worst = max(worst, abs(code))
        lines.append(f"Blender {blender.series}: {outcome} ({time.monotonic() - began:.0f} s)")
    for line in lines:
        say(line)
    return worst


def main() -> int:
    """Test the versions that are named; what follows `--` is for pytest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known = {one.series: one for one in BLENDERS}
    parser.add_argument("series", nargs="*", choices=(*known, []), metavar="SERIES")
    parser.add_argument("--all", action="store_true", help=", ".join(known))
    parser.add_argument("--pytest", default="", help="further arguments for pytest")
    wanted = parser.parse_args()
    names = list(known) if wanted.all else wanted.series or ["4.5"]
    try:
        return versions_tested([known[name] for name in names], wanted.pytest.split())
    except build_addon.BuildError as error:
        sys.stderr.write(f"Error: {error}\n")
        return EXIT_MISSING


if __name__ == "__main__":
    sys.exit(main())
