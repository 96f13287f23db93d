"""Hands and eyes in Blender's window: find a button, click, type, press keys, take a picture.

Runs inside Blender, started with `--enable-event-simulate`. What takes time is a generator that
yields the seconds to let pass: the window only draws and reacts in between.
"""

import os
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import bpy  # noqa: TID251
from PIL import ImageGrab

Play = Generator[float, None, Any]

REACTION = 0.06
"""Between an event and its effect on the screen."""
KEYS = {"/": "SLASH", ".": "PERIOD", "-": "MINUS", "_": "MINUS"} | {
    str(n): name
    for n, name in enumerate("ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE".split())  # noqa: SIM905
}


class NotSeenError(Exception):
    """What was looked for is not on the screen."""


class Hands:
    """One pair of hands in Blender's only window."""

    def __init__(self, pictures: Path) -> None:
        self.pictures = pictures
        self.window = bpy.context.window_manager.windows[0]
        self._seen: dict[str, tuple[int, int]] = {}

    # ---- places ---------------------------------------------------------------------------

    @property
    def viewport(self) -> Any:
        """The 3D viewport's area."""
        return next(a for a in self.window.screen.areas if a.type == "VIEW_3D")

    @property
    def sidebar(self) -> Any:
        """The region of its sidebar."""
        return next(r for r in self.viewport.regions if r.type == "UI")

    @property
    def scene_view(self) -> Any:
        """The region that shows the scene."""
        return next(r for r in self.viewport.regions if r.type == "WINDOW")

    # ---- hands ----------------------------------------------------------------------------

    def event(self, kind: str, value: str, at: tuple[int, int], **more: Any) -> None:
        """Let the window believe that something was pressed, released or moved."""
        self.window.event_simulate(type=kind, value=value, x=at[0], y=at[1], **more)

    def point(self, at: tuple[int, int]) -> Play:
        """Move the mouse there."""
        self.event("MOUSEMOVE", "NOTHING", at)
        yield REACTION

    def click(self, at: tuple[int, int]) -> Play:
        """Press and release the left button there."""
        yield from self.point(at)
        self.event("LEFTMOUSE", "PRESS", at)
        yield REACTION
        self.event("LEFTMOUSE", "RELEASE", at)
        yield REACTION

    def press(self, key: str, at: tuple[int, int], **modifiers: bool) -> Play:
        """Press and release a key while the mouse is there; a digit also writes itself."""
        yield from self.point(at)
        digit = next((text for text, kind in KEYS.items() if kind == key and text.isdigit()), "")
        self.event(key, "PRESS", at, **modifiers, **({"unicode": digit} if digit else {}))
        yield REACTION
        self.event(key, "RELEASE", at, **modifiers)
        yield REACTION

    def write(self, text: str, at: tuple[int, int]) -> Play:
        """Type into the field there, in the place of what it holds, and press Enter."""
        yield from self.click(at)
        yield from self.press("A", at, ctrl=True)
        for letter in text:
            shift = letter.isupper() or letter == "_"
            kind = KEYS.get(letter, letter.upper())
            self.event(kind, "PRESS", at, unicode=letter, shift=shift)
            self.event(kind, "RELEASE", at, shift=shift)
            yield REACTION / 3
        yield from self.press("RET", at)

    # ---- eyes -----------------------------------------------------------------------------

    def under(self, at: tuple[int, int], region: Any) -> Play:
        """Give what the button there calls or changes, as Blender tells those who script."""
        yield from self.point(at)
        with bpy.context.temp_override(window=self.window, area=self.viewport, region=region):
            for ask, options in (
                (bpy.ops.ui.copy_python_command_button, {}),
                (bpy.ops.ui.copy_data_path_button, {"full_path": True}),
            ):
                if ask.poll():
                    ask(**options)
                    return bpy.context.window_manager.clipboard
        return ""

    def find(self, pattern: str) -> Play:
        """Give where in the sidebar the button is whose call or property fits `pattern`.

        Raises:
            NotSeenError: It is nowhere, even after scrolling.
        """
        known = self._seen.get(pattern)
        if known is not None and re.search(pattern, (yield from self.under(known, self.sidebar))):
            return known
        for _ in range(5):
            found = yield from self._sweep(pattern)
            if found is not None:
                self._seen[pattern] = found
                return found
            if not (yield from self.scroll(4)):
                break
        raise NotSeenError(f"no button in the sidebar fits '{pattern}'")

    def _sweep(self, pattern: str) -> Play:
        region, unit = self.sidebar, 10 * bpy.context.preferences.system.ui_scale
        rows = range(region.y + region.height - int(unit), region.y, -int(unit))
        # Most buttons pass the middle; small ones stand at the right end of their row.
        for share in (0.5, 0.83, 0.25, 0.75):
            for y in rows:
                at = (region.x + int(region.width * share), y)
                if re.search(pattern, (yield from self.under(at, region))):
                    return at
        return None

    def scroll(self, clicks: int) -> Play:
        """Turn the wheel over the sidebar, down if positive; say whether it moved."""
        region = self.sidebar
        middle = (region.x + region.width // 3, region.y + region.height // 2)
        before = region.view2d.region_to_view(0, 0)
        for _ in range(abs(clicks)):
            yield from self.press("WHEELDOWNMOUSE" if clicks > 0 else "WHEELUPMOUSE", middle)
        yield 0.3
        return region.view2d.region_to_view(0, 0) != before

    def frame(self, *things: Any, turned: float = 0.0) -> Play:
        """Look at objects from the front, as with numpad period, or from an angle in radians."""
        for one in self.window.scene.objects:
            one.select_set(one in things)
        bpy.context.view_layer.objects.active = things[0]
        with bpy.context.temp_override(
            window=self.window, area=self.viewport, region=self.scene_view
        ):
            bpy.ops.view3d.view_axis(type="FRONT")
            if turned:
                bpy.ops.view3d.view_orbit(type="ORBITLEFT", angle=turned)
            bpy.ops.view3d.view_selected()
        yield 0.3

    def look(self, name: str, at: tuple[int, int] | None = None) -> Play:
        """Save what the screen shows, with the mouse at a place, or out of the way."""
        region = self.scene_view
        yield from self.point(at or (region.x + 200, region.y + 60))
        yield 0.8
        ImageGrab.grab(xdisplay=os.environ["DISPLAY"]).save(self.pictures / f"{name}.png")


def until(true: Callable[[], Any], seconds: float, what: str) -> Play:
    """Let time pass until something is true.

    Raises:
        NotSeenError: It has not become true by then.
    """
    waited = 0.0
    while not true():
        if waited > seconds:
            raise NotSeenError(f"after {seconds:.0f} s still not: {what}")
        waited += 0.1
        yield 0.1
