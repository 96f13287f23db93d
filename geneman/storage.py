"""Files that are whole or absent, and what to say when the disk refuses them."""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from geneman.errors import RunFolderError

FREE_BYTES = 256 * 2**20
"""What a run may need at its peak (checkpoints and textures) before it is sure to end well."""

FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def digest_of(value: object) -> str:
    """Give the sha256 of a value's json form, keys sorted."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


def digest_of_file(path: Path) -> str:
    """Give the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write beside the old file, make it last, then take its place."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def make_last(path: Path) -> None:
    """Flush a file or folder to the disk; Windows keeps folders by itself."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _full(path: Path) -> RunFolderError:
    return RunFolderError(
        f"a run needs {FREE_BYTES / 1e6:.0f} MB of free disk",
        value=f"'{path}' on a disk that is full",
        remedy="free some space or choose a folder on another disk; the run then goes on",
    )


def check_space(path: Path) -> None:
    """Refuse to begin where the end is sure to fail."""
    if shutil.disk_usage(path).free < FREE_BYTES:
        raise _full(path)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full disk and a folder that may not be written into one sentence.

    Libraries wrap the system's error in their own (safetensors does), so the chain and the
    text of an error are looked at too.

    Raises:
        RunFolderError: In place of the system's error.
    """
    try:
        yield
    except RunFolderError:
        raise
    except Exception as error:
        code = _system_code(error)
        if code in FULL_DISK:
            raise _full(path) from error
        if code in FORBIDDEN and _concerns(error, path):
            raise RunFolderError(
                "the run folder must be writable",
                value=f"'{path}' ({os.strerror(code)})",
                remedy="choose another folder with -o or change its permissions",
            ) from error
        raise


def _system_code(error: BaseException) -> int:
    """Find the errno in an error; 0 if it has none."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    for code in FULL_DISK | FORBIDDEN:
        if f"os error {code})" in str(error):  # how Rust libraries say it
            return code
    return 0


def _concerns(error: BaseException, path: Path) -> bool:
    """Say whether an error is about the run folder (or names no file at all)."""
    name = getattr(error, "filename", None)
    return name is None or Path(os.fsdecode(name)).resolve().is_relative_to(path.resolve())
