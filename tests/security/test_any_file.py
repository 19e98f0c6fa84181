"""Whatever stands in the place of a file of a run or a store, each command ends soon, and says what is wrong."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from reflow.cli.main import main
from reflow.model.definition import Entry
from reflow.model.frames import frame
from reflow.run.journal import log
from reflow.run.journal.lease import Lease
from reflow.run.recovery import repair
from reflow.worker.load import load_flow

SCRIPT = """
from typing import Annotated
import reflow

wf = reflow.Workflow("fuzzed")

@wf.job()
def one() -> list[int]:
    return [1, 2]

@wf.array_job()
def each(n: Annotated[int, reflow.Result(step="one")]) -> int:
    print("hello")
    if n == 2:
        raise ValueError("no")
    return n
"""

#: looks at a run, and acts on it
LOOKS = (["status", "{run}"], ["explain", "{run}"], ["logs", "{run}", "each[0]"], ["runs"], ["describe", "{run}"])
ACTS = (["cancel", "{run}"], ["repair", "{run}"], ["drive", "{run}"])

DEEP = b'{"x":' + b"[" * 200_000


def _halve(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _spoil(path: Path) -> None:
    data = bytearray(path.read_bytes() or b"x")
    for at in range(0, len(data), max(1, len(data) // 7)):
        data[at] ^= 0x5A
    path.write_bytes(data)


def _nest(path: Path) -> None:
    path.write_bytes(frame(DEEP) if path.read_bytes()[8:9] == b" " else DEEP)


def _swell(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(200 << 30)


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


KINDS: dict[str, Callable[[Path], object]] = {
    "half": _halve,
    "empty": lambda path: path.write_bytes(b""),
    "other bytes": _spoil,
    "nested": _nest,
    "sparse": _swell,
    "FIFO": _instead(os.mkfifo),
    "directory": _instead(Path.mkdir),
    "link to itself": _instead(lambda path: path.symlink_to(path.name)),
    "link to a device": _instead(lambda path: path.symlink_to("/dev/zero")),
    "link outside": _instead(lambda path: path.symlink_to(__file__)),
    "gone": Path.unlink,
    "closed": lambda path: path.chmod(0),
}


class Case:
    """A failed run and its store, as they are and as they were."""

    def __init__(self, path: Path) -> None:
        self.path = path
        script = path / "fuzzed.py"
        script.write_text(textwrap.dedent(SCRIPT))
        flow = load_flow(Entry(file=str(script), module="fuzzed", variable="wf", path=(str(path),)))
        store = self.now / "store"
        run = flow.run_local(self.now / "run", executor="inline", store_path=store)
        assert run.state.value == "FAILED"
        for words in (*LOOKS, *ACTS):  # what they load is loaded then, and not again in each process
            assert self.say(words)[1] in (0, 1), words
        shutil.copytree(self.now, path / "before", symlinks=True)

    @property
    def now(self) -> Path:
        """Where the run and its store are."""
        return self.path / "now"

    def files(self) -> list[Path]:
        """All that a run and a store hold."""
        return sorted(path for path in self.now.rglob("*") if path.is_file() and not path.is_symlink())

    def renew(self) -> None:
        """Let all be as it was."""
        shutil.rmtree(self.now)
        shutil.copytree(self.path / "before", self.now, symlinks=True)

    def try_all(self, path: Path, kind: str, commands: Sequence[Sequence[str]]) -> None:
        """Put something in a file's place, and give each command."""
        self.renew()
        if not path.exists():  # a database's journal: what another user would plant
            path.write_bytes(b"\xd9\xd5\x05\xf9 \xa1c\xd7" + b"x" * 600)
        KINDS[kind](path)
        for words, said, code in self._give(commands, f"{kind} for {path}"):
            assert code in (0, 1, 2), (path, kind, words, code, said)
            assert "unexpected" not in said, (path, kind, words, said)
            assert code == 0 or said, (path, kind, words, code)

    def _give(self, commands: Sequence[Sequence[str]], what: str) -> list[tuple[list[str], str, int]]:
        """What commands say, and their exit codes, in a process that is ended when one takes too long."""
        told, started = self.path / "told", self.path / "started"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside xdist's threads
            pid = os.fork()
        if pid == 0:
            try:
                log.PATIENCE = ()
                # Who wants a damaged lease waits for its holder, some beats; nobody holds it here.
                repair._BEATS = 0
                Lease.acquire.__func__.__kwdefaults__["beat"] = 0.02  # type: ignore[attr-defined]
                found = []
                for words in commands:
                    signal.alarm(20)
                    started.write_text(" ".join(words))
                    found.append((words, *self.say(words)))
                told.write_text(json.dumps(found))
            finally:
                os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == 0, f"{started.read_text()} hangs: {what}"
        answers: list[tuple[list[str], str, int]] = json.loads(told.read_text())
        return answers

    def say(self, words: Sequence[str]) -> tuple[str, int]:
        """What a command says, and its exit code."""
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = main([word.format(run=self.now / "run") for word in words])
            out.flush()
        return out.buffer.getvalue().decode("utf-8", "replace"), code  # type: ignore[attr-defined]


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """A run of its own."""
    monkeypatch.setenv("REFLOW_STORE_PATH", str(tmp_path / "now" / "store"))
    return Case(tmp_path)


@pytest.fixture
def sqlite(case: Case, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in SQLite, which the run's results were published to."""
    monkeypatch.setenv("REFLOW_CACHE_BACKEND", "sqlite")
    flow = load_flow(Entry(file=str(case.path / "fuzzed.py"), module="fuzzed", variable="wf", path=(str(case.path),)))
    shutil.rmtree(case.now / "run")
    assert flow.run_local(case.now / "run", executor="inline", store_path=case.now / "store").state.value == "FAILED"
    shutil.rmtree(case.path / "before")
    shutil.copytree(case.now, case.path / "before", symlinks=True)
    (found,) = case.now.rglob("cache.sqlite")
    return found


#: commands that open the cache
KEEPS = (["repair", "--registry", "{run}"], ["retry", "{run}"])


#: the database, and what SQLite rolls into it
ENDS = ("", "-journal", "-wal")


def test_the_sqlite_cache_and_its_journals_in_some_way(case: Case, sqlite: Path) -> None:
    for number, kind in enumerate(KINDS):
        for turn in (0, 1):
            case.try_all(Path(f"{sqlite}{ENDS[(number + turn) % 3]}"), kind, KEEPS[:1])
    case.try_all(Path(f"{sqlite}-journal"), "FIFO", KEEPS)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS)
def test_the_sqlite_cache_and_its_journals_in_each_way(case: Case, sqlite: Path, kind: str) -> None:
    for end in ENDS:
        case.try_all(Path(f"{sqlite}{end}"), kind, KEEPS)


def test_each_file_in_some_way(case: Case) -> None:
    """Each file in one way, each way for some files."""
    kinds = list(KINDS)
    for number, path in enumerate(case.files()):
        case.try_all(path, kinds[number % len(kinds)], (*LOOKS[:4], ACTS[number % len(ACTS)]))


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS)
def test_each_file_in_each_way(case: Case, kind: str) -> None:
    for path in case.files():
        case.try_all(path, kind, (*LOOKS, *ACTS))
