"""The model card of the geometry prior's weights: written beside them each time they are."""

from collections.abc import Mapping
from typing import Any

DATA = """\
Rendered people: posed, dyed and relit VALID avatars (MIT), and Anny bodies (Apache-2.0 code, CC0
data) dressed with MakeHuman's clothes, hair and skins (CC0), with skirts, dresses, coats, scarves,
hats, bags and things to hold made by our own code, folds in cloth, soft shadows, and crops to half
body and head. One identity in nine, one outfit and one suit in four are never trained on; the
figures below are theirs. No photo of anybody was seen."""

LIMITS = """\
- It sees few pixels: faces, fingers and folds are as fine as those show them.
- Clothes with a shape of their own (ball gowns, wings, armour), animals, wheelchairs and more than
  one person are guesses.
- Children, and people who sit, are rarer in the data than adults who stand.
- The back is a guess that fits the front: of colours that the photo does not show it knows none."""


DETAIL_LIMITS = """\
- Prints and patterns on cloth may be taken for folds, and folds in shadow for none.
- It says the mean of what may be there: folds are flatter than they were.
- It looks at what is near each pixel: how limbs lie is the geometry prior's work."""


def model_card(record: Mapping[str, Any]) -> str:
    """Write what is to be known about weights.

    Args:
        record: `command`, `steps`, `samples`, `seconds`, `size`, `device`, `settings`,
            `validation`, `before` (commands of earlier runs), and `trust` if it was measured.
    """
    trust = ", ".join(f"{name} {value}" for name, value in record.get("trust", {}).items())
    return f"""\
# Geometry prior

The normals and depth of a person in one photo, and those and the colours of the side that it does
not show. Architecture: a U-Net on 4 x 4 blocks of pixels with a finer head, and attention from the
hidden side's blocks to the photo's, whose colours they borrow; 7 million weights. Besides the photo
it is shown 33 body points as MediaPipe finds them; without any it does with the photo alone.

Licence: Apache-2.0.

## Data

{DATA}

## Training

{_made(record)}

## Validation, on people never trained on

{_figures(record)}

Angles in degrees, depths in scene units (a standing adult is 0.95 high), colours in [0, 1]; means
over the person's pixels. Shares of the network beside the prior without learning that came closest
to the truth, with which it is used: {trust or "not measured"}.

## Limits

{LIMITS}
"""


def detail_card(record: Mapping[str, Any], washed: float) -> str:
    """Write what is to be known about the detail network's weights.

    Args:
        record: As `model_card` takes it.
        washed: Share of the people that wore plain clothes.
    """
    plain = f"{100 * washed:.0f} %"
    return f"""\
# Detail network

What folds, fingers and features add to the geometry prior's normals. Architecture: a perceptron
that tells from a pixel's local jet (the photo's derivatives at several scales, what the light makes
of them, and the smooth normals) how far its normal turns; 18 thousand weights.

Licence: Apache-2.0.

## Data

{DATA}
{plain} of the people wear plain clothes: textures have folds painted on that the surface does not
have.

## Training

{_made(record)}

## Validation, on people never trained on

{_figures(record)}

Mean angles in degrees over the person's pixels: as the geometry prior says, and with details.

## Limits

{DETAIL_LIMITS}
"""


def _made(record: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in record["settings"].items())
    before = "".join(f"\nBefore that: `{command}`." for command in record.get("before", []))
    return f"""\
Made by `{record["command"]}`.{before}
{record["steps"]} steps, {record["samples"]} samples, {record["seconds"]} s on {record["device"]};
it sees pictures of {record["size"]} x {record["size"]} pixels.
Settings of the last run: {settings}."""


def _figures(record: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {value:.4g} |" for name, value in record["validation"].items()]
    return "\n".join(["| figure | value |", "|---|---|", *rows])
