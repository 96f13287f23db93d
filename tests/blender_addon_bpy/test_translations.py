"""Whatever the add-on says is said in German too, and nothing is translated that nobody says."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import bpy  # noqa: TID251
import pytest

translations = importlib.import_module("bl_ext.user_default.geneman.translations")
FOLDER = Path(translations.__file__).parent
SAYING = {
    "refused": 1, "sentence": 1, "report": 1, "told": 0, "say": 0, "_say": 0,
    "Trouble": 0, "Ending": 0, "_unfit": 0, "_unusable": 0, "_again": 0,
    "failure": 0, "_checked": 0, "_finish": 0, "_file": 1,
}  # fmt: skip
"""Functions, and which argument they say."""
KEYWORDS = {
    "name", "description", "text", "heading", "placeholder", "title", "message", "confirm_text"
}  # fmt: skip
SHOWING = {
    "label", "prop", "operator", "progress", "row", "invoke_confirm", "StringProperty",
    "IntProperty", "BoolProperty", "EnumProperty", "FloatProperty", "PointerProperty",
    "BoolVectorProperty",
}  # fmt: skip
"""Calls whose keywords are seen."""
SHOWN = (
    "bl_label", "bl_description", "_SCHEDULES", "_STAGES", "_MODES", "LINES",
    "_SIGNALS", "_WINDOWS", "_CRASHED", "_ENDED", "_FULL", "_NOT_WHOLE",
    "_OTHER_SIGNAL", "_OTHER_CODE", "_NEWER_BACKEND", "_OLDER_BACKEND",
)  # fmt: skip
"""Names that hold texts, alone or in tables."""
SAID = ("THIS_MACHINE",)
"""Names of single texts that stand within sentences."""
EXAMPLES = {"render7:5600", " ", ""}


def texts() -> set[str]:
    found: set[str] = set()
    for path in FOLDER.glob("*.py"):
        if path.name != "translations.py":
            found |= set(_said(ast.parse(path.read_text(encoding="utf-8"))))
    return {one for one in found if one not in EXAMPLES and any(map(str.isalpha, one))}


def _said(tree: ast.AST) -> Iterator[str]:
    named: dict[str, list[ast.AST]] = {}
    for node in ast.walk(tree):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name):
                named.setdefault(target.id, []).append(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _called(node, named)
        elif isinstance(node, ast.Assign):
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
            if names & set(SHOWN):
                yield from _prose(node.value)
            if names & set(SAID):
                yield from _constants(node.value)
        elif isinstance(node, ast.FunctionDef) and node.name in ("reason", "_in_the_way"):
            yield from (text for one in ast.walk(node) if isinstance(one, ast.Return)
                        for text in _constants(one))  # fmt: skip


def _called(node: ast.Call, named: dict[str, list[ast.AST]]) -> Iterator[str]:
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    if name in SAYING and len(node.args) > SAYING[name]:
        said = node.args[SAYING[name]]
        for one in named.get(said.id, []) if isinstance(said, ast.Name) else [said]:
            yield from _constants(one)
    if name not in SHOWING:
        return
    for keyword in node.keywords:
        if keyword.arg in KEYWORDS:
            yield from _constants(keyword.value)
        elif keyword.arg == "items":
            yield from _prose(keyword.value)


def _constants(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)
    elif isinstance(node, ast.Return) and node.value is not None:
        yield from _constants(node.value)


def _prose(node: ast.AST) -> Iterator[str]:
    """Give a table's texts: those with a capital and small letters, which keys have not."""
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            text = one.value
            if (text[:1].isupper() and not text.isupper()) or text == "NeRF":
                yield text


def test_everything_is_said_in_german_and_nothing_is_left_over() -> None:
    said = texts()
    assert len(said) > 150, "the search finds nothing"
    assert said - set(translations.GERMAN) == set()
    assert set(translations.GERMAN) - said == set()


@pytest.mark.parametrize("text", sorted(translations.GERMAN))
def test_a_translation_keeps_the_places_for_values(text: str) -> None:
    german = translations.GERMAN[text]
    assert german.strip() == german != ""
    assert sorted(_places(german)) == sorted(_places(text))


def _places(text: str) -> list[str]:
    return [part.partition("}")[0] for part in text.split("{")[1:]]


def test_tooltips_end_as_blenders_do() -> None:
    for text in set(translations.GERMAN) - set(translations.TROUBLES):
        assert not text.endswith("."), text


def test_troubles_are_whole_sentences_in_both_languages() -> None:
    whole = [text for text in translations.TROUBLES if text.endswith(".")]
    assert len(whole) > 60, "the rest stands within them"
    for text, german in translations.TROUBLES.items():
        assert german.endswith(".") == text.endswith("."), text


def test_what_stands_within_a_sentence_is_german_too() -> None:
    trouble = importlib.import_module("bl_ext.user_default.geneman.troubles").Trouble
    text = "The backend on {place} must be running, but nobody listens there: start it."
    told = trouble(text, values={"place": "this machine"}).told(
        lambda one: translations.GERMAN.get(one, one)
    )
    assert told.startswith("Das Backend auf diesem Rechner muss laufen")


def test_values_stand_in_their_places() -> None:
    said = translations.told("A result waits until you leave {mode}", mode="Sculpt Mode")
    assert said == "A result waits until you leave Sculpt Mode"
    assert translations.told("{} min") == "{} min"


def test_blender_knows_the_table_while_the_add_on_is_on() -> None:
    # The module has no locales of its own, so what Blender would show can only be asked for.
    translations.unregister()
    translations.register()
    assert bpy.app.translations.pgettext_iface("Photo") == "Photo"
