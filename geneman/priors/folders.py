"""Networks and their companions from folders that diffusers and transformers have written."""

import importlib
from pathlib import Path
from typing import Any

from geneman.errors import MissingComponentError


def read_part(kind: Any, folder: Path, **options: Any) -> Any:
    """Read one part; never from the network, and no pickled weights.

    Args:
        kind: A class of either library.
        folder: What its `save_pretrained` wrote.
        options: More of its own.

    Raises:
        MissingComponentError: The folder holds something else, or pickled weights alone.
    """
    library = kind.__module__.partition(".")[0]
    # Its bars would mix with ours.
    importlib.import_module(f"{library}.utils.logging").disable_progress_bar()
    try:
        return kind.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise MissingComponentError(
            f"a folder of weights must hold a {kind.__name__}",
            value=f"'{folder}' ({str(error).strip().splitlines()[0]})",
            remedy="fetch the weights again, or give another folder",
        ) from error


def read_network(kind: Any, folder: Path) -> Any:
    """Read a network from safetensors."""
    return read_part(kind, folder, use_safetensors=True)


def picture_size(unet: Any, vae: Any) -> int:
    """Give the side of the pictures that a latent diffusion model was trained on."""
    latent: int = unet.config.sample_size
    stages: int = len(vae.config.block_out_channels)
    return latent << (stages - 1)
