from pathlib import Path

import pytest

from tests.blender_versions import BLENDERS, MissingError, find_python


def shim(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_shim_that_does_not_start_is_passed_over_for_pyenvs_own(tmp_path: Path) -> None:
    shim(tmp_path / "shims", "python3.13", "echo 'command not found' >&2; exit 127")
    real = shim(tmp_path / ".pyenv" / "versions" / "3.13.9" / "bin", "python3.13", "echo 3.13")
    environment = {"PATH": f"{tmp_path / 'shims'}"}
    assert find_python("3.13", environment, tmp_path) == real


def test_a_missing_python_has_its_sentence(tmp_path: Path) -> None:
    shim(tmp_path, "python3.13", "echo 3.12")  # claims to be another
    with pytest.raises(MissingError, match=r"needs Python 3\.13 .* none on the path, .*install it"):
        find_python("3.13", {"PATH": str(tmp_path)}, tmp_path)


def test_no_environment_has_a_package_that_the_zip_must_bring() -> None:
    brought = {"pyzmq", "msgspec"}
    for blender in BLENDERS:
        assert not brought & {package.partition("=")[0] for package in blender.packages}
