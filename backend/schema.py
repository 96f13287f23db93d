# SPDX-License-Identifier: Apache-2.0
"""How the table of jobs lies in its file, and how an older file becomes one of today's."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from backend.ballast import Ballasted

VERSION = 3
"""Of the table's layout."""

REQUESTS = """
CREATE TABLE IF NOT EXISTS requests (
  job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, id TEXT NOT NULL,
  PRIMARY KEY (job, id)
) STRICT, WITHOUT ROWID;
"""
SCHEMA = f"""
CREATE TABLE jobs (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, label TEXT NOT NULL, state TEXT NOT NULL,
  place INTEGER NOT NULL, spec BLOB NOT NULL, request TEXT NOT NULL,
  stage TEXT NOT NULL DEFAULT '', restarts INTEGER NOT NULL DEFAULT 0,
  created REAL NOT NULL, changed REAL NOT NULL, seconds REAL NOT NULL DEFAULT 0,
  failure BLOB, bytes INTEGER NOT NULL DEFAULT 0,
  device TEXT NOT NULL DEFAULT '', stages BLOB
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, place);
CREATE INDEX jobs_by_owner ON jobs (owner);
CREATE TABLE artefacts (
  job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, name TEXT NOT NULL,
  size INTEGER NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (job, name)
) STRICT;
{REQUESTS}"""
UPGRADES: Mapping[int, str] = {
    1: "ALTER TABLE jobs ADD COLUMN device TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE jobs ADD COLUMN stages BLOB;",
    2: f"{REQUESTS}INSERT INTO requests SELECT id, request FROM jobs;",
}
"""What turns a table of each older version into one of the next."""


def opened(path: Path) -> Ballasted:
    """Open the file, or make it; what is written is on disk before a statement returns.

    Raises:
        sqlite3.DatabaseError: The file is no table of ours, or of a newer version.
    """
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Ballasted)
    db.ballast = path.with_suffix(".ballast")
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        db.executescript(f"BEGIN;{SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")
    elif version > VERSION:
        db.close()
        raise sqlite3.DatabaseError(f"table version {version}, but this backend knows {VERSION}")
    for old in range(version or VERSION, VERSION):
        db.executescript(f"BEGIN;{UPGRADES[old]}PRAGMA user_version = {old + 1};COMMIT;")
    return db
