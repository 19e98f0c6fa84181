"""Clusters that are simulated: made in a directory, gone with it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("program.py")


class Cluster:
    """A simulated scheduler that runs its jobs in the background.

    Attributes
    ----------
    environ : dict
        The environment of a user of it: its programs are first on PATH.
    """

    def __init__(self, kind: str, folder: Path, **site: Any) -> None:
        self.kind, self.root = kind, folder / "cluster"
        home = folder / "home"
        home.mkdir()
        settings = [f"{key}={json.dumps(value)}" for key, value in site.items()]
        command = [sys.executable, "-E", "-S", "-B", str(PROGRAM), kind, str(self.root), "--serve", *settings]
        self.environ = {
            "PATH": f"{self.root / 'bin'}:/usr/bin:/bin",
            "HOME": str(home),
            "USER": "alice",
            "LANG": "C.UTF-8",
            "FLUX_URI": f"local://{self.root.resolve()}/local-0",
        }
        self._runner = subprocess.Popen(command, env=self.environ)
        while not (self.root / "ready").exists():
            assert self._runner.poll() is None, "the simulator did not start"
            time.sleep(0.02)

    def run(
        self, *words: str, stdin: str | None = None, cwd: Path | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """One of its commands."""
        return subprocess.run(
            [str(self.root / "bin" / words[0]), *words[1:]],
            env=self.environ | environ,
            cwd=cwd or self.environ["HOME"],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def script(self, text: str, name: str = "job.sh") -> str:
        """A script file in the user's home."""
        path = Path(self.environ["HOME"], name)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def until(self, what: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait for something to hold."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, "it does not come to be"
            time.sleep(0.05)

    @property
    def down(self) -> bool:
        """Whether something has crashed it."""
        return (self.root / "down").exists()

    @property
    def unrecorded(self) -> list[str]:
        """What was asked of it that no transcript shows: programs and why."""
        path = self.root / "unrecorded"
        return sorted({line.rpartition(": ")[2] for line in path.read_text().splitlines()}) if path.exists() else []

    def stop(self) -> None:
        """Kill its jobs, and end it."""
        (self.root / "stop").touch()
        self._runner.wait(60)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Make a cluster: ``cluster("pbs", max_array=10)``."""
    made: list[Cluster] = []

    def make(kind: str, **site: Any) -> Cluster:
        folder = tmp_path / f"{kind}{len(made)}"
        folder.mkdir()
        made.append(Cluster(kind, folder, **site))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def suites(tmp_path: Path) -> Iterator[dict[str, tuple[Cluster, subprocess.Popen[str]]]]:
    """The live suite against each simulated scheduler, all at once: most of what they do is wait."""
    running: dict[str, tuple[Cluster, subprocess.Popen[str]]] = {}
    live = PROGRAM.parents[1] / "live"
    for kind in ("pbs", "torque", "lsf", "flux"):
        folder = tmp_path / kind
        folder.mkdir()
        cluster = Cluster(kind, folder, cores=8, max_array=20)
        words = ["-p", "no:cacheprovider", "-q", str(live), "--scheduler", kind, "--shared", cluster.environ["HOME"]]
        words += ["--full", "--elements", "48", "--env", "REFLOW_MAX_ARRAY=20", "-k", CHOSEN]
        if kind in ("pbs", "lsf"):  # of the others no transcript shows it, or all jobs are lost with it
            down = cluster.root / "down"
            lines = (f"stop-controller = touch {down}", f"start-controller = rm -f {down}")
            (folder / "control").write_text("\n".join(lines))
            words += ["--control", str(folder / "control")]
        log = open(folder / "log", "w+")  # noqa: SIM115
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *words],
            env=cluster.environ,
            cwd=PROGRAM.parents[2],
            stdout=log,
            stderr=log,
            text=True,
        )
        running[kind] = cluster, process
        process.log = log  # type: ignore[attr-defined]
    yield running
    for cluster, process in running.values():
        process.kill()
        process.wait()
        process.log.close()  # type: ignore[attr-defined]
        cluster.stop()


#: What of the live suite proves most in the least time. Begin times are on no transcript, and are left out.
CHOSEN = " or ".join(
    (
        "TestScheduler and not test_begin",
        "three_stages",
        "exit_kill_and_exception",
        "test_walltime",
        "cancel_leaves_nothing",
        "behind_our_back",
        "branches",
        "job_names",
        "driven_without_wake_ups",
        "array_parallelism",
        "can_never_run",
        "several_processes",
        "controller_restarted",
        "many_elements",
    )
)
