"""A job whose function ends the process as it begins. Usage: ``start.py RUN_DIR`` prints its worker's command line."""

from __future__ import annotations

import os

from reflow import Workflow

wf = Workflow("start")


@wf.job()
def leave() -> None:
    """End before any result is written: a worker that is started again comes here again."""
    os._exit(0)


if __name__ == "__main__":
    import json  # none of these is the worker's
    import sys
    from pathlib import Path

    run = wf.run_local(sys.argv[1])
    root = Path(run.run_dir) / ".reflow" / run.run_id
    (job,) = (root / "jobs").glob("*.json")
    print(json.dumps([sys.executable, "-m", "reflow.worker", str(root), job.stem]))
