"""Measure reflow on this machine's Slurm against three ``sbatch`` by hand that depend on each other.

Three stages (a list, an array over it, its sum) that do nothing but start Python: by hand, driven by wake-up jobs
alone, and with the last worker of each stage going on. The clock runs from the start of what submits until the last
stage has its result. The subjects take turns, and the medians of all rounds are compared. Every command of the
scheduler is counted, by a directory of small scripts that stands first on PATH.

Usage: ``bench_slurm.py [--rounds N] [--elements N] [--shared DIR] [--options "sbatch options"] [--write [PAGE]]``
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from page import PAGE, machine, renew, rows, today

from reflow import Run

SUBJECTS = Path(__file__).resolve().parent / "subjects"
PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo")
STAGES = ("numbers", "noop", "total")
#: what says where Slurm is and who asks, and does not come from a job
_WHERE = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT")
PATIENCE = 300.0  # seconds that one round gets


@dataclass(frozen=True)
class Measured:
    """One round: seconds from submit to the last result, of these in which no stage had been submitted, and calls."""

    seconds: float
    waking: float
    calls: Counter[str]


def counting(place: Path) -> tuple[dict[str, str], Callable[[], Counter[str]]]:
    """Return an environment in which Slurm's commands are counted, and what counts them."""
    programs, log = place / "programs", place / "calls"
    programs.mkdir()
    log.touch()
    for name in PROGRAMS:
        real = shutil.which(name)
        if real is None:
            raise SystemExit(f"there is no {name} on PATH: this benchmark needs Slurm")
        (programs / name).write_text(
            f'#!/bin/sh\necho {name} >>{shlex.quote(str(log))}\nexec {shlex.quote(real)} "$@"\n'
        )
        (programs / name).chmod(0o755)
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("REFLOW_", "SLURM_")) or name in _WHERE
    }
    environ |= {
        "PATH": f"{programs}{os.pathsep}{environ['PATH']}",
        "REFLOW_STORE_PATH": str(place / "store"),
        "XDG_CONFIG_HOME": str(place),
    }
    return environ, lambda: Counter(log.read_text().split())


def by_hand(elements: int, place: Path, options: Sequence[str]) -> Measured:
    """Submit three scripts, each after the one before."""
    environ, calls = counting(place)
    python = shlex.join([sys.executable, str(SUBJECTS / "by_hand.py")])
    for stage in STAGES:
        (place / f"{stage}.sh").write_text(
            f"#!/bin/bash\ncd {shlex.quote(str(place))}\nexec {python} {stage} {elements}\n"
        )
    sbatch = shlex.join(["sbatch", "--parsable", "--output=/dev/null", *options])
    (place / "submit.sh").write_text(
        "set -e\n"
        f"first=$({sbatch} numbers.sh)\n"
        f"second=$({sbatch} --dependency=afterok:$first --array=0-{elements - 1} noop.sh)\n"
        f"{sbatch} --dependency=afterok:$second total.sh\n"
    )
    begin = time.time()
    subprocess.run(["bash", "submit.sh"], cwd=place, env=environ, check=True, stdout=subprocess.DEVNULL)
    found = place / "total.json"
    until(found.exists, begin, str(place))
    said = json.loads(found.read_text())
    check(said["answer"], elements)
    return Measured(said["at"] - begin, 0.0, calls())


def by_reflow(elements: int, place: Path, options: Sequence[str], *, fast: bool) -> Measured:
    """Submit the workflow, and wait until it has driven itself to its end."""
    environ, calls = counting(place)
    environ["REFLOW_DISPATCH_FAST_ADVANCE"] = str(fast).lower()
    environ["REFLOW_NATIVE"] = " ".join(options)
    argv = [sys.executable, "-m", "reflow", "submit", str(SUBJECTS / "flow.py"), "--executor", "slurm"]
    argv += ["--run-dir", str(place / "run"), "--elements", str(elements)]
    begin = time.time()
    subprocess.run(argv, cwd=place, env=environ, check=True, capture_output=True)
    run = Run.open(place / "run")
    until(lambda: run.state.ended, begin, str(place))
    check(run.result("total"), elements)
    ends = {row["task"]: row for row in run.status(elements=True)["elements"]}
    events = list(read_events(Path(run.root)))
    asked = {event["task"]: event["at"] for event in events if event["k"] == "intent"}
    last = {
        stage: max(event["e"] for event in events if event["k"] == "finished" and event["t"] == stage)
        for stage in STAGES
    }
    waking = sum(asked[after] - last[before] for before, after in pairwise(STAGES))
    time.sleep(2.0)  # what the last advance may still have to say to the scheduler is counted, too
    return Measured(ends["total"]["ended"] - begin, waking, calls())


def read_events(root: Path) -> list[dict[str, Any]]:
    """Return the run's events: a line each, behind eighteen characters of length and checksum."""
    lines = [line for path in sorted(root.glob("events/*/*.log")) for line in path.read_text().splitlines()]
    return [json.loads(line[18:]) for line in lines]


def until(done: Callable[[], bool], begin: float, what: str) -> None:
    """Wait, without being in the way."""
    while not done():
        if time.time() - begin > PATIENCE:
            raise SystemExit(f"{what} did not end in {PATIENCE:.0f} s")
        time.sleep(0.5)


def check(answer: object, elements: int) -> None:
    """Stop where the answer is wrong."""
    if answer != elements * (elements - 1) // 2:
        raise SystemExit(f"the answer is {answer}")


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--elements", type=int, default=200)
    parser.add_argument("--shared", type=Path, default=Path.home(), help="a directory that all nodes see")
    parser.add_argument("--options", default="", help="for every sbatch, such as --account=x")
    parser.add_argument("--write", nargs="?", type=Path, const=PAGE, help=f"renew {PAGE.name}")
    options = parser.parse_args()

    native = shlex.split(options.options)
    subjects: dict[str, Callable[[Path], Measured]] = {
        "three `sbatch` by hand": lambda place: by_hand(options.elements, place, native),
        "reflow, wake-up jobs alone": lambda place: by_reflow(options.elements, place, native, fast=False),
        "reflow, the last worker goes on": lambda place: by_reflow(options.elements, place, native, fast=True),
    }
    table: dict[str, list[Measured]] = {name: [] for name in subjects}
    for number in range(options.rounds):
        for name, subject in subjects.items():
            with tempfile.TemporaryDirectory(prefix="reflow-bench-", dir=options.shared) as directory:
                table[name].append(measured := subject(Path(directory).resolve()))
            print(f"round {number + 1}: {name}: {measured.seconds:.2f} s, {dict(measured.calls)}", file=sys.stderr)

    hand = median(one.seconds for one in next(iter(table.values())))
    cells = [
        ["", "submit to last result", "best to worst", "factor", "between the stages", "commands of the scheduler"]
    ]
    for name, rounds in table.items():
        times = [one.seconds for one in rounds]
        usual = median(times)
        share = median(one.waking for one in rounds)
        calls = max((one.calls for one in rounds), key=lambda calls: sum(calls.values()))
        cells.append(
            [
                name,
                f"{usual:.1f} s",
                f"{min(times):.1f} to {max(times):.1f} s",
                f"{usual / hand:.2f}×",
                f"{share:.2f} s ({share / usual:.0%})" if share else "—",
                f"{sum(calls.values())} ({', '.join(f'{count} {call}' for call, count in sorted(calls.items()))})",
            ]
        )
    version = subprocess.check_output(["sbatch", "--version"], text=True).strip()
    text = "\n\n".join(
        [
            f"Measured on {today()}: {machine()}, {version} on one host, an array of {options.elements} elements,"
            f" median of {options.rounds} rounds.",
            rows(cells),
        ]
    )
    print(text)
    if options.write:
        renew("slurm", text, options.write)


if __name__ == "__main__":
    main()
