"""Functions of kernels in C++, for what Warp's language does not have: vectors on a CPU.

Warp brings clang with it on every platform; its vector types become whatever vectors the processor
has. Products and sums may be fused in a snippet.
"""

from string import Template

import torch

VECTORS = """
    #pragma clang fp contract(fast)
    typedef float f2 __attribute__((ext_vector_type(2)));
    typedef float f8 __attribute__((ext_vector_type(8)));
    typedef float f8a __attribute__((ext_vector_type(8), aligned(4)));
    typedef int i8 __attribute__((ext_vector_type(8)));
    typedef unsigned u8 __attribute__((ext_vector_type(8)));
    typedef double d4 __attribute__((ext_vector_type(4)));
"""
"""The types, by element and length; `f8a` need not begin where a vector would."""


def snippet(*parts: str, **names: object) -> str:
    """Put a function's body together for `wp.func_native`.

    Args:
        parts: Pieces of code, in their order, after `VECTORS`.
        names: What stands for `$name` in them.

    Returns:
        The body on a CPU, and an empty one on a GPU: launch it after `refuse_gpu`.
    """
    code = Template("".join((VECTORS, *parts))).substitute(names)
    return f"#if !defined(__CUDA_ARCH__)\n{code}\n#endif\n"


def refuse_gpu(what: str, device: torch.device) -> None:
    """Raise where a snippet would do nothing.

    Raises:
        ValueError: The device is not a CPU.
    """
    if device.type != "cpu":
        raise ValueError(f"{what} works on a CPU, got tensors on {device}; use torch there.")
