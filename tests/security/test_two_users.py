"""What one user of a shared host tries against another, and what comes of it."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reflow import Run
from reflow.model import layout
from reflow.model.frames import frame
from reflow.model.record import Command, Finished
from reflow.run.journal.lease import Owner, latest
from reflow.run.journal.report_reader import post
from reflow.run.service.api import runs

#: a script that would say who runs it
EVIL = "with open({ledger!r}, 'a') as stream:\n    print('evil', __import__('os').geteuid(), file=stream)\n"


def evil(world: Any) -> bytes:
    return EVIL.format(ledger=str(world.ledger)).encode()


def root_of(run_dir: Path) -> Path:
    (root,) = (path for path in (run_dir / ".reflow").iterdir() if path.is_dir())
    return root


@pytest.fixture
def work(world: Any) -> Path:
    """A's run directory, of a run that has failed once, in the group's directory and with a umask of 002."""
    body = "if not os.path.exists({!r}): raise ValueError('no')".format(str(world.a.home / "fixed"))
    script = world.a.script(world.a.home, world.ledger, body=body)
    run_dir: Path = world.shared / "run"
    assert world.a.run(script, run_dir, umask=0o002) == "FAILED"
    world.ran()
    world.a.do((world.a.home / "fixed").touch)
    return run_dir


def opened(path: Path, group: int) -> None:
    """Let a group write a file or directory, as its owner can."""
    os.chown(path, -1, group)
    path.chmod(0o775)


def made(path: Path, mode: int) -> None:
    """Make a directory, or change it."""
    path.mkdir(exist_ok=True)
    path.chmod(mode)


def swap(world: Any, work: Path) -> None:
    """Put a copy of a run, with another script, in the place of it; B's doing."""
    private = shutil.ignore_patterns("*.json", "*.env", "tags")
    work.rename(world.shared / "taken")
    work.mkdir()
    shutil.copytree(world.shared / "taken" / ".reflow", work / ".reflow", symlinks=True, ignore=private)
    root = root_of(work)
    shutil.copy(world.shared / "taken" / ".reflow" / root.name / "run.json", root)
    (root / "code" / "1" / "flow.py").write_bytes(evil(world))


def retry(run_dir: Path) -> Any:
    """Let a run start over with the code that it has: a Python of their own the two users may not have."""
    run = Run.open(run_dir)
    post(run.root, Command(id="again", verb="retry", at=2.0))
    run.drive()
    return run.state.value


# --- the policy -------------------------------------------------------------------------------------------------------


def test_a_file_where_one_stands_trusts_nobody(world: Any) -> None:
    b, a = world.b, world.a
    run_dir = b.home / "run"
    script = b.script(b.home, world.ledger, word="evil", body="raise ValueError('no')")
    assert b.run(script, run_dir) == "FAILED"
    world.ran()
    b.do(lambda: (world.shared / "reflow.toml").write_text(f'[run]\ntrusted_owners = ["{b.name}"]\n'))
    said = a.do(lambda: Run.open(run_dir).retry(), cwd=world.shared)
    assert said.startswith("Untrusted:"), said
    assert f"belongs to {b.name}" in said
    assert world.ran() == []


@pytest.mark.parametrize("how", ["another user's", "the group may write it", "a FIFO"])
def test_a_configuration_file_that_others_write_is_ignored(world: Any, how: str) -> None:
    from reflow.config import load_config

    file = world.shared / "reflow.toml"
    text = f'[run]\ntrusted_owners = ["{world.b.name}"]\n[executor]\npython = "/evil"\n'
    if how == "a FIFO":
        world.b.do(lambda: os.mkfifo(file))
    else:
        writer = world.b if how == "another user's" else world.a
        writer.do(lambda: file.write_text(text) and file.chmod(0o664 if writer is world.a else 0o644))

    def load() -> list[Any]:
        config = load_config(world.shared / "flow.py")
        return [config.get("run.trusted_owners"), config.get("executor.python"), *config.warnings]

    owners, python, *warnings = world.a.do(load)
    assert owners == []
    assert python != "/evil"
    (warning,) = warnings
    assert str(file) in warning
    assert "is ignored" in warning


def test_a_projects_own_file_trusts_nobody(world: Any) -> None:
    from reflow.config import load_config

    file = world.a.home / "reflow.toml"
    world.a.do(lambda: file.write_text('[run]\ntrusted_owners = ["x"]\ntrusted_groups = ["y"]\ngrace = 7\n'))

    def load() -> list[Any]:
        config = load_config(file.parent)
        keys = ("run.trusted_owners", "run.trusted_groups", "run.grace")
        return [*(config.get(key) for key in keys), len(config.warnings)]

    assert world.a.do(load) == [[], [], 7, 2]


# --- who wrote it -----------------------------------------------------------------------------------------------------


def test_no_group_may_write_what_a_run_made_whatever_the_umask(world: Any, work: Path) -> None:
    for path in [work / ".reflow", *(work / ".reflow").rglob("*"), world.a.store, *world.a.store.rglob("*")]:
        if not path.is_symlink():
            assert not path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH), path


def test_another_of_the_group_changes_nothing_in_a_run(world: Any, work: Path) -> None:
    root = root_of(work)
    box = next(path for path in (root / "mailbox").rglob("*") if path.is_file())
    report = frame(msgspec.json.encode(Finished(t="one", i=0, a=1, b=0.0, e=1.0, r=msgspec.Raw(b"777"))))

    def append(path: Path, data: bytes) -> None:
        with open(path, "ab") as stream:
            stream.write(data)

    def replace(path: Path, data: bytes) -> None:
        mine = world.shared / "mine"
        mine.write_bytes(data)
        os.replace(mine, path)

    order = msgspec.json.encode(Command(id="evil", verb="cancel", at=1.0))
    attacks = [
        lambda: replace(root / "run.json", b"{}"),
        lambda: replace(root / "code" / "1" / "flow.py", evil(world)),
        lambda: append(root / "code" / "1" / "flow.py", evil(world)),
        lambda: append(box, report),
        lambda: replace(root / "mailbox" / "commands" / "evil.json", order),
        lambda: os.rename(work / ".reflow" / root.name / "logs", root / "mailbox" / "commands"),
    ]
    for attack in attacks:
        said = world.b.do(attack)
        assert said.startswith(("PermissionError", "FileNotFoundError")), said
    assert world.a.do(lambda: retry(work)) == "SUCCESS"
    assert world.ran() == [f"ran {world.a.uid}"]


def test_a_tree_put_in_the_place_of_a_runs_own_is_refused(world: Any, work: Path) -> None:
    """Who may write the run directory may move `.reflow` away; what is then there belongs to somebody else."""
    world.b.do(lambda: swap(world, work))
    for act in (lambda: Run.open(work).retry(), lambda: Run.open(work).drive()):
        said = world.a.do(act)
        assert said.startswith("Untrusted:"), said
    assert world.ran() == []


def test_a_worker_runs_nothing_of_another_tree(world: Any, work: Path) -> None:
    """A job may be queued for hours: what it finds then is looked at anew, by itself."""
    root = root_of(work)
    tag = next(path.stem for path in (root / "jobs").iterdir() if path.suffix == ".json")

    def start() -> list[str]:
        from reflow.worker.main import slot

        return slot(str(root), tag, 0)

    world.b.do(lambda: swap(world, work))
    world.b.do(lambda: (root / "jobs" / f"{tag}.json").write_bytes(b"{}"))
    world.b.do(lambda: [made(root / name, 0o777) for name in ("tags", "mailbox")] and None)
    said = world.a.do(start)
    assert said.startswith("Untrusted:"), said
    assert f"belongs to {world.b.name}" in said


def test_a_script_sources_no_file_of_another_user(world: Any) -> None:
    import subprocess

    from reflow.batch.script import Body, render

    file = world.shared / "job.env"
    script = world.a.home / "job.sh"
    world.b.do(lambda: file.write_text(f"echo evil >> {world.ledger}\n"))
    world.a.do(lambda: script.write_text(render(Body(command=("true",), env_file=str(file)))))
    command = ["/bin/bash", script]
    said = world.a.do(lambda: subprocess.run(command, capture_output=True, text=True, check=False).stderr)
    assert "somebody else owns" in said
    assert world.ran() == []


def test_a_run_that_a_group_may_write_is_refused_until_the_group_is_trusted(world: Any, work: Path) -> None:
    root = root_of(work)
    world.a.do(lambda: os.chmod(root, 0o2775))
    said = world.a.do(lambda: retry(work))
    assert said.startswith("Untrusted:"), said
    assert "may be written by the group reflow-test" in said
    assert "trusted_groups" in said
    assert world.a.do(lambda: retry(work), REFLOW_RUN_TRUSTED_GROUPS="reflow-test") == "SUCCESS"


@pytest.mark.parametrize("name", ["run.json", "events/0/000001.log"])
def test_one_file_of_another_or_for_a_group_is_enough_to_refuse_a_run(world: Any, work: Path, name: str) -> None:
    path = root_of(work) / name
    for owner, mode, why in ((world.b.uid, 0o644, "belongs to"), (world.a.uid, 0o664, "may be written by the group")):
        os.chown(path, owner, world.a.team)
        path.chmod(mode)
        said = world.a.do(lambda: Run.open(work).drive())
        assert said.startswith("Untrusted:"), said
        assert f"{path} {why}" in said
    path.chmod(0o644)
    assert world.a.do(lambda: retry(work)) == "SUCCESS"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_team_shares_runs_and_a_cache(world: Any, umask: int) -> None:
    """Both say that they trust the group, and directories are as most projects have them."""
    trusting = {"REFLOW_RUN_TRUSTED_GROUPS": "reflow-test", "REFLOW_STORE_PATH": str(world.shared / "store")}
    fixed = world.shared / "fixed"
    body = f"if not os.path.exists({str(fixed)!r}): raise ValueError('no')"
    script = world.a.script(world.a.home, world.ledger, body=body)
    run_dir = world.shared / "run"
    assert world.a.run(script, run_dir, umask=umask, **trusting) == "FAILED"
    world.b.do(fixed.touch)
    world.ran()
    assert world.b.do(lambda: retry(run_dir), **trusting) == "SUCCESS"
    assert world.ran() == [f"ran {world.b.uid}"]
    assert world.a.do(lambda: Run.open(run_dir).result("one"), **trusting) == 1
    assert world.a.run(script, world.shared / "again", umask=umask, **trusting) == "SUCCESS"
    assert world.ran() == [], "what B computed, A takes from the cache"
    said = world.a.do(lambda: Run.open(run_dir).drive(), REFLOW_STORE_PATH=trusting["REFLOW_STORE_PATH"])
    assert said.startswith("Untrusted:"), "who trusts nobody has nobody's run"


def test_workers_learn_whom_who_acts_trusts(world: Any, work: Path) -> None:
    """A runs a run of B's, whom A trusts: jobs that run as A have to believe B's files."""
    from reflow.run.definition.trust import acting, handed_on
    from reflow.worker.trust import trust, trust_in

    root = str(root_of(work))
    policy = {"REFLOW_RUN_TRUSTED_OWNERS": world.a.name, "REFLOW_RUN_TRUSTED_GROUPS": "reflow-test"}
    told = world.b.do(lambda: handed_on(acting(root, trust())), **policy)
    assert told == {"REFLOW_RUN_TRUSTED_OWNERS": str(world.a.uid), "REFLOW_RUN_TRUSTED_GROUPS": str(world.a.team)}
    assert world.a.uid in trust_in(told).owners
    assert trust_in(told).admits(world.a.team)
    assert world.a.do(lambda: handed_on(acting(root, trust()))) == {}, "of a run of one's own there is nothing to say"
    said = world.b.do(lambda: Run.open(work).drive())
    assert said.startswith("Untrusted:"), said


def test_ones_private_group_is_nobody_else(world: Any, work: Path) -> None:
    root = root_of(work)
    world.a.do(lambda: opened(root, world.a.gid))
    assert world.a.do(lambda: retry(work)) == "SUCCESS"


@pytest.mark.parametrize("what", ["segment", "folder", "store"])
def test_a_cache_that_a_group_may_write_gives_no_results(world: Any, what: str) -> None:
    script = world.a.script(world.a.home, world.ledger)
    assert world.a.run(script, world.a.home / "first") == "SUCCESS"
    segment = next((world.a.store / "cache").rglob("*.log"))
    path = {"segment": segment, "folder": segment.parent, "store": world.a.store}[what]
    world.a.do(lambda: opened(path, world.a.team))
    world.ran()
    said = world.a.run(script, world.a.home / "second")
    if what == "store":
        assert said.startswith("Untrusted:"), said
        assert "trusted_groups" in said
    else:
        assert said == "SUCCESS"
        assert world.ran() == [f"ran {world.a.uid}"], "it was computed, not taken from there"


def test_no_journal_is_planted_beside_a_sqlite_cache(world: Any) -> None:
    from reflow.model.cache import CacheEntry
    from reflow.store.sqlite import SqliteCache

    folder = world.shared / "place"
    path = folder / "cache.sqlite"
    entry = CacheEntry(key="1", workflow="w", task="t", time=1.0, result=msgspec.Raw(b"1"))

    def publish() -> None:
        cache = SqliteCache(path)
        cache.publish([entry])
        cache.close()

    assert world.a.do(publish, umask=0o002) is None
    assert world.b.do(lambda: Path(f"{path}-journal").write_bytes(b"x")).startswith("PermissionError")
    world.a.do(lambda: os.chmod(folder, 0o2775))
    world.b.do(lambda: Path(f"{path}-journal").write_bytes(b"x"))
    said = world.a.do(lambda: list(SqliteCache(path).lookup(["1"])))
    assert said.startswith("Untrusted:"), said
    world.a.do(lambda: os.chmod(folder, 0o2755))
    said = world.a.do(lambda: list(SqliteCache(path).lookup(["1"])))
    assert said.startswith("Untrusted:"), said
    assert "-journal" in said


def test_the_link_to_the_newest_logs_leads_nothing_astray(world: Any) -> None:
    run_dir, target = world.shared / "run", world.a.home / "private"
    world.a.do(target.mkdir)
    world.b.do(lambda: made(run_dir, 0o2775))
    world.b.do(lambda: os.symlink(target, run_dir / "logs"))
    os.chown(run_dir, world.a.uid, world.a.team)
    script = world.a.script(world.a.home, world.ledger)
    assert world.a.run(script, run_dir) == "SUCCESS"
    assert list(target.iterdir()) == []


# --- what held --------------------------------------------------------------------------------------------------------


def test_a_planted_directory_in_one_like_tmp_is_refused(world: Any) -> None:
    place = world.path / "tmp"
    place.mkdir()
    place.chmod(0o1777)
    world.b.do((place / ".reflow").mkdir)
    said = world.a.run(world.a.script(world.a.home, world.ledger), place)
    assert said.startswith("Untrusted:"), said
    assert world.ran() == []


def test_looking_at_a_strangers_run_runs_none_of_its_code(world: Any) -> None:
    b = world.b
    script = b.script(b.home, world.ledger, word="evil")
    assert b.run(script, b.home / "run") == "SUCCESS"
    world.ran()

    def look() -> str:
        run = Run.open(b.home / "run")
        run.explain()
        run.describe()
        run.dag()
        return str(run.status()["run"]["status"])

    assert world.a.do(look) == "SUCCESS"
    assert world.ran() == []


def test_secrets_are_read_by_their_owner_only(world: Any) -> None:
    script = world.a.script(world.a.home, world.ledger)
    run_dir = world.a.home / "run"
    config = world.a.home / "config.toml"
    world.a.do(lambda: config.write_text('[executor.env]\nTOKEN = "hunter2"\n'))
    world.a.do(lambda: config.chmod(0o600))
    assert world.a.run(script, run_dir, REFLOW_CONFIG=str(config), umask=0) == "SUCCESS"
    holding = [path for path in run_dir.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert holding
    for path in holding:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert world.b.do(lambda path=path: path.read_text()).startswith("PermissionError")


def test_a_strangers_command_stops_nothing(world: Any, work: Path) -> None:
    """A directory of commands that everybody could write once: what lies in it is judged by its owner."""
    folder = Path(layout.commands(str(root_of(work))))
    world.a.do(lambda: made(folder, 0o777))
    order = msgspec.json.encode(Command(id="evil", verb="cancel", at=1.0))
    world.b.do(lambda: (folder / "evil.json").write_bytes(order))
    world.a.do(lambda: folder.chmod(0o755))
    assert world.a.do(lambda: retry(work)) == "SUCCESS"


@pytest.mark.parametrize("how", ["another user's", "the group may write it", "a FIFO"])
def test_a_strangers_lease_is_neither_believed_nor_waited_for(world: Any, work: Path, how: str) -> None:
    """It says that somebody drives the run now, and for an hour to come."""
    root = root_of(work)
    path = Path(layout.lease(str(root), latest(str(root)) + 1))
    world.a.do(lambda: made(path.parent, 0o777))
    if how == "a FIFO":
        world.b.do(lambda: os.mkfifo(path))
        os.chown(path, world.a.uid, world.a.team)
    else:
        writer, mode = (world.a, 0o664) if how == "the group may write it" else (world.b, 0o644)
        alive = Owner(epoch=int(path.name), host="elsewhere", pid=1, expiry=3600.0)
        world.b.do(lambda: path.write_bytes(msgspec.json.encode(alive)))
        os.chown(path, writer.uid, world.a.team)
        path.chmod(mode)
    world.a.do(lambda: path.parent.chmod(0o755))
    said = world.a.do(lambda: retry(work))
    assert str(path) in said, said
    assert ("no regular file" if how == "a FIFO" else "Untrusted:") in said
    assert world.ran() == []
    path.unlink()
    assert world.a.do(lambda: Run.open(work).drive().value) == "SUCCESS"


def test_a_strangers_entry_in_the_registry_is_not_believed(world: Any, work: Path) -> None:
    """It leads a name to another directory; the registry could be written by everybody once."""
    folder = world.a.store / "runs"
    name = root_of(work).name
    entry = folder / f"{name}.json"
    text = entry.read_text()
    world.a.do(lambda: made(folder, 0o777))
    world.b.do(entry.unlink)
    world.b.do(lambda: entry.write_text(text.replace(str(work), str(world.b.home))))
    world.b.do(lambda: os.mkfifo(folder / "fifo.json"))
    world.b.do(lambda: (folder / "link.json").symlink_to("/dev/zero"))
    world.a.do(lambda: folder.chmod(0o755))
    said = world.a.do(lambda: Run.open(name).run_id)
    assert said.startswith(f"Untrusted: {entry} belongs to {world.b.name}"), said
    assert world.a.do(lambda: Run.open("latest").run_id).startswith("RunNotFound:")
    listed = world.a.do(lambda: {one["run_id"]: [one["status"], one["problem"]] for one in runs()})
    foreign = ["unreadable", f"the registry's entry is not trusted, owned by {world.b.name}"]
    assert listed == {"fifo": foreign, "link": ["unreadable", "the registry's entry is damaged"], name: foreign}
    trusting = {"REFLOW_RUN_TRUSTED_OWNERS": world.b.name}
    assert world.a.do(lambda: Run.open(name).run_id, **trusting).startswith("RunNotFound:"), "it leads there now"


def test_no_run_is_entered_in_a_registry_that_a_group_may_write(world: Any) -> None:
    script = world.a.script(world.a.home, world.ledger)
    world.a.do(lambda: (world.a.store / "runs").mkdir(parents=True))
    opened(world.a.store / "runs", world.a.team)
    said = world.a.run(script, world.a.home / "run")
    assert said.startswith("Untrusted: the registry:"), said
    assert world.ran() == []
    assert not (world.a.home / "run").exists()
    assert world.a.run(script, world.a.home / "run", REFLOW_RUN_TRUSTED_GROUPS="reflow-test") == "SUCCESS"
