"""Each file and directory of a run and a store in the hands of another user: nothing of it is run, or believed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reflow import Run
from reflow.model.record import Command
from reflow.run.journal.report_reader import post
from reflow.run.recovery.repair import repair

BODY = "if not os.path.exists({fixed!r}): raise ValueError('no')"

WAYS = ("belongs to", "may be written by the group")

#: what commands never read to act: logs are for people
LOGS = "/logs"


class Case:
    """A's failed run with secrets, and A's store, as they are and as they were."""

    def __init__(self, world: Any) -> None:
        self.world, self.a, self.b = world, world.a, world.b
        a = self.a
        config = a.home / "config.toml"
        a.do(lambda: config.write_text('[executor.env]\nTOKEN = "hunter2"\n'))
        a.do(lambda: config.chmod(0o600))
        script = a.script(a.home, world.ledger, body=BODY.format(fixed=str(a.home / "fixed")))
        self.run_dir = a.home / "run"
        environ = {"REFLOW_CONFIG": str(config), "REFLOW_CACHE_ENABLED": "false"}  # it has nothing but its files
        assert a.run(script, self.run_dir, **environ) == "FAILED"
        a.do((a.home / "fixed").touch)
        run = a.do(lambda: str(Run.open(self.run_dir).root))
        a.do(lambda: post(run, Command(id="again", verb="retry", at=2.0)))
        world.ran()
        (self.root,) = (path for path in (self.run_dir / ".reflow").iterdir() if path.is_dir())
        self.before = world.path / "before"
        self._copy(self.run_dir, self.before)

    def _copy(self, source: Path, target: Path) -> None:
        shutil.copytree(source, target, symlinks=True)
        for path in (target, *target.rglob("*")):
            os.chown(path, self.a.uid, self.a.gid, follow_symlinks=False)

    def renew(self) -> None:
        """Let the run be as it was."""
        shutil.rmtree(self.run_dir)
        self._copy(self.before, self.run_dir)
        self.world.ran()

    def paths(self) -> list[Path]:
        """What the run consists of, but for logs."""
        found = (path for path in self.root.rglob("*") if LOGS not in str(path) and not path.is_symlink())
        return sorted((self.root, *found))

    def hands_over(self, path: Path, *ways: str) -> Iterator[str]:
        """Let B have it, in one way and then in another."""
        for how in ways or WAYS:
            if how == "belongs to":
                os.chown(path, self.b.uid, -1)
                path.chmod(path.stat().st_mode | 0o044)  # A could not even read it
            else:
                os.chown(path, -1, self.a.team)
                path.chmod(path.stat().st_mode | 0o020)
            yield how
            self.renew()

    def drive(self) -> str:
        """What comes of it when A drives the run, for which a retry is mailed: a message, a failure or a state."""

        def act() -> str:
            run = Run.open(self.run_dir)
            run.drive()
            failures = run.status()["failures"]
            return str(failures[0]["reason"] if failures else run.state.value)

        said: str = self.a.do(act)
        return said


@pytest.fixture
def case(world: Any) -> Case:
    return Case(world)


def _unread(case: Case, path: Path) -> bool:
    """Whether what a file holds changes nothing: then nobody reads it."""
    path.write_bytes(b"\xff" * 100)
    return case.drive() == "SUCCESS" and case.world.ran() == [f"ran {case.a.uid}"]


def test_each_part_of_a_run_is_refused_where_another_user_has_it(case: Case) -> None:
    read = set()
    for number, path in enumerate(case.paths()):
        for how in case.hands_over(path, WAYS[number % 2]):
            said = case.drive()
            if "commands" in path.parts:
                assert (said, case.world.ran()) == ("ValueError: no", []), "nothing is retried"
                continue
            if said == "SUCCESS":
                assert path.is_file(), (path, how)
                case.renew()
                os.chown(path, case.b.uid, -1)
                assert _unread(case, path), (path, how)
                continue
            assert f"{path} {how}" in said, (path, how, said)
            assert case.world.ran() == [], (path, how)
            read.add(path.name if path.parent == case.root else path.parent.name)
    assert read >= {"run.json", "secrets.json", "1", "modules", "events", "lease", "0", "mailbox", "inputs"}


def test_repair_mends_nothing_of_another_user(case: Case) -> None:
    for number, path in enumerate(case.paths()):
        for how in case.hands_over(path, WAYS[number % 2]):
            said = case.a.do(lambda: repair(str(case.root)).done)
            assert said.startswith("Untrusted:"), (path, how, said)
            assert f"{path} {how}" in said


def test_looking_believes_nothing_of_another_user(case: Case) -> None:
    """Neither a definition, nor an event, nor a lease: each is named."""
    for name in ("run.json", "code/1/copy.json", "events/0/000001.log", "lease/0/000001"):
        path = case.root / name
        for how in case.hands_over(path):
            said = case.a.do(lambda: Run.open(case.run_dir).status())
            assert f"{path} {how}" in said, (said, how)


def test_a_worker_believes_nothing_of_another_user(case: Case) -> None:
    """A job may be queued for hours: what it finds then is looked at by itself."""
    from reflow.worker.main import slot

    tag = next(path.stem for path in (case.root / "jobs").iterdir() if path.suffix == ".json")
    start: Callable[[], object] = lambda: slot(str(case.root), tag, 0)  # noqa: E731
    parts = [case.root / name for name in ("run.json", "code/1/flow.py", f"jobs/{tag}.json")]
    parts += [*(case.root / "inputs").iterdir(), *(case.root / "code/1/modules").iterdir()]
    for path in (*parts, *{path.parent for path in parts}):
        for how in case.hands_over(path):
            said = str(case.a.do(start))
            said += "".join(box.read_text() for box in case.root.glob("mailbox/*/*/*/*.*"))
            assert case.world.ran() == [], (path, how)
            assert f"{path} {how}" in said, (path, how, said)
    assert case.a.do(start) is not None
    assert case.world.ran() == [f"ran {case.a.uid}"]
