"""Cost of finding out what code tasks reach: 50 tasks over 20 modules, against compiling these modules.

Run it with the number of lines of each module: ``python benchmarks/bench_identity.py 250 5000``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from reflow.authoring.code.own import Own
from reflow.authoring.code.reach import Analysis, analyse
from reflow.model.definition import Entry
from reflow.worker.load import load_flow

_TASKS = 50
_MODULES = 20

_FUNCTION = '''

def f{n}(x, y={n}):
    """Do something with x."""
    total = 0
    for item in range(x):
        # a comment
        if item % 2 == 0 and item < LIMIT:
            total += item * y
        else:
            total -= g(item, factor=FACTORS["a"])
    return total
'''


_HEAD = """
from math import sqrt

LIMIT = 10
FACTORS = {"a": 1, "b": [1, 2, 3]}


def g(x, factor):
    return sqrt(x) * factor
"""
_TASK = """
@wf.job()
def task{n}(x: Annotated[int, Param()] = 1) -> int:
    return {module}.f{function}(x)
"""


def _module(lines: int, index: int) -> str:
    functions = max(_TASKS // _MODULES + 1, lines // _FUNCTION.count("\n"))
    return f"NUMBER = {index}\n{_HEAD}" + "".join(_FUNCTION.format(n=n) for n in range(functions))


def _project(top: Path, lines: int) -> Entry:
    names = [f"bench_module_{lines}_{index}" for index in range(_MODULES)]
    for index, name in enumerate(names):
        (top / f"{name}.py").write_text(_module(lines, index))
    tasks = [_TASK.format(n=n, module=names[n % _MODULES], function=n // _MODULES) for n in range(_TASKS)]
    head = f"from typing import Annotated\nfrom reflow import Param, Workflow\nimport {', '.join(names)}\n"
    (top / "flow.py").write_text(f'{head}wf = Workflow("bench")\n' + "".join(tasks))
    return Entry(file=str(top / "flow.py"), module="flow", variable="wf", path=(str(top),))


def _cpu(function: Callable[[], object]) -> float:
    before = time.process_time()
    function()
    return time.process_time() - before


def _measure(top: Path, lines: int) -> str:
    entry = _project(top, lines)
    flow = load_flow(entry)
    functions = {name: step.function for name, step in flow.tasks.items()}

    def look() -> Analysis:
        return analyse(functions, Own(entry), str(top / "memory"))

    cold, unchanged = _cpu(look), _cpu(look)
    sources = [path.read_bytes() for path in top.glob("*.py")]
    compiling = _cpu(lambda: [compile(source, "", "exec") for source in sources])
    return f"cold {cold:.3f} s, unchanged {unchanged:.3f} s, compiling {compiling:.3f} s"


def main() -> None:
    """Print seconds of CPU for each size of module."""
    for lines in map(int, sys.argv[1:] or ["250", "5000"]):
        with tempfile.TemporaryDirectory() as directory:
            print(f"{_MODULES} modules of {lines} lines: {_measure(Path(directory), lines)}")


if __name__ == "__main__":
    main()
