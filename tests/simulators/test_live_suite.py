"""The live suite (tests/live) holds on each simulated scheduler as it does on the real ones."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

#: what reflow asks for without being told: its answer is on no transcript, and it does without
ASIDE = {"torque": ["qmgr"]}


@pytest.mark.slow
def test_live_suite(suites: dict[str, tuple[Any, subprocess.Popen[str]]]) -> None:
    """One test, for no process that goes on meanwhile may be left beside others."""
    bad = []
    for kind, (cluster, process) in suites.items():
        process.wait(600)
        log = process.log  # type: ignore[attr-defined]
        log.seek(0)
        said = log.read()
        passed = re.search(r"(\d+) passed", said)
        if process.returncode != 0 or passed is None or int(passed[1]) < 45:
            bad.append(f"{kind}: {said[-20000:]}")
            continue
        assert not cluster.down, f"something has crashed the server of {kind}"
        assert not (cluster.root / "undelivered").exists(), "output could not be delivered: people get mail of that"
        assert cluster.unrecorded == ASIDE.get(kind, [])
    assert not bad, "\n\n".join(bad)
