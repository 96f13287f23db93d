"""Settings survive json, refuse what breaks a limit, and say which field was meant."""

import json
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geneman.errors import OptionError
from geneman.schedule import Constant, Ramp, Schedule, Switch
from geneman.settings import describe, from_json, nearest, override, to_json


@dataclass(frozen=True)
class Sculpt:
    steps: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 3000
    """Gradient steps (METHOD section 4)."""
    weight: Annotated[Schedule, msgspec.Meta(ge=0)] = Switch(0.0, 1000.0, at=2000)
    """Of the normal consistency."""
    distance: tuple[float, float] = (3.0, 3.5)
    """Scene units."""
    name: str = "a"
    tight: bool = True
    limit: int | None = None


@dataclass(frozen=True)
class Ordered:
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low must not exceed high.")


@dataclass(frozen=True)
class Recipe:
    sculpt: Sculpt = field(default_factory=Sculpt)
    ordered: Ordered = field(default_factory=Ordered)


numbers = st.floats(0, 1e6)
schedules = (
    st.builds(Constant, numbers)
    | st.builds(Switch, numbers, numbers, st.integers(0, 10**6))
    | st.builds(Ramp, numbers, numbers, st.integers(0, 99), st.integers(100, 999))
)
recipes = st.builds(
    Recipe,
    st.builds(
        Sculpt,
        st.integers(1, 10_000),
        schedules,
        st.tuples(numbers, numbers),
        st.text(),
        st.booleans(),
        st.none() | st.integers(-9, 9),
    ),
)


@given(recipes)
def test_json_gives_back_what_it_was_given(recipe: Recipe) -> None:
    assert from_json(Recipe, json.loads(json.dumps(to_json(recipe)))) == recipe


def test_a_plain_number_means_a_constant_schedule_both_ways() -> None:
    recipe = from_json(Recipe, {"sculpt": {"weight": 5}})
    assert recipe.sculpt.weight == Constant(5.0)
    assert to_json(recipe)["sculpt"]["weight"] == 5.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", Constant(7.0)),
        ('{"type": "switch", "before": 1, "after": 2, "at": 3}', Switch(1.0, 2.0, 3)),
    ],
)
def test_schedules_are_given_as_numbers_or_json(text: str, expected: Schedule) -> None:
    assert override(Recipe(), {"sculpt.weight": text}).sculpt.weight == expected


def test_overrides_change_their_field_and_no_other() -> None:
    changed = override(
        Recipe(), {"sculpt.steps": "50", "sculpt.distance": "[1, 2]", "sculpt.tight": "false"}
    )
    assert changed == Recipe(Sculpt(steps=50, distance=(1.0, 2.0), tight=False))


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (
            {"sculpt.stepz": "1"},
            "recipe.sculpt must only have known fields, but got 'stepz': did you mean 'steps'.",
        ),
        ({"carve.steps": "1"}, "but got 'carve': use one of sculpt, ordered."),
        ({"sculpt.steps": "0"}, "recipe.sculpt.steps must be int >= 1, but got '0'"),
        ({"sculpt.steps": "many"}, "recipe.sculpt.steps must be int, but got 'many'"),
        ({"sculpt.steps": "{"}, "recipe.sculpt.steps must be valid"),
        ({"sculpt.weight": "-1"}, "recipe.sculpt.weight must be float >= 0.0"),
        (
            {"sculpt.weight": '{"type":"ramp","start":0,"stop":1,"begin":5,"end":5}'},
            "Ramp needs begin < end",
        ),
        ({"sculpt": "3"}, "recipe.sculpt must be a group of settings"),
        ({"sculpt.steps": "1", "sculpt.steps.more": "1"}, "must belong to a group"),
        ({"ordered.low": "2"}, "recipe.ordered must agree in itself (low must not exceed high)"),
    ],
)
def test_what_breaks_a_rule_is_one_sentence(texts: dict[str, str], sentence: str) -> None:
    with pytest.raises(OptionError) as caught:
        override(Recipe(), texts)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_is_held_to_its_types_strictly() -> None:
    data: dict[str, Any] = {"sculpt": {"steps": "50"}}
    with pytest.raises(OptionError, match="must be int"):
        from_json(Recipe, data)


def test_every_field_is_described_with_text_default_and_limits() -> None:
    fields = {field.path: field for field in describe(Recipe())}
    assert set(fields) == {f"sculpt.{n}" for n in Sculpt.__dataclass_fields__} | {
        "ordered.low",
        "ordered.high",
    }
    steps = fields["sculpt.steps"]
    assert (steps.default, steps.limits) == (3000, ">= 1, <= 10000")
    assert steps.text == "Gradient steps (METHOD section 4)."
    assert fields["sculpt.weight"].type == "number or schedule"


@dataclass(frozen=True)
class Inherited(Sculpt):
    extra: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Of its own."""


def test_inherited_and_optional_fields_keep_their_texts_and_limits() -> None:
    fields = {field.path: field for field in describe(Inherited())}
    assert fields["steps"].text == "Gradient steps (METHOD section 4)."
    assert (fields["extra"].text, fields["extra"].limits) == ("Of its own.", "> 0")


def test_nearest_names_the_likely_word_or_all() -> None:
    assert nearest("drafd", ["draft", "paper"]) == "did you mean 'draft'"
    assert nearest("zzz", ["draft", "paper"]) == "use one of draft, paper"
