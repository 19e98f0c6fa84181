"""What every subject prints: one line of JSON with its seconds, its peak memory and its answer."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path


def peak_memory() -> int:
    """Return the most memory this process has held, in bytes.

    Linux counts it per address space in ``VmHWM``; ``ru_maxrss`` would include what the parent held before the exec.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def report(seconds: float, answer: object) -> None:
    """Print the measurement."""
    print(json.dumps({"seconds": seconds, "peak": peak_memory(), "answer": answer}))
