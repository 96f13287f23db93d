"""Settings are held to the worker's schema: what passes here passes in the library, and back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.describing import welcome
from backend.recipes import flattened
from backend.refusals import RefusedError
from geneman.errors import OptionError
from geneman.presets import DRAFT, PRESETS
from geneman.settings import overlay, to_json
from tests.tiny_chain import CPU

SETTINGS = welcome(CPU).settings
STEPS = st.integers(0, 9)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10**7),
    st.floats(-2, 2000, allow_nan=False),
    st.sampled_from(["uv", "mse", "x"]),
    st.lists(st.floats(-90, 90), max_size=3),
    st.fixed_dictionaries(
        {"type": st.just("switch"), "before": st.floats(0, 1), "after": st.just(1), "at": STEPS}
    ),
    st.fixed_dictionaries(
        {"type": st.just("ramp"), "start": st.just(-1.0), "stop": st.just(1), "begin": STEPS}
        | {"end": STEPS}
    ),
)


@examples(max_examples=300, deadline=None)
@given(setting=st.sampled_from(SETTINGS), value=LEAVES)
def test_the_server_and_the_library_agree_on_every_value(setting: Any, value: Any) -> None:
    stage, _, path = setting.path.partition(".")
    recipe = {stage: {path: value}}
    try:
        overlay(DRAFT, recipe)
    except OptionError:
        with pytest.raises(RefusedError, match=setting.path):
            flattened(recipe, SETTINGS)
    else:
        assert flattened(recipe, SETTINGS) == recipe


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_is_within_its_own_limits_nested_or_dotted(preset: str) -> None:
    nested = to_json(PRESETS[preset])
    flat = flattened(nested, SETTINGS)
    assert overlay(DRAFT, flat) == PRESETS[preset]
    assert {f"{stage}.{path}" for stage, fields in flat.items() for path in fields} == {
        setting.path for setting in SETTINGS
    }
    assert all(setting.values[preset] is not None or setting.optional for setting in SETTINGS)


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ({"sculpt": {"steps": 0.5}}, "sculpt.steps must be a whole number >= 0, <= 100000, but"),
        ({"pixel_texture": {"route": "sea"}}, "must be one of uv, field, but got 'sea'"),
        ({"nerf_init": {"rgb": {"type": "slope"}}}, "must be a number or a schedule"),
        ({"sculpt": {"stepz": 1}}, "must be one that the backend knows, but got 'sculpt.stepz'"),
        ({"carve": {"steps": 1}}, "but got 'carve'"),
        ({"sculpt": {"field": 3}}, "but got 'sculpt.field'"),
    ],
)
def test_a_refusal_names_rule_value_and_remedy(recipe: Any, sentence: str) -> None:
    with pytest.raises(RefusedError) as caught:
        flattened(recipe, SETTINGS)
    assert sentence in str(caught.value)
