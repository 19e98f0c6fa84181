"""A scheduler in a directory: its jobs are rows of a database, and a runner starts them as processes.

One engine for all simulated schedulers. What tells them apart is a `System`: commands, ids, texts, return codes, ends.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

WAITING, RUNNING, ENDED = "waiting", "running", "ended"
#: why an element ended, where it was not by itself
DELETED, LIMIT, DEPENDENCY = "deleted", "limit", "dependency"
#: index of a job that is no array
NONE = -1

_SCHEMA = """
CREATE TABLE submission (number INTEGER PRIMARY KEY, spec TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE element (
    number INTEGER, idx INTEGER, state TEXT NOT NULL, began REAL, ended REAL, code INTEGER, signal INTEGER,
    why TEXT NOT NULL DEFAULT '', asked REAL, PRIMARY KEY (number, idx)) WITHOUT ROWID;
CREATE INDEX by_state ON element (state, number);
CREATE TABLE counter (next INTEGER NOT NULL);
"""


class Unrecorded(Exception):
    """Something of which no transcript tells what the real scheduler does."""


class Refused(Exception):
    """What a command says on standard error before it ends with a code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.text, self.code = text, code


@dataclass
class Element:
    """A job, or an element of an array."""

    number: int
    idx: int
    state: str
    began: float | None
    ended: float | None
    code: int | None
    signal: int | None
    why: str
    asked: float | None

    @property
    def ran(self) -> bool:
        return self.began is not None


@dataclass
class Submission:
    """What one command submitted."""

    number: int
    spec: dict[str, Any]
    at: float
    elements: list[Element] = field(default_factory=list)

    @property
    def array(self) -> bool:
        return self.spec["indices"] is not None

    @property
    def over(self) -> bool:
        return all(element.state == ENDED for element in self.elements)

    @property
    def begun(self) -> bool:
        return any(element.state != WAITING for element in self.elements)

    def element(self, idx: int) -> Element | None:
        return next((element for element in self.elements if element.idx == idx), None)


@dataclass
class Start:
    """How an element is started: its output goes to files that `System.over` delivers."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    umask: int
    out: str
    err: str | None = None
    stdin: str | None = None


class Book:
    """The scheduler's memory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        fresh = not (root / "book.db").exists()
        self.db = sqlite3.connect(root / "book.db", isolation_level=None, timeout=60)
        if fresh:
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.executescript(_SCHEMA)
            self.db.execute("INSERT INTO counter VALUES (?)", (self.site.get("first", 1),))
        self.db.execute("PRAGMA synchronous=OFF")

    @property
    def site(self) -> dict[str, Any]:
        """How this cluster is configured."""
        told: dict[str, Any] = json.loads((self.root / "site.json").read_text())
        return told

    @contextmanager
    def change(self) -> Any:
        """One transaction."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def number(self) -> int:
        """The next number; what is refused late has used one up as well."""
        with self.change() as db:
            (number,) = db.execute("SELECT next FROM counter").fetchone()
            db.execute("UPDATE counter SET next = next + 1")
        return int(number)

    def submit(self, number: int, **spec: Any) -> None:
        """Write a submission down; ``indices`` None: no array."""
        indices = [NONE] if spec["indices"] is None else spec["indices"]
        with self.change() as db:
            db.execute("INSERT INTO submission VALUES (?, ?, ?)", (number, json.dumps(spec), time.time()))
            db.executemany(
                "INSERT INTO element (number, idx, state) VALUES (?, ?, ?)", [(number, idx, WAITING) for idx in indices]
            )

    def submissions(self, numbers: Iterable[int] | None = None) -> dict[int, Submission]:
        """Submissions with their elements, by number; all of them where `numbers` is None."""
        found: dict[int, Submission] = {}
        chosen = None if numbers is None else sorted(set(numbers))
        for part in [None] if chosen is None else [chosen[at : at + 500] for at in range(0, len(chosen), 500)]:
            where = "" if part is None else f" WHERE number IN ({','.join('?' * len(part))})"
            values = part or ()
            for number, spec, at in self.db.execute(f"SELECT * FROM submission{where} ORDER BY number", values):
                found[number] = Submission(number, json.loads(spec), at)
            for row in self.db.execute(f"SELECT * FROM element{where} ORDER BY number, idx", values):
                found[row[0]].elements.append(Element(*row))
        return found

    def submission(self, number: int) -> Submission | None:
        return self.submissions([number]).get(number)

    def kill(self, number: int, indices: Iterable[int] | None = None) -> None:
        """End what waits, at once, and ask the runner to end what runs."""
        with self.change() as db:
            chosen = [row[0] for row in db.execute("SELECT idx FROM element WHERE number = ?", (number,))]
            now = time.time()
            for idx in chosen if indices is None else [idx for idx in indices if idx in chosen]:
                place = (number, idx)
                db.execute(
                    "UPDATE element SET state = ?, ended = ?, why = ? WHERE number = ? AND idx = ? AND state = ?",
                    (ENDED, now, DELETED, *place, WAITING),
                )
                db.execute(
                    "UPDATE element SET asked = ?, why = ?"
                    " WHERE number = ? AND idx = ? AND state = ? AND asked IS NULL",
                    (now, DELETED, *place, RUNNING),
                )

    def amend(self, number: int, **spec: Any) -> None:
        """Change what is known of a submission."""
        with self.change() as db:
            (text,) = db.execute("SELECT spec FROM submission WHERE number = ?", (number,)).fetchone()
            db.execute("UPDATE submission SET spec = ? WHERE number = ?", (json.dumps(json.loads(text) | spec), number))


class System:
    """A personality: a subclass for each scheduler."""

    #: the commands that it has
    programs: ClassVar[tuple[str, ...]]
    #: signals to the whole job, with the seconds after which they are sent: when it is cancelled, or out of time
    kills: ClassVar[Sequence[tuple[float, int]]] = ((0.0, signal.SIGTERM), (3.0, signal.SIGKILL))
    expiry: ClassVar[Sequence[tuple[float, int]]] = ((1.0, signal.SIGTERM), (4.0, signal.SIGKILL))
    #: whether what is left of a job is killed when its first process has ended
    sweeps: ClassVar[bool] = True

    def __init__(self, book: Book) -> None:
        self.book = book
        self.site = book.site

    def lingers(self, number: int) -> bool:
        """Whether a job whose first process has ended runs on for the sake of others."""
        return False

    @property
    def cores(self) -> int:
        return int(self.site.get("cores", 16))

    def command(self, program: str, argv: list[str]) -> int:
        """Run one of the programs; its return code."""
        raise NotImplementedError

    def down(self, program: str) -> int | None:
        """What a program says and returns while the scheduler does not answer; None: it has waited for it."""
        raise Unrecorded(f"{program} without a server")

    def ready(self, submission: Submission) -> bool | str:
        """Whether nothing keeps a submission waiting but resources; text: why it never will start, and ends."""
        raise NotImplementedError

    def start(self, submission: Submission, element: Element) -> Start | str:
        """How an element is started; text: why it can't be."""
        raise NotImplementedError

    def over(self, submission: Submission, element: Element) -> None:
        """An element has ended: deliver its output."""

    def code(self, returncode: int) -> tuple[int | None, int | None]:
        """Exit code and signal of a job, as this scheduler takes its first process's."""
        return (returncode, None) if returncode >= 0 else (None, -returncode)

    def spool(self, element: Element, suffix: str) -> str:
        """A file of the scheduler's own."""
        folder = self.book.root / "spool"
        folder.mkdir(exist_ok=True)
        return str(folder / f"{element.number}.{element.idx}.{suffix}")


class _Child:
    def __init__(self, process: subprocess.Popen[bytes], cores: int, due: float | None) -> None:
        self.process, self.cores, self.due = process, cores, due
        self.signals: list[tuple[float, int]] = []
        self.why = ""


class Runner:
    """Starts what is ready, ends what is to be ended, forgets what is old; until it is told to stop."""

    def __init__(self, system: System, parent: int) -> None:
        self.system, self.book, self.parent = system, system.book, parent
        self.children: dict[tuple[int, int], _Child] = {}
        self._version = -1

    def run(self) -> None:
        stop = self.book.root / "stop"
        look = 0.0
        try:
            while not stop.exists() and os.getppid() == self.parent:
                moved = self._reap()
                self._signal()
                (version,) = self.book.db.execute("PRAGMA data_version").fetchone()
                if moved or version != self._version or time.monotonic() >= look:
                    self._version = version
                    self._asked()
                    self._forget()
                    while self._begin():
                        pass
                    look = time.monotonic() + 0.25
                time.sleep(0.02)
        finally:
            for child in self.children.values():
                _send(child.process.pid, signal.SIGKILL)
                child.process.wait()

    def _reap(self) -> bool:
        moved = False
        for place, child in list(self.children.items()):
            returncode = child.process.poll()
            if returncode is None or (not child.why and self.system.lingers(place[0])):
                continue
            if self.system.sweeps:
                _send(child.process.pid, signal.SIGKILL)
            self._end(place, *self.system.code(returncode), child.why)
            del self.children[place]
            moved = True
        return moved

    def _end(self, place: tuple[int, int], code: int | None, number: int | None, why: str) -> None:
        with self.book.change() as db:
            db.execute(
                "UPDATE element SET state = ?, ended = ?, code = ?, signal = ?,"
                " why = CASE ? WHEN '' THEN why ELSE ? END"
                " WHERE number = ? AND idx = ?",
                (ENDED, time.time(), code, number, why, why, *place),
            )
        submission = self.book.submission(place[0])
        if submission is not None and (element := submission.element(place[1])) is not None:
            self.system.over(submission, element)

    def _signal(self) -> None:
        now = time.time()
        for child in self.children.values():
            if child.due is not None and now >= child.due and not child.why:
                child.why = LIMIT
                child.signals = [(now + after, number) for after, number in self.system.expiry]
            while child.signals and now >= child.signals[0][0]:
                _send(child.process.pid, child.signals.pop(0)[1])

    def _asked(self) -> None:
        for number, idx in self.book.db.execute(
            "SELECT number, idx FROM element WHERE state = ? AND asked IS NOT NULL", (RUNNING,)
        ).fetchall():
            child = self.children.get((number, idx))
            if child is not None and not child.why:
                child.why = DELETED
                child.signals = [(time.time() + after, number) for after, number in self.system.kills]

    def _forget(self) -> None:
        keeps = self.system.site.get("keeps")
        if keeps is None:
            return
        with self.book.change() as db:
            db.execute("DELETE FROM element WHERE state = ? AND ended < ?", (ENDED, time.time() - keeps))
            db.execute("DELETE FROM submission WHERE number NOT IN (SELECT number FROM element)")

    def _begin(self) -> bool:
        """Start what can be; whether something ended at once, so that more may be ready now."""
        free = self.system.cores - sum(child.cores for child in self.children.values())
        numbers = self.book.db.execute(
            "SELECT DISTINCT number FROM element WHERE state = ? ORDER BY number", (WAITING,)
        )
        again = False
        for (number,) in numbers.fetchall():
            submission = self.book.submission(number)
            if submission is None:
                continue
            spec = submission.spec
            if spec.get("held") or (spec.get("begin") or 0) > time.time():
                continue
            ready = self.system.ready(submission)
            if isinstance(ready, str):
                with self.book.change() as db:
                    db.execute(
                        "UPDATE element SET state = ?, ended = ?, why = ? WHERE number = ? AND state = ?",
                        (ENDED, time.time(), ready, number, WAITING),
                    )
                again = True
                continue
            if not ready:
                continue
            room = spec.get("throttle")
            room = len(submission.elements) if room is None else room
            room -= sum(element.state == RUNNING for element in submission.elements)
            for element in submission.elements:
                if element.state != WAITING:
                    continue
                if free < spec["cores"] or room <= 0:
                    break
                if not self._launch(submission, element):
                    again = True
                    continue
                free -= spec["cores"]
                room -= 1
        return again

    def _launch(self, submission: Submission, element: Element) -> bool:
        place = (element.number, element.idx)
        now = time.time()
        start = self.system.start(submission, element)
        if isinstance(start, str):
            with self.book.change() as db:
                db.execute(
                    "UPDATE element SET state = ?, began = ?, ended = ?, why = ? WHERE number = ? AND idx = ?",
                    (ENDED, now, now, start, *place),
                )
            return False
        with self.book.change() as db:
            changed = db.execute(
                "UPDATE element SET state = ?, began = ? WHERE number = ? AND idx = ? AND state = ?",
                (RUNNING, now, *place, WAITING),
            ).rowcount
        if not changed:
            return False  # cancelled just now
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with (
            open(os.open(start.out, flags, 0o600), "wb") as out,
            open(os.open(start.err or start.out, flags, 0o600), "wb") as err,
            open(start.stdin or "/dev/null", "rb") as stdin,
        ):
            process = subprocess.Popen(
                start.argv, env=dict(start.env), cwd=start.cwd, stdin=stdin, stdout=out, stderr=err,
                umask=start.umask, start_new_session=True,
            )  # fmt: skip
        limit = submission.spec.get("limit")
        self.children[place] = _Child(process, submission.spec["cores"], None if limit is None else now + limit)
        return True


def recorded(name: str) -> str:
    """A text of the transcripts, with its blanks at the ends of lines."""
    return Path(__file__).with_name("texts").joinpath(f"{name}.txt").read_text()


def ranges(text: str, *, step: bool = False) -> list[int]:
    """Indices such as ``1,3,5-7``, and ``1-9:4`` where steps are known.

    Raises
    ------
    ValueError
        For anything else.
    """
    found: set[int] = set()
    for part in text.split(","):
        span, colon, by = part.strip().partition(":")
        first, dash, last = span.partition("-")
        if (colon and not step) or not first.strip().isdigit() or (dash and not last.strip().isdigit()):
            raise ValueError(text)
        begin, end = int(first), int(last or first)
        if end < begin or (colon and (not by.isdigit() or not int(by))):
            raise ValueError(text)
        found.update(range(begin, end + 1, int(by or 1)))
    return sorted(found)


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
