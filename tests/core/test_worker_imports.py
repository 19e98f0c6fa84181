"""What a worker has imported when it calls a task: a start-up that is paid for every element of a batch job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from reflow.model.definition import Entry
from reflow.worker.load import load_flow
from reflow.workflow import Workflow

SCRIPT = """
import sys
from typing import Annotated
import reflow

wf = reflow.Workflow("imports")

@wf.job()
def loaded(n: Annotated[int, reflow.Param()] = 1, run_dir: reflow.RunDir = reflow.RunDir()) -> list[str]:
    return sorted(sys.modules)
"""

#: reflow's own; to be extended only by what a task cannot start without
OWN = {
    "reflow",
    "reflow.authoring",
    "reflow.authoring.flow",
    "reflow.authoring.hints",
    "reflow.authoring.markers",
    "reflow.errors",
    "reflow.model",
    "reflow.model.codec",
    "reflow.model.codec_scalar",
    "reflow.model.codec_wire",
    "reflow.model.definition",
    "reflow.model.digest",
    "reflow.model.frames",
    "reflow.model.layout",
    "reflow.model.names",
    "reflow.model.plain",
    "reflow.model.ranges",
    "reflow.model.record",
    "reflow.model.resources",
    "reflow.model.retry",
    "reflow.model.schema",
    "reflow.model.task",
    "reflow.model.versions",
    "reflow.worker",
    "reflow.worker.children",
    "reflow.worker.context",
    "reflow.worker.durable",
    "reflow.worker.element",
    "reflow.worker.frozen",
    "reflow.worker.imports",
    "reflow.worker.inputs",
    "reflow.worker.interrupts",
    "reflow.worker.keeper",
    "reflow.worker.load",
    "reflow.worker.mailbox",
    "reflow.worker.objects",
    "reflow.worker.main",
    "reflow.worker.opener",
    "reflow.worker.randomness",
    "reflow.worker.relay",
    "reflow.worker.restore",
    "reflow.worker.state",
    "reflow.worker.tags",
    "reflow.worker.trust",
    "reflow.worker.usage",
    "reflow.worker.values",
    "reflow.workflow",
}

HEAVY = {"typer", "click", "rich", "pluggy", "sqlite3", "subprocess", "platformdirs", "asyncio", "json", "logging"}
HEAVY |= {"inspect", "dataclasses", "ast", "tokenize", "hashlib"}


def test_a_worker_imports_this_and_no_more(tmp_path: Path) -> None:
    script = tmp_path / "imports.py"
    script.write_text(SCRIPT)
    flow = load_flow(Entry(file=str(script), module="imports", variable="wf", path=(str(tmp_path),)))
    assert isinstance(flow, Workflow)
    run = flow.run_local(tmp_path / "run", max_workers=1, store_path=tmp_path / "store")
    loaded = set(run.result("loaded"))
    assert {name for name in loaded if name.partition(".")[0] == "reflow"} - {"reflow.worker.__main__"} == OWN
    bare = "import sys, msgspec; print(*sys.modules)"
    floor = subprocess.run([sys.executable, "-c", bare], capture_output=True, text=True, timeout=60, check=True).stdout
    assert not HEAVY & loaded - set(floor.split())  # msgspec itself imports some of them on Python 3.10
