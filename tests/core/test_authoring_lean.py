"""What a worker loads of authoring costs it no module of the standard library that it has not loaded anyway."""

from __future__ import annotations

import subprocess
import sys


def test_markers_flows_and_hints_import_nothing_more() -> None:
    code = (
        "import sys, msgspec, inspect, dataclasses; before = set(sys.modules)\n"
        "import reflow.authoring, reflow.authoring.hints, reflow.model.units, reflow.model.retry\n"
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith('reflow')))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"


def test_defining_resolves_nothing() -> None:
    code = (
        "import sys\n"
        "from reflow.authoring import Flow\n"
        "wf = Flow('x')\n"
        "def task(x: 'Nowhere') -> 'Nothing': ...\n"
        "wf.array_job(time='no time')(task)\n"
        "wf.include(wf, 'a')\n"
        "print([name for name in ('reflow.authoring.compile', 'reflow.authoring.hints', 'reflow.model.codec') "
        "if name in sys.modules], list(wf.tasks))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[] ['task']"
