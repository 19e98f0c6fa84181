"""The host-local index over the cache's segments: a hint where to look, never the truth.

It may be deleted at any moment. It says at which place of which segment an
entry lies; who uses it reads that place and believes only what the frame there
says. So neither a stale nor a damaged index can make a wrong hit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import msgspec

from ..errors import Untrusted
from ..worker.trust import Trust, trust
from .trust import require_database

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

SCHEMA = 2

_BUSY_SECONDS = 5.0
_PAGE = 1000
_CACHE_KIB = 32 << 10

# A key is kept as 60 of its bits (`_short`): half the size, twice the speed, and checked where it leads to.
# `entry` keeps every place of a key: which is the newest is decided when asked,
# so a segment can go without hiding an older entry of another one.
_TABLES = (
    "DROP TABLE IF EXISTS entry",
    "DROP TABLE IF EXISTS label",
    "DROP TABLE IF EXISTS segment",
    """CREATE TABLE segment (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, "end" INTEGER NOT NULL)""",
    """CREATE TABLE label (
    id INTEGER PRIMARY KEY, workflow TEXT NOT NULL, task TEXT NOT NULL, UNIQUE (workflow, task))""",
    """CREATE TABLE entry (
    key INTEGER NOT NULL, time REAL NOT NULL, segment INTEGER NOT NULL, start INTEGER NOT NULL,
    length INTEGER NOT NULL, label INTEGER NOT NULL)""",
    "CREATE INDEX by_key ON entry (key, time, segment, start)",
    "CREATE INDEX by_label ON entry (label, time, segment, start)",
    f"PRAGMA user_version = {SCHEMA}",
)

_FIND = """
SELECT wanted.value, segment.name, entry.start, entry.length
FROM json_each(?) AS wanted
JOIN entry ON entry.rowid = (
    SELECT rowid FROM entry WHERE key = wanted.value ORDER BY time DESC, segment DESC, start DESC LIMIT 1)
JOIN segment ON segment.id = entry.segment
ORDER BY entry.segment, entry.start
"""

_HISTORY = f"""
SELECT segment.name, entry.start, entry.length, entry.time, entry.segment
FROM label JOIN entry ON entry.label = label.id JOIN segment ON segment.id = entry.segment
WHERE label.workflow = ? AND label.task = ? AND (entry.time, entry.segment, entry.start) < (?, ?, ?)
ORDER BY entry.time DESC, entry.segment DESC, entry.start DESC LIMIT {_PAGE}
"""


class Known(NamedTuple):
    """How far a segment has been read: ``end`` is the offset after its last whole frame."""

    inode: int
    size: int
    mtime: int
    end: int


class Found(msgspec.Struct, frozen=True, gc=False):
    """One frame: its key, time, place and length in bytes, and what computed it."""

    key: str
    time: float
    start: int
    length: int
    workflow: str
    task: str


class Growth(NamedTuple):
    """What was read of a segment, from `begin` on; `known` is how it stands now."""

    name: str
    begin: int
    known: Known
    found: list[Found]


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where an entry should lie, in bytes; the key is "" where any will do."""

    key: str
    name: str
    start: int
    length: int


#: what orders the entries of a task: time, segment, offset
Rank: TypeAlias = tuple[float, int, int]


class Index:
    """The index of one store on this host; in memory where it cannot be a file.

    Parameters
    ----------
    path : str, optional
        The database file; None keeps it in memory. One that others may write is not used: it could hide results.
    trusted : Trust, optional
        Who may have written it; this user and root where not given.

    Attributes
    ----------
    problem : str
        Why it is in memory though a file was asked for; "" where it is not.
    generation : int
        How often it had to begin anew; what was taken in before is not in it any more.
    """

    def __init__(self, path: str | None, trusted: Trust | None = None) -> None:
        self.path = path
        self._trusted = trust() if trusted is None else trusted
        self.problem = ""
        self.generation = 0
        self._connection: sqlite3.Connection | None = None

    def known(self) -> dict[str, Known]:
        """All segments read so far, by name."""
        rows = self._do(lambda db: db.execute('SELECT name, inode, size, mtime, "end" FROM segment').fetchall())
        return {name: Known(*rest) for name, *rest in rows}

    def add(self, growths: Sequence[Growth]) -> None:
        """Take in what was read, in one transaction; what another process took in meanwhile is passed over."""

        def grow(db: sqlite3.Connection) -> None:
            for growth in growths:
                _grow(db, growth)

        self._do(lambda db: _transaction(db, lambda: grow(db)))

    def forget(self, names: Sequence[str]) -> None:
        """Drop these segments; those still there are read again."""

        def drop(db: sqlite3.Connection) -> None:
            wanted = "(SELECT id FROM segment WHERE name IN (SELECT value FROM json_each(?)))"
            text = _json(names)
            db.execute(f"DELETE FROM entry WHERE segment IN {wanted}", (text,))
            db.execute(f"DELETE FROM segment WHERE id IN {wanted}", (text,))

        self._do(lambda db: _transaction(db, lambda: drop(db)))

    def find(self, keys: Sequence[str]) -> list[Place]:
        """The newest place of each key that has one, in one statement, ordered by segment and place."""
        wanted = {_short(key): key for key in keys}
        text = _json(sorted(wanted))
        rows = self._do(lambda db: db.execute(_FIND, (text,)).fetchall())
        return [Place(wanted[short], name, start, length) for short, name, start, length in rows]

    def page(self, workflow: str, task: str, before: Rank | None) -> list[tuple[Place, Rank]]:
        """Up to 1,000 places of a task, newest first, that rank before `before`; each with its rank."""
        limit = before or (float("inf"), 0, 0)
        rows = self._do(lambda db: db.execute(_HISTORY, (workflow, task, *limit)).fetchall())
        return [(Place("", name, start, length), (time, number, start)) for name, start, length, time, number in rows]

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _do(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Carry an action out, whatever is wrong with the file.

        A damaged file is deleted and built anew; one that cannot be used
        (read-only, locked for long, of a newer version, disk full) is replaced by one in memory.
        """
        import sqlite3

        try:
            return action(self._connected())
        except (sqlite3.Error, OSError) as error:
            if self.path is None:
                raise
            self.close()
            if not _damaged(error):
                self._give_up(error)
                return action(self._connected())
        self.generation += 1
        for suffix in ("", "-journal"):
            with suppress(OSError):
                os.unlink(self.path + suffix)
        try:
            return action(self._connected())
        except (sqlite3.Error, OSError) as error:
            self.close()
            self._give_up(error)
        return action(self._connected())

    def _give_up(self, error: Exception) -> None:
        self.problem = f"the cache's index {self.path} cannot be used ({error}); it is rebuilt in memory"
        self.path = None
        self.generation += 1

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        if self.path is not None:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            try:
                require_database(self.path, "the index", self._trusted)
            except Untrusted as error:
                raise OSError(error.message) from None
        connection = sqlite3.connect(
            self.path or ":memory:", timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            version = _version(connection)
            if version > SCHEMA:
                raise OSError(f"it was written by a newer reflow: schema {version}, this one reads {SCHEMA}")
            # A lost index costs reading the segments again: not worth waiting for the disk.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            if version < SCHEMA:
                _transaction(connection, lambda: _begin_anew(connection))
        except BaseException:
            connection.close()
            raise
        return connection


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _begin_anew(db: sqlite3.Connection) -> None:
    """Make the tables, unless somebody else has meanwhile: what is in theirs may have been relied on already."""
    if _version(db) < SCHEMA:
        for statement in _TABLES:
            db.execute(statement)


def _json(words: Sequence[str] | Sequence[int]) -> str:
    return msgspec.json.encode(words).decode()


def _short(key: str) -> int:
    """Sixty bits of a key: two that share them hide each other at worst, which is a miss."""
    try:
        return int(key[-15:], 16)
    except ValueError:  # no hexadecimal digits: not one of ours, but a key all the same
        from binascii import crc32

        return crc32(key.encode())


def _damaged(error: Exception) -> bool:
    """Whether the file itself is bad, rather than out of reach.

    A table or column that is missing (`OperationalError` too) means the same.
    """
    import sqlite3

    if isinstance(error, sqlite3.OperationalError):
        return str(error).startswith("no such")
    return isinstance(error, sqlite3.DatabaseError)


def _transaction(db: sqlite3.Connection, action: Callable[[], T]) -> T:
    """All or nothing, with the write lock taken first, so that what is read inside holds."""
    db.execute("BEGIN IMMEDIATE")
    try:
        result = action()
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # some errors have undone it already
            db.execute("ROLLBACK")
        raise
    return result


def _grow(db: sqlite3.Connection, growth: Growth) -> None:
    """Take one segment's growth in, unless somebody else has."""
    row = db.execute('SELECT id, "end" FROM segment WHERE name = ?', (growth.name,)).fetchone()
    if growth.begin != (row[1] if row else 0):
        return
    if row:
        number = row[0]
        db.execute('UPDATE segment SET inode = ?, size = ?, mtime = ?, "end" = ? WHERE id = ?', (*growth.known, number))
    else:
        number = db.execute(
            'INSERT INTO segment (name, inode, size, mtime, "end") VALUES (?, ?, ?, ?, ?)',
            (growth.name, *growth.known),
        ).lastrowid
    labels = {}
    for label in {(found.workflow, found.task) for found in growth.found}:
        db.execute("INSERT OR IGNORE INTO label (workflow, task) VALUES (?, ?)", label)
        labels[label] = db.execute("SELECT id FROM label WHERE workflow = ? AND task = ?", label).fetchone()[0]
    db.executemany(
        "INSERT INTO entry (key, time, segment, start, length, label) VALUES (?, ?, ?, ?, ?, ?)",
        [(_short(f.key), f.time, number, f.start, f.length, labels[f.workflow, f.task]) for f in growth.found],
    )
