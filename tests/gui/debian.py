"""A Debian in a folder, with the Blender that Debian ships: `python -m tests.gui.debian FOLDER`.

Blender's own builds are no package, so a window is tested with Debian 13's Blender 4.3. Nothing of
the machine's own system changes.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "trixie"
PACKAGES = (
    "blender",
    "fonts-dejavu-core",
    "libegl-mesa0",
    "libgl1-mesa-dri",  # draws in software
    "libglx-mesa0",
    "python3-numpy",  # Blender only recommends it, and half of it fails without
    "python3-pil",  # takes the screenshots: Blender's own are black under Xvfb
    "python3-xlib",  # drags a file into the window
    "xvfb",
)
NEEDED_BYTES = 3_000_000_000


class MissingError(Exception):
    """The window cannot be tested on this machine; the text is one sentence."""


def check_machine(folder: Path) -> None:
    """See that a Debian can be made and entered here.

    Raises:
        MissingError: Not, and why.
    """
    remedy = "use `make test-blender`, which needs no window"
    if not sys.platform.startswith("linux"):
        raise MissingError(
            f"The test of the window needs Linux, but this is {sys.platform}: {remedy}."
        )
    if os.geteuid() != 0:
        raise MissingError(
            f"The test of the window needs root, to enter a folder as a system of its own, "
            f"but this is user {os.geteuid()}: run it in a container, or {remedy}."
        )
    for tool, package in (("debootstrap", "debootstrap"), ("unshare", "util-linux")):
        if shutil.which(tool) is None:
            raise MissingError(
                f"The test of the window needs {tool}, but it is not on the path: "
                f"install it, as in 'apt-get install {package}'."
            )
    free = shutil.disk_usage(folder.parent).free
    if not folder.exists() and free < NEEDED_BYTES:
        raise MissingError(
            f"The test of the window needs {NEEDED_BYTES / 1e9:.0f} GB of disk once, but "
            f"{free / 1e9:.1f} GB are free: free some space."
        )


def make(folder: Path) -> Path:
    """Make the system once and give its folder; an unfinished or older one is made anew.

    Raises:
        MissingError: A package could not be had; the log beside it says more.
    """
    root = folder / "debian"
    folder.mkdir(parents=True, exist_ok=True)
    check_machine(root)
    made_of, packages = root / "made-of.txt", "\n".join(PACKAGES)
    if made_of.exists() and made_of.read_text() == packages:
        return root
    partial, log = folder / "debian.partial", folder / "debian.log"
    shutil.rmtree(partial, ignore_errors=True)
    sys.stdout.write(f"Making {root}: two minutes, 2 GB, once\n")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    with log.open("wb") as file:
        for command in (
            ["debootstrap", "--variant=minbase", SUITE, str(partial)],
            ["chroot", str(partial), *install],
        ):
            done = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
            )
            if done.returncode:
                raise MissingError(
                    f"Debian {SUITE} could not be made in {partial} ({command[0]} ended with "
                    f"{done.returncode}): read {log}, and try again."
                )
    shutil.rmtree(partial / "var" / "cache" / "apt" / "archives", ignore_errors=True)
    (partial / made_of.name).write_text(packages)
    shutil.rmtree(root, ignore_errors=True)
    partial.rename(root)
    return root


def main() -> int:
    """Make it, and give the exit code."""
    try:
        sys.stdout.write(f"{make(Path(sys.argv[1]).resolve())}\n")
    except MissingError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
