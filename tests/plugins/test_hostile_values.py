"""Values with quotes, `$()`, newlines and the like, through all five schedulers' scripts and a real shell.

Stub programs stand for the schedulers: they take the script, and this test runs
it as a node would. Every value must arrive byte for byte, and none be run.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reflow
from reflow.errors import ReflowError, UsageError
from reflow.model.definition import Entry
from reflow.model.python import WORKER, program
from reflow.worker.load import load_flow

ANSWERS = {
    "slurm": ("sbatch", "17"),
    "pbs": ("qsub", "17.server"),
    "lsf": ("bsub", "Job <17> is submitted to queue <q>."),
    "sge": ("qsub", "17"),
    "flux": ("flux", "f17"),
}
OTHERS = (
    "squeue sacct scancel scontrol sinfo qstat qdel qmgr pbsnodes bjobs bkill bhist bparams bqueues lsid qacct qconf"
)

#: writes down the arguments and the environment that a job's program gets
SEES = """#!{python}
import json, os, sys
with open({seen!r}, "w") as out:
    json.dump({{"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}}, out)
"""

STUB = """#!/bin/bash
case "$1" in --version|-V|-help|version|config|resource|queue|jobs) exit 0 ;; esac
: >"{called}.$(basename "$0")"
echo '{answer}'
"""

#: each would leave a file `pwned` behind if it were run
EVIL = [
    "'; touch pwned; '",
    '"; touch pwned; "',
    "$(touch pwned)",
    "`touch pwned`",
    "a\ntouch pwned\n",
    "a\r\ntouch pwned\r\n",
    "${PATH:-$(touch pwned)}",
    "$'\\ntouch pwned\\n'",
    "\\",
    "\\\\'\\'",
    "!!",
    "* ? [a-z] {1,2} ~ #",
    "a && touch pwned | touch pwned & touch pwned > pwned < /dev/null",
    "--option=-x",
    "",
    " ",
    "\t",
    "\x01\x1b[31m\x7f",
    "ünï☃𝒳 \u202e \u2028",
    "#SBATCH --wrap='touch pwned'",
    "\n#PBS -N x\n#BSUB -J y\n#$ -N z\n#flux: -N1",
    "EOF\ntouch pwned\nEOF",
    "%d %s %n {} {0} {name}",
    "x" * 100_000,
    "'" * 20_000,
]

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
evil = st.one_of(st.sampled_from(EVIL[:-2]), text)


class Site:
    """A machine where stub programs stand for a scheduler, and for what its jobs run."""

    def __init__(self, path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.scheduler = path, scheduler
        # Its programs answer no question, and whoever submits would wait for that.
        monkeypatch.setattr("reflow.run.service.submit.IN_PLACE", 0.0)
        self.bin = path / "bin"
        self.bin.mkdir()
        self.seen = path / "seen.json"
        program, answer = ANSWERS[scheduler]
        for name in (program, *OTHERS.split()):
            body = STUB.format(called=path / "called", answer=answer if name == program else "")
            self._program(name, body)
        self._program("sees", SEES.format(python=sys.executable, seen=str(self.seen)))
        self.work = path / "work"
        self.work.mkdir()
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        monkeypatch.setenv("REFLOW_STORE_PATH", str(path / "store"))
        monkeypatch.chdir(self.work)
        self.count = 0

    def _program(self, name: str, body: str) -> None:
        (self.bin / name).write_text(body)
        (self.bin / name).chmod(0o755)

    def flow(self, source: str, name: str = "hostile") -> reflow.Workflow:
        """A workflow, from a script of its own."""
        self.count += 1
        file = self.path / f"hostile_{self.count}.py"
        head = (
            f"from typing import Annotated\nimport reflow\nfrom reflow import Param\nwf = reflow.Workflow({name!r})\n"
        )
        file.write_text(head + textwrap.dedent(source))
        entry = Entry(file=str(file), module=file.stem, variable="wf", path=(str(self.path),))
        flow = load_flow(entry)
        assert isinstance(flow, reflow.Workflow)
        return flow

    def submit(self, flow: reflow.Workflow, run_dir: Path, **given: Any) -> Path:
        """Submit; returns the script of the first task as it was handed over."""
        run = flow.submit(run_dir, executor=self.scheduler, **given)
        (script,) = (path for path in Path(run.root, "scripts").glob("*.sh") if not path.name.startswith("wake-up."))
        assert list(self.path.glob("called.*")), "nothing was submitted"
        return script

    def run(self, script: Path, **environ: str) -> subprocess.CompletedProcess[bytes]:
        """Run a script as a node would, in an empty directory."""
        done = subprocess.run(
            ["bash", str(script)],
            env={"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(self.path), **environ},
            cwd=self.work,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert not list(self.path.rglob("pwned")), "something was executed"
        return done

    def saw(self) -> Mapping[str, Any]:
        """What the job's program was given."""
        found: Mapping[str, Any] = json.loads(self.seen.read_text())
        return found


@pytest.fixture(params=list(ANSWERS))
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, request.param, monkeypatch)


few = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(
    env=st.dictionaries(st.from_regex(r"X_[A-Z0-9_]{1,8}", fullmatch=True), evil, max_size=4),
    modules=st.lists(evil.filter(lambda one: one.strip() == one and one), max_size=3),
    title=evil,
    folder=evil.map(lambda one: one.replace("/", "_").strip(". ") or "x"),
)
def test_environment_modules_names_and_paths(
    site: Site, env: dict[str, str], modules: list[str], title: str, folder: str
) -> None:
    flow = site.flow(
        f"""
        @wf.job(env={env!r}, modules={modules!r}, setup="printf '%s' set >{site.path}/setup")
        def prüfe() -> int:
            return 1
        """,
        name=title or "x",
    )
    run_dir = site.path / os.fsdecode(os.fsencode(folder)[:80])
    try:
        script = site.submit(flow, run_dir)
    except UsageError as error:
        # What a scheduler cannot be told is refused, in words, before anything is submitted.
        assert error.message
        return
    loaded = site.path / "modules"
    loader = site.path / "module.sh"
    loader.write_text(f"module() {{ printf '%s\\0' \"$@\" >{loaded}; }}\nexport -f module\n")
    text = script.read_text(errors="surrogateescape")
    body = text.replace(sys.executable, str(site.bin / "sees"))
    assert body != text
    script.write_text(body, errors="surrogateescape")
    done = site.run(script, BASH_ENV=str(loader), REFLOW_INNER="1")
    logs = b"".join(log.read_bytes() for log in run_dir.rglob("*.log"))
    assert done.returncode == 0, (done, logs)
    saw = site.saw()
    assert saw["argv"][:2] == list(program("", WORKER)[1:])
    assert Path(saw["argv"][2]).parent.parent == run_dir
    assert {key: saw["env"][key] for key in env} == env
    assert saw["cwd"] == str(site.work)
    assert (site.path / "setup").read_text() == "set"
    if modules:
        assert loaded.read_bytes().split(b"\0")[:-1] == [b"load", *map(os.fsencode, dict.fromkeys(modules))]
    site.seen.unlink()


def test_parameters_arrive_whole_and_nothing_is_executed(site: Site) -> None:
    """The whole way: submit, the script, the worker, its report."""
    flow = site.flow(
        """
        @wf.job()
        def echo(
            values: Annotated[list[str], Param()],
            name: Annotated[str, Param()],
            table: Annotated[dict[str, str], Param()],
        ) -> list[str]:
            return [*values, name, *table, *table.values()]
        """,
        name="$(touch pwned)`touch pwned`",
    )
    table = {one: one[::-1] for one in EVIL}
    run_dir = site.path / "r'u\"n $(touch pwned)"
    script = site.submit(flow, run_dir, values=EVIL, name=EVIL[2], table=table)
    assert not list(site.path.rglob("pwned"))
    pythonpath = os.pathsep.join(path for path in sys.path if path)
    done = site.run(script, PYTHONPATH=pythonpath, REFLOW_INNER="1", FLUX_JOB_ID="f17")
    (box,) = (path for path in run_dir.glob(".reflow/*/mailbox/*/*/*/*") if path.name == "0.1")
    from reflow.model.frames import parse

    records = [json.loads(payload) for payload in parse(box.read_bytes())[0]]
    (finished,) = (record for record in records if record["k"] == "finished")
    expected = [*EVIL, EVIL[2], *dict.fromkeys(EVIL), *(one[::-1] for one in dict.fromkeys(EVIL))]
    assert sorted(finished["r"]) == sorted(expected), done.stderr
    assert finished["r"][: len(EVIL)] == EVIL


@few
@given(value=evil)
def test_options_and_native_arguments_are_words_or_refused(site: Site, value: str) -> None:
    flow = site.flow(
        f"""
        @wf.job(queue={value!r}, native=["--comment", {value!r}])
        def one() -> int:
            return 1
        """
    )
    try:
        script = site.submit(flow, site.path / "run")
    except ReflowError:
        return
    text = script.read_text(errors="surrogateescape")
    script.write_text(text.replace(sys.executable, str(site.bin / "sees")), errors="surrogateescape")
    site.run(script, REFLOW_INNER="1")
    assert site.saw()["argv"][:2] == list(program("", WORKER)[1:])
    site.seen.unlink()


SHIPPED = [path for path in Path(__file__).parents[2].glob("reflow-*/src/**/*.py") if "site-packages" not in path.parts]

#: Where a call is what the product is for: importing the user's own script, as `python script.py` would run it; and
#: to find out which names a function uses, for its digest, which runs nothing.
MEANT = {("load.py", "exec"), ("load.py", "compile"), ("load.py", "__import__"), ("sources.py", "compile")}


PICKLES = ("pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: "/".join(path.parts[-2:]))
def test_no_pickle_no_eval_no_shell(path: Path) -> None:
    tree = ast.parse(path.read_bytes())
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            wrong += [(node.lineno, f"import {one}") for one in modules if one.partition(".")[0] in PICKLES]
        elif isinstance(node, ast.Call):
            function = node.func
            name = function.id if isinstance(function, ast.Name) else ""
            if name in ("eval", "exec", "compile", "__import__") and (path.name, name) not in MEANT:
                wrong.append((node.lineno, name))
            if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
                dotted = f"{function.value.id}.{function.attr}"
                if dotted in ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"):
                    wrong.append((node.lineno, dotted))
            called = function.attr if isinstance(function, ast.Attribute) else name
            starts = called in ("Popen", "run", "call", "check_call", "check_output", "create_subprocess_shell")
            if starts and any(keyword.arg == "shell" for keyword in node.keywords):
                wrong.append((node.lineno, f"{called}(shell=...)"))
    assert not wrong


def test_every_package_is_looked_at() -> None:
    packages = {path.relative_to(Path(__file__).parents[2]).parts[0] for path in SHIPPED}
    assert packages == {f"reflow-{name}" for name in ("core", "slurm", "pbs", "lsf", "sge", "flux")}
