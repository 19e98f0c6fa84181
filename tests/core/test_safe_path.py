"""Nothing that lies in the working directory runs because reflow starts an interpreter or a program there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reflow import Run
from reflow.batch.programs import find_program
from reflow.batch.script import Body, inherited, render
from reflow.model.python import ADVANCE, WORKER, program
from reflow.process.runner import Runner
from reflow.process.spawn import spawn
from reflow.run.definition.open import config_of
from reflow.run.jobs.factory import Jobs
from reflow.worker import relay

FLOW = """
@wf.job()
def only() -> list[str]:
    import platform
    assert flag("fixed")
    return [platform.__file__, *sys.path]
"""

PLANTED = ("msgspec", "platform", "logging", "subprocess", "typing_extensions", "reflow", "resource", "json")


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that somebody else has filled."""
    directory = tmp_path / "planted"
    directory.mkdir()
    for name in PLANTED:
        (directory / f"{name}.py").write_text(f"open({str(directory / 'ran')!r}, 'a').write({name!r})\n")
    for name in ("bash", "sh", "python", "python3", "sbatch", "sendmail"):
        (directory / name).write_text(f"#!/bin/sh\necho {name} >> {directory / 'ran'}\n")
        (directory / name).chmod(0o755)
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    return directory


def ran(directory: Path) -> str:
    file = directory / "ran"
    return file.read_text() if file.exists() else ""


def test_workers_and_the_import_of_a_retry(lab: Any, planted: Path) -> None:
    lab.write(FLOW)
    run = lab.run("local", max_workers=1)
    lab.touch("fixed")
    run.retry()
    where, *paths = run.result("only")
    assert not ran(planted)
    assert not where.startswith(str(planted))
    assert paths[0] == str(lab.path)
    assert str(planted) not in paths
    assert "" not in paths


def commands(run: Run) -> dict[str, Sequence[str]]:
    """All that jobs run, and what a last worker becomes."""
    jobs = Jobs(run.root, run.definition, config_of(run.definition, run.root), {})
    tag = "abcdefghijklmnop"
    task = run.definition.tasks[0]
    _, spec = jobs.draft(task)
    return {
        "worker": jobs.body(task, spec).command,
        "wake-up": jobs.wake_body(tag).command,
        "last worker": relay.command(run.root, [tag]),
        "lane": program(sys.executable, WORKER, "--lane", run.root, tag, "0", "0", "0", "0", "1"),
    }


@pytest.mark.parametrize("what", ["worker", "wake-up", "last worker", "lane"])
def test_each_interpreter_of_a_job(lab: Any, planted: Path, what: str) -> None:
    lab.write(FLOW)
    lab.touch("fixed")
    command = commands(lab.good())[what]
    assert command[0] == sys.executable
    subprocess.run(command, cwd=planted, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert not ran(planted)


def test_what_the_statement_leaves_of_the_path(planted: Path) -> None:
    def path(**environ: str) -> list[str]:
        command = program(sys.executable, "print(*sys.path, sep='\\n')")
        env = {"PATH": os.environ["PATH"], **environ}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.split("\n")

    assert "" not in path()[:-1]
    assert path(PYTHONPATH="/one:/two")[:2] == ["/one", "/two"], "as the user has it"
    assert path(PYTHONPATH="/one", PYTHONSAFEPATH="1")[0] == "/one"
    assert ADVANCE.startswith("from reflow.run.drive.wakeup_main ")


def test_workers_of_a_session_import_from_where_it_does(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = lab.path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    lab.write(FLOW)
    lab.touch("fixed")
    assert lab.good().definition.entry.path == (str(lab.path), str(elsewhere))


def test_programs_are_found_on_the_path_alone(planted: Path, tmp_path: Path) -> None:
    real = tmp_path / "bin"
    real.mkdir()
    (real / "sbatch").write_text("#!/bin/sh\necho real\n")
    (real / "sbatch").chmod(0o755)
    for path in (f":.:{real}", f"./:{real}:", f"planted:{real}"):
        assert find_program("sbatch", path) == str(real / "sbatch")
    assert find_program("sbatch", ":.:") is None
    runner = Runner({"PATH": f".:{real}"})
    assert runner.run(["sbatch"], cwd=str(planted)).stdout == "real\n"
    output = os.open(os.devnull, os.O_WRONLY)
    assert spawn(["sbatch"], env={"PATH": f".:{real}"}, cwd=str(planted), output=output).wait() == 0
    with pytest.raises(FileNotFoundError):
        spawn(["python3"], env={"PATH": "."}, cwd=str(planted), output=output)
    os.close(output)
    assert not ran(planted)


@pytest.mark.parametrize("path", ["{0}::/usr/bin:", ".:{0}:./bin:/usr/bin", "bin:{0}:/usr/bin:~/bin"])
def test_jobs_inherit_no_relative_entry_of_the_path(planted: Path, path: str) -> None:
    assert inherited({"PATH": path.format("/a b")}) == {"PATH": "/a b:/usr/bin"}
    (planted / "sbatch").rename(planted / "reflow-planted")
    given = inherited({"PATH": path.format("/none")})
    script = render(Body(command=("reflow-planted",), cwd=str(planted), inherited=given))
    done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 127, "no such program"
    assert not ran(planted)


@pytest.mark.parametrize("path", ["", ":", ".:bin"])
def test_jobs_inherit_no_path_that_would_be_the_working_directory(path: str) -> None:
    assert inherited({"PATH": path, "TZ": "UTC"}) == {"TZ": "UTC"}
