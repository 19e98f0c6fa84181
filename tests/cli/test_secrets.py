"""Canaries: what is secret in configuration, decorators and overrides is in nothing that others could read."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

PIPELINE = """
from typing import Annotated
import os
import reflow
from reflow import Result

wf = reflow.Workflow("canary")

@wf.job(env={"FROM_DECORATOR": "canary-decorator"})
def one(name: str = "x") -> list[int]:
    wanted = {
        "FROM_DECORATOR": "canary-decorator", "FROM_CONFIG": "canary-config", "FROM_SET": "canary-set",
        "FROM_VARIABLE": "canary-variable", "MY_TOKEN": "canary-inherited",
    }
    for key, value in wanted.items():
        assert os.environ[key] == value, key
    return [1, 2]

@wf.array_job()
def two(x: Annotated[int, Result(step="one")]) -> int:
    if os.environ.get("FROM_RETRY") != "canary-retry" and x == 2:
        raise ValueError("on purpose")
    return x

if __name__ == "__main__":
    wf.cli()
"""

CONFIG = """
[executor]
env = {{ FROM_CONFIG = "canary-config" }}
inherit_env = ["MY_TOKEN"]
[notifications]
mail_type = "ALL"
[notifications.webhook]
url = "http://127.0.0.1:{port}/canary-path?key=canary-query"
headers = {{ Authorization = "canary-header" }}
"""

CANARIES = [
    f"canary-{name}"
    for name in ["decorator", "config", "set", "variable", "inherited", "path", "query", "header", "retry"]
]


class Refusing(BaseHTTPRequestHandler):
    """A server that takes nothing: what goes wrong is said, and must not say where."""

    def do_POST(self) -> None:
        self.send_response(500)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


class Place:
    """A pipeline with secrets, and what its commands say."""

    def __init__(self, path: Path, port: int) -> None:
        self.path = path
        self.script = path / "pipeline.py"
        self.script.write_text(PIPELINE)
        self.config = path / "reflow.toml"
        self.config.write_text(CONFIG.format(port=port))
        self.store = path / "store"
        self.run_dir = path / "run"
        self.said: list[tuple[str, str]] = []
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("REFLOW_")},
            "REFLOW_STORE_PATH": str(self.store),
            "REFLOW_ENV": '{"FROM_VARIABLE": "canary-variable", "FROM_CONFIG": "canary-config"}',
            "MY_TOKEN": "canary-inherited",
            "HOME": str(path),
        }

    def __call__(self, *words: str, code: int | None = 0, **environ: str) -> str:
        """Run a command of the workflow; remember all that it says."""
        done = subprocess.run(
            [sys.executable, str(self.script), *words],
            cwd=self.path,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.said.append((" ".join(words), done.stdout + done.stderr))
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done.stdout

    def leaks(self) -> list[str]:
        """Where a canary can be seen."""
        found = [f"{words}: {canary}" for words, text in self.said for canary in CANARIES if canary in text]
        for path in self.path.rglob("*"):
            if path in (self.script, self.config) or path.is_symlink() or not path.is_file():
                continue
            if path.suffix in (".py", ".pyc"):
                continue  # what the script itself says is its author's affair
            data = path.read_bytes()
            private = not path.stat().st_mode & 0o077
            found += [f"{path}: {canary}" for canary in CANARIES if canary.encode() in data and not private]
            found += [f"name {path}: {canary}" for canary in CANARIES if canary in path.name]
        return found


@pytest.fixture
def place(tmp_path: Path, port: int) -> Place:
    return Place(tmp_path, port)


def test_no_canary_is_seen_of_a_local_run(place: Place) -> None:
    place("run", "--run-dir", str(place.run_dir), "--executor", "local", "--set", "one.env.FROM_SET=canary-set", code=1)
    for words in (
        ["status"],
        ["status", "--json"],
        ["describe"],
        ["describe", "latest"],
        ["explain", "--json"],
        ["logs", "one"],
        ["logs", "two[1]"],
        ["runs", "--json"],
        ["dag", "--format", "json"],
        ["--debug", "retry", "latest", "--set", "two.env.FROM_RETRY=canary-retry", "--json"],
        ["status", "--json"],
        ["describe", "latest"],
    ):
        place(*words, code=None)
    place("status")
    assert '"SUCCESS"' in place("status", "--json")
    assert place.leaks() == []


def test_what_is_wrong_with_a_secret_is_said_without_it(place: Place) -> None:
    nowhere = {"PATH": str(place.path)}  # this machine may have a scheduler
    for words, environ in (
        (["run", "--set", "one.env.FROM_SET", "--run-dir", "r"], {}),
        (["run", "--set", "one.envv.FROM_SET=canary-set", "--run-dir", "r"], {}),
        (["run", "--set", "nobody.env.FROM_SET=canary-set", "--run-dir", "r"], {}),
        (["run", "--run-dir", "r"], {"REFLOW_ENV": "{canary-variable"}),
        (["run", "--run-dir", "r"], {"REFLOW_ENV": '["canary-variable"]'}),
        (["run", "--run-dir", "r"], {"REFLOW_NOTIFICATIONS_WEBHOOK_PORT": "canary-query"}),
        (["run", "--run-dir", "r"], {"REFLOW_NOTIFICATIONS_WEBHOOK_URL": "ftp://canary-path"}),
        (["submit", "--run-dir", "r", "--executor", "slurm"], nowhere),
        (["submit", "--run-dir", "r", "--executor", "slurm", "--dry-run"], nowhere),
        (["submit", "--run-dir", "r", "--executor", "pbs", "--dry-run", "--json"], nowhere),
    ):
        place(*words, code=None, **environ)
    assert place.leaks() == []


def test_configuration_is_shown_without_its_secrets(place: Place) -> None:
    place.said.clear()
    for words in (["path"], ["show"], ["show", "--json"], ["show", "--origin"]):
        done = subprocess.run(
            [sys.executable, "-m", "reflow", "config", *words],
            cwd=place.path,
            env=place.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        place.said.append((" ".join(words), done.stdout + done.stderr))
    assert "(hidden)" in place.said[1][1]
    assert place.leaks() == []


STUB = """#!/bin/bash
{ printf '%s\\n' "$0 $*"; env; cat; } >>"$(dirname "$0")/heard.log" </dev/null
case "$0" in
  */sbatch) cat "${@: -1}" >>"$(dirname "$0")/heard.log"; echo 17 ;;
  */scontrol) echo "MaxArraySize = 1001" ;;
esac
"""


def test_no_canary_is_told_to_a_scheduler(place: Place) -> None:
    """Neither by its command's arguments nor environment, nor in the script that it keeps a copy of."""
    stubs = place.path / "bin"
    stubs.mkdir()
    for name in ("sbatch", "squeue", "sacct", "scancel", "sinfo", "scontrol"):
        (stubs / name).write_text(STUB)
        (stubs / name).chmod(0o755)
    path = {"PATH": f"{stubs}:/usr/bin:/bin"}
    given = ["--run-dir", str(place.run_dir), "--executor", "slurm", "--set", "one.env.FROM_SET=canary-set"]
    place("submit", *given, **path)
    for words in (["status", "--json"], ["script", "one"], ["describe", "latest"], ["--debug", "cancel", "latest"]):
        place(*words, code=None, **path)
    heard = (stubs / "heard.log").read_text()
    assert "sbatch" in heard
    assert "reflow.worker" in heard
    assert place.leaks() == []
