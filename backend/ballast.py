# SPDX-License-Identifier: Apache-2.0
"""SQLite that can still write how things ended when somebody else has filled the disk."""

import sqlite3
from pathlib import Path
from shutil import disk_usage
from typing import Any

BALLAST_BYTES = 4 * 2**20
"""Disk that the table keeps in reserve: as much as its log grows to before it is folded in."""


class Ballasted(sqlite3.Connection):
    """A connection that has some disk in reserve: how jobs end is written on a full disk too."""

    ballast: Path | None = None

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """Run a statement, once more after dropping the ballast if the disk is full."""
        try:
            return super().execute(*arguments)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._drop():
                raise
            return super().execute(*arguments)

    def relieve(self) -> None:
        """Drop the ballast before a transaction that a full disk would break."""
        if self.ballast is not None and disk_usage(self.ballast.parent).free < BALLAST_BYTES // 4:
            self._drop()

    def _drop(self) -> bool:
        if self.ballast is None or not self.ballast.exists():
            return False
        self.ballast.unlink()
        return True
