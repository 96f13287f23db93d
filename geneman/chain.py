"""The method's stages in a row: how each is called, and how its artefact lies on disk."""

from pathlib import Path

import msgspec
import torch

from geneman.artefacts import (
    load_mesh,
    load_textured,
    load_view,
    save_mesh,
    save_textured,
    save_view,
)
from geneman.fields.networks import ColourField, Field, RadianceField
from geneman.pipeline import Request, Stage
from geneman.preprocess import prepare
from geneman.preprocess.given_maps import GivenMaps
from geneman.preprocess.pictures import save_pictures
from geneman.preprocess.prepare import Prepared
from geneman.priors.bundle import Priors
from geneman.priors.bundled.family import with_views
from geneman.priors.bundled.geometry_prior import bundled_shape_prior
from geneman.priors.economy import Economy
from geneman.priors.full import full_priors
from geneman.run_folder import FACTS
from geneman.stages import finish, latent_texture, nerf_init, pixel_texture, sculpt

FIELD = "field.safetensors"


def bundled_priors() -> Priors:
    """Give what is known about people without any download."""
    return with_views(Priors(shape=bundled_shape_prior()))


def full_family(root: Path, economy: Economy) -> Priors:
    """Load the paper's priors from a folder of weights.

    Raises:
        MissingComponentError: They are not all there.
    """
    return full_priors(root, Priors(shape=bundled_shape_prior()), economy)


def given_maps(request: Request) -> GivenMaps:
    """Give what the request brings along, by name."""
    return GivenMaps(**dict(request.given))  # type: ignore[arg-type]  # texts and paths, as named


def save_prepared(prepared: Prepared, folder: Path) -> None:
    """Write the view, and where each part of it came from."""
    save_view(prepared.view, folder)
    save_pictures(prepared.view, folder, prepared.photo_mask)
    facts = {"sources": dict(prepared.sources)}
    (folder / FACTS).write_bytes(msgspec.json.encode(facts))


def save_field(field: Field, folder: Path) -> None:
    """Write a field's weights and configuration."""
    field.save(folder / FIELD)


def load_radiance(folder: Path, device: torch.device) -> RadianceField:
    """Read what `save_field` wrote of a radiance field."""
    return RadianceField.load(folder / FIELD, device)


def load_colour(folder: Path, device: torch.device) -> ColourField:
    """Read what `save_field` wrote of a colour field."""
    return ColourField.load(folder / FIELD, device)


CHAIN: dict[str, Stage] = {
    "prepare": Stage(
        lambda request, _, tools: prepare.run(
            request.photo,
            given=given_maps(request),
            priors=tools["priors"],
            config=tools["config"],
            device=tools["device"],
            report=tools["report"],
        ),
        save_prepared,
        load_view,
    ),
    "nerf_init": Stage(
        lambda _, made, tools: nerf_init.run(made["prepare"], **tools),
        save_field,
        load_radiance,
    ),
    "sculpt": Stage(
        lambda _, made, tools: sculpt.run(made["prepare"], made["nerf_init"], **tools),
        save_mesh,
        load_mesh,
    ),
    "latent_texture": Stage(
        lambda _, made, tools: latent_texture.run(made["prepare"], made["sculpt"], **tools),
        save_field,
        load_colour,
    ),
    "pixel_texture": Stage(
        lambda _, made, tools: pixel_texture.run(
            made["prepare"], made["sculpt"], made["latent_texture"], **tools
        ),
        save_textured,
        load_textured,
    ),
    "finish": Stage(
        lambda _, made, tools: finish.run(made["prepare"], made["pixel_texture"], **tools),
        finish.save,
        finish.load,
    ),
}
"""Every stage by its name."""
