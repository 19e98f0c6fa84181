"""The project's chores, each in an environment of its own: ``./dev demo``, ``./dev tests``, ``./dev lint types``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nox

ROOT = Path(__file__).parent
CORE = "reflow-core"
SCHEDULERS = ("reflow-slurm", "reflow-pbs", "reflow-lsf", "reflow-sge", "reflow-flux")
DISTRIBUTIONS = (CORE, *SCHEDULERS)
#: distributions of docs/plugins.md: built, installed and tested like anybody's, and never published
EXAMPLES = (ROOT / "tests" / "example-plugin", ROOT / "examples" / "htcondor")
CLIMATE = "examples/climate/requirements.txt"
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")
CURRENT = f"{sys.version_info.major}.{sys.version_info.minor}"
#: the tests start thousands of processes: where nothing compiled is kept, each of them compiles reflow anew
KEPT = {"PYTHONDONTWRITEBYTECODE": None}
#: several tests at a time, for what most of them do most is wait for processes; handed out singly, the slow ones first
AT_ONCE = ["-n", str(2 * (os.cpu_count() or 1)), "--dist", "load", "--maxschedchunk", "1"]

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "imports", "types", "build", "tests"]
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True


def _starts(python: str) -> bool:
    """Whether a Python is there and starts: a version manager's shim may be on PATH with nothing behind it."""
    return subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0


def _pythons() -> list[str]:
    """The supported Pythons found on this machine; the one that runs nox comes last, and is measured."""
    found = []
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in PYTHONS:
        if version == CURRENT:
            continue
        name = f"python{version}"
        if shutil.which(name) and _starts(name):
            found.append(version)
            continue
        for program in managed.glob(f"{version}.*/bin/{name}"):
            if _starts(str(program)):
                os.environ["PATH"] = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
                found.append(version)
                break
    return [*found, CURRENT]


def _install(session: nox.Session, *others: str) -> None:
    """Install the six distributions from the tree, with the developers' tools and what else the session needs."""
    session.install("-e", f"./{CORE}[dev]", *_trees(*SCHEDULERS), *others)


def _trees(*names: str) -> list[str]:
    return [word for name in names for word in ("-e", f"./{name}")]


@nox.session
def demo(session: nox.Session) -> None:
    """Run the climate pipeline on real data, and say where figure and table are."""
    session.install(*_trees(CORE), "-r", CLIMATE)
    session.run("python", "examples/climate/pipeline.py", *session.posargs)


@nox.session(python=_pythons())
def tests(session: nox.Session) -> None:
    """Run the tests on every Python found: all with coverage on this one, the library's quick ones on the others."""
    if session.python == CURRENT:
        _install(session, "-r", CLIMATE, "nbclient", "ipykernel")
        measure = ["--cov", "--cov-report=term", "--cov-fail-under=95"] if not session.posargs else []
        session.run("pytest", "-m", "not exhaustive", *measure, *AT_ONCE, *session.posargs, env=KEPT)
    else:
        _install(session)
        quick = ["-m", "not exhaustive and not slow", *(f"--ignore=tests/{part}" for part in ("cli", "docs", "faults"))]
        session.run("pytest", *quick, *AT_ONCE, *session.posargs, env=KEPT)


@nox.session
def faults(session: nox.Session) -> None:
    """Kill, stop and starve reflow at every step of a run in turn, where the tests try some of the steps."""
    _install(session)
    parts = ("tests/faults", "tests/security", "tests/core/test_engine_scheduler.py")
    session.run("pytest", *parts, "-m", "exhaustive", *AT_ONCE, *session.posargs, env=KEPT)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the six distributions and of what uses them, strictly."""
    _install(session)
    session.run("mypy", *session.posargs)
    session.run("mypy", "noxfile.py", "examples/etl.py", "benchmarks/bench_local.py", "benchmarks/bench_slurm.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and layout."""
    session.install("ruff>=0.8")
    session.run("ruff", "check", *session.posargs, ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def imports(session: nox.Session) -> None:
    """Check that the layers hold."""
    session.install("import-linter>=2.1")
    session.install("--no-deps", *_trees(*DISTRIBUTIONS))
    session.run("lint-imports", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Execute README and docs, and check the generated pages."""
    _install(session, "-r", CLIMATE)
    session.run("pytest", "tests/docs", *session.posargs)


def _check_wheel(session: nox.Session, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for wanted in ("py.typed", "licenses/LICENSE"):
        if not any(name.endswith(wanted) for name in names):
            session.error(f"{wheel.name} has no {wanted}")


@nox.session(reuse_venv=False)
def build(session: nox.Session) -> None:
    """Build every wheel, install the wheels alone into a clean environment, and use them."""
    wheels = ROOT / session.create_tmp() / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    session.install("build>=1", "pytest>=8.2", "hypothesis")
    for name in DISTRIBUTIONS:
        session.run("python", "-m", "build", "--outdir", str(wheels), name, silent=True)
    built = sorted(wheels.glob("*.whl"))
    if len(built) != len(DISTRIBUTIONS):
        session.error(f"expected {len(DISTRIBUTIONS)} wheels, built {[wheel.name for wheel in built]}")
    for wheel in built:
        _check_wheel(session, wheel)
    for example in EXAMPLES:
        session.run("python", "-m", "build", "--wheel", "--outdir", str(wheels / "example"), str(example), silent=True)
    session.install(*map(str, built), *map(str, (wheels / "example").glob("*.whl")))
    # From a directory that is not the tree, so that nothing but the wheels can be imported.
    with session.chdir(session.create_tmp()):
        session.run("reflow", "--version")
        session.run("reflow", "plugins")
        session.run("python", str(ROOT / "examples" / "etl.py"), "run", "--run-dir", "etl", "--executor", "local")
        for example in EXAMPLES:
            session.run("pytest", "-c", "/dev/null", "-W", "error", "--import-mode=importlib", str(example))


@nox.session
def bench(session: nox.Session) -> None:
    """Measure reflow against bare pools and its peers; ``-- --write`` renews the table of docs/performance.md."""
    session.install(f"./{CORE}")
    peers = []
    for peer, needs in {"executorlib": ["h5py"], "reflow-hpc": []}.items():
        home = ROOT / session.create_tmp() / peer
        python = home / "bin" / "python"
        if not python.exists():
            session.run("python", "-m", "venv", str(home))
            session.run(str(python), "-m", "pip", "install", "--quiet", peer, *needs, external=True)
        peers += ["--peer", f"{peer}={python}"]
    session.run("python", "benchmarks/bench_local.py", *peers, *session.posargs)


@nox.session
def live(session: nox.Session) -> None:
    """Run the conformance kit and whole pipelines on real schedulers: see tests/live/README.md."""
    if any(word.partition("=")[0] == "--scheduler" for word in session.posargs):
        _install(session)
        session.run("pytest", "tests/live", *session.posargs)
    else:
        session.run(str(ROOT / "tests" / "live" / "all"), *session.posargs, external=True)
