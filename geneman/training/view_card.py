"""The model card of the view prior's weights: written beside them each time they are."""

from collections.abc import Mapping
from typing import Any

LIMITS = """\
- Pictures have few pixels: faces and hands are sketched, text and logos are not kept.
- It has seen rendered people only, in everyday clothes; long dresses, wheelchairs, animals, and
  more than one person are guesses.
- The photo's camera is taken to be level: somebody photographed from high above leans.
- What the photo does not show is invented, and says nothing about the person in the photo."""

DATA = """\
Rendered people: posed, dyed and relit VALID avatars (MIT), and Anny bodies (Apache-2.0 code, CC0
data) dressed with MakeHuman's clothes, hair and skins (CC0), with skirts, coats, hats and things to
hold made by our own code. One identity in nine is held out."""


def model_card(record: Mapping[str, Any]) -> str:
    """Write what is to be known about weights.

    Args:
        record: `command`, `steps`, `pairs`, `seconds`, `device`, `settings`, `validation`.
    """
    figures = "\n".join(f"| {name} | {value:.4g} |" for name, value in record["validation"].items())
    settings = ", ".join(f"{name} {value}" for name, value in record["settings"].items())
    return f"""\
# View prior

What a person in one photo looks like from any side: a diffusion model over colour, cover and
normals, told the photo, the camera relative to it, and what the geometry prior makes of the photo
seen from there, whose errors are what it has learnt. With the photo dropped it is the prior of
people at all. Architecture: diffusers' `UNet2DConditionModel` over 4 x 4 patches, v-prediction.

Licence: Apache-2.0.

## Data

{DATA}

## Training

Made by `{record["command"]}`.
{record["steps"]} steps, {record["pairs"]} pairs of a photo and a view,
{record["seconds"]} s on {record["device"]}.
Settings: {settings}.

## Validation, on identities never trained on

| figure | value |
|---|---|
{figures}

`v_at_T`: mean squared error of v at diffusion time T. `mask_iou`, `normal_deg` (mean angle) and
`colour_error` (mean absolute difference) compare views drawn in a few steps with the truth, where
both show the person, and those with `sketch_` before them what the geometry prior makes of them: a
view can be right and differ from the truth where the photo hides it.

## Limits

{LIMITS}
"""
