# SPDX-License-Identifier: Apache-2.0
"""How the server's process ends, for those who start it."""

import enum


class Exit(enum.IntEnum):
    """Exit codes of `python -m backend`."""

    STOPPED = 0
    """On request, by signal, or because its parent is gone; running jobs go on next time."""
    FAULT = 1
    """Ours: the log tells more."""
    OPTIONS = 2
    """An option breaks a rule."""
    STORE_IN_USE = 10
    """Another server works on this store."""
    PORT_TAKEN = 11
    """The address cannot be bound."""
    STORE_UNUSABLE = 12
    """The store cannot be read or written, or its disk is full."""
    KEYS_UNSAFE = 13
    """A key file can be read by others, or is damaged."""


class StartError(Exception):
    """The server cannot start; the text is one sentence with rule, value and remedy."""

    def __init__(self, code: Exit, sentence: str) -> None:
        self.code = code
        super().__init__(sentence)
