"""The add-on as people have it: its zip, installed through Blender's own extension system.

Runs in Blender's Python (`python -m tests.blender_versions`), where no package of ours is: what the
tests import as `bl_ext.user_default.geneman` has unpacked its own wheels. `GENEMAN_PYTHON` is an
interpreter that has the backend.
"""

import atexit
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ZIP = os.environ.get("GENEMAN_ADDON_ZIP", "")
PACKAGE = "bl_ext.user_default.geneman"

OUTCOME = pytest.StashKey[int]()

if not ZIP:
    raise pytest.UsageError(
        "These tests run on a built zip in Blender's Python: `python -m tests.blender_versions`."
    )

# Before bpy is imported: its settings, extensions and unpacked wheels go here, never to the user's.
USER = Path(tempfile.mkdtemp(prefix="geneman-blender-"))
os.environ["BLENDER_USER_RESOURCES"] = str(USER)
atexit.register(shutil.rmtree, USER, ignore_errors=True)  # when there is nothing to test

import bpy  # noqa: E402, TID251


def pytest_sessionstart() -> None:
    """Install the add-on and switch it on, before the tests are read: they import it."""
    bpy.ops.extensions.package_install_files(
        filepath=ZIP, repo="user_default", enable_on_install=True, overwrite=True
    )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep the outcome for the end."""
    session.config.stash[OUTCOME] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave without Blender's own end: the module of 4.2 crashes there once glTF was exported."""
    shutil.rmtree(USER, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(config.stash.get(OUTCOME, 1))


@pytest.fixture(scope="session", autouse=True)
def addon() -> Iterator[ModuleType]:
    """The add-on; off at the end, as timers outlive no Blender well."""
    yield importlib.import_module(PACKAGE)
    bpy.ops.preferences.addon_disable(module=PACKAGE)


@pytest.fixture(scope="session")
def user_folder() -> Path:
    """Where Blender keeps what is this user's."""
    return USER
