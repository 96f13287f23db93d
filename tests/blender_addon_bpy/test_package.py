"""The zip goes in, brings what it needs, and goes out without a trace; in a Blender of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import importlib, json, os, sys
import bpy

package = "bl_ext.user_default.geneman"


def names():
    kinds = (bpy.types.Panel, bpy.types.Operator, bpy.types.PropertyGroup, bpy.types.UIList)
    found = {c.__name__ for kind in kinds for c in kind.__subclasses__() if c.is_registered}
    lists = [getattr(bpy.app.handlers, name) for name in dir(bpy.app.handlers)]
    handlers = [h for one in lists if isinstance(one, list) for h in one]
    return {
        "classes": sorted(n for n in found if "geneman" in n.lower()),
        "handlers": sorted(h.__module__ for h in handlers if package in (h.__module__ or "")),
        "properties": sorted(
            f"{owner.__name__}.{name}"
            for owner in (bpy.types.Scene, bpy.types.Object, bpy.types.WindowManager)
            for name in dir(owner)
            if "geneman" in name
        ),
        "operators": dir(bpy.ops.geneman),
    }


says = {"before": names()}
for round in range(2):
    bpy.ops.extensions.package_install_files(
        filepath=sys.argv[1], repo="user_default", enable_on_install=True, overwrite=True
    )
    says["installed"] = names()
    import msgspec, zmq
    says["from"] = [msgspec.__file__, zmq.__file__]
    says["curve"] = zmq.has("curve")
    addon = importlib.import_module(package)
    says["protocol"] = importlib.import_module(package + ".protocol").__name__
    says["wheel"] = len(list(os.scandir(os.path.join(os.path.dirname(addon.__file__), "backend"))))
    repositories = [one.module for one in bpy.context.preferences.extensions.repos]
    bpy.ops.extensions.package_uninstall(
        repo_index=repositories.index("user_default"), pkg_id="geneman"
    )
    says["after"] = names()
    says["left"] = os.path.exists(os.path.dirname(addon.__file__))
sys.stdout.write("SAYS" + json.dumps(says) + "\\n")
sys.stdout.flush()
if bpy.app.version < (4, 5):
    # As a module, 4.2 ends itself when Python lets go of it, and crashes if that comes too late:
    # it keeps the callbacks of properties that are gone, and those keep the module.
    os._exit(0)
"""


@pytest.fixture(scope="module")
def says(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    user = tmp_path_factory.mktemp("user")
    environment = os.environ | {"BLENDER_USER_RESOURCES": str(user)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, os.environ["GENEMAN_ADDON_ZIP"]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (one for one in done.stdout.splitlines() if one.startswith("SAYS"))
    return {"user": str(user), "output": done.stdout + done.stderr} | json.loads(line[4:])


def test_what_it_needs_comes_out_of_the_zip(says: dict[str, Any]) -> None:
    for file in says["from"]:
        assert Path(file).is_relative_to(says["user"]), "Blender's own Python must have none of it"
    assert says["curve"] is True
    assert says["wheel"] == 1


def test_it_adds_itself_and_takes_all_of_it_away_twice(says: dict[str, Any]) -> None:
    added = {kind for kind in says["installed"] if says["installed"][kind] != says["before"][kind]}
    assert {"classes", "operators", "properties"} <= added
    assert says["after"] == says["before"]
    assert says["left"] is False


def test_it_comes_and_goes_without_a_word_of_trouble(says: dict[str, Any]) -> None:
    for word in ("Traceback", "Error", "Exception", "leak"):
        assert word not in says["output"], says["output"]
