"""Settings between dataclasses, json and the command line: the one place where they convert.

Settings are frozen dataclasses whose fields carry `Annotated[type, msgspec.Meta(ge=..., le=...)]`
and a docstring. A schedule may be given as a plain number, which means `Constant`, or as
`{"type": "ramp", "start": 0.1, "stop": 10, "begin": 0, "end": 200}`; limits on a schedule hold for
every value that it takes.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import docstring_parser
import msgspec

from geneman.errors import OptionError
from geneman.schedule import Constant, Schedule

T = TypeVar("T")

LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


@dataclasses.dataclass(frozen=True)
class Field:
    """One setting, as a form or a help page shows it."""

    path: str
    """Dotted, as in 'sculpt.steps'."""
    type: str
    default: Any
    """In json's types."""
    limits: str
    """As in '>= 1, <= 10', or empty."""
    text: str
    kind: str = "text"
    """What a form needs: bool, int, float, text, choice, floats (a list) or schedule."""
    minimum: float | None = None
    maximum: float | None = None
    above: bool = False
    """Whether the minimum itself is not allowed."""
    below: bool = False
    """Whether the maximum itself is not allowed."""
    choices: tuple[str, ...] = ()
    length: int = 0
    """Of a list."""
    optional: bool = False
    """Whether None may be given."""


def to_json(settings: object) -> dict[str, Any]:
    """Give settings in json's types; constant schedules become plain numbers."""
    named: dict[str, Any] = {}
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]  # any dataclass
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            named[field.name] = to_json(value)
        else:
            named[field.name] = msgspec.to_builtins(_plain(value))
    return named


def _plain(value: object) -> object:
    return value.value if isinstance(value, Constant) else value


def from_json(kind: type[T], data: Mapping[str, Any], *, path: str = "recipe") -> T:
    """Build settings from what `to_json` gives; absent fields take their defaults.

    Raises:
        OptionError: A field is unknown, of another type or out of its limits.
    """
    return _build(kind, kind(), data, path, strict=True)


def override(settings: T, texts: Mapping[str, str], *, path: str = "recipe") -> T:
    """Replace fields by text, as given on the command line: `{"sculpt.steps": "50"}`.

    Lists and schedules are given as json.

    Raises:
        OptionError: A field is unknown, of another type or out of its limits.
    """
    return _build(type(settings), settings, _tree(texts, path), path, strict=False)


def overlay(settings: T, data: Mapping[str, Mapping[str, Any]], *, path: str = "recipe") -> T:
    """Replace fields by json's values, by stage and dotted path: `{"sculpt": {"steps": 50}}`.

    Groups may be nested instead of dotted.

    Raises:
        OptionError: A field is unknown, of another type or out of its limits.
    """
    dotted = {f"{stage}.{name}": v for stage, fields in data.items() for name, v in fields.items()}
    return _build(type(settings), settings, _tree(dotted, path), path, strict=True)


def _tree(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Nest values by their dotted names."""
    tree: dict[str, Any] = {}
    for dotted, value in values.items():
        *folders, name = dotted.split(".")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise _broken(f"{path}.{dotted}", "belong to a group", value)
        place[name] = value
    return tree


def describe(defaults: object, *, path: str = "") -> list[Field]:
    """List every field of settings with its default, those of nested ones by dotted path."""
    described: list[Field] = []
    texts = _texts(type(defaults))
    for name, hint in _hints(type(defaults)).items():
        dotted, default = f"{path}{name}", getattr(defaults, name)
        if dataclasses.is_dataclass(default):
            described += describe(default, path=f"{dotted}.")
            continue
        text = " ".join(texts.get(name, "").split())
        described.append(_described(dotted, hint, msgspec.to_builtins(_plain(default)), text))
    return described


def _described(path: str, hint: Any, default: Any, text: str) -> Field:
    plain, meta = _unwrap(hint)
    optional = type(None) in get_args(plain)
    if optional:
        parts = [part for part in get_args(plain) if part is not type(None)]
        plain, inner = _unwrap(parts[0])
        meta = meta or inner
    bounds = {key: getattr(meta, key, None) for key in LIMITS}
    limits = (f"{LIMITS[key]} {bound:g}" for key, bound in bounds.items() if bound is not None)
    return Field(
        path,
        _name(plain),
        default,
        ", ".join(limits),
        text,
        kind=_kind(plain),
        minimum=bounds["ge"] if bounds["gt"] is None else bounds["gt"],
        maximum=bounds["le"] if bounds["lt"] is None else bounds["lt"],
        above=bounds["gt"] is not None,
        below=bounds["lt"] is not None,
        choices=get_args(plain) if get_origin(plain) is Literal else (),
        length=len(get_args(plain)) if get_origin(plain) is tuple else 0,
        optional=optional,
    )


def _kind(plain: Any) -> str:
    if plain == Schedule:
        return "schedule"
    if get_origin(plain) is Literal:
        return "choice"
    if get_origin(plain) is tuple:
        return "floats"
    return {bool: "bool", int: "int", float: "float"}.get(plain, "text")


def _texts(kind: type) -> dict[str, str]:
    """Give the docstring under each field, inherited ones included."""
    texts: dict[str, str] = {}
    for ancestor in reversed(kind.__mro__):
        if dataclasses.is_dataclass(ancestor):
            params = docstring_parser.parse_from_object(ancestor).params
            texts |= {p.arg_name: p.description for p in params if p.description}
    return texts


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant, or which there are."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean '{close[0]}'" if close else "use one of " + ", ".join(names)


def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _unwrap(hint: Any) -> tuple[Any, msgspec.Meta | None]:
    """Take the limits off an annotation."""
    if get_origin(hint) is Annotated:
        plain, *notes = get_args(hint)
        return plain, next((note for note in notes if isinstance(note, msgspec.Meta)), None)
    return hint, None


def _name(plain: Any) -> str:
    if plain == Schedule:
        return "number or schedule"
    if get_origin(plain) is Literal:
        return " or ".join(get_args(plain))
    return plain.__name__ if isinstance(plain, type) else str(plain)


def _broken(path: str, rule: str, value: object) -> OptionError:
    return OptionError(
        f"{path} must {rule}",
        value=f"'{value}'",
        remedy="`geneman reconstruct --help` lists every setting with its limits",
    )


def _build(kind: type[T], base: T, data: object, path: str, *, strict: bool) -> T:
    """Replace the fields of `base` that `data` names, checking each."""
    if not isinstance(data, Mapping):
        raise _broken(path, "be a group of settings", data)
    hints, changed = _hints(kind), {}
    for name, value in data.items():
        here = f"{path}.{name}"
        if name not in hints:
            raise OptionError(
                f"{path} must only have known fields",
                value=f"'{name}'",
                remedy=nearest(name, hints),
            )
        old = getattr(base, name)
        if dataclasses.is_dataclass(old):
            changed[name] = _build(type(old), old, value, here, strict=strict)
        else:
            changed[name] = _leaf(hints[name], value, here, strict=strict)
    try:
        return dataclasses.replace(base, **changed)  # type: ignore[type-var]  # any dataclass
    except ValueError as error:
        raise _broken(path, f"agree in itself ({str(error).rstrip('.')})", dict(data)) from error


def _leaf(hint: Any, value: Any, path: str, *, strict: bool) -> Any:
    """Convert one value and hold it to its limits."""
    plain, meta = _unwrap(hint)
    try:
        if not strict and isinstance(value, str) and value[:1] in ("{", "["):
            value = msgspec.json.decode(value)
        if plain != Schedule:
            return msgspec.convert(value, hint, strict=strict)
        if not isinstance(value, Mapping):
            number = msgspec.convert(value, float, strict=strict)
            value = {"type": "constant", "value": number}
        schedule = msgspec.convert(value, plain, strict=strict)
        for name, part in msgspec.structs.asdict(schedule).items():
            if meta is not None and name in ("value", "start", "stop", "before", "after"):
                msgspec.convert(part, Annotated[float, meta])
    except msgspec.DecodeError as error:  # a ValidationError is one too
        rule = (
            str(error)
            .split(" - at ")[0]
            .split(", got")[0]
            .replace("`", "")
            .replace("Expected ", "be ")
        )
        raise _broken(
            path, rule if rule.startswith("be ") else f"be valid ({rule})", value
        ) from error
    return schedule
