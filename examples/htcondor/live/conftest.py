"""A personal pool for the live tests; where HTCondor is not installed they are skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

POOL = Path(__file__).parent / "pool"


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start a pool, and let the commands of this process use it."""
    if shutil.which("condor_master", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("not run: there is no condor_master (Debian 13: apt-get install condor)")
    if os.getuid() == 0:
        pytest.skip("not run: root's personal pool would run jobs as nobody; run this as an ordinary user")
    place = tmp_path_factory.mktemp("pool")
    subprocess.run([POOL, "start", place], check=True, timeout=120)
    os.environ["CONDOR_CONFIG"] = str(place / "condor_config")
    yield
    subprocess.run([POOL, "stop", place], check=True, timeout=120)
