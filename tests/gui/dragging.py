"""Drops a file onto a window, as a file manager does: `python3 dragging.py FILE X Y`.

A program of its own, with python-xlib, because Blender must answer meanwhile. It speaks version 5
of XDND (freedesktop.org): enter, position, wait for the status, drop, hand the file's name over,
wait until the window has finished. X and Y are pixels from the screen's upper left corner.
"""

import sys
import time
from pathlib import Path
from typing import Any

from Xlib import X, Xatom
from Xlib.display import Display
from Xlib.protocol import event

VERSION = 5
URI_LIST = "text/uri-list"
SECONDS = 20.0


class DropError(Exception):
    """The window did not take what was dropped; the text says where it stopped."""


class Drag:
    """One file on its way from a window that nobody sees to the one under the pointer."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.display = Display()
        self.root = self.display.screen().root
        self.source = self.root.create_window(0, 0, 1, 1, 0, X.CopyFromParent)

    def atom(self, name: str) -> int:
        """Give the number of a name."""
        number: int = self.display.intern_atom(name)
        return number

    def target(self, window: Any | None = None) -> Any:
        """Find the window that takes drops."""
        for child in (window or self.root).query_tree().children:
            if child.get_full_property(self.atom("XdndAware"), X.AnyPropertyType):
                return child
            found = self.target(child)
            if found is not None:
                return found
        return None

    def tell(self, window: Any, kind: str, *words: int) -> None:
        """Send a message of the protocol."""
        data = (32, [self.source.id, *words, *([0] * (4 - len(words)))])
        message = event.ClientMessage(window=window, client_type=self.atom(kind), data=data)
        window.send_event(message)
        self.display.flush()

    def answer(self, kind: str) -> Any:
        """Wait for a message, and hand the file's name to who asks for it.

        Raises:
            DropError: It does not come.
        """
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if not self.display.pending_events():
                time.sleep(0.01)
                continue
            found = self.display.next_event()
            if found.type == X.SelectionRequest:
                self.hand_over(found)
            elif found.type == X.ClientMessage and found.client_type == self.atom(kind):
                return found
        raise DropError(f"no {kind} came")

    def hand_over(self, request: Any) -> None:
        """Write the file's name where the window wants it."""
        property_ = request.property
        if request.target == self.atom(URI_LIST):
            text = f"{self.file.as_uri()}\r\n".encode()
            request.requestor.change_property(property_, request.target, 8, text)
        elif request.target == self.atom("TARGETS"):
            kinds = [self.atom(URI_LIST)]
            request.requestor.change_property(property_, Xatom.ATOM, 32, kinds)
        else:
            property_ = X.NONE
        request.requestor.send_event(
            event.SelectionNotify(
                time=request.time,
                requestor=request.requestor,
                selection=request.selection,
                target=request.target,
                property=property_,
            )
        )
        self.display.flush()

    def drop(self, x: int, y: int) -> None:
        """Carry the file to a place on the screen and let it go.

        Raises:
            DropError: No window takes drops, or this one does not want the file.
        """
        window = self.target()
        if window is None:
            raise DropError("no window takes drops")
        self.root.warp_pointer(x, y)
        self.source.set_selection_owner(self.atom("XdndSelection"), X.CurrentTime)
        self.tell(window, "XdndEnter", VERSION << 24, self.atom(URI_LIST))
        copy = self.atom("XdndActionCopy")
        self.tell(window, "XdndPosition", 0, x << 16 | y, X.CurrentTime, copy)
        if not self.answer("XdndStatus").data[1][1] & 1:
            raise DropError("the window does not want it")
        self.tell(window, "XdndDrop", 0, X.CurrentTime)
        self.answer("XdndFinished")


if __name__ == "__main__":
    try:
        Drag(Path(sys.argv[1])).drop(int(sys.argv[2]), int(sys.argv[3]))
    except DropError as error:
        sys.exit(str(error))
