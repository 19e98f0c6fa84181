"""What else may lie where a user works or keeps things: each is tried by another user of the same group."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from reflow.authoring.code.sources import Sources
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
