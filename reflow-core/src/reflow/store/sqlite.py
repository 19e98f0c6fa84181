"""A cache in one SQLite file, for a local disk: chosen with ``[cache] backend = "sqlite"``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from ..errors import DataError, Untrusted
from ..model.cache import CacheEntry
from ..model.frames import HEAD, frame
from ..worker.durable import make_directories, shared
from ..worker.trust import Trust, trust
from .paths import StoreContext, trusted_of
from .trust import require_database

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

SCHEMA = 1

_APPLICATION = 0x7265666C  # "refl"
_BUSY_SECONDS = 30.0
_PAGE = 1000

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS result (
    key TEXT PRIMARY KEY, workflow TEXT NOT NULL, task TEXT NOT NULL, time REAL NOT NULL, frame BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_task ON result (workflow, task, time, key);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {SCHEMA};
COMMIT;
"""

# An older result, published late, does not hide a newer one.
_KEEP = """
INSERT INTO result (key, workflow, task, time, frame) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET workflow = excluded.workflow, task = excluded.task, time = excluded.time,
    frame = excluded.frame WHERE excluded.time >= time
"""

_FIND = "SELECT key, frame FROM result WHERE key IN (SELECT value FROM json_each(?))"

_HISTORY = f"""
SELECT key, frame, time FROM result WHERE workflow = ? AND task = ? AND (time, key) < (?, ?)
ORDER BY time DESC, key DESC LIMIT {_PAGE}
"""

_encode = msgspec.json.Encoder().encode
_entry = msgspec.json.Decoder(CacheEntry)


class SqliteCache:
    """A cache backend (`reflow.model.cache.CacheBackend`) in one SQLite database.

    Any number of processes of one host may use it at once; it is not for a
    network file system.

    Parameters
    ----------
    path : path-like
        The database file; created by the first `publish`.
    trusted : Trust, optional
        Whose file is believed; this user's and root's where not given.

    Attributes
    ----------
    problems : list of str
        What was met and passed over, each a sentence, said once.
    """

    def __init__(self, path: str | os.PathLike[str], trusted: Trust | None = None) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self.trusted = trust() if trusted is None else trusted
        self.problems: list[str] = []
        self._connection: sqlite3.Connection | None = None
        self._writable = False

    @classmethod
    def create(cls, settings: Mapping[str, object], context: StoreContext) -> SqliteCache:
        """Make the backend that configuration describes.

        Parameters
        ----------
        settings : mapping
            ``[cache]``'s own table; ``path``: the file, ``STORE/cache/cache.sqlite`` where not given.
        context : StoreContext
            Tells the store, and where it can the owners that are trusted.
        """
        path = settings.get("path")
        place = os.path.expanduser(str(path)) if path else os.path.join(context.store, "cache", "cache.sqlite")
        return cls(place, trusted_of(context))

    def lookup(self, keys: Sequence[str]) -> Mapping[str, CacheEntry]:
        """Find the entry of each key that has one, in one statement; see `CacheBackend.lookup`.

        Raises
        ------
        DataError
            Where the file is damaged or of a newer schema; it is left as it is.
        Untrusted
            Where it, or its directory, is another user's, or anybody may write there.
        """
        text = msgspec.json.encode(keys).decode()
        rows = self._query(lambda db: db.execute(_FIND, (text,)).fetchall()) if keys else None
        decoded = ((key, self._decode(key, data)) for key, data in rows or ())
        return {key: entry for key, entry in decoded if entry is not None}

    def history(self, workflow: str, task: str) -> Iterator[CacheEntry]:
        """Go through the entries of a task, newest first; see `CacheBackend.history`."""
        after: tuple[float, str] = (float("inf"), "")

        def page(db: sqlite3.Connection) -> list[tuple[str, bytes, float]]:
            return db.execute(_HISTORY, (workflow, task, *after)).fetchall()

        while rows := self._query(page):
            for key, data, time in rows:
                after = (time, key)
                entry = self._decode(key, data)
                if entry is not None:
                    yield entry

    def publish(self, entries: Sequence[CacheEntry]) -> None:
        """Keep entries, durably on return, all or none. See `CacheBackend.publish`.

        Raises
        ------
        OSError
            Where the file cannot be written.
        DataError
            Where it is damaged or of a newer schema; it is left as it is.
        Untrusted
            As for `lookup`.
        """
        if not entries:
            return
        import sqlite3

        rows = [(e.key, e.workflow, e.task, e.time, frame(_encode(e))) for e in entries]
        try:
            db = self._open(write=True)
            assert db is not None
            db.execute("BEGIN IMMEDIATE")
            try:
                db.executemany(_KEEP, rows)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            self.close()
            raise OSError(f"the cache {self.path} cannot be written: {error}") from error
        except sqlite3.Error as error:
            raise self._damage(error) from error

    def close(self) -> None:
        """Let go of the file; a later call opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._writable = False

    def _query(self, action: Callable[[sqlite3.Connection], T]) -> T | None:
        """Read; None where there is nothing to read, or it cannot be read now: a miss, never a guess."""
        import sqlite3

        try:
            db = self._open(write=False)
            return None if db is None else action(db)
        except sqlite3.OperationalError as error:
            self.close()
            problem = f"the cache {self.path} cannot be read: {error}"
            if problem not in self.problems:
                self.problems.append(problem)
            return None
        except sqlite3.Error as error:
            raise self._damage(error) from error

    def _damage(self, error: Exception) -> DataError:
        self.close()
        return DataError(
            f"the cache {self.path} is damaged: {error}",
            hint="`reflow repair --registry DIR` moves it aside, and fills a new one from the runs in DIR",
        )

    def damaged(self) -> str:
        """What is wrong with the file as a whole; "" where nothing is, or there is none.

        Raises
        ------
        DataError
            Where it is no cache of ours, or of a newer schema: nothing is wrong with it then.
        """
        import sqlite3

        try:
            db = self._open(write=False)
            said = "ok" if db is None else str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
        except (sqlite3.OperationalError, Untrusted):
            return ""  # out of reach, which is another matter
        except sqlite3.Error as error:
            return str(error)
        finally:
            self.close()
        return "" if said == "ok" else said

    def _decode(self, key: str, data: bytes) -> CacheEntry | None:
        """Believe a row only if its checksum and its key agree: SQLite itself has no checksums."""
        payload = data[HEAD:-1]
        try:
            entry = _entry.decode(payload) if frame(payload) == data else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return entry if entry is not None and entry.key == key else None

    def _open(self, *, write: bool) -> sqlite3.Connection | None:
        """Open the file once, for what is there until something is published; None where there is none to read."""
        if self._connection is not None and (self._writable or not write):
            return self._connection
        import sqlite3
        from urllib.parse import quote

        self.close()
        directory = os.path.dirname(self.path)
        if write and not os.path.isdir(directory):
            make_directories(directory)
        elif not write and not os.path.exists(self.path):
            return None
        try:
            require_database(self.path, "the cache", self.trusted)
        except OSError as error:
            raise sqlite3.OperationalError(str(error)) from None
        connection = sqlite3.connect(
            f"file:{quote(self.path)}?mode={'rwc' if write else 'rw'}",
            uri=True,  # rw: a file that may only be read is opened so, and a crashed writer's journal is undone
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if not self._prepare(connection, write=write):
                connection.close()
                return None
        except BaseException:
            connection.close()
            raise
        if write:
            shared(self.path)
        self._connection, self._writable = connection, write
        return connection

    def _prepare(self, connection: sqlite3.Connection, *, write: bool) -> bool:
        """Check that the file is ours and of this schema, creating the tables where it is empty."""
        # In one transaction: between two of them another process may create the tables.
        connection.execute("BEGIN")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("COMMIT")
        if version == 0 and tables == 0:
            if write:
                connection.executescript(_TABLES)
            return write
        if application != _APPLICATION:
            raise DataError(f"{self.path} is no cache of reflow", hint="name another file in [cache.sqlite] path")
        if version > SCHEMA:
            raise DataError(
                f"the cache {self.path} was written by a newer reflow (schema {version}, this one reads {SCHEMA})",
                hint="upgrade reflow, or name another file in [cache.sqlite] path",
            )
        return True
