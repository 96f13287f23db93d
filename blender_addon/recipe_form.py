# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend's settings as a form: property groups made from what it says about each.

The form belongs to the scene (`Scene.geneman_recipe`), so files keep it and undo knows it. It is
made when a backend has described itself, and made anew when another one describes itself
differently; values that both know stay.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import bpy

if TYPE_CHECKING:
    from .protocol import Setting

Values = dict[str, dict[str, Any]]
"""Stage -> dotted path -> value in json's types."""

CONSTANT, RAMP, SWITCH = "CONSTANT", "RAMP", "SWITCH"
_PARTS = {
    RAMP: (("start", ""), ("stop", "_stop"), ("begin", "_begin"), ("end", "_end")),
    SWITCH: (("before", ""), ("after", "_stop"), ("at", "_begin")),
}
"""Which property holds which part of a schedule."""
_SCHEDULES = (
    (CONSTANT, "Constant", "The same value at every step"),
    (RAMP, "Ramp", "Straight from one value to another, between two steps"),
    (SWITCH, "Switch", "One value before a step, another from it on"),
)
_PRECISION = 4
_SAME = 1e-6
"""Relative difference below which two numbers are the same: Blender keeps 24 bits of each."""
_ABOVE = 1e-6
"""How far above an excluded limit the form begins."""
_LARGEST = 2**31 - 1


class _Made:
    """What is registered now."""

    settings: "tuple[Setting, ...]" = ()
    default_preset: str = ""
    classes: "list[type]" = []  # noqa: RUF012 (there is one form in a Blender)


def settings() -> "tuple[Setting, ...]":
    """Give the settings that the form shows; empty until a backend has described itself."""
    return _Made.settings


def build(described: "Sequence[Setting]", default_preset: str) -> bool:
    """Make the form for these settings; say whether it changed.

    Args:
        described: As the backend's welcome has them.
        default_preset: The preset whose values a new scene shows.
    """
    wanted = tuple(described)
    if wanted == _Made.settings and default_preset == _Made.default_preset:
        return False
    clear()
    _Made.settings, _Made.default_preset = wanted, default_preset
    annotations: dict[str, Any] = {}
    for stage in stages():
        fields: dict[str, Any] = {}
        for setting in of_stage(stage):
            fields |= _properties(setting, setting.values.get(default_preset, setting.default))
        group = _registered(f"GENEMAN_PG_recipe_{stage}", fields)
        annotations[stage] = bpy.props.PointerProperty(type=group)
    recipe = _registered("GENEMAN_PG_recipe", annotations)
    bpy.types.Scene.geneman_recipe = bpy.props.PointerProperty(type=recipe)
    return True


def clear() -> None:
    """Take the form away; what the scenes hold stays in them."""
    if hasattr(bpy.types.Scene, "geneman_recipe"):
        del bpy.types.Scene.geneman_recipe
    for made in reversed(_Made.classes):
        bpy.utils.unregister_class(made)
    _Made.classes, _Made.settings, _Made.default_preset = [], (), ""


def stages() -> tuple[str, ...]:
    """Name the stages that have settings, in their order."""
    return tuple(dict.fromkeys(setting.path.partition(".")[0] for setting in _Made.settings))


def of_stage(stage: str) -> "Iterator[Setting]":
    """Give a stage's settings."""
    return (s for s in _Made.settings if s.path.partition(".")[0] == stage)


def sorted_settings(
    stage: str,
) -> "tuple[list[Setting], dict[str, list[Setting]], list[Setting]]":
    """Give a stage's settings as the form shows them.

    Returns:
        Those of one value, those of groups by the groups' names, and those over time.
    """
    plain: list[Setting] = []
    nested: dict[str, list[Setting]] = {}
    over_time: list[Setting] = []
    for setting in of_stage(stage):
        group = setting.path.partition(".")[2].rpartition(".")[0]
        if group:
            nested.setdefault(group, []).append(setting)
        elif setting.type == "schedule" or setting.path.endswith("_weight"):
            over_time.append(setting)
        else:
            plain.append(setting)
    return plain, nested, over_time


def group_of(scene: Any, stage: str) -> Any | None:
    """Give the properties of a stage in a scene."""
    recipe = getattr(scene, "geneman_recipe", None)
    return getattr(recipe, stage, None)


def identifier(setting: "Setting") -> str:
    """Name the property of a setting: 'sculpt.field.width' is `field__width`."""
    return setting.path.partition(".")[2].replace(".", "__")


def label(setting: "Setting") -> str:
    """Name a setting for people: the last part of its path."""
    return setting.path.rpartition(".")[2].replace("_", " ").title()


# ---- values -----------------------------------------------------------------------------------


def read(group: Any, setting: "Setting") -> Any:
    """Give a setting's value as the wire has it."""
    name = identifier(setting)
    if setting.optional and not getattr(group, f"{name}__given"):
        return None
    value = getattr(group, name)
    match setting.type:
        case "floats":
            return [_typed(part) for part in value]
        case "schedule" if (kind := getattr(group, f"{name}__kind")) != CONSTANT:
            parts = {part: _typed(getattr(group, name + s)) for part, s in _PARTS[kind]}
            return {"type": kind.lower()} | parts
        case _:
            return _typed(value)


def _typed(value: Any) -> Any:
    """Give a number as somebody would type it: 0.1, not the nearest of 24 bits."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def write(group: Any, setting: "Setting", value: Any) -> None:
    """Show a value of the wire in the form."""
    name = identifier(setting)
    if setting.optional:
        setattr(group, f"{name}__given", value is not None)
        if value is None:
            return
    if setting.type == "schedule" and isinstance(value, Mapping):
        kind = str(value["type"]).upper()
        if kind != CONSTANT:
            setattr(group, f"{name}__kind", kind)
            for part, suffix in _PARTS[kind]:
                setattr(group, name + suffix, value[part])
            return
        value = value["value"]
    if setting.type == "schedule":
        setattr(group, f"{name}__kind", CONSTANT)
    setattr(group, name, value)


def same(one: Any, other: Any) -> bool:
    """Say whether two values of the wire are the same, up to Blender's 24 bits."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    if numbers and not isinstance(one, bool):
        return math.isclose(one, other, rel_tol=_SAME, abs_tol=1e-12)
    return bool(one == other)


def changes(scene: Any, preset: str) -> Values:
    """Give what somebody set other than the preset says: what a `Submit` carries."""
    found: Values = {}
    for setting in _Made.settings:
        group = group_of(scene, setting.path.partition(".")[0])
        value = read(group, setting)
        if not same(value, setting.values.get(preset, setting.default)):
            stage, _, path = setting.path.partition(".")
            found.setdefault(stage, {})[path] = value
    return found


def changed(scene: Any, preset: str, setting: "Setting") -> bool:
    """Say whether somebody set this other than the preset says."""
    group = group_of(scene, setting.path.partition(".")[0])
    return not same(read(group, setting), setting.values.get(preset, setting.default))


def load(scene: Any, preset: str, recipe: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Show a preset in the form, with a recipe laid over it; unknown paths are passed over."""
    for setting in _Made.settings:
        stage, _, path = setting.path.partition(".")
        value = setting.values.get(preset, setting.default)
        laid = _at((recipe or {}).get(stage, {}), path)
        write(group_of(scene, stage), setting, value if laid is _ABSENT else laid)


_ABSENT = object()


def _at(fields: Mapping[str, Any], path: str) -> Any:
    """Find a dotted path in fields that may be nested or dotted."""
    if path in fields:
        return fields[path]
    first, _, rest = path.partition(".")
    inner = fields.get(first)
    return _at(inner, rest) if rest and isinstance(inner, Mapping) else _ABSENT


# ---- properties -------------------------------------------------------------------------------


def _registered(name: str, annotations: dict[str, Any]) -> type:
    made = type(name, (bpy.types.PropertyGroup,), {"__annotations__": annotations})
    bpy.utils.register_class(made)
    _Made.classes.append(made)
    return made


def _properties(setting: "Setting", default: Any) -> dict[str, Any]:
    """Give the properties that hold one setting."""
    name = identifier(setting)
    given = setting.default if default is None else default
    text = {"name": label(setting), "description": _tooltip(setting)}
    fields: dict[str, Any] = {}
    if setting.optional:
        fields[f"{name}__given"] = bpy.props.BoolProperty(**text | {"default": default is not None})
    match setting.type:
        case "bool":
            fields[name] = bpy.props.BoolProperty(**text, default=bool(given))
        case "int":
            fields[name] = bpy.props.IntProperty(
                **text, default=int(given or 0), **_limits(setting)
            )
        case "float":
            fields[name] = bpy.props.FloatProperty(
                **text, default=_within(setting, given), **_limits(setting), **_steps(given)
            )
        case "floats":
            fields[name] = bpy.props.FloatVectorProperty(
                **text, size=setting.length, default=given, **_limits(setting)
            )
        case "choice":
            items = [(choice, choice.upper(), "") for choice in setting.choices]
            fields[name] = bpy.props.EnumProperty(**text, items=items, default=given)
        case "schedule":
            fields |= _schedule(setting, name, given, text)
        case _:
            fields[name] = bpy.props.StringProperty(**text, default=str(given or ""))
    return fields


def _schedule(setting: "Setting", name: str, given: Any, text: dict[str, str]) -> dict[str, Any]:
    """Give the properties of a value that may change from step to step."""
    kind, values = CONSTANT, {"": given, "_stop": given, "_begin": 0, "_end": 0}
    if isinstance(given, Mapping):
        kind = str(given["type"]).upper()
        values = {"": 0.0, "_stop": 0.0, "_begin": 0, "_end": 0}
        parts = _PARTS.get(kind, (("value", ""),))
        values |= {suffix: given[part] for part, suffix in parts}
    return {
        name: bpy.props.FloatProperty(
            **text, default=float(values[""]), **_limits(setting), **_steps(values[""])
        ),
        f"{name}__kind": bpy.props.EnumProperty(
            name="Over Time",
            description="How it changes over the steps",
            items=_SCHEDULES,
            default=kind,
        ),
        f"{name}_stop": bpy.props.FloatProperty(
            name="To",
            description="Value afterwards",
            default=float(values["_stop"]),
            **_limits(setting),
            **_steps(values["_stop"]),
        ),
        f"{name}_begin": bpy.props.IntProperty(
            name="From Step",
            description="Step at which it begins to change",
            default=int(values["_begin"]),
            min=0,
        ),
        f"{name}_end": bpy.props.IntProperty(
            name="Until Step",
            description="Step at which the last value is reached",
            default=int(values["_end"]),
            min=0,
        ),
    }


def _tooltip(setting: "Setting") -> str:
    """Blender's tooltips end without a full stop, and say the limits."""
    text = setting.text.strip().removesuffix(".")
    return f"{text} ({setting.limits})" if setting.limits and text else text or setting.limits


def _limits(setting: "Setting") -> dict[str, Any]:
    whole = setting.type == "int"
    found: dict[str, Any] = {}
    if setting.minimum is not None:
        low = setting.minimum
        found["min"] = int(low) + setting.above if whole else low + setting.above * _ABOVE
    if setting.maximum is not None:
        high = setting.maximum
        found["max"] = (
            min(int(high) - setting.below, _LARGEST) if whole else high - setting.below * _ABOVE
        )
    return found


def _within(setting: "Setting", given: Any) -> float:
    """Give a number that the property takes where the backend would find one itself."""
    if given is not None:
        return float(given)
    low = setting.minimum if setting.minimum is not None else 0.0
    return (low + setting.maximum) / 2 if setting.maximum is not None else low


def _steps(value: Any) -> dict[str, Any]:
    """Small numbers need more digits, and smaller steps of the arrows."""
    size = abs(float(value or 0.0))
    if not size:
        return {"precision": _PRECISION}
    digits = max(0, 2 - math.floor(math.log10(size)))
    return {"precision": min(digits, 6), "step": max(1, round(size * 10))}
