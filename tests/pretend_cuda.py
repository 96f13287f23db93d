"""A CUDA device that is none: tensors that say they are on it, computed on the CPU.

Where nobody has a GPU, this finds what a GPU would: tensors of two devices in one operation or
kernel, a generator of the other device, a tensor that goes to numpy without being fetched. Between
them torch works on the CPU, and kernels run as on CUDA, one index after the other. Adjoints are
not watched: torch's engine hands gradients over as plain tensors.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import warp as wp
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from geneman.kernels import launch as launching

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
MOVERS = {"to", "cpu", "copy_", "type_as", "__setitem__", "index_put_"}
"""Functions that may meet tensors of both devices."""
ARRAYS = {"numpy", "__array__"}
SAID = {Tensor.device.__get__: CUDA, Tensor.is_cuda.__get__: True, Tensor.is_cpu.__get__: False}
"""What such a tensor says of itself."""


class Pretend(Tensor):
    """A tensor on the device that is none."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return called(func, args, kwargs or {})


_GENERATOR = torch.Generator


class PretendGenerator(torch.Generator):
    """A source of chance for the device that is none."""

    device = CUDA  # type: ignore[assignment]


class AnyGenerator(torch.Generator):
    """Stands for `torch.Generator`: gives one of either device."""

    def __new__(cls, device: Any = CPU) -> torch.Generator:
        kind = PretendGenerator if torch.device(device).type == "cuda" else cls
        return _GENERATOR.__new__(kind)


class MixedDevicesError(RuntimeError):
    """Tensors of two devices met."""


def there(value: Any) -> Any:
    """Bring a plain tensor to the device; leave anything else."""
    return value.as_subclass(Pretend) if type(value) is Tensor else value


def here(value: Any) -> Any:
    """Bring such a tensor to the CPU; leave anything else."""
    return value.as_subclass(Tensor) if isinstance(value, Pretend) else value


class _Watch:
    adjoints = False
    """Whether torch's engine is at work."""


def called(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do what a torch function does, on the device that its tensors or it names."""
    name, owner = getattr(func, "__name__", ""), args[0] if args else None
    if isinstance(owner, Pretend) and func in SAID:
        return SAID[func]
    if isinstance(owner, Pretend) and name in ARRAYS:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")
    if name == "__deepcopy__" and isinstance(owner, Pretend):
        again = there(here(owner.detach()).clone())
        return nn.Parameter(again, owner.requires_grad) if hasattr(owner, "_is_param") else again
    if name in {"backward", "grad"}:
        return _adjoint(func, args, kwargs)
    if name in {"to", "cpu"}:
        return _move(func, args, kwargs)
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    on_device = any(isinstance(x, Pretend) for x in tensors)
    if on_device and name not in MOVERS and not _Watch.adjoints:
        _refuse_mixed(name, owner, tensors)
    if kwargs.get("device") is not None:
        on_device = torch.device(kwargs["device"]).type == "cuda"
        kwargs = {**kwargs, "device": CPU}
    chance = kwargs.get("generator")
    if chance is not None and isinstance(chance, PretendGenerator) is not on_device:
        raise MixedDevicesError(f"{name}: a generator on {chance.device} for the other device")
    with torch._C.DisableTorchFunctionSubclass():
        found = func(*args, **{k: v for k, v in kwargs.items() if k != "pin_memory"})
    return tree_map(there, found) if on_device else found


def _refuse_mixed(name: str, owner: Any, tensors: list[Tensor]) -> None:
    # Numbers may come from the CPU, and indices into a tensor of the device.
    plain = [x for x in tensors if not isinstance(x, Pretend) and x.dim() > 0]
    indexed = name == "__getitem__" and isinstance(owner, Pretend)
    if plain and not indexed:
        raise MixedDevicesError(f"{name}: {len(plain)} of {len(tensors)} tensors are on the cpu")


def _adjoint(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    _Watch.adjoints = True
    try:
        with torch._C.DisableTorchFunctionSubclass():
            return tree_map(there, func(*args, **kwargs))
    finally:
        _Watch.adjoints = False


def _leads(args: Any, kwargs: dict[str, Any]) -> bool | None:
    """Say whether `to` leads to the device; None if it only changes the kind of number."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            return isinstance(value, Pretend)
        if isinstance(value, (str, torch.device)):
            return torch.device(value).type == "cuda"
    return None


def _move(func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    owner, *rest = args
    leads = False if func is Tensor.cpu else _leads(rest, kwargs)
    rest = [CPU if isinstance(x, (str, torch.device)) else here(x) for x in rest]
    with torch._C.DisableTorchFunctionSubclass():
        found = func(owner, *rest, **({**kwargs, "device": CPU} if "device" in kwargs else kwargs))
    stays = isinstance(owner, Pretend)
    return there(here(found)) if (stays if leads is None else leads) else here(found)


class _Mode(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return called(func, args, kwargs or {})


def _moved(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
    """Do as `Module.to`."""
    leads = _leads(args, kwargs)
    bring = here if leads is None or not leads else lambda value: there(here(value))
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(bring(value.data), value.requires_grad)
        for name, value in part._buffers.items():
            part._buffers[name] = bring(value)
    return module


@contextlib.contextmanager
def pretend_cuda(patch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Have such a device for a while."""
    launch, to_warp = wp.launch, launching._to_warp

    def run(kernel: wp.Kernel, *, stream: Any = None, **options: Any) -> Any:
        return launch(kernel, **(options if stream is None else {**options, "device": "cpu"}))

    def viewed(tensor: Tensor, declared: Any) -> Any:
        with torch._C.DisableTorchFunction():
            return to_warp(here(tensor), declared)

    patch.setattr(wp, "launch", run)
    patch.setattr(wp, "stream_from_torch", lambda _: "the device's")
    patch.setattr(torch.cuda, "current_stream", lambda _=None: None)
    patch.setattr(launching, "_to_warp", viewed)
    patch.setattr(torch.cuda, "get_device_name", lambda _=None: "none")
    patch.setattr(nn.Module, "to", _moved)
    patch.setattr(torch, "Generator", AnyGenerator)
    with _Mode():
        yield CUDA
