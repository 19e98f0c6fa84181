"""Example distributions, built and installed as a user has them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Build the wheel of a distribution, and install it into a directory that is returned; nothing is downloaded."""

    def install(source: Path) -> Path:
        wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
        environ = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        build = ("wheel", "--no-build-isolation", "-w", str(wheels), str(source))
        unpack = ("install", "--no-index", "-t", str(site))
        for command in (build, unpack):
            files = map(str, wheels.glob("*.whl"))
            argv = [sys.executable, "-m", "pip", *command, "--quiet", "--no-deps", *files]
            done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environ)
            assert done.returncode == 0, done.stderr
        return site

    return install


@pytest.fixture(scope="session")
def run_with() -> Run:
    """Run a program with what is installed in a directory."""

    def run(site: Path, *argv: str, where: Path, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            cwd=where,
            env={**os.environ, "PYTHONPATH": str(site), "PYTHONWARNINGS": "error", **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    return run
