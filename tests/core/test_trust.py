"""Whose directories, mail and cached results are believed: one's own, root's, and those of owners that one trusts."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reflow import Run
from reflow.config import load_config
from reflow.errors import ConfigError, Untrusted, UsageError
from reflow.model import layout
from reflow.model.frames import frame
from reflow.model.python import WORKER, program
from reflow.model.record import Command, Finished
from reflow.run.journal.report_reader import STRANGE, commands, frozen_trust, read_box
from reflow.run.recovery.repair import repair
from reflow.run.views.status import look
from reflow.store.trust import distrust
from reflow.worker.opener import require_place
from reflow.worker.trust import trust, user_name, wrong_name

FLOW = """
@wf.job()
def one() -> int:
    note("one")
    if not flag("fixed"):
        raise ValueError("no")
    return 1
"""

STRANGER = 12345

Give = Callable[..., None]


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Give:
    """Give files to another user; who may not do that looks at them as that user would."""

    def give(*paths: str | os.PathLike[str]) -> None:
        real = os.stat
        if os.geteuid() == 0:
            for path in paths:
                os.chown(path, STRANGER, -1, follow_symlinks=False)
            return
        inodes = {real(path).st_ino for path in paths}

        def look(status: os.stat_result) -> os.stat_result:
            if status.st_ino not in inodes:
                return status
            return os.stat_result([*status[:4], STRANGER, *status[5:]])

        lstat = os.lstat
        monkeypatch.setattr(os, "stat", lambda *args, **named: look(real(*args, **named)))
        monkeypatch.setattr(os, "lstat", lambda *args, **named: look(lstat(*args, **named)))
        fstat = os.fstat
        monkeypatch.setattr(os, "fstat", lambda file: look(fstat(file)))

    return give


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    os.umask(before)
    yield os.umask
    os.umask(before)


def mailed(run: Run) -> list[Command]:
    state = look(run.root, run.definition)
    return commands(run.root, state, frozen_trust(state))


def all_of(run: Run) -> list[Path]:
    root = Path(run.root)
    return [Path(run.run_dir) / ".reflow", root, *root.rglob("*")]


@pytest.mark.parametrize("where", ["", ".reflow"])
def test_a_run_directory_that_everybody_may_write_is_refused(lab: Any, where: str) -> None:
    lab.write(FLOW)
    (lab.run_dir / ".reflow").mkdir(parents=True)
    (lab.run_dir / where).chmod(0o777)
    with pytest.raises(Untrusted, match="world-writable") as caught:
        lab.run()
    assert caught.value.exit_code == 2
    assert caught.value.hint == f"chmod o-w {lab.run_dir / where}"
    assert not list((lab.run_dir / ".reflow").iterdir())


def test_a_run_directory_like_tmp_will_do(lab: Any) -> None:
    """In a sticky directory nobody else can move ours away; `.reflow` itself must not be like that."""
    lab.touch("fixed")
    lab.write(FLOW)
    lab.run_dir.mkdir()
    lab.run_dir.chmod(0o1777)
    lab.good()
    (lab.run_dir / ".reflow").chmod(0o1777)
    with pytest.raises(Untrusted, match="world-writable"):
        lab.run()


def test_another_users_run_directory(lab: Any, give: Give, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.touch("fixed")
    lab.write(FLOW)
    lab.run_dir.mkdir()
    give(lab.run_dir)
    with pytest.raises(Untrusted, match=f"belongs to {STRANGER}"):
        lab.run()
    assert not list(lab.run_dir.iterdir())
    monkeypatch.setenv("REFLOW_RUN_TRUSTED_OWNERS", f"nobody-of-that-name,{STRANGER}")
    lab.good()


@pytest.mark.parametrize("depth", ["", "cache", "cache/segments"])
@pytest.mark.parametrize("how", ["open", "strange"])
def test_a_cache_that_others_may_write(lab: Any, give: Give, depth: str, how: str) -> None:
    lab.touch("fixed")
    lab.write(FLOW)
    before = lab.good()
    store = Path(os.environ["REFLOW_STORE_PATH"]) / depth
    if how == "open":
        store.chmod(0o777)
    else:
        give(store)
    with pytest.raises(UsageError, match="world-writable" if how == "open" else "belongs to"):
        lab.run()
    assert [path.name for path in (lab.run_dir / ".reflow").iterdir()] == [before.run_id]


def test_a_cache_that_has_become_anybodys_is_not_used(lab: Any) -> None:
    """A run that is under way goes on without it."""
    lab.write(FLOW)
    run = lab.run()
    lab.touch("fixed")
    segments = Path(os.environ["REFLOW_STORE_PATH"]) / "cache"
    segments.mkdir(exist_ok=True)
    segments.chmod(0o777)
    told: list[str] = []
    run.retry(on_progress=lambda progress: told.append(progress.message))
    assert run.result("one") == 1
    assert any("world-writable" in message for message in told)
    assert not list(segments.rglob("*.log"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", ["folder", "segment"])
def test_results_in_a_strangers_segment_are_not_believed(
    lab: Any, give: Give, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    lab.touch("fixed")
    lab.write(FLOW)
    lab.good()
    lab.good()
    assert lab.ran() == ["one"]
    folder = Path(os.environ["REFLOW_STORE_PATH"]) / "cache" / "segments" / "lab"
    planted = sorted(folder.iterdir())
    give(*([folder] if what == "folder" else planted))
    told: list[str] = []
    lab.good(on_progress=lambda progress: told.append(progress.message))
    assert lab.ran() == ["one"], "the host's index has its entries no more"
    assert len([message for message in told if f"belongs to {STRANGER}" in message]) == (2 if what == "folder" else 1)
    give(folder, *folder.iterdir())
    monkeypatch.setenv("REFLOW_RUN_TRUSTED_OWNERS", str(STRANGER))
    lab.good()
    assert lab.ran() == []


def test_another_users_run_is_read_and_not_acted_on(lab: Any, give: Give, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(FLOW)
    run = lab.run()
    lab.ran()
    lab.touch("fixed")
    give(*all_of(run))
    before = {path: path.read_bytes() for path in all_of(run) if path.is_file()}
    run = Run.open(run.run_dir)
    assert run.status()["run"]["status"] == "FAILED"
    assert run.explain()
    assert run.describe()
    acts: list[Callable[[], object]] = [
        run.retry,
        run.drive,
        lambda: repair(run.root),
        lambda: run._codec("one", 1).__enter__(),
    ]
    monkeypatch.setattr(run, "_memory", None)
    monkeypatch.setitem(__import__("sys").modules, lab.module, None)
    for act in acts:
        with pytest.raises(Untrusted, match="belongs to"):
            act()
    assert {path: path.read_bytes() for path in all_of(run) if path.is_file()} == before
    assert lab.ran() == []
    monkeypatch.setenv("REFLOW_RUN_TRUSTED_OWNERS", str(STRANGER))
    run.retry()
    assert run.state.value == "SUCCESS"


@pytest.mark.parametrize("part", ["", "mailbox", "events", "code", "jobs", "scripts", "inputs", "tags", "lease"])
def test_a_run_that_everybody_may_write_is_not_acted_on(lab: Any, part: str) -> None:
    lab.write(FLOW)
    run = lab.run()
    (Path(run.root) / part).chmod(0o777)
    for act in (run.retry, run.drive, lambda: repair(run.root)):
        with pytest.raises(Untrusted, match="world-writable"):
            act()
    require_place.cache_clear()  # as a process that has not looked before
    if part in ("", "events", "lease"):  # what it would tell could be anybody's
        with pytest.raises(Untrusted, match="world-writable"):
            run.status()
    else:
        assert run.status()["run"]["status"] == "FAILED"


def test_a_strangers_command_is_passed_over_and_reported(lab: Any, give: Give, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(FLOW)
    run = lab.run()
    lab.touch("fixed")
    path = Path(layout.commands(run.root)) / "evil.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.encode(Command(id="evil", verb="cancel", at=1.0)))
    give(path)
    (command,) = mailed(run)
    assert command.verb == STRANGE
    told: list[str] = []
    run.retry(on_progress=lambda progress: told.append(progress.message))
    assert run.state.value == "SUCCESS", "it was not cancelled"
    assert any(message.startswith(f"evil is passed over: {STRANGER}") for message in told)
    assert look(run.root, run.definition).obeyed["evil"].startswith("evil is passed over")


def test_a_trusted_users_command_is_obeyed(lab: Any, give: Give, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_RUN_TRUSTED_OWNERS", str(STRANGER))
    lab.write(FLOW)
    run = lab.run()
    path = Path(layout.commands(run.root)) / "kind.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.encode(Command(id="kind", verb="cancel", at=1.0)))
    give(path)
    (command,) = mailed(run)
    assert command.verb == "cancel"


def test_a_strangers_report_is_no_result(lab: Any, give: Give) -> None:
    lab.write(FLOW)
    run = lab.run()
    box = Path(layout.box(run.root, "tagtag", 0))
    box.parent.mkdir(parents=True)
    report = Finished(t="one", i=0, a=1, b=0.0, e=1.0, r=msgspec.Raw(b"666"))
    box.write_bytes(frame(msgspec.json.encode(report)))
    name = str(box)[len(f"{run.root}/mailbox/") :]
    trusted = trust()
    letter = read_box(run.root, name, 0, trusted)
    assert letter is not None
    assert len(letter.records) == 1
    give(box)
    letter = read_box(run.root, name, 0, trusted)
    assert letter is not None
    assert letter.records == []
    box.unlink()
    os.mkfifo(box)
    give(box)
    read_box(run.root, name, 0, trusted)  # and does not wait for whoever might open its other end


def test_a_umask_that_lets_everybody_write_closes_the_run_to_others(
    lab: Any, umask: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.touch("fixed")
    lab.write(FLOW)
    monkeypatch.setenv("REFLOW_STORE_PATH", str(lab.path / "new-store"))
    umask(0)
    run = lab.good("local")
    umask(0o022)
    lab.good("local")  # what the first one has made is used again
    repair(run.root)
    for path in [*all_of(run), lab.path / "new-store", *(lab.path / "new-store").rglob("*")]:
        if not path.is_symlink():
            assert not path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH), path


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o007])
def test_the_umask_holds_for_everything(
    lab: Any, umask: Callable[[int], int], mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFLOW_STORE_PATH", str(lab.path / "new-store"))
    lab.touch("fixed")
    lab.write(FLOW)
    umask(mask)
    run = lab.good("local")
    for path in [*all_of(run), *(lab.path / "new-store").rglob("*")]:
        assert not stat.S_IMODE(path.lstat().st_mode) & mask or path.is_symlink(), path


def test_a_directorys_group_is_its_files_group(lab: Any, umask: Callable[[int], int]) -> None:
    lab.touch("fixed")
    lab.write(FLOW)
    lab.run_dir.mkdir()
    groups = [group for group in os.getgroups() if group != os.getegid()]
    if os.geteuid() == 0:
        groups = [STRANGER]
    if not groups:
        pytest.skip("this user has one group only")
    os.chown(lab.run_dir, -1, groups[0])
    lab.run_dir.chmod(0o2770)
    umask(0o007)
    run = lab.good("local")
    for path in all_of(run):
        if not path.is_symlink():
            assert path.stat().st_gid == groups[0], path
            assert not path.is_dir() or path.stat().st_mode & stat.S_ISGID, path


def test_names_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    own = pwd.getpwuid(os.getuid()).pw_name
    assert trust([own, "17", "no such user"]).owners == {os.geteuid(), 0, 17, os.getuid()}
    assert trust((), ["17", "no such group"]).groups == {17}
    assert user_name(os.getuid()) == own
    assert user_name(STRANGER) == str(STRANGER)
    assert distrust(["/no/such/path"], trust()) == ("", "")


@pytest.mark.parametrize("name", ["", "²", "٣", "-1", "4294967295", "a b", "a:b", "a\0b", "\x1b[2J"])
def test_what_is_no_name_is_an_error_and_trusts_nobody(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrong_name(name)
    for key in ("trusted_owners", "trusted_groups"):
        with pytest.raises(ConfigError, match=f"{key} (holds|must not hold)"):
            load_config(overrides={f"run.{key}": [name]})


@pytest.mark.parametrize("name", ["alice", "1000", "DOMAIN\\alice", "alice@site", "proj-1", "élise"])
def test_names_that_users_and_groups_have(name: str) -> None:
    assert not wrong_name(name)


def test_a_worker_that_refuses_what_it_finds_says_so_in_a_line(lab: Any) -> None:
    lab.write(FLOW)
    run = lab.run()
    path = Path(layout.job(run.root, "abcdefghijklmnop"))
    path.write_bytes(b"{}")
    path.chmod(0o666)
    command = program(sys.executable, WORKER, run.root, path.stem)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"reflow: {path} is world-writable")
