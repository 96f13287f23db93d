import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

import build_addon
from build_addon import PLATFORMS, ROOT, BuildError

CACHE = ROOT / "build" / "wheels"
PARTS = ("geneman", "backend", "blender_addon", "LICENSES", "requirements")
FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE")


def copy_of_the_tree(folder: Path) -> Path:
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*FILES, ".gitignore"):
        shutil.copy(ROOT / file, folder / file)
    return folder


def few_files(folder: Path) -> Path:
    """Give a tree with only what says the version."""
    for name in (*FILES, "geneman/__init__.py", "blender_addon/blender_manifest.toml"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def said(folder: Path, *command: str | Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def zips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    output = tmp_path_factory.mktemp("zips")
    built = build_addon.build(ROOT, list(PLATFORMS), output, CACHE)
    return dict(zip(PLATFORMS, built, strict=True))


@pytest.fixture(scope="module")
def backend(zips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    with zipfile.ZipFile(zips["linux-x64"]) as archive:
        (name,) = (n for n in archive.namelist() if n.startswith("backend/"))
        return Path(archive.extract(name, tmp_path_factory.mktemp("backend")))


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_zip_has_both_packages_for_both_pythons_and_no_other_platforms(
    zips: dict[str, Path], name: str
) -> None:
    with zipfile.ZipFile(zips[name]) as archive:
        manifest = tomllib.loads(archive.read("blender_manifest.toml").decode())
        names = set(archive.namelist())
    assert manifest["platforms"] == [name]
    assert {f"./{n}" for n in names if n.startswith("wheels/")} == set(manifest["wheels"])
    tags = sorted(wheel.split("/")[-1].split("-")[:3:2] for wheel in manifest["wheels"])
    assert tags == [[p, f"cp{v}"] for p in ("msgspec", "pyzmq") for v in ("311", "313")]
    for wheel in manifest["wheels"]:
        assert not wheel.count("abi3"), "Blender drops abi3 beside others, and then refuses"
        assert re.search(PLATFORMS[name].pattern, wheel)
    assert (
        manifest["version"]
        == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    )
    for source in build_addon.sources(ROOT / "blender_addon"):
        assert source.relative_to(ROOT / "blender_addon").as_posix() in names


def test_the_same_tree_elsewhere_and_later_gives_the_same_bytes(
    zips: dict[str, Path], tmp_path: Path
) -> None:
    tree = copy_of_the_tree(tmp_path / "else where")
    for path in tree.rglob("*"):
        os.utime(path, (2e9, 2e9))
        path.chmod(0o700 if path.is_dir() else 0o600)
    (again,) = build_addon.build(tree, ["linux-x64"], tmp_path / "out", CACHE)
    assert build_addon.sha256(again) == build_addon.sha256(zips["linux-x64"])


def test_the_wheel_runs_from_an_environment_of_its_own(backend: Path, tmp_path: Path) -> None:
    home = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    python, geneman = scripts / "python", scripts / "geneman"
    subprocess.run([python, "-m", "pip", "install", "-qq", "--no-deps", backend], check=True)
    own = next(home.glob("[Ll]ib/**/site-packages"))
    # Its dependencies are those of this environment, which come after its own.
    (own / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    version = said(tmp_path, geneman, "--version")
    assert version.split()[-1] == build_addon.checked_version(ROOT)
    code = (
        "import geneman, backend, blender_addon.protocol as p; print(geneman.__file__, p.__file__)"
    )
    for file in said(tmp_path, python, "-c", code).split():
        assert Path(file).is_relative_to(home), "what runs must be the wheel's, not the checkout's"
    serving = subprocess.Popen(
        [python, "-m", "backend", "--store", tmp_path / "store", "--device", "cpu"], cwd=tmp_path
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "store" / "connection.json").exists():
            assert serving.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        serving.terminate()
    assert serving.wait(60) == 0


def test_the_wheel_holds_nothing_of_the_gpl(backend: Path) -> None:
    with zipfile.ZipFile(backend) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                assert b"SPDX-License-Identifier: GPL" not in archive.read(name), name


@pytest.mark.parametrize(
    "place", ["pyproject.toml", "geneman/__init__.py", "blender_addon/blender_manifest.toml"]
)
def test_versions_that_differ_are_named(tmp_path: Path, place: str) -> None:
    tree = few_files(tmp_path)
    version = build_addon.checked_version(tree)
    replace(tree / place, f'version = "{version}"', 'version = "9.9.9"') if place.endswith(
        "toml"
    ) else replace(tree / place, f'"{version}"', '"9.9.9"')
    with pytest.raises(BuildError, match=r"same everywhere, but .*9\.9\.9.*: change one of them"):
        build_addon.checked_version(tree)


def test_a_release_without_its_changes_is_refused(tmp_path: Path) -> None:
    tree = few_files(tmp_path)
    (tree / "CHANGELOG.md").write_text("# Changelog\n\n## 0.0.1\n")
    with pytest.raises(BuildError, match=r"has neither 'Unreleased' nor .*: add the heading"):
        build_addon.checked_version(tree)


def test_a_missing_file_has_its_sentence(tmp_path: Path) -> None:
    tree = few_files(tmp_path)
    (tree / "CHANGELOG.md").unlink()
    with pytest.raises(BuildError, match=r"whole checkout, but .*CHANGELOG\.md cannot be read"):
        build_addon.checked_version(tree)


@pytest.mark.parametrize(
    "line", ["pyzmq>=26.4", "pyzmq==26.4.0", "pyzmq --hash=sha256:" + "0" * 64]
)
def test_a_package_without_version_or_hash_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "addon.txt").write_text(f"# pins\n{line}\n")
    with pytest.raises(BuildError, match=r"must pin version and sha256 of each package, but has"):
        build_addon.read_pins(tmp_path / "addon.txt")


def test_a_wheel_with_other_bytes_is_not_taken(zips: dict[str, Path], tmp_path: Path) -> None:
    """The cache is no way in: what lies there must be what is pinned."""
    pins = build_addon.read_pins(ROOT / "requirements" / "addon.txt")
    target = PLATFORMS["windows-x64"]
    for wheel in CACHE.glob("*win_amd64.whl"):
        shutil.copy(wheel, tmp_path)
    assert len(build_addon._cached(target, "311", pins, tmp_path)) == len(pins)
    with next(tmp_path.glob("pyzmq*cp311*")).open("ab") as file:
        file.write(b"x")
    assert {pin.package for pin in build_addon._cached(target, "311", pins, tmp_path)} == {
        "msgspec"
    }


def test_what_pip_says_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "addon.txt").write_text("pyzmq==26.4.0 --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(
        BuildError, match=r"wheels of linux-x64 could not be fetched: pip says '.+'"
    ):
        build_addon.wheels_for(PLATFORMS["linux-x64"], tmp_path / "addon.txt", tmp_path)


def test_a_wheel_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path / "tree")
    with (tree / ".gitignore").open("a") as file:
        file.write("hash_grid.py\n")
    (tmp_path / "out").mkdir()
    with pytest.raises(BuildError, match=r"but lacks geneman/kernels/hash_grid\.py: see"):
        build_addon.backend_wheel(tree, tmp_path / "out")


def test_a_zip_that_a_blender_refuses_is_named(tmp_path: Path) -> None:
    refusing = [sys.executable, "-c", "import sys; print('no id'); sys.exit(1)"]
    with pytest.raises(BuildError, match=r"Blender 4\.5 refuses x\.zip: it says 'no id'"):
        build_addon.validate(tmp_path / "x.zip", {"4.5": refusing})


def test_a_machine_without_a_build_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(BuildError, match=r"built for linux-x64, .* riscv64: name one"):
        build_addon.this_platform()
