"""The live suite (tests/live) holds on each simulated scheduler as it does on the real ones."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

#: what reflow asks for without being told: its answer is on no transcript, and it does without
ASIDE = {"torque": ["qmgr"], "lsf": ["bparams"]}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pbs", "torque", "lsf", "flux"])
def test_live_suite(kind: str, suites: dict[str, tuple[Any, subprocess.Popen[str]]]) -> None:
    cluster, process = suites[kind]
    process.wait(600)
    log = process.log  # type: ignore[attr-defined]
    log.seek(0)
    said = log.read()
    assert process.returncode == 0, said[-20000:]
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None
    assert int(passed[1]) >= 45, said
    assert not cluster.down, "something has crashed the server"
    assert not (cluster.root / "undelivered").exists(), "output could not be delivered: people get mail of that"
    assert cluster.unrecorded == ASIDE.get(kind, [])
