"""What somebody reads whose machine cannot show a window."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.gui.debian import MissingError, check_machine

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


def test_another_user_than_root_is_sent_to_the_windowless_tests(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingError, match=r"needs root, .* user 1000: .* `make test-blender`"):
        check_machine(tmp_path / "debian")


def test_a_missing_tool_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match=r"needs debootstrap, .* 'apt-get install debootstrap'"):
        check_machine(tmp_path / "debian")


def test_a_full_disk_is_told_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}")
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(MissingError, match=r"needs 3 GB of disk once, but 1\.0 GB are free"):
        check_machine(tmp_path / "debian")
