"""Measure reflow on this machine, side by side with a bare process pool and with its peers.

Every measurement is a fresh process with a fresh store, and its clock runs from the call (of ``run_local``, of the
pool's constructor, …) until it returns, so the start of the workers is included on all sides. The best of several
rounds counts; within a round the subjects take turns, so that a slow moment of the machine meets all of them.
Nothing is deleted before the end: for minutes after many files were deleted, ext4 takes several times as long to make
new ones, which only who keeps records would pay for.

Usage: ``bench_local.py [--peer NAME=PYTHON]… [--rounds N] [--sizes N,N,…] [--scaling N] [--write]``
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from page import PAGE, machine, renew, rows, today

HERE = Path(__file__).resolve().parent
WORKERS = 2
PATIENCE = 300.0  # seconds that one measurement gets
LONG = 20.0  # seconds after which a measurement is not repeated


@dataclass(frozen=True)
class Measured:
    """One subject's best round: wall time in seconds, peak memory of the driving process in bytes."""

    seconds: float
    peak: int


@dataclass(frozen=True)
class Subject:
    """A way to do the work: how it is called, and whether it keeps results for a second call."""

    name: str
    python: str
    script: str
    caches: bool = True

    def argv(self, elements: int, place: Path) -> list[str]:
        """Return the command line of one measurement."""
        argv = [self.python, str(HERE / "subjects" / self.script), str(elements), str(WORKERS)]
        return [*argv, str(place / "work")] if self.caches else argv


def environment(place: Path) -> dict[str, str]:
    """Return an environment in which every subject keeps its things in a place of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REFLOW_", "PYTHON"))}
    homes = {f"XDG_{name}_HOME": str(place / name.lower()) for name in ("DATA", "CACHE", "CONFIG", "STATE")}
    return kept | homes | {"HOME": str(place)}


def measure(subject: Subject, elements: int, place: Path) -> Measured | None:
    """Run one subject in a process of its own; None if patience was lost."""
    argv = subject.argv(elements, place)
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, env=environment(place), cwd=place, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} failed:\n{done.stderr}")
    said = json.loads(done.stdout.splitlines()[-1])
    if said["answer"] not in (elements * (elements - 1) // 2, None):
        raise SystemExit(f"{' '.join(argv)} answered {said['answer']}")
    return Measured(said["seconds"], said["peak"])


def best(rounds: Sequence[Measured | None]) -> Measured | None:
    """Return the quickest round, with the highest peak of all; None if all were given up."""
    done = [measured for measured in rounds if measured is not None]
    return Measured(min(m.seconds for m in done), max(m.peak for m in done)) if done else None


Table = dict[tuple[str, str, int], "Measured | None"]


def compare(subjects: Sequence[Subject], sizes: Sequence[int], rounds: int, place: Path) -> Table:
    """Measure every subject at every size, cold and cached, in directories below `place`."""
    collected: dict[tuple[str, str, int], list[Measured | None]] = {}
    for elements in sizes:
        slow = set()  # what takes long differs little from round to round
        for _ in range(rounds):
            for subject in subjects:
                if subject.name in slow:
                    continue
                for state, measured in once(subject, elements, place):
                    collected.setdefault((subject.name, state, elements), []).append(measured)
                    if measured is None or measured.seconds > LONG:
                        slow.add(subject.name)
        print(f"measured {elements:,} elements", file=sys.stderr)
    return {key: best(seen) for key, seen in collected.items()}


def once(subject: Subject, elements: int, place: Path) -> Iterator[tuple[str, Measured | None]]:
    """Measure one subject once, cold and then cached."""
    directory = Path(tempfile.mkdtemp(dir=place))
    for state in states(subject):
        yield state, measure(subject, elements, directory)


def start_times(commands: Mapping[str, Sequence[Sequence[str]]], place: Path, rounds: int) -> dict[str, float]:
    """Return the best wall time of each command in seconds; the commands take turns, and so do its variants."""
    best_times = dict.fromkeys(commands, float("inf"))
    for number in range(rounds):
        for name, variants in commands.items():
            argv = variants[number % len(variants)]
            begin = time.perf_counter()
            subprocess.run(argv, stdout=subprocess.DEVNULL, check=True, env=environment(place), cwd=place)
            best_times[name] = min(best_times[name], time.perf_counter() - begin)
    return best_times


def idle_memory() -> int:
    """Return the peak memory of an interpreter that does nothing, in bytes."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from report import peak_memory; print(peak_memory())"
    return int(subprocess.check_output([sys.executable, "-c", code, str(HERE / "subjects")], text=True))


def seconds(measured: Measured | None) -> str:
    """Format a time, or that there was none."""
    return f"> {PATIENCE:.0f} s" if measured is None else f"{measured.seconds:.2f} s"


def ratio(measured: Measured | None, pool: Measured | None) -> str:
    """Format a time as a multiple of the pool's."""
    return "—" if measured is None or pool is None else f"{measured.seconds / pool.seconds:.2f}×"


def comparison(subjects: Sequence[Subject], table: Table, sizes: Sequence[int]) -> str:
    """Return the table of all subjects side by side."""
    heads = [f"{s.name}, {state}" if s.caches else s.name for s in subjects for state in states(s)]
    cells = [["elements", *heads]]
    for elements in sizes:
        pool = table["pool", "cold", elements]
        line = [f"{elements:,}"]
        for subject in subjects:
            for state in states(subject):
                measured = table[subject.name, state, elements]
                line.append(
                    seconds(measured) if subject.name == "pool" else f"{seconds(measured)} ({ratio(measured, pool)})"
                )
        cells.append(line)
    return rows(cells)


def states(subject: Subject) -> tuple[str, ...]:
    """Return in which states a subject is measured."""
    return ("cold", "cached") if subject.caches else ("cold",)


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help="executorlib or reflow-hpc")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default="1000,3000,10000", help="numbers of elements, with commas between")
    parser.add_argument("--scaling", type=int, default=100_000, help="elements of the scaling run; 0: none")
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.name}")
    options = parser.parse_args()

    sizes = [int(size) for size in options.sizes.split(",")]
    subjects = [Subject("pool", sys.executable, "pool.py", caches=False), Subject("reflow", sys.executable, "flow.py")]
    for peer in options.peer:
        name, _, python = peer.partition("=")
        if name == "executorlib":
            subjects.append(Subject("executorlib", python, "executorlib_.py", caches=False))
            subjects.append(Subject("executorlib with cache", python, "executorlib_.py"))
        else:
            subjects.append(Subject(name, python, "flow.py"))

    with tempfile.TemporaryDirectory(prefix="reflow-bench-") as directory:
        text = report(subjects, sizes, options, Path(directory))
    print(text)
    if options.write:
        renew("measured", text)


def report(subjects: Sequence[Subject], sizes: Sequence[int], options: argparse.Namespace, place: Path) -> str:
    """Measure everything, and return the page's text."""
    table = compare(subjects, sizes, options.rounds, place)
    parts = [
        f"Measured on {today()}: {machine()}, {WORKERS} workers, best of {options.rounds}"
        " rounds; in brackets the multiple of the bare pool's time.",
        comparison(subjects, table, sizes),
    ]
    if options.scaling:
        parts.append(scaling_table(table, sizes, options, place))
    parts.append(starts_table())
    return "\n\n".join(parts)


def scaling_table(table: Table, sizes: Sequence[int], options: argparse.Namespace, place: Path) -> str:
    """Measure a large run against the largest of the comparison, and the memory of what drives it."""
    small, large = max(sizes), options.scaling
    subject = Subject("reflow", sys.executable, "flow.py")
    big = compare([subject], [large], options.rounds, place)
    cells = [["reflow", f"{small:,}", f"{large:,}", "factor", "driver's peak above an idle interpreter"]]
    idle = idle_memory()
    for state in states(subject):
        less, more = table["reflow", state, small], big["reflow", state, large]
        if less is None or more is None:
            raise SystemExit(f"reflow took longer than {PATIENCE:.0f} s")
        megabytes = (more.peak - idle) / 1e6
        factor = f"{more.seconds / less.seconds:.1f}×"
        cells.append([state, seconds(less), seconds(more), factor, f"{megabytes:.0f} MB"])
    return rows(cells)


def starts_table(rounds: int = 20) -> str:
    """Measure how long a worker and the commands take to start, against what they cannot do without.

    Each round has a run of its own, for a worker reads what earlier starts of its element have left.
    """
    python = sys.executable
    with tempfile.TemporaryDirectory(prefix="reflow-bench-") as directory:
        place = Path(directory)
        workers = []
        for number in range(rounds):
            prepare = [python, str(HERE / "subjects" / "start.py"), str(place / f"run{number}")]
            workers.append(json.loads(subprocess.check_output(prepare, env=environment(place)).splitlines()[-1]))
        floors = {
            "imports": [python, "-c", "import msgspec, inspect, dataclasses"],
            "typer": [python, "-c", "import typer"],
        }
        measured = {
            "a worker, to the user's function": ("imports", workers),
            "`reflow --version`": ("typer", [[str(Path(python).with_name("reflow")), "--version"]]),
            "`python pipeline.py --help`": ("typer", [[python, str(HERE.parent / "examples" / "etl.py"), "--help"]]),
        }
        commands = {name: [argv] for name, argv in floors.items()}
        times = start_times({**commands, **{name: variants for name, (_, variants) in measured.items()}}, place, rounds)
    cells = [["start", "time", "against", "time", "factor"]]
    for name, (floor, _) in measured.items():
        against = f"`python -c '{floors[floor][-1]}'`"
        factor = f"{times[name] / times[floor]:.2f}×"
        cells.append([name, f"{times[name] * 1e3:.0f} ms", against, f"{times[floor] * 1e3:.0f} ms", factor])
    return rows(cells)


if __name__ == "__main__":
    main()
