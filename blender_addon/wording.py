# SPDX-License-Identifier: GPL-3.0-or-later
"""Times and sizes in words, in the language of whoever reads them."""

from collections.abc import Callable

Say = Callable[[str], str]
"""Gives a text in the reader's language; Blender's `pgettext_iface` is one."""

MINUTE, HOUR = 60, 3600


def as_written(text: str) -> str:
    """Give a text as it stands: a `Say` for tests and for English."""
    return text


def duration(seconds: float, say: Say = as_written) -> str:
    """Say a time as people do: '40 s', '3 min', '1 h 20 min'."""
    whole = max(round(seconds), 0)
    if whole < 2 * MINUTE:
        return say("{} s").format(whole)
    minutes = round(whole / MINUTE)
    if minutes < HOUR / MINUTE:
        return say("{} min").format(minutes)
    return say("{} h {} min").format(*divmod(minutes, HOUR // MINUTE))
