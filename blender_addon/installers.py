# SPDX-License-Identifier: GPL-3.0-or-later
"""What uv and pip are told, and what they say while they work."""

import configparser
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .processes import WINDOWS
from .troubles import Remedy, Trouble

PYTHON = "3.11"
"""That uv fetches: the version that the backend is tested with."""
TORCH_INDEX = "https://download.pytorch.org/whl/"
_MEGABYTE = 2**20
_TRUE = ("1", "true", "yes", "on")
_UNITS = {"KiB": 2**10, "MiB": _MEGABYTE, "GiB": 2**30, "kB": 1000, "MB": 10**6, "GB": 10**9}
_UV_BEGINS = re.compile(r"^\s*Downloading (\S+) \(([\d.]+)(\w+)\)")
_UV_ENDS = re.compile(r"^\s*Downloaded (\S+)")
_PIP_BEGINS = re.compile(r"^\s*Downloading (?:\S+/)?([\w.]+?)-\S+ \(([\d.]+) (\w+)\)")


@dataclass
class Reading:
    """How far an installer is, by what it says."""

    total: int = 0
    """Bytes that are known to be wanted."""
    done: int = 0
    line: str = ""
    """For people."""
    installing: bool = False
    """Everything is here and is being put in its place."""
    _sizes: dict[str, int] = field(default_factory=dict)

    def take(self, said: str) -> None:
        """Take in a line of uv's or pip's."""
        begins = _UV_BEGINS.match(said) or _PIP_BEGINS.match(said)
        ends = _UV_ENDS.match(said)
        if begins:
            name, size, unit = begins.groups()
            self._sizes[name] = int(float(size) * _UNITS.get(unit, 1))
            self.total += self._sizes[name]
        elif ends:
            self.done += self._sizes.pop(ends.group(1), 0)
        elif said.startswith(("Prepared ", "Installing collected")):
            self.installing, self.line = True, "Installing packages"
        elif said.startswith("Resolved "):
            self.line = "Downloading packages"
        if (begins or ends) and self._sizes:
            largest = max(self._sizes, key=lambda name: self._sizes[name])
            megabytes = max(self._sizes[largest] // _MEGABYTE, 1)
            self.line = f"Downloading {largest} ({megabytes} MB)"


def has_nvidia() -> bool:
    """Say whether an NVIDIA driver is installed here."""
    if WINDOWS:
        return (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32/nvcuda.dll").exists()
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def pip_torch_options(*, nvidia: bool) -> list[str]:
    """Give the options by which pip, which asks no machine, finds the right torch.

    PyPI's torch is the CUDA build on Linux and the CPU build elsewhere.
    """
    linux = sys.platform.startswith("linux")
    if linux and not nvidia:
        return ["--extra-index-url", f"{TORCH_INDEX}cpu"]
    if WINDOWS and nvidia:
        return ["--extra-index-url", f"{TORCH_INDEX}cu130"]
    return []


def uv_variables(cache: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give uv's variables: our cache, and what the user has told pip about package indexes.

    uv reads no configuration of pip's, but who works behind a company's mirror has one.
    """
    variables = {"UV_CACHE_DIR": str(cache), "UV_NO_PROGRESS": "1", "UV_HTTP_TIMEOUT": "60"}
    pip = _pip_options(environment)
    for option, variable in (
        ("index-url", "UV_DEFAULT_INDEX"),
        ("extra-index-url", "UV_INDEX"),
        ("cert", "SSL_CERT_FILE"),
        ("trusted-host", "UV_INSECURE_HOST"),
        ("proxy", "ALL_PROXY"),
    ):
        if option in pip and variable not in environment:
            variables[variable] = " ".join(pip[option].split())
    if "find-links" in pip and "UV_FIND_LINKS" not in environment:
        variables["UV_FIND_LINKS"] = ",".join(pip["find-links"].split())
    if "UV_INDEX" in variables:
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip does
    if pip.get("no-index", "").lower() in _TRUE:
        variables["UV_NO_INDEX"] = "1"
    return variables


def _pip_options(environment: Mapping[str, str]) -> dict[str, str]:
    """Give pip's global options, from its files and variables, the latter last."""
    parser = configparser.RawConfigParser()
    home = Path.home()
    places = [
        *(Path(folder) / "pip/pip.conf" for folder in ("/etc/xdg",) if not WINDOWS),
        Path("/etc/pip.conf"),
        Path(environment.get("PROGRAMDATA", r"C:\ProgramData")) / "pip/pip.ini",
        Path("/Library/Application Support/pip/pip.conf"),
        home / ".pip/pip.conf",
        Path(environment.get("XDG_CONFIG_HOME", home / ".config")) / "pip/pip.conf",
        home / "Library/Application Support/pip/pip.conf",
        Path(environment.get("APPDATA", home / "AppData/Roaming")) / "pip/pip.ini",
    ]
    chosen = environment.get("PIP_CONFIG_FILE")
    if chosen:
        places = [] if chosen == os.devnull else [*places, Path(chosen)]
    found: dict[str, str] = {}
    try:
        parser.read([place for place in places if place.is_file()], encoding="utf-8")
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= dict(parser.items(section))
    except (configparser.Error, UnicodeDecodeError):
        found = {}  # pip itself would refuse such a file; the variables still count
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return found


_NETWORK = (
    "dns error",
    "error sending request",
    "client error (connect)",
    "connection",
    "timed out",
    "max retries",
    "tunnel",
    "certificate",
    "temporary failure in name resolution",
)
_DISK = ("no space left", "os error 28", "os error 112", "not enough space", "disk quota")
_BLOCKED = ("permission denied", "access is denied", "os error 5)", "os error 13)")
_NO_MATCH = ("no solution found", "no matching distribution", "could not find a version")


def failure(what: str, words: str, log: Path) -> Trouble:
    """Give the sentence for an installer that failed, by what it said last."""
    text = words.lower()
    cause = next((line for line in words.splitlines() if "error" in line.lower()), "")
    cause = (cause or (words.splitlines() or ["no word"])[-1]).strip()[:200].rstrip(".")
    values = {"what": what, "cause": cause, "log": log.name}
    if any(word in text for word in _DISK):
        return Trouble(
            "{what} must fit on the disk, but it is full: free some space and try again.",
            Remedy.FREE_DISK,
            words,
            values,
        )
    if any(word in text for word in _NO_MATCH):
        return Trouble(
            "{what} must be there for this system and Python, but is not ({cause}): see '{log}'.",
            Remedy.OPEN_LOG,
            words,
            values,
        )
    if any(word in text for word in _NETWORK):
        return Trouble(
            "{what} must be reachable, but the connection failed ({cause}): look at network, proxy "
            "and firewall, and try again; what was loaded is kept.",
            Remedy.SET_UP,
            words,
            values,
        )
    if any(word in text for word in _BLOCKED):
        return Trouble(
            "{what} must be allowed to write here, but something forbids it ({cause}): look at the "
            "folder's permissions and the virus scanner.",
            Remedy.OPEN_LOG,
            words,
            values,
        )
    text = "{what} must go well, but did not ({cause}): see '{log}'."
    return Trouble(text, Remedy.OPEN_LOG, words, values)
