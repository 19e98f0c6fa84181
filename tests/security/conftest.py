"""Two ordinary users of one group, as on a login node: A works, B attacks. Made by root, elsewhere there are none."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import reflow

NAMES = ("reflow-test-a", "reflow-test-b")
TEAM = "reflow-test"

#: modules that are imported late, somewhere in what the tests do
_LATE = (
    *("tomllib" if sys.version_info >= (3, 11) else "tomli", "ast", "difflib", "dis", "grp", "inspect", "linecache"),
    *("platformdirs.unix", "sqlite3", "tokenize", "urllib.parse", "encodings.idna", "py_compile", "zipimport"),
)

PRELUDE = """\
import os
from pathlib import Path
import reflow

wf = reflow.Workflow("shared")

@wf.job()
def one() -> int:
    with open({ledger!r}, "a") as stream:
        print({word!r}, os.geteuid(), file=stream)
    {body}
    return 1

if __name__ == "__main__":
    wf.cli()
"""


class User:
    """One of the two: what it does, it does in a process of its own, under its own ids."""

    def __init__(self, name: str, gid: int, home: Path) -> None:
        entry = pwd.getpwnam(name)
        self.name, self.uid, self.gid, self.team = name, entry.pw_uid, entry.pw_gid, gid
        self.home = home / name
        self.home.mkdir()
        os.chown(self.home, self.uid, self.gid)
        self.home.chmod(0o755)
        self.store = self.home / "store"

    def do(self, work: Callable[[], Any], *, cwd: Path | None = None, umask: int = 0o022, **environ: str) -> Any:
        """What `work` returns, as JSON has it; of an exception its type and text."""
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside xdist's threads
            pid = os.fork()
        if pid == 0:
            try:
                os.close(reader)
                signal.alarm(60)
                self._become(cwd, umask, environ)
                try:
                    said = work()
                except Exception as error:
                    if os.environ.get("REFLOW_TEST_TRACE"):
                        traceback.print_exc()
                    said = f"{type(error).__name__}: {error}"
                os.write(writer, json.dumps(said, default=str).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, "rb") as stream:
            data = stream.read()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == 0, f"{self.name} was ended by signal {-code}"
        return json.loads(data)

    def _become(self, cwd: Path | None, umask: int, environ: dict[str, str]) -> None:
        os.setgroups([self.team])
        os.setgid(self.gid)
        os.setuid(self.uid)
        os.umask(umask)
        os.chdir(cwd or self.home)
        for name in [name for name in os.environ if name.startswith(("REFLOW_", "XDG_"))]:
            del os.environ[name]
        given = {"HOME": str(self.home), "USER": self.name, "REFLOW_STORE_PATH": str(self.store), **environ}
        os.environ.update(given)

    def script(self, folder: Path, ledger: Path, word: str = "ran", body: str = "pass") -> Path:
        """A pipeline of this user's, which notes in the ledger that it ran."""
        path = folder / "flow.py"
        text = PRELUDE.format(ledger=str(ledger), word=word, body=textwrap.dedent(body))
        self.do(lambda: path.write_text(text) and path.chmod(0o644))
        return path

    def run(self, script: Path, run_dir: Path, executor: str = "inline", **how: Any) -> str:
        """Run a pipeline to its end; its state."""
        return self.do(lambda: str(_flow(script).run_local(run_dir, executor=executor).state.value), **how)


def _flow(script: Path) -> Any:
    from reflow.model.definition import Entry
    from reflow.worker.load import load_flow

    return load_flow(Entry(file=str(script), module="flow", variable="wf", path=(str(script.parent),)))


class World:
    """The two users, a directory that their group may write, and what has run."""

    def __init__(self, path: Path, gid: int) -> None:
        self.path = path
        self.a, self.b = (User(name, gid, path) for name in NAMES)
        self.shared = path / "shared"
        self.shared.mkdir()
        os.chown(self.shared, 0, gid)
        self.shared.chmod(0o2775)
        self.ledger = path / "ledger"
        self.ledger.touch()
        self.ledger.chmod(0o666)

    def ran(self) -> list[str]:
        """Lines of the ledger, which it leaves empty."""
        lines = self.ledger.read_text().splitlines()
        self.ledger.write_text("")
        return lines


def _made(command: list[str]) -> bool:
    """Whether a user or group is there now."""
    with suppress(OSError, subprocess.SubprocessError):
        for _ in range(20):
            done = subprocess.run(command, capture_output=True, timeout=60, check=False)
            if done.returncode in (0, 9):  # 9: it is there already
                return True
    return False


def _preload() -> None:
    """Import what the users' processes will: the Python and the tree that root uses may be out of their reach."""
    import pkgutil
    from importlib import import_module

    for found in pkgutil.walk_packages(reflow.__path__, "reflow."):
        if "__main__" not in found.name and not found.name.startswith("reflow.testing"):
            import_module(found.name)
    for name in _LATE:
        import_module(name)
    with tempfile.TemporaryDirectory() as path:
        script = Path(path, "warm.py")
        script.write_text(PRELUDE.format(ledger=os.devnull, word="", body="raise ValueError('no')"))
        run = _flow(script).run_local(Path(path, "run"), executor="inline", store_path=Path(path, "store"))
        run.explain()
        run.retry()
        run.drive()


@pytest.fixture(scope="session")
def team() -> int:
    """The id of the users' common group; both are made where they are not there, and stay."""
    import grp

    if os.geteuid() != 0:
        pytest.skip("only root can make two users and act as them")
    made = _made(["groupadd", "--system", TEAM])
    made = made and all(_made(["useradd", "--system", "--user-group", "--groups", TEAM, name]) for name in NAMES)
    if not made:
        pytest.skip("no users can be made on this machine: useradd fails")
    _preload()
    return grp.getgrnam(TEAM).gr_gid


@pytest.fixture
def world(team: int) -> Iterator[World]:
    """Both users, each with a home, in a directory that both can enter."""
    path = Path(tempfile.mkdtemp(prefix="reflow-two-", dir="/tmp"))
    path.chmod(0o755)
    yield World(path, team)
    shutil.rmtree(path, ignore_errors=True)
