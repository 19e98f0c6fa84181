"""What the live tests know of the scheduler they are run against, and how they start and watch runs there.

``pytest tests/live --scheduler NAME`` needs the scheduler's programs on PATH, and somebody who may submit; nothing
here assumes one host, or that the daemons are ours. See README.md beside this file.
"""

from __future__ import annotations

import datetime
import getpass
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
from hypothesis.configuration import set_hypothesis_home_dir
from proof import INTERRUPTED, Outcome, Proof, interrupted

from reflow import Run, __version__
from reflow.errors import ReflowError
from reflow.model.names import RunState
from reflow.model.record import Event, Intent, Submitted, Wake
from reflow.model.state import State
from reflow.plugin import Context, JobRef
from reflow.plugins import registry
from reflow.process.runner import Runner
from reflow.run.journal.log import replay

HERE = Path(__file__).resolve().parent


class Kind(NamedTuple):
    """What the tests must know of a scheduler, and cannot ask of reflow. All that differs between them is here."""

    #: reflow's name for it
    executor: str
    #: lists what ``{user}`` has in its queue; the first word of a line is an id
    queue: str
    #: its name, and what prints its version
    title: str
    version: str
    #: how reflow tells of a job that asks for more than there is (a regular expression)
    never: str = "."
    #: whether it may run an element again by itself, under the same attempt
    reruns: bool = False


#: schedulers by the name given on the command line
KINDS = {
    "slurm": Kind(
        "slurm", "squeue -h -r -u {user} -o %F", "Slurm", "sbatch --version", never="can never run|not available"
    ),
    "sge": Kind("sge", "qstat -u {user}", "Grid Engine", "qstat -help", never="cannot run|only offers|no suitable"),
    "pbs": Kind("pbs", "qstat", "PBS", "qstat --version", never="(?i)can never run|exceed|insufficient", reruns=True),
    "torque": Kind("torque", "qstat", "Torque", "qstat --version", reruns=True),
    "lsf": Kind(
        *("lsf", "bjobs -w", "LSF", "bsub -V"),
        never="Not enough processors|not satisfied|Too many processors requested",
    ),
    "flux": Kind("flux", "flux jobs -n -o {{id.f58plain}}", "Flux", "flux version"),
    # With examples/htcondor installed.
    "htcondor": Kind("htcondor", "condor_q -af ClusterId", "HTCondor", "condor_version"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("live", "a real scheduler")
    group.addoption("--scheduler", choices=sorted(KINDS), help="the scheduler to run against")
    group.addoption("--shared", metavar="DIR", help="a directory that all nodes see; by default below your home")
    group.addoption("--set-all", metavar="KEY=VALUE", action="append", default=[], help="a setting of every job")
    group.addoption("--env", metavar="NAME=VALUE", action="append", default=[], help="a variable of every run")
    group.addoption("--elements", type=int, default=2500, help="how many elements 'many' are; by default 2500")
    group.addoption("--control", metavar="FILE", help="commands that stop and start daemons: lines of NAME=COMMAND")
    group.addoption("--complete", action="store_true", help="the site has all that the tests can use: lacking it fails")
    group.addoption("--full", action="store_true", help="also what takes many minutes")
    group.addoption("--patience", type=float, default=1.0, help="multiplies all time limits of tests; by default 1")
    group.addoption("--limit", type=float, metavar="MINUTES", help="start no further test after so long")
    group.addoption("--page", type=Path, metavar="FILE", help="write a page (Markdown) of what passed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only(*schedulers): needs what only these schedulers have")
    config.addinivalue_line("markers", "control(*commands): needs these commands of the --control file")
    config.addinivalue_line("markers", "full: takes many minutes; run with --full")
    if not os.access(config.rootpath, os.W_OK):  # the clone is somebody else's
        set_hypothesis_home_dir(os.path.join(tempfile.gettempdir(), f"reflow-live-{os.getuid()}"))
    if config.getoption("--scheduler"):
        config.pluginmanager.register(_Recorder(config), "reflow-live-recorder")
        # What ends the tests says what was not run, and takes their jobs along.
        signal.signal(signal.SIGTERM, signal.default_int_handler)


class _Recorder:
    """Keeps how each test ended, ends the tests in time, and writes the page."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.outcomes: dict[str, Outcome] = {}
        self.began = time.monotonic()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            self.outcomes[item.nodeid] = Outcome(item.path.stem, item.name)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome = self.outcomes[report.nodeid]
        outcome.seconds += report.duration
        if report.failed:
            outcome.state, outcome.reason = "failed", "" if report.when == "call" else f"in its {report.when}"
        elif report.skipped and isinstance(report.longrepr, tuple):
            outcome.reason = report.longrepr[2].removeprefix("Skipped: ").removeprefix("not run: ")
        elif report.when == "call":
            outcome.state, outcome.reason = "passed", ""

    def pytest_runtest_logfinish(self) -> None:
        limit = self.config.getoption("--limit")
        session = self.config.pluginmanager.get_plugin("session")
        if limit is not None and late(self.began, limit * 60) and session is not None:
            session.shouldstop = f"the time limit of {limit:g} minutes is over"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.config.option.collectonly:
            return
        for name in interrupted(self.outcomes.values()):
            terminalreporter.write_line(f"NOT RUN: {name}: {INTERRUPTED}")
        if (page := self.config.getoption("--page")) is not None:
            page.write_text(self.proof().page(), encoding="utf-8")

    def proof(self) -> Proof:
        kind = KINDS[self.config.getoption("--scheduler")]
        try:
            done = subprocess.run(shlex.split(kind.version), capture_output=True, text=True, check=False, timeout=60)
            said = re.search(r"\d+\.[\w.]+", done.stdout + done.stderr)
        except (OSError, subprocess.TimeoutExpired):
            said = None
        return Proof(
            scheduler=kind.title,
            version=said[0] if said else "",
            reflow=__version__,
            python=platform.python_version(),
            system=platform.freedesktop_os_release()["PRETTY_NAME"]
            if os.path.exists("/etc/os-release")
            else platform.system(),
            date=datetime.date.today().isoformat(),
            outcomes=list(self.outcomes.values()),
        )


def late(began: float, seconds: float, patience: float = 1.0) -> bool:
    """Whether more time has passed than something may take: a machine with more to do than cores gets more."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return time.monotonic() - began > seconds * patience * min(max(1.0, load), 4.0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = config.getoption("--scheduler")
    control = _control(config)
    for item in items:
        if item.path.parent != HERE:
            continue
        if chosen is None:
            item.add_marker(pytest.mark.skip(reason="not run: no --scheduler was named"))
            continue
        only = item.get_closest_marker("only")
        if only is not None and chosen not in only.args:
            item.add_marker(pytest.mark.skip(reason=f"not run: needs what only {', '.join(only.args)} has"))
        needs = item.get_closest_marker("control")
        lacking = [name for name in needs.args if name not in control] if needs is not None else []
        if lacking:
            item.add_marker(pytest.mark.skip(reason=f"not run: no --control file says how to {', '.join(lacking)}"))
        if item.get_closest_marker("full") is not None and not config.getoption("--full"):
            item.add_marker(pytest.mark.skip(reason="not run: only with --full"))


def _control(config: pytest.Config) -> dict[str, str]:
    name = config.getoption("--control")
    if name is None:
        return {}
    lines = (line.strip() for line in Path(name).read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key.strip(): command.strip() for key, _, command in pairs}


class Site:
    """The scheduler, and a directory of our own that its nodes see."""

    def __init__(self, folder: Path, environ: Mapping[str, str], config: pytest.Config) -> None:
        self.name = config.getoption("--scheduler")
        self.kind = KINDS[self.name]
        self.executor = self.kind.executor
        self.folder = folder
        #: settings of all tasks, and those of one
        self.settings = [pair for pair in config.getoption("--set-all") if "." not in pair.partition("=")[0]]
        self.particular = [pair for pair in config.getoption("--set-all") if pair not in self.settings]
        self.environ = dict(environ)
        for pair in self.settings:  # wake-ups, too
            key, _, value = pair.partition("=")
            self.environ[f"REFLOW_{key.upper()}"] = value
        self.strict = config.getoption("--complete")
        self.patience = config.getoption("--patience")
        #: all runs
        self.runs: list[Live] = []
        self._number = 0
        self._pace: float | None = None

    def fresh(self, name: str) -> Path:
        """A directory that was not there before."""
        self._number += 1
        folder = self.folder / f"{self._number:03}-{name}"
        folder.mkdir()
        return folder

    def lacks(self, what: str) -> NoReturn:
        """End a test for which the site has not what it needs."""
        if self.strict:
            pytest.fail(what)
        pytest.skip(f"not run: {what}")

    @property
    def accounts(self) -> bool:
        """Whether somebody can tell how much memory a job used that has ended."""
        if self.name != "slurm":
            return True
        done = subprocess.run(["sacct", "-n", "-X"], env=self.environ, capture_output=True, check=False, timeout=60)
        return done.returncode == 0

    def create(self) -> Any:
        """The executor, made as the command line makes it."""
        context = Context(environ=self.environ, runner=Runner(self.environ), cwd=str(self.folder))
        return registry().create_executor(self.executor, {}, context)

    @property
    def pace(self) -> float:
        """Seconds that a `submit` takes here."""
        if self._pace is None:
            began = time.monotonic()
            live = self.submit("shaken.py", "--n", "1")
            self._pace = time.monotonic() - began
            live.wait("SUCCESS")
        return self._pace

    def late(self, began: float, seconds: float) -> bool:
        """Whether a test has taken too long for something."""
        return late(began, seconds, self.patience)

    def queue(self, environ: Mapping[str, str]) -> set[str]:
        """Ids of what we have in the queue, by the scheduler's own command; those of arrays without their index."""
        command = shlex.split(self.kind.queue.format(user=getpass.getuser()))
        said = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60).stdout
        rows = [line.split() for line in said.splitlines() if line.strip()]
        # Torque lists what is complete, too.
        return {_plain(row[0]) for row in rows if self.name != "torque" or row[-2:-1] != ["C"]}

    def hollow(self, id: str) -> bool:
        """Whether it is an array of Torque's whose elements have all ended: it may stay in state R for ever."""
        if self.name != "torque":
            return False
        command = ["qstat", "-t", f"{id}[]"]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, check=False, timeout=60)
        rows = [line.split() for line in done.stdout.splitlines() if line.startswith(f"{id}[")]
        return bool(rows) and all(row[-2] == "C" for row in rows)

    def submit(
        self,
        script: str | Path,
        *words: str,
        settings: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
        verb: str = "submit",
        check: bool = True,
    ) -> Live:
        """``python SCRIPT submit ...`` in a process of its own."""
        path = HERE / script
        folder = folder or self.fresh(path.stem)
        live = Live(self, path, folder, {**self.environ, "REFLOW_STORE_PATH": str(folder / "store"), **(environ or {})})
        self.runs.append(live)
        everywhere = [f"*.{pair}" for pair in self.settings]
        text = path.read_text(encoding="utf-8")
        particular = [pair for pair in self.particular if f"def {pair.partition('.')[0]}(" in text]
        given = [*everywhere, *particular, *(f"{key}={value}" for key, value in (settings or {}).items())]
        chosen = [word for pair in given for word in ("--set", pair)]
        live.said = live.reflow(
            verb, "--executor", self.executor, "--run-dir", str(live.run_dir), *chosen, *words, check=check
        )
        return live


class _Ids(State):
    """A state that remembers the id of every job that was ever submitted."""

    def apply(self, event: Event, file: int = 0, offset: int = 0, length: int = 0) -> None:
        self.__dict__.setdefault("ids", {})
        self.__dict__.setdefault("kinds", {})
        if isinstance(event, (Intent, Wake)):
            self.__dict__["kinds"][event.tag] = event.task if isinstance(event, Intent) else "wake-up"
        if isinstance(event, Submitted):
            self.__dict__["ids"].setdefault(self.__dict__["kinds"][event.tag], []).extend(
                [event.id] if event.id else list(event.slots.values())
            )
        super().apply(event, file, offset, length)


class Live:
    """A run of ours."""

    def __init__(self, site: Site, script: Path, folder: Path, environ: Mapping[str, str]) -> None:
        self.site = site
        self.script = script
        self.folder = folder
        self.run_dir = folder / "run"
        self.environ = environ
        self.submitted = environ
        self.said: subprocess.CompletedProcess[str]

    def reflow(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command of the script's."""
        done = subprocess.run(
            [sys.executable, str(self.script), *words],
            env=dict(self.environ),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    @property
    def run(self) -> Run:
        return Run.open(self.run_dir)

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.reflow("status", "--json", str(self.run_dir)).stdout)
        return told

    def ids(self) -> dict[str, list[str]]:
        """Ids of all jobs so far, by task; wake-ups are ``wake-up``."""
        state = _Ids(self.run.definition)
        replay(self.run.root, state)
        return dict(state.__dict__.get("ids", {}))

    def job(self, task: str) -> str:
        """The id of the only job of a task, which may run before the command that submitted it has answered."""
        self.until(f"the job of {task} is known", lambda _: task in self.ids())
        (job,) = self.ids()[task]
        return job

    def until(self, what: str, holds: Callable[[dict[str, Any]], bool], timeout: float = 180.0) -> dict[str, Any]:
        """Look at the records until something holds."""
        began = time.monotonic()
        while True:
            told = self.run.status(elements=True)
            if holds(told):
                return told
            assert not self.site.late(began, timeout), f"{what}: not within {timeout} s\n{self.report(told)}"
            assert told["run"]["status"] not in ("STALLED",), f"{what}: stalled\n{self.report(told)}"
            time.sleep(0.3)

    def wait(self, state: str, timeout: float = 240.0) -> dict[str, Any]:
        """Wait for the run's end, and see that it ended so, with nothing left behind."""
        began = time.monotonic()
        stalled = 0
        while not self.run.state.ended:
            told = self.run.status()
            # A wake-up that has just ended, and the record of it, are not seen in one moment.
            stalled = stalled + 1 if told["run"]["status"] == "STALLED" else 0
            assert stalled < 10, f"it stalled\n{self.report(told)}"
            assert not self.site.late(began, timeout), f"it did not end within {timeout} s\n{self.report(told)}"
            time.sleep(0.3)
        told = self.run.status(elements=True)
        assert told["run"]["status"] == state, self.report(told)
        self.nothing_left()
        return told

    def nothing_left(self, timeout: float = 30.0) -> None:
        """See that no job of the run is queued or runs."""
        began = time.monotonic()
        ids = {_plain(id) for each in self.ids().values() for part in each for id in part.split(",")}
        while left := {id for id in self.site.queue(self.submitted) & ids if not self.site.hollow(id)}:
            assert not self.site.late(began, timeout), f"still in the queue: {sorted(left)} of {self.ids()}"
            time.sleep(0.5)

    def ledger(self) -> Counter[str]:
        """How often user code was called, by task and value."""
        folder = self.run_dir / "ledger"
        names = os.listdir(folder) if folder.is_dir() else []
        return Counter(".".join(name.split(".")[:2]) for name in names)

    def asked(self) -> str:
        """What the scheduler says of the run's jobs."""
        refs = [JobRef(id) for each in self.ids().values() for id in each][-50:]
        try:
            return "; ".join(f"{ref.id}[{ref.slot}] {status}" for ref, status in self.site.create().query(refs).items())
        except ReflowError as error:
            return str(error)

    def report(self, told: Mapping[str, Any]) -> str:
        """What a person needs to see when a test fails."""
        text = [json.dumps(told["run"]), json.dumps(told["summary"]), json.dumps(told["failures"][:5]), str(self.ids())]
        logs = sorted(Path(self.run.root, "logs", ".jobs").glob("*.log"), key=lambda path: path.stat().st_mtime)
        text += [f"{path.name}: {said}" for path in logs[-20:] if (said := path.read_text(errors="replace").strip())]
        text.append("its jobs, as the scheduler has them: " + self.asked())
        return "\n".join(text)


@pytest.fixture(scope="session", autouse=True)
def _own_home() -> None:
    """Unlike the other tests, these need the home and the environment that the scheduler's programs need."""


@pytest.fixture(scope="session")
def site(pytestconfig: pytest.Config) -> Iterator[Site]:
    shared = pytestconfig.getoption("--shared") or os.path.expanduser("~")
    folder = Path(tempfile.mkdtemp(prefix="reflow-live-", dir=shared))
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("REFLOW_", "XDG_", "PYTEST_"))}
    environ |= {f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("DATA", "CONFIG", "CACHE", "STATE")}
    # Nobody waits a minute and a half for file servers here.
    environ |= {"REFLOW_RUN_GRACE": "5s", "NO_COLOR": "1", "COLUMNS": "120"}
    environ |= dict(pair.split("=", 1) for pair in pytestconfig.getoption("--env"))
    site = Site(folder, environ, pytestconfig)
    yield site
    for live in site.runs:  # what a test that failed, or was interrupted, has left
        if live.run_dir.exists() and not live.run.state.ended:
            live.reflow("cancel", str(live.run_dir), check=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def controls(pytestconfig: pytest.Config) -> set[str]:
    """Names of the commands of the ``--control`` file."""
    return set(_control(pytestconfig))


@pytest.fixture
def control(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Run a command of the ``--control`` file."""
    commands = _control(pytestconfig)

    def carry_out(name: str) -> None:
        done = subprocess.run(["sh", "-c", commands[name]], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{commands[name]}: {done.stdout}{done.stderr}"

    return carry_out


@pytest.fixture
def counting(site: Site) -> Callable[[Path], tuple[dict[str, str], Callable[[], Counter[str]]]]:
    """Programs that count how often they are called, before those of the scheduler on PATH, in jobs too."""

    def prepare(folder: Path) -> tuple[dict[str, str], Callable[[], Counter[str]]]:
        programs = folder / "bin"
        programs.mkdir(parents=True)
        log = folder / "calls"
        log.touch()
        for name in site.create().speaks.programs:
            real = shutil.which(name, path=site.environ["PATH"])
            if real is None:
                continue
            program = programs / name
            program.write_text(f'#!/bin/sh\necho "{name} $*" >>"{log}"\nexec "{real}" "$@"\n')
            program.chmod(0o755)
        environ = {"PATH": f"{programs}{os.pathsep}{site.environ['PATH']}"}
        return environ, lambda: Counter(line.split()[0] for line in log.read_text().splitlines())

    return prepare


def _plain(id: str) -> str:
    """An id without index and server."""
    return id.partition("[")[0].partition(".")[0]


def ended(told: Mapping[str, Any]) -> bool:
    """Whether a status tells of a run that has ended."""
    return RunState(told["run"]["status"]).ended
