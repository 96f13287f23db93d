# SPDX-License-Identifier: GPL-3.0-or-later
"""How the backend's process may end, in sentences: its own exit codes, signals, Windows' faults."""

from dataclasses import dataclass

from .troubles import Remedy, Trouble


@dataclass(frozen=True)
class Ending:
    """What an exit code means."""

    text: str
    """What happened, and what to do; `{code}` or `{signal}` goes where the braces are."""
    remedy: Remedy = Remedy.OPEN_LOG
    hopeless: bool = False
    """Whether starting it again cannot help."""


STOPPED, FAULT, OPTIONS = 0, 1, 2
STORE_IN_USE, PORT_TAKEN, STORE_UNUSABLE, KEYS_UNSAFE = 10, 11, 12, 13
"""The backend's own codes, as docs/protocol.md lists them."""
MISSING_MODULE = "ModuleNotFoundError: No module named"

_CODES = {
    STOPPED: Ending(
        "The backend stopped, as somebody asked it to: start it again.",
        Remedy.START,
        hopeless=True,
    ),
    FAULT: Ending("The backend ended by a fault of its own: its log tells more."),
    OPTIONS: Ending(
        "The backend did not take its options: look at the preferences.", Remedy.CONNECT, True
    ),
    STORE_IN_USE: Ending(
        "The backend found its folder in use by another backend that does not answer: end that "
        "one, or restart the machine.",
        Remedy.RESTART,
    ),
    PORT_TAKEN: Ending(
        "The backend could not listen, as its port is taken: leave the port out.", hopeless=True
    ),
    STORE_UNUSABLE: Ending(
        "The backend cannot read or write its folder: free some space or mend the folder.",
        Remedy.FREE_DISK,
        hopeless=True,
    ),
    KEYS_UNSAFE: Ending(
        "The backend found a key file that others can read, or a damaged one.", hopeless=True
    ),
}
_CRASHED = "The backend crashed: its log tells more; a new graphics driver may help."
_ENDED = "The backend was ended by another program: start it again."
_SIGNALS = {
    4: "The backend has code that this processor lacks: set it up again.",
    6: "The backend ended itself after a fault: its log tells more.",
    9: "The backend was killed, most likely as the machine ran out of memory: close other programs "
    "or choose a smaller preset.",
    11: _CRASHED,
    15: _ENDED,
}
_WINDOWS = {
    0xC0000005: _CRASHED,
    0xC0000017: "The backend ran out of memory: close other programs or choose a smaller preset.",
    0xC0000135: "The backend lacks a library: install Microsoft's Visual C++ Redistributable.",
    0xC0000139: "The backend found an outdated library: install Microsoft's Visual C++ "
    "Redistributable.",
    0xC000013A: _ENDED,
    0xC0000142: "The backend could not load a library: restart the machine.",
    0xC0000409: _CRASHED,
}

_FULL = "The backend found the disk full: free some space."
_NOT_WHOLE = "The backend is not installed whole: set it up again."
_OTHER_SIGNAL = "The backend was ended by signal {signal}: its log tells more."
_OTHER_CODE = "The backend ended with code {code}: its log tells more."


def ending(code: int, last_words: str) -> Trouble:
    """Give the sentence for an exit code.

    Args:
        code: As `subprocess` gives it: negative for signals, large for Windows' own faults.
        last_words: The end of the log.
    """
    found = _meaning(code, last_words)
    said = [line for line in last_words.splitlines() if line.startswith("Error: ")]
    if said and code not in (STOPPED, FAULT):
        return Trouble(said[-1].removeprefix("Error: "), found.remedy, last_words)
    return Trouble(found.text, found.remedy, last_words, {"code": code, "signal": -code})


def hopeless(code: int, last_words: str) -> bool:
    """Say whether starting the backend again cannot help."""
    return _meaning(code, last_words).hopeless


def _meaning(code: int, last_words: str) -> Ending:
    if code == FAULT and "No space left on device" in last_words:
        return Ending(_FULL, Remedy.FREE_DISK, hopeless=True)
    if code == FAULT and (MISSING_MODULE in last_words or ": No module named" in last_words):
        return Ending(_NOT_WHOLE, Remedy.SET_UP, hopeless=True)
    if code in _CODES:
        return _CODES[code]
    if code < 0:
        return Ending(_SIGNALS.get(-code, _OTHER_SIGNAL))
    return Ending(_WINDOWS.get(code, _OTHER_CODE))
