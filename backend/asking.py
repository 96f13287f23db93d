# SPDX-License-Identifier: Apache-2.0
"""What a command line lets one wish of a reconstruction: in `geneman jobs` and `geneman batch`."""

import argparse
from pathlib import Path
from typing import Any

import msgspec

from blender_addon.protocol import MAX_LABEL


def add_wish(parser: argparse.ArgumentParser) -> None:
    """Let a command line say how photos shall be reconstructed."""
    add = parser.add_argument
    add("--preset", default="draft")
    add("--seed", type=int, default=0)
    add("--recipe", type=_recipe, default={}, help='json, as in \'{"sculpt": {"steps": 50}}\'')


def wish(wanted: argparse.Namespace, photo: Path) -> dict[str, Any]:
    """Give the fields of `Submit` that say so, and the photo's name."""
    given = {"preset": wanted.preset, "seed": wanted.seed, "recipe": wanted.recipe}
    return given | {"label": photo.name[:MAX_LABEL]}


def _recipe(text: str) -> dict[str, dict[str, object]]:
    try:
        return msgspec.json.decode(text, type=dict[str, dict[str, object]])
    except msgspec.DecodeError as error:
        raise argparse.ArgumentTypeError(
            f"it must be settings by stage as json ({error})"
        ) from None
