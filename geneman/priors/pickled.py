"""Weights in pickled files (.ckpt, .pth): read as data, never run.

This file alone may call `torch.load`, and only with `weights_only`. Training frameworks also
pickle their own bookkeeping beside the weights; names of theirs are read as inert stand-ins.
"""

import pickle  # noqa: TID251 (its error is caught; nothing is unpickled by it)
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geneman.errors import MissingComponentError

BOOKKEEPING = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.nodes.AnyNode",
)
"""What Lightning leaves in a checkpoint beside the weights."""


class Inert:
    """Stands for a foreign object: takes anything, does nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def read_pickled(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a pickled file, with their names.

    Raises:
        MissingComponentError: The file is none, or holds code that would have to run.
    """
    stand_ins: list[Any] = [(Inert, name) for name in BOOKKEEPING]
    try:
        with torch.serialization.safe_globals(stand_ins):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # noqa: TID251
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise MissingComponentError(
            "a file of weights must hold tensors and nothing that runs",
            value=f"'{path}' ({str(error).splitlines()[0]})",
            remedy="get it from its publisher again, as safetensors if there is a choice",
        ) from error
    named = found.get("state_dict", found) if isinstance(found, Mapping) else {}
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    if not tensors:
        raise MissingComponentError(
            "a file of weights must hold named tensors",
            value=f"'{path}' without any",
            remedy="give the checkpoint itself",
        )
    return tensors
