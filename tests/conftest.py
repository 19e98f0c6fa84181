"""What every test gets: a home, a store and a configuration of its own, and no scheduler's environment."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from reflow.model.lifecycle.transitions import STRICT

pytest_plugins = ["reflow.testing"]

# Workers, wake-ups and the command line share two cores with the tests: a deadline would measure the machine.
settings.register_profile("reflow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("reflow")


def _begin_afresh() -> None:
    """Take nothing from whoever has started the tests: ``nohup``, a script's background, another zone or language."""
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:  # these two Python ignores itself
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)
    for name in [name for name in os.environ if name in ("TZ", "LANG", "LANGUAGE") or name.startswith("LC_")]:
        del os.environ[name]
    time.tzset()
    try:
        os.fstat(0)
    except OSError:  # it is closed; what is opened next would be standard input
        os.open(os.devnull, os.O_RDONLY)


_begin_afresh()

_SCHEDULERS = ("SLURM", "PBS", "LSB_", "LSF_", "SGE_", "JOB_ID", "FLUX_", "REFLOW_")


#: tests that start what coverage is to see in processes of its own; for all tests its files would take minutes
_MEASURED = ("test_worker_", "test_commands", "test_local_drive", "test_local_faults", "test_relay", "test_waking")


@pytest.fixture(autouse=True)
def _measured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that a test starts be measured where that tells something new."""
    if not request.path.name.startswith(_MEASURED):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point every place that reflow reads or writes outside a run directory at a fresh directory."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(_SCHEDULERS):
            monkeypatch.delenv(name)
    monkeypatch.setenv(STRICT, "1")  # an event that the table forbids fails the test
    for name in ("DATA", "CONFIG", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / f"xdg-{name.lower()}"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("REFLOW_STORE_PATH", str(home / "store"))
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("FORCE_COLOR", "PYTHONUNBUFFERED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    return home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests go first, so that none of them is left over when the others have ended."""
    items.sort(key=lambda item: not {"slow", "exhaustive"} & {mark.name for mark in item.iter_markers()})
