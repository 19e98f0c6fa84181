"""One lane of a job: runs every n-th slot, one after another. It needs nothing but Python."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

STEP = 0.02


def write(path: str, value: object) -> None:
    """Make a file appear whole."""
    draft = f"{path}.{os.getpid()}"
    with open(draft, "w") as stream:
        json.dump(value, stream)
    os.replace(draft, path)


def read(path: str) -> Any:
    """What a file says; None where it is not there."""
    try:
        with open(path) as stream:
            return json.load(stream)
    except FileNotFoundError:
        return None


def stop(home: str, slot: int, number: int) -> None:
    """Send a signal to all processes of a running slot."""
    pid = read(f"{home}/{slot}.pid")
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)


def over(home: str, slot: int | None) -> bool:
    """Whether a job, or one slot of it, has ended, or is gone."""
    spec = read(f"{home}/spec")
    if spec is None:
        return True
    slots = range(spec["slots"]) if slot is None else [slot]
    return all(os.path.exists(f"{home}/{each}.end") for each in slots)


def main(home: str, number: int) -> None:
    """Wait for what the job waits for, then run this lane's slots."""
    spec = read(f"{home}/spec")
    os.umask(spec["umask"])
    mine = range(number, spec["slots"], spec["lanes"])
    while time.time() < spec["begin"] or not all(over(other, slot) for other, slot in spec["after"]):
        if all(os.path.exists(f"{home}/{slot}.cancel") for slot in mine):
            break
        time.sleep(STEP)
    for slot in mine:
        write(f"{home}/{slot}.end", run(spec, home, slot))


def run(spec: dict[str, Any], home: str, slot: int) -> dict[str, Any]:
    """Run one slot; tell how it ended."""
    if os.path.exists(f"{home}/{slot}.cancel"):
        return {"cancelled": True}
    environment = {**os.environ, "REFLOW_SLOT": str(slot)}
    try:
        with open(spec["log"], "a") as log:
            process = subprocess.Popen(
                [spec["script"]],
                cwd=spec["cwd"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except OSError as error:
        return {"code": 1, "class": "launch", "reason": str(error)}
    write(f"{home}/{slot}.pid", process.pid)
    # Who cancels leaves word first and then looks for the process: one of the two sees the other.
    if os.path.exists(f"{home}/{slot}.cancel"):
        stop(home, slot, signal.SIGTERM)
    late = False
    try:
        code = process.wait(spec["walltime"])
    except subprocess.TimeoutExpired:
        late = True
        stop(home, slot, signal.SIGKILL)
        code = process.wait()
    if os.path.exists(f"{home}/{slot}.cancel"):
        return {"cancelled": True}
    return {"code": code, "class": "timeout"} if late else {"code": code}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
