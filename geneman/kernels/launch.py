"""Start Warp kernels: on torch's stream on CUDA, over a pool of threads on the CPU.

A Warp launch on the CPU is serial and releases the interpreter's lock, so a launch of `size`
indices is cut into ranges that run side by side. A kernel takes `begin: int` as its last
argument and works on index `begin + wp.tid()`; each index owns what it writes, so the result
has the same bits for any number of threads.
"""

import contextlib
import functools
import importlib
import itertools
import os
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import torch
import warp as wp
from torch import Tensor

from geneman.device import threads

wp.config.log_level = wp.LOG_WARNING

Argument = Tensor | float | int | bool | None

GRAIN = 2048
"""Fewest indices worth a thread: starting a range costs about 50 microseconds."""
RANGES_PER_THREAD = 4
"""More ranges than threads, so that uneven ones even out."""


def launch(
    kernel: wp.Kernel,
    size: int,
    inputs: Sequence[Argument],
    device: torch.device,
    *,
    grain: int = GRAIN,
) -> None:
    """Run `kernel` once for each index in `range(size)`, and wait for it on the CPU.

    Args:
        kernel: Takes `inputs`, then `begin: int`; index `begin + wp.tid()`.
        size: Number of indices; 0 does nothing.
        inputs: Tensors are passed without copying as arrays of the kernel's element type (a
            `wp.array(dtype=wp.vec3)` takes a contiguous tensor of shape n 3); None is an empty
            array.
        device: Where all tensors live.
        grain: Fewest indices in a range; 1 if each index is a lot of work (a level, a tile).

    Raises:
        ValueError: A tensor lives elsewhere: its memory must not be touched from here.
    """
    for value in inputs:
        if isinstance(value, Tensor) and value.device.type != device.type:
            raise ValueError(
                f"{kernel.key} works on {device}, got a tensor on {value.device}; move it there."
            )
    if size == 0:
        return
    initialise()
    arguments = [
        _to_warp(value, declared.type) if isinstance(value, Tensor) else value
        for value, declared in zip(inputs, kernel.adj.args, strict=False)
    ]
    if device.type == "cuda":
        stream = wp.stream_from_torch(torch.cuda.current_stream(device))
        wp.launch(kernel, dim=size, inputs=[*arguments, 0], stream=stream)
        return
    _load(kernel.module)
    at_once, pool = _threads()
    count = max(1, min(-(-size // grain), RANGES_PER_THREAD * at_once))
    edges = [size * index // count for index in range(count + 1)]

    def run(begin: int, end: int) -> None:
        wp.launch(kernel, dim=end - begin, inputs=[*arguments, begin], device="cpu")

    if count == 1 or at_once == 1:
        run(0, size)
        return
    for future in [pool.submit(run, *pair) for pair in itertools.pairwise(edges)]:
        future.result()


def compile_kernels(
    device: torch.device, tell: Callable[[int, int], None] = lambda _done, _of: None
) -> None:
    """Compile and load every kernel of this package, so that no later call waits for it.

    Warp keeps the result on disk: the second call, in any process, takes milliseconds.

    Args:
        device: Where they shall run.
        tell: Called with how many modules are loaded, and of how many: before the first and after
            each.
    """
    initialise()
    package = importlib.import_module(__package__)
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    imported = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    kernels = [v for m in imported for v in vars(m).values() if isinstance(v, wp.Kernel)]
    modules = {kernel.module.name: kernel.module for kernel in kernels}
    tell(0, len(modules))
    for done, module in enumerate(modules.values(), 1):
        wp.load_module(module, device=str(device))
        tell(done, len(modules))


def _to_warp(tensor: Tensor, declared: Any) -> Any:
    """View a tensor as the array that the kernel declares."""
    return wp.from_torch(tensor.detach(), dtype=declared.dtype)


@functools.cache
def initialise() -> None:
    """Start Warp; without a driver its native part would greet the user with a warning."""
    with contextlib.nullcontext() if torch.cuda.is_available() else _native_errors_dropped():
        wp.init()


@contextlib.contextmanager
def _native_errors_dropped() -> Iterator[None]:
    """Send what C code prints on the error stream nowhere, for a moment."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@functools.cache
def _load(module: wp.Module) -> None:
    """Load a module before threads could compile it twice."""
    wp.load_module(module, device="cpu")


_limit: ContextVar[int | None] = ContextVar("limit", default=None)


@contextlib.contextmanager
def limited(count: int) -> Iterator[None]:
    """Run this thread's launches on so many threads, to measure them and to compare their bits."""
    token = _limit.set(count)
    try:
        yield
    finally:
        _limit.reset(token)


def workers() -> int:
    """Give how many threads a launch may use."""
    return _limit.get() or threads()


def _threads() -> tuple[int, ThreadPoolExecutor]:
    """Give how many threads a launch may use, and as many."""
    count = workers()
    return count, _pool(count)


@functools.cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="kernels")
