"""The machine that a reconstruction runs on: which device, how many threads, how much memory."""

import contextlib
import os
import sys
from collections.abc import Iterator

import torch

from geneman.errors import DeviceMemoryError, OptionError

NAMES = ("auto", "cpu", "cuda")


def choose(name: str) -> torch.device:
    """Give the device that an option names; 'auto' takes CUDA where there is one.

    Args:
        name: auto, cpu, cuda, or cuda:1 for the second of several.

    Raises:
        OptionError: There is no such device here.
    """
    kind, _, index = name.partition(":")
    if kind not in NAMES or (index and (kind != "cuda" or not index.isdecimal())):
        raise OptionError(
            "--device must be one of auto, cpu, cuda, or cuda:1 for the second",
            value=f"'{name}'",
            remedy="leave it out",
        )
    if index and torch.cuda.is_available():
        count = torch.cuda.device_count()
        if int(index) < count:
            return torch.device(name)
        raise OptionError(
            f"--device {name} needs {int(index) + 1} CUDA devices",
            value=count,
            remedy=f"count from cuda:0 to cuda:{count - 1}",
        )
    if kind == "cuda" and not torch.cuda.is_available():
        raise OptionError(
            f"--device {name} needs a CUDA device and a torch built for it",
            value=f"torch {torch.__version__} that sees none",
            remedy="use --device cpu, or install a CUDA build of torch (extra 'cuda')",
        )
    cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")


def threads() -> int:
    """Give the number of processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def quick_products(device: torch.device) -> torch.autocast:
    """Let networks multiply in bfloat16 where that is quicker.

    A processor without the instructions emulates it, in two to five times what float32 takes.
    """
    # torch tells this of the processor under names that not all its releases have.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    fast = device.type != "cpu" or any(getattr(torch.cpu, name, bool)() for name in probes)
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def make_reproducible(device: torch.device) -> None:
    """Let torch use our processors, and only kernels whose result has the same bits each time."""
    # cuBLAS is deterministic only with a fixed workspace, which it reads from here.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads())
    # Some CUDA operations have no deterministic kernel; there torch warns instead of failing.
    # `use_deterministic_algorithms` tells torch's compiler too, and loads it for that, in seconds.
    torch.set_deterministic_debug_mode("warn" if device.type == "cuda" else "error")
    # Filling fresh memory guards against reading it unwritten, which costs time at each step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def peak_memory_bytes() -> int:
    """Give the most memory that this process ever had resident."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in kibibytes


OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "Failed to allocate",
)
"""How torch's CPU allocator and Warp say it, inside a plain RuntimeError."""


@contextlib.contextmanager
def memory_errors(stage: str, device: torch.device) -> Iterator[None]:
    """Turn every way of running out of memory into one sentence.

    Raises:
        DeviceMemoryError: In place of what torch, Warp or Python raised.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(s in str(error) for s in OUT_OF_MEMORY):
            raise
        raise DeviceMemoryError(
            f"{stage} needs more memory than the {device.type} has free: close other programs, "
            "or choose --preset draft; the run then goes on from its last checkpoint."
        ) from error
