"""What else may lie where a user works or keeps things: each is tried by another user of the same group."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from reflow import Run
from reflow.authoring.code.sources import Sources
from reflow.model.record import Command
from reflow.run.journal.report_reader import post
from reflow.store.index import Index


@pytest.mark.parametrize("how", ["directory", "file", "journal", "FIFO"])
def test_an_index_that_others_could_have_written_is_not_used(world: Any, how: str) -> None:
    """It could hide results, and SQLite rolls in a journal that lies beside it."""
    folder = world.a.home / "index"
    path = folder / "one.sqlite"

    def used() -> str:
        index = Index(str(path))
        index.known()
        index.close()
        return index.problem

    assert world.a.do(used) == ""
    if how == "directory":
        os.chown(folder, -1, world.a.team)
        folder.chmod(0o2775)
    else:
        folder.chmod(0o777)
        planted = {"file": path, "journal": Path(f"{path}-journal"), "FIFO": Path(f"{path}-journal")}[how]
        data = path.read_bytes()
        if how == "file":
            path.unlink()
        world.b.do(lambda: os.mkfifo(planted) if how == "FIFO" else planted.write_bytes(data))
        if how == "FIFO":
            os.chown(planted, world.a.uid, world.a.gid)
        folder.chmod(0o755)
    said = world.a.do(used)
    assert "cannot be used" in said
    assert str(planted if how != "directory" else folder) in said or "no regular file" in said


@pytest.mark.parametrize("how", ["directory", "file", "FIFO"])
def test_a_memory_of_code_that_others_could_have_written_is_not_used(world: Any, how: str) -> None:
    """Code is told apart by it: what is wrong there would be a wrong result from the cache."""
    script = world.a.home / "flow.py"
    path = world.a.home / "facts" / "one"
    world.a.do(lambda: script.write_text("x = 1\n"))

    def parsed() -> int:
        sources = Sources(str(path))
        assert sources.facts(str(script)) is not None
        sources.save()
        return sources.parsed

    assert world.a.do(parsed, umask=0o002) == 1
    assert world.a.do(parsed) == 0, "it is remembered"
    if how == "directory":
        os.chown(path.parent, -1, world.a.team)
        path.parent.chmod(0o2770)
    elif how == "file":
        os.chown(path, world.b.uid, -1)
        path.chmod(0o644)
    else:
        path.unlink()
        os.mkfifo(path)
        os.chown(path, world.a.uid, world.a.gid)
    assert world.a.do(parsed) == 1


@pytest.mark.parametrize("name", ["run", "run/.reflow"])
def test_a_link_in_the_place_of_a_run_directory_is_refused(world: Any, name: str) -> None:
    """Where it leads to is somebody else's choice: into a directory of A's own, or of somebody else's."""
    place, target = world.shared / name, world.a.home / "private"
    world.a.do(target.mkdir)
    if name != "run":
        world.b.do(place.parent.mkdir)
        place.parent.chmod(0o2775)
        os.chown(place.parent, world.a.uid, world.a.team)
    world.b.do(lambda: place.symlink_to(target))
    script = world.a.script(world.a.home, world.ledger)
    said = world.a.run(script, world.shared / "run")
    assert said.startswith("Untrusted:"), said
    assert f"{place} belongs to {world.b.name}" in said
    assert world.ran() == []
    assert list(target.iterdir()) == []


def test_a_link_to_a_configuration_file_is_its_makers(world: Any) -> None:
    """It leads to a file of A's own, which was made for another place."""
    from reflow.config import load_config

    own, link = world.a.home / "reflow.toml", world.shared / "reflow.toml"
    world.a.do(lambda: own.write_text("[run]\ngrace = 7\n"))
    world.b.do(lambda: link.symlink_to(own))

    def load() -> list[Any]:
        config = load_config(link.parent / "flow.py")
        return [config.get("run.grace"), *config.warnings]

    grace, warning = world.a.do(load)
    assert grace != 7
    assert f"{link} is ignored" in warning
    link.unlink()
    world.a.do(lambda: link.symlink_to(own))
    assert world.a.do(load) == [7]


def test_a_hard_link_gives_no_right_to_write(world: Any) -> None:
    """A file of A's that B gives a second name is A's there, too: where B may write, it is not believed."""
    run_dir = world.shared / "run"
    script = world.a.script(world.a.home, world.ledger)
    assert world.a.run(script, run_dir, umask=0o002) == "SUCCESS"
    (journal,) = run_dir.rglob("000001.log")
    second = world.shared / "second"
    os.link(journal, second)  # where the system lets users do so

    def write() -> None:
        with open(second, "ab") as stream:
            stream.write(b"x")

    assert world.b.do(write).startswith("PermissionError:")
    folder = journal.parent
    os.chown(folder, -1, world.a.team)
    folder.chmod(0o2775)
    world.b.do(lambda: os.replace(second, folder / "000002.log"))
    said = world.a.do(lambda: Run.open(run_dir).status())
    assert f"{folder} may be written by the group" in said


def test_logs_that_lead_out_of_a_run_are_not_written(world: Any) -> None:
    """The directory of logs of a run is the owner's; a link of another user's there is no log."""
    run_dir, target = world.shared / "run", world.a.home / "precious"
    world.a.do(lambda: target.write_text("mine"))
    body = f"if not os.path.exists({str(world.a.home / 'fixed')!r}): raise ValueError('no')"
    script = world.a.script(world.a.home, world.ledger, body=body)
    assert world.a.run(script, run_dir) == "FAILED"
    (log,) = run_dir.glob(".reflow/*/logs/one/one.log")
    log.parent.chmod(0o777)
    world.b.do(log.unlink)
    world.b.do(lambda: log.symlink_to(target))
    log.parent.chmod(0o755)

    def again() -> str:
        run = Run.open(run_dir)
        post(run.root, Command(id="again", verb="retry", at=2.0))
        return str(run.drive().value)

    assert world.a.do(again) == "FAILED"
    assert world.ran() == [f"ran {world.a.uid}"] * 2, "it has run again, and left its traceback nowhere"
    assert target.read_text() == "mine"
