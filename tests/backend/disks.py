"""Disks of their own for tests: small ones to fill, and one that can lose its power."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest


@contextmanager
def mounted(folder: Path, *what: str) -> Iterator[Path]:
    """Mount something for a while, on a machine that lets us."""
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", *what, str(folder)], check=False).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Give a disk of a few megabytes."""
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs") as disk:
        yield disk


def fill(disk: Path) -> None:
    """Leave not a page free."""
    left = psutil.disk_usage(str(disk)).free
    with (disk / "filling").open("wb", buffering=0) as filling, contextlib.suppress(OSError):
        os.posix_fallocate(filling.fileno(), 0, left - 2**16)
        filling.seek(0, os.SEEK_END)
        while True:
            filling.write(bytes(4096))


class Disk:
    """A file system in a file: a copy of the file is what a loss of power would leave.

    What the kernel still holds in its memory is not in the file, just as it is not on a real disk;
    `commit=300` keeps the kernel from writing it out by itself while a test runs.
    """

    def __init__(self, folder: Path, size: str = "1G") -> None:
        self._folder, self._image = folder, folder / "disk.img"
        subprocess.run(["truncate", "-s", size, str(self._image)], check=True)
        made = ["mkfs.ext4", "-q", "-E", "lazy_itable_init=1,nodiscard", str(self._image)]
        if subprocess.run(made, check=False).returncode:
            pytest.skip("this machine cannot make a file system")

    @contextmanager
    def powered(self) -> Iterator[Path]:
        """Give the disk."""
        with mounted(self._folder / "disk", "-o", "loop,commit=300", str(self._image)) as disk:
            yield disk

    @contextmanager
    def after_power_loss(self) -> Iterator[Path]:
        """Give the disk as it would be if the power were lost now."""
        copy = self._folder / "lost.img"
        subprocess.run(["cp", "--sparse=always", str(self._image), str(copy)], check=True)
        with mounted(self._folder / "lost", "-o", "loop", str(copy)) as disk:
            yield disk
        (self._folder / "lost").rmdir()
        copy.unlink()
