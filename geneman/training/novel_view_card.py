"""The model card of the novel-view prior's weights: written beside them each time they are."""

from collections.abc import Mapping
from typing import Any

from geneman.training.view_card import DATA


def model_card(record: Mapping[str, Any]) -> str:
    """Write what is to be known about weights.

    Args:
        record: `command`, `start`, `steps`, `pairs`, `seconds`, `device`, `settings`, `validation`.
    """
    figures = "\n".join(f"| {name} | {value:.4g} |" for name, value in record["validation"].items())
    settings = ", ".join(f"{name} {value}" for name, value in record["settings"].items())
    return f"""\
# Novel-view prior

What a person in one photo looks like from another side: Zero-1-to-3, which knows objects, trained
on people. A folder in diffusers' layout with `cc_projection/` for the camera; `geneman weights get
geneman-3d --from` takes it.

Began with: {record["start"]}.

Licence: that of the weights it began with; what was added is Apache-2.0.

## Data

{DATA}

GeneMAN-3D has seen scans, videos and photos of people, and a fifth of other objects; this has not.

## Training

Made by `{record["command"]}`.
{record["steps"]} steps, {record["pairs"]} pairs of a photo and a view,
{record["seconds"]} s on {record["device"]}.
Settings: {settings}.

## Validation, on identities never trained on

| figure | value |
|---|---|
{figures}

`noise_at_T`: mean squared error of the noise at diffusion time T. `colour_error`: mean absolute
difference of views drawn in 50 steps from the truth, where the person is; a view can be right and
differ from the truth where the photo hides it.

## Limits

- Views from the photo's distance alone, at elevations of -10 to 45 degrees: others are guesses.
- It has seen rendered people only, in everyday clothes, one at a time, by a level camera.
- What the photo does not show is invented, and says nothing about the person in the photo.
"""
