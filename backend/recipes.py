# SPDX-License-Identifier: Apache-2.0
"""The settings that a client wants, held to the schema that a worker gave: no library needed."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from backend.refusals import RefusedError
from blender_addon.protocol import Kind, Recipe, Setting

_SCHEDULES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "constant": (("value",), ()),
    "ramp": (("start", "stop"), ("begin", "end")),
    "switch": (("before", "after"), ("at",)),
}
"""Of each kind of schedule the values, which limits hold for, and the steps."""


def flattened(recipe: Recipe, settings: Sequence[Setting]) -> Recipe:
    """Give every value by its stage and dotted path, after holding it to its limits.

    Raises:
        RefusedError: A setting does not exist, or its value is of another type or out of range.
    """
    known = {setting.path: setting for setting in settings}
    flat: Recipe = {}
    for stage, fields in recipe.items():
        for path, value in _leaves(stage, fields, known):
            _check(known[path], value)
            flat.setdefault(stage, {})[path.removeprefix(f"{stage}.")] = value
    return flat


def _leaves(path: str, value: Any, known: Mapping[str, Setting]) -> Iterator[tuple[str, Any]]:
    """Walk down to the settings that the schema names."""
    if path in known:
        yield path, value
    elif isinstance(value, Mapping) and any(name.startswith(f"{path}.") for name in known):
        for name, part in value.items():
            yield from _leaves(f"{path}.{name}", part, known)
    else:
        raise RefusedError(
            Kind.INPUT,
            "a setting must be one that the backend knows",
            value=f"'{path[:80]}'",
            remedy="look at the settings in its welcome",
        )


def _check(setting: Setting, value: Any) -> None:
    if value is None and setting.optional:
        return
    what, fits = _RULES[setting.type]
    if not fits(setting, value):
        limits = f" {setting.limits}" if setting.limits else ""
        choices = " " + ", ".join(setting.choices) if setting.choices else ""
        raise RefusedError(
            Kind.INPUT,
            f"{setting.path} must be {what}{choices}{limits}",
            value=f"{str(value)[:60]!r}" if isinstance(value, str) else str(value)[:60],
            remedy="change it",
        )


def _number(setting: Setting, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    low, high = setting.minimum, setting.maximum
    over = low is None or value > low or (value == low and not setting.above)
    return over and (high is None or value < high or (value == high and not setting.below))


def _whole(setting: Setting, value: Any) -> bool:
    return _step(value) and _number(setting, value)


def _schedule(setting: Setting, value: Any) -> bool:
    if not isinstance(value, Mapping):
        return _number(setting, value)
    values, steps = _SCHEDULES.get(str(value.get("type")), ((), ()))
    if set(value) != {"type", *values, *steps} or not values:
        return False
    whole = all(_step(value[name]) for name in steps)
    ordered = value["type"] != "ramp" or (whole and value["begin"] < value["end"])
    return whole and ordered and all(_number(setting, value[name]) for name in values)


def _step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _floats(setting: Setting, value: Any) -> bool:
    listed = isinstance(value, list | tuple) and len(value) == setting.length
    return listed and all(_number(setting, part) for part in value)


_RULES: Mapping[str, tuple[str, Callable[[Setting, Any], bool]]] = {
    "bool": ("true or false", lambda _, value: isinstance(value, bool)),
    "int": ("a whole number", _whole),
    "float": ("a number", _number),
    "text": ("a text", lambda _, value: isinstance(value, str)),
    "choice": ("one of", lambda setting, value: value in setting.choices),
    "floats": ("a list of numbers of its length", _floats),
    "schedule": ("a number or a schedule", _schedule),
}
"""Of each type what it must be, in words, and whether a value is that."""
