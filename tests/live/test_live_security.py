"""What lies where a run is started, or among its commands, and is not the user's: no job runs it or believes it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import msgspec

from reflow.model import layout
from reflow.model.record import Command

HERE = Path(__file__).resolve().parent

#: modules that reflow, the standard library and every interpreter import early
MODULES = ("msgspec", "platform", "random", "json", "sitecustomize", "usercustomize")

#: says that it was run, and by what
EVIL = "import os, sys\nwith open({said!r}, 'a') as stream:\n    print(__name__, sys.argv, file=stream)\n"


def plant(folder: Path) -> Path:
    """Put modules, and programs of the scheduler's names, into a directory; the file that names what ran."""
    said = folder / "ran"
    for name in MODULES:
        (folder / f"{name}.py").write_text(EVIL.format(said=str(said)))
    for name in ("sh", "sbatch", "qsub", "python3", "env"):
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>"{said}"\nexit 1\n')
        program.chmod(0o755)
    return said


def test_nothing_of_the_working_directory_runs_in_jobs_and_wake_ups(site: Any) -> None:
    folder = site.fresh("planted")
    said = plant(folder)
    path = f".:{site.environ['PATH']}:"  # as careless users have it
    live = site.submit("shaken.py", "--n", "3", folder=folder, environ={"PATH": path})
    live.wait("SUCCESS")
    assert not said.exists(), said.read_text()


def test_a_configuration_file_that_others_may_write_is_ignored(site: Any) -> None:
    folder = site.fresh("configured")
    script = folder / "pipe" / "shaken.py"
    script.parent.mkdir()
    shutil.copy(HERE / "shaken.py", script)
    file = script.with_name("reflow.toml")
    file.write_text('[executor]\npython = "/no/such/python"\n[run]\ntrusted_owners = ["nobody"]\n')
    file.chmod(0o666)
    live = site.submit(script, "--n", "2", folder=folder)
    assert f"{file} is ignored" in live.said.stderr
    live.wait("SUCCESS")


def test_a_command_that_others_may_write_is_passed_over(site: Any) -> None:
    live = site.submit("shaken.py", "--n", "2", "--pause", "6")
    place = Path(layout.commands(live.run.root), "evil.json")
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(msgspec.json.encode(Command(id="evil", verb="cancel", at=time.time())))
    place.chmod(0o666)
    live.wait("SUCCESS")
    events = b"".join(path.read_bytes() for path in Path(live.run.root, "events").rglob("*.log"))
    assert b"evil is passed over" in events
