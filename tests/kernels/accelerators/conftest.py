"""Each contract is tested thrice: on our kernels, on the owner file over a stand-in for its
package (written from the package's documentation, see `stand_ins`), and over the package itself,
where it is installed and there is a CUDA device.
"""

import dataclasses
import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from geneman.kernels import antialias, hash_grid, marching_tets, rasterise, texture
from geneman.kernels.accelerators import choice, nvdiffrast, tinycudann

STAND_INS = Path(__file__).parent / "stand_ins"
OURS = {
    "encode": hash_grid.encode,
    "rasterise": rasterise.rasterise,
    "interpolate": rasterise.interpolate,
    "antialias": antialias.antialias,
    "read_texture": texture.read_texture,
    "march": marching_tets.march,
}
ENTRIES = {entry.name: entry for entry in choice.TABLE}
CACHES = (choice._chosen, choice._import_failure, nvdiffrast._context, tinycudann._grids)


def three(name):
    """Parameters of a fixture: ours, the stand-in, the package."""
    return [
        pytest.param((name, "ours"), id="ours"),
        pytest.param((name, "stand-in"), id=f"{name}-stand-in"),
        pytest.param((name, "package"), id=name, marks=pytest.mark.gpu),
    ]


@pytest.fixture(params=three("tinycudann"))
def grid(request, monkeypatch):
    return operations(*request.param, request, monkeypatch)


@pytest.fixture(params=three("nvdiffrast"))
def pixels(request, monkeypatch):
    return operations(*request.param, request, monkeypatch)


@pytest.fixture(params=three("kaolin"))
def surface(request, monkeypatch):
    return operations(*request.param, request, monkeypatch)


@pytest.fixture
def stand_ins(monkeypatch):
    """Make the stand-ins importable, as if the packages were installed."""
    forget()
    monkeypatch.syspath_prepend(STAND_INS)
    yield
    forget()


def operations(name, kind, request, monkeypatch):
    offered = ENTRIES[name].operations + ENTRIES[name].by_name
    if kind == "ours":
        return SimpleNamespace(**{operation: OURS[operation] for operation in offered})
    if kind == "stand-in":
        request.getfixturevalue("stand_ins")
    elif importlib.util.find_spec(name) is None:
        pytest.skip(f"The package {name} is not installed here, so only its stand-in is tested.")
    elif not torch.cuda.is_available():
        pytest.skip(f"{name} needs a CUDA device, and there is none here.")
    owner = importlib.import_module(f"geneman.kernels.accelerators.{name}")
    found = {operation: getattr(owner, operation) for operation in offered}
    if kind == "package":
        found = {operation: on_cuda(function) for operation, function in found.items()}
    return SimpleNamespace(**found)


def on_cuda(function):
    """Let a test that keeps its tensors on the CPU call what works on CUDA."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        args, kwargs = moved((args, kwargs), "cuda")
        return moved(function(*args, **kwargs), "cpu")

    return call


def moved(value, device):
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if dataclasses.is_dataclass(value):
        tensors = {
            field.name: moved(getattr(value, field.name), device)
            for field in dataclasses.fields(value)
        }
        return dataclasses.replace(value, **tensors)
    if isinstance(value, dict):
        return {key: moved(item, device) for key, item in value.items()}
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(moved(item, device) for item in value)
    return value


def forget():
    """Drop what was imported, made or chosen before."""
    for name in list(sys.modules):
        if name.split(".")[0] in ENTRIES:
            del sys.modules[name]
    for cached in CACHES:
        cached.cache_clear()
