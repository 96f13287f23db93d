#!/usr/bin/env python3
"""Build the Blender add-on: one zip a platform, ready for Blender's "Install from Disk".

    python build_addon.py                        for this machine
    python build_addon.py --all                  for Linux, Windows and both kinds of Mac
    python build_addon.py --platform macos-arm64 --output dist

A zip holds the add-on, the wheels that Blender puts into its own Python (pyzmq and msgspec, for
Python 3.11 and 3.13: Blender 4.2 to 5.2), and the backend's wheel with the bundled priors, which
the add-on installs into an environment of its own when the user asks for it.

The same tree gives the same bytes: every wheel is pinned by hash, the tool that builds ours by
version, and nothing of the time, the folder or the user goes into the zip.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
ADDON = "blender_addon"
SHARED = ("frames.py", "protocol*.py")
"""What the backend has of the add-on: the protocol, which is Apache-2.0 as the backend is."""
HATCHLING = "1.27.0"
"""Builds our wheel and writes its own version into it."""
WHEEL_FOLDER, BACKEND_FOLDER = "wheels", "backend"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The zip format's first moment."""


@dataclass(frozen=True)
class Platform:
    """A platform by Blender's name."""

    name: str
    pip_tags: tuple[str, ...]
    """What pip may choose from, best first."""
    pattern: str
    """Which wheels are meant for it: how their platform tag reads."""

    @property
    def suffix(self) -> str:
        """How Blender's own builder ends the file's name."""
        return self.name.replace("-", "_")


PLATFORMS = {
    one.name: one
    for one in (
        Platform(
            "linux-x64", ("manylinux_2_28_x86_64", "manylinux2014_x86_64"), r"manylinux.*_x86_64"
        ),
        Platform("windows-x64", ("win_amd64",), r"win_amd64"),
        Platform("macos-x64", ("macosx_10_15_x86_64",), r"macosx_.*_(x86_64|universal2)"),
        Platform("macos-arm64", ("macosx_11_0_arm64",), r"macosx_.*_(arm64|universal2)"),
    )
}
PYTHONS = ("311", "313")
"""Of Blender 4.2 to 5.0, and of 5.1 and 5.2."""


class BuildError(Exception):
    """The add-on cannot be built; the text is one sentence."""


@dataclass(frozen=True)
class Pin:
    """One package of `requirements/addon.txt`."""

    package: str
    version: str
    hashes: frozenset[str]


# ---- versions ---------------------------------------------------------------------------------


def checked_version(root: Path) -> str:
    """Give the version, which stands in four places.

    Raises:
        BuildError: They do not agree, or one cannot be read.
    """
    version: str = _toml(root / "pyproject.toml")["project"]["version"]
    found = re.search(r'(?m)^__version__ = "([^"]+)"', _text(root / "geneman" / "__init__.py"))
    places = {
        f"{ADDON}/blender_manifest.toml": _toml(root / ADDON / "blender_manifest.toml")["version"],
        "geneman/__init__.py": found and found[1],
    }
    for place, other in places.items():
        if other != version:
            raise BuildError(
                f"The version must be the same everywhere, but pyproject.toml has {version} "
                f"and {place} has {other}: change one of them."
            )
    headings = re.findall(r"(?m)^## \[?([^\]\s]+)", _text(root / "CHANGELOG.md"))
    if version not in headings and "Unreleased" not in headings:
        raise BuildError(
            f"CHANGELOG.md must say what is new, but has neither 'Unreleased' nor {version}: "
            f"add the heading '## {version}'."
        )
    return version


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BuildError(
            f"The add-on is built from a whole checkout, but {path} cannot be read "
            f"({error.strerror}): restore it."
        ) from error


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise BuildError(f"{path} must be TOML, but is not ({error}): mend it.") from error


# ---- wheels -----------------------------------------------------------------------------------


def read_pins(path: Path) -> tuple[Pin, ...]:
    """Read packages, versions and hashes from a pip requirements file.

    Raises:
        BuildError: A line has no exact version or no hash.
    """
    joined = re.sub(r"\\\n|^#.*$", " ", _text(path), flags=re.MULTILINE)
    pins = []
    for line in filter(str.strip, joined.splitlines()):
        found = re.match(r"\s*([\w-]+)==(\S+)", line)
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", line)
        if found is None or not hashes:
            raise BuildError(
                f"{path.name} must pin version and sha256 of each package, but has "
                f"'{line.strip()[:60]}': write it as in 'pyzmq==26.4.0 --hash=sha256:...'."
            )
        pins.append(Pin(found[1], found[2], frozenset(hashes)))
    return tuple(pins)


def wheels_for(target: Platform, requirements: Path, cache: Path) -> list[Path]:
    """Give the wheels of a platform, fetched through pip where the cache lacks one.

    Raises:
        BuildError: One cannot be fetched, or is not the one that is pinned.
    """
    pins = read_pins(requirements)
    found: list[Path] = []
    for python in PYTHONS:
        have = _cached(target, python, pins, cache)
        if len(have) < len(pins):
            _download(target, python, requirements, cache)
            have = _cached(target, python, pins, cache)
        for pin in pins:
            if pin not in have:
                raise BuildError(
                    f"{target.name} needs {pin.package} {pin.version} for cp{python} as pinned in "
                    f"{requirements.name}, but it is not among what pip fetched into {cache}: "
                    "pin a version that has such a wheel."
                )
        found += have.values()
    return sorted(found)


def _cached(target: Platform, python: str, pins: Sequence[Pin], cache: Path) -> dict[Pin, Path]:
    have = {}
    for pin in pins:
        for path in sorted(cache.glob(f"{pin.package}-{pin.version}-cp{python}-cp{python}-*.whl")):
            tag = path.stem.rsplit("-", 1)[1]
            if re.fullmatch(target.pattern, tag) and sha256(path) in pin.hashes:
                have[pin] = path
    return have


def _download(target: Platform, python: str, requirements: Path, cache: Path) -> None:
    pip("download", "--require-hashes", "--no-deps", "--only-binary=:all:",
        "--requirement", str(requirements), "--dest", str(cache),
        "--implementation=cp", f"--python-version={python}", f"--abi=cp{python}",
        *(f"--platform={tag}" for tag in target.pip_tags),
        purpose=f"the wheels of {target.name} could not be fetched")  # fmt: skip


def backend_wheel(root: Path, folder: Path) -> Path:
    """Build the backend's wheel, and look whether all of it is in there.

    Raises:
        BuildError: It cannot be built, or something is missing or too much.
    """
    constraint = folder / "constraint.txt"
    constraint.write_text(f"hatchling=={HATCHLING}\n")
    pins = {"PIP_CONSTRAINT": str(constraint), "PIP_BUILD_CONSTRAINT": str(constraint)}
    pip("wheel", "--no-deps", "--no-cache-dir", "--wheel-dir", str(folder), str(root),
        purpose="the backend's wheel could not be built", environment=pins)  # fmt: skip
    (wheel,) = folder.glob("geneman-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = [path for name in SHARED for path in (root / ADDON).glob(name)]
    expected += [*sources(root / "backend"), *sources(root / "geneman")]
    outside = {path.relative_to(root).as_posix() for path in expected}
    for names, what in ((outside - inside, "lacks"), (inside - outside, "also has")):
        if names:
            raise BuildError(
                f"The backend's wheel must hold all of geneman, backend and the protocol, but "
                f"{what} {', '.join(sorted(names)[:3])}: see [tool.hatch] in pyproject.toml "
                "and .gitignore."
            )
    return wheel


def pip(*arguments: str, purpose: str, environment: Mapping[str, str] | None = None) -> None:
    """Run pip.

    Raises:
        BuildError: It failed; the sentence ends with its last word.
    """
    command = [sys.executable, "-m", "pip", *arguments, "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | (environment or {})
    )
    if done.returncode:
        last = ([line for line in done.stderr.splitlines() if line.strip()] or ["no message"])[-1]
        raise BuildError(f"{purpose[0].upper()}{purpose[1:]}: pip says '{last.strip()}'.")


def sources(folder: Path) -> Iterator[Path]:
    """Give the files of a package, in order, without what Python and tools leave behind."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(p == "__pycache__" or p.startswith(".") for p in parts):
            yield path


def sha256(path: Path) -> str:
    """Give a file's hash in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- zips -------------------------------------------------------------------------------------


def manifest(text: str, target: Platform, wheels: Sequence[Path]) -> str:
    """Give the manifest of one zip: the tree's, with platform and wheels before its tables."""
    listed = [f"./{WHEEL_FOLDER}/{wheel.name}" for wheel in wheels]
    lines = f"platforms = {json.dumps([target.name])}\nwheels = {json.dumps(listed, indent=2)}\n\n"
    head, table, tail = text.partition("\n[")
    return f"{head.rstrip()}\n{lines}{table.lstrip()}{tail}"


def write_zip(
    path: Path, root: Path, target: Platform, wheels: Sequence[Path], backend: Path
) -> None:
    """Write one platform's zip; a zip of that name is replaced only by a whole one."""
    text = _text(root / ADDON / "blender_manifest.toml")
    entries: dict[str, bytes] = {}
    for file in sources(root / ADDON):
        entries[file.relative_to(root / ADDON).as_posix()] = file.read_bytes()
    entries["blender_manifest.toml"] = manifest(text, target, wheels).encode()
    for licence in sources(root / "LICENSES"):
        entries[f"LICENSES/{licence.name}"] = licence.read_bytes()
    for wheel in wheels:
        entries[f"{WHEEL_FOLDER}/{wheel.name}"] = wheel.read_bytes()
    entries[f"{BACKEND_FOLDER}/{backend.name}"] = backend.read_bytes()
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w") as archive:
        for name in sorted(entries):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3  # Unix, on Windows too: else the bytes would differ
            entry.external_attr = 0o644 << 16
            packed = name.endswith(".whl")  # a zip already
            entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            archive.writestr(entry, entries[name], compresslevel=9)
    partial.replace(path)


def validators(root: Path) -> dict[str, list[str]]:
    """Give the commands that end in Blender's own validator: of each Blender that is here."""
    found = {}
    inner = "bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py"
    for packages in ("lib/python3.*/site-packages", "Lib/site-packages"):
        for script in sorted(root.glob(f".venv-blender*/{packages}/{inner}")):
            environment = root / script.relative_to(root).parts[0]
            python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
            if python.exists():  # an environment may be half made
                command = [str(python), "-Wignore", str(script), "validate"]
                found[script.parents[4].name] = command
    blender = shutil.which("blender")
    if blender:
        found["on PATH"] = [blender, "--background", "--command", "extension", "validate"]
    return found


def validate(path: Path, commands: Mapping[str, Sequence[str]]) -> None:
    """Let each Blender validate a zip.

    Raises:
        BuildError: One refuses it.
    """
    for version, command in commands.items():
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["no message"]
            raise BuildError(f"Blender {version} refuses {path.name}: it says '{last[0]}'.")


# ---- the command ------------------------------------------------------------------------------


def this_platform() -> str:
    """Give Blender's name of the platform that this runs on.

    Raises:
        BuildError: No add-on is built for it.
    """
    system = {"Linux": "linux", "Windows": "windows", "Darwin": "macos"}.get(platform.system())
    machine = {"x86_64": "x64", "amd64": "x64", "arm64": "arm64"}.get(platform.machine().lower())
    name = f"{system}-{machine}"
    if name not in PLATFORMS:
        raise BuildError(
            f"The add-on is built for {', '.join(PLATFORMS)}, but this machine is "
            f"{platform.system()} {platform.machine()}: name one with --platform, or use --all."
        )
    return name


def build(root: Path, names: Sequence[str], output: Path, cache: Path) -> list[Path]:
    """Build zips, saying how far it is, and give their paths.

    Raises:
        BuildError: Something is missing or wrong; whole zips of before are kept.
    """
    began, steps = time.monotonic(), 2 + len(names)

    def say(step: int, text: str) -> None:
        sys.stdout.write(f"[{step}/{steps}] {time.monotonic() - began:5.1f} s  {text}\n")
        sys.stdout.flush()

    version = checked_version(root)
    commands = validators(root)
    say(1, f"version {version}; building the backend's wheel")
    output.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    zips = []
    with tempfile.TemporaryDirectory() as folder:
        backend = backend_wheel(root, Path(folder))
        say(2, f"{backend.name}, {backend.stat().st_size / 1e6:.1f} MB")
        for number, name in enumerate(names, 3):
            target = PLATFORMS[name]
            wheels = wheels_for(target, root / "requirements" / "addon.txt", cache)
            path = output / f"geneman-{version}-{target.suffix}.zip"
            write_zip(path, root, target, wheels, backend)
            validate(path, commands)
            zips.append(path)
            say(number, f"{path}, {path.stat().st_size / 1e6:.1f} MB, sha256 {sha256(path)}")
    checked = ", ".join(commands) or "none found here; `make test` sets one up"
    sys.stdout.write(f"Validated by Blender: {checked}\n")
    return zips


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, and give the exit code: 0, or 2 with one sentence."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--platform", action="append", choices=PLATFORMS, help="default: this machine's")
    add("--all", action="store_true", help="all platforms")
    add("--output", type=Path, default=ROOT / "dist", help="folder of the zips (dist)")
    add("--wheels", type=Path, default=ROOT / "build" / "wheels", help="cache of fetched wheels")
    wanted = parser.parse_args(arguments)
    try:
        names = list(PLATFORMS) if wanted.all else wanted.platform or [this_platform()]
        build(ROOT, list(dict.fromkeys(names)), wanted.output, wanted.wheels)
    except BuildError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"Error: The zips could not be written ({error}): free some space.\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
