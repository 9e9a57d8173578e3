"""The last accepted version of every object, kept over a restart.

What is kept are documents, once each, and which document each object was accepted from, in an SQLite database: its
transactions make a write proportional to the change, and leave the state before or after it when the process is
killed. Documents may be Secrets: nobody but the owner can read the file, and what is deleted is overwritten.
"""

import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import xxhash

from fairlead.problems import ObjectKey
from fairlead.sources.files.folder import Saved

FILE_NAME = "accepted.sqlite"
_APPLICATION_ID = 0x464C4431  # "FLD1"; another number after a change of the tables
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
CREATE TABLE IF NOT EXISTS documents (digest BLOB PRIMARY KEY, text BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    api_group TEXT, kind TEXT, namespace TEXT, name TEXT,
    digest BLOB NOT NULL, path TEXT NOT NULL, line INTEGER NOT NULL,
    PRIMARY KEY (api_group, kind, namespace, name)
);
CREATE INDEX IF NOT EXISTS objects_by_digest ON objects (digest);
"""
_WHERE_KEY = "WHERE api_group = ? AND kind = ? AND namespace = ? AND name = ?"

StoreFailures = (OSError, sqlite3.Error)
"""What the methods of `Store` raise when the database cannot be read or written."""


class Entry(NamedTuple):
    """Where the kept version of an object came from."""

    path: str
    digest: int


class Store:
    """The database in a folder. Methods block; one thread at a time may call them.

    Servers that read the same files may share a folder: all of them write the same.
    """

    def __init__(self, folder: Path) -> None:
        """Open the database, or make it; one that is damaged or not ours is begun anew."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / FILE_NAME
        self.damaged = False
        """What had been kept could not be read, and was given up."""
        try:
            self._database = self._open()
        except sqlite3.DatabaseError as failure:
            if isinstance(failure, sqlite3.OperationalError):
                raise  # a full or read-only disk, not a damage
            self.damaged = True
            self.path.unlink()
            self.path.with_name(f"{FILE_NAME}-journal").unlink(missing_ok=True)
            self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        # SQLite gives its journal the permissions of the database, and would make the latter readable for all.
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)
        database = sqlite3.connect(self.path, check_same_thread=False)
        try:
            _prepare(database)
        except BaseException:
            database.close()
            raise
        return database

    def entries(self) -> dict[ObjectKey, Entry]:
        """What is kept, without the documents."""
        rows = self._database.execute("SELECT api_group, kind, namespace, name, path, digest FROM objects")
        return {
            ObjectKey(group, kind, namespace, name): Entry(path, int.from_bytes(digest, "big"))
            for group, kind, namespace, name, path, digest in rows
        }

    def read(self, keys: Iterable[ObjectKey]) -> dict[ObjectKey, Saved]:
        """The kept versions of these objects; those whose document is damaged are left out."""
        statement = f"SELECT path, line, text, digest FROM objects JOIN documents USING (digest) {_WHERE_KEY}"  # noqa: S608
        found = {}
        for key in keys:
            for path, line, text, digest in self._database.execute(statement, key):
                if xxhash.xxh3_64_digest(text) == digest:
                    found[key] = Saved(path, line, text, int.from_bytes(digest, "big"))
        return found

    def write(self, changes: Mapping[ObjectKey, Saved | None]) -> None:
        """Keep these versions in place of earlier ones; None drops an object. All of it is done, or nothing."""
        with self._database as database:  # a transaction
            for key, saved in changes.items():
                replaced = database.execute(f"SELECT digest FROM objects {_WHERE_KEY}", key).fetchone()  # noqa: S608
                if saved is None:
                    database.execute(f"DELETE FROM objects {_WHERE_KEY}", key)  # noqa: S608
                else:
                    digest = saved.digest.to_bytes(8, "big")
                    database.execute("INSERT OR IGNORE INTO documents VALUES (?, ?)", (digest, saved.text))
                    database.execute(
                        "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (*key, digest, saved.path, saved.line),
                    )
                if replaced is not None:
                    database.execute(
                        "DELETE FROM documents WHERE digest = ?1"
                        " AND NOT EXISTS (SELECT 1 FROM objects WHERE objects.digest = ?1)",
                        replaced,
                    )

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _prepare(database: sqlite3.Connection) -> None:
    """Set the connection up, and make the tables of a new database."""
    database.execute("PRAGMA secure_delete = ON")
    # A power failure may undo the last writes, but damages nothing.
    database.execute("PRAGMA synchronous = NORMAL")
    # Another server may make them at this moment: first whether there are any, then whose.
    (version,) = database.execute("PRAGMA schema_version").fetchone()
    (identity,) = database.execute("PRAGMA application_id").fetchone()
    if version == 0:
        database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    elif identity != _APPLICATION_ID or database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise sqlite3.DatabaseError("not a database of accepted objects, or a damaged one")
