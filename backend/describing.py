# SPDX-License-Identifier: Apache-2.0
"""What this machine's method can do, as forms show it: stages, presets, settings, the device."""

from collections.abc import Mapping
from typing import Any

import msgspec
import psutil
import torch

import geneman
from blender_addon.frames import can_compress
from blender_addon.protocol import Camera, Device, Setting, Welcome
from geneman.camera import REFERENCE
from geneman.presets import PRESETS, TEXTS
from geneman.run_folder import STAGES
from geneman.settings import Field, describe, to_json


def welcome(device: torch.device) -> Welcome:
    """Give the whole method's description, with one device."""
    presets = {name: to_json(recipe) for name, recipe in PRESETS.items()}
    return Welcome(
        version=geneman.__version__,
        capabilities=("zstd",) if can_compress() else (),
        ready=True,
        stages=STAGES,
        presets=presets,
        preset_texts=TEXTS,
        settings=tuple(_setting(field, presets) for field in describe(PRESETS["paper"])),
        devices=(described(device),),
        camera=Camera(REFERENCE.distance, REFERENCE.fov_deg),
    )


def _setting(field: Field, presets: Mapping[str, Any]) -> Setting:
    return Setting(
        path=field.path,
        type=msgspec.convert(field.kind, type=Setting.__annotations__["type"]),
        default=field.default,
        stage=field.path.partition(".")[0],
        values={name: at(settings, field.path) for name, settings in presets.items()},
        optional=field.optional,
        minimum=field.minimum,
        maximum=field.maximum,
        above=field.above,
        below=field.below,
        choices=field.choices,
        length=field.length,
        limits=field.limits,
        text=field.text,
    )


def at(settings: Mapping[str, Any], path: str) -> Any:
    """Give the value at a dotted path of nested settings."""
    value: Any = settings
    for name in path.split("."):
        value = value[name]
    return value


def described(device: torch.device) -> Device:
    """Give a device's name, title and memory."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Device(str(device), torch.cuda.get_device_name(device), total, free)
    memory = psutil.virtual_memory()
    return Device("cpu", f"{psutil.cpu_count()} processors", memory.total, memory.available)
