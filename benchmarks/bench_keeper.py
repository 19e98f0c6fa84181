"""What it costs a warm worker to make sure that an element has changed nothing.

``python benchmarks/bench_keeper.py``: microseconds for an element, for a script of 200 names and 10 containers, with 60
and with 300 loggers, and for each row of the table.
"""

from __future__ import annotations

import logging
import sys
import timeit
import types
from collections.abc import Callable

from reflow.worker.keeper import Keeper
from reflow.worker.restore import TABLE

SOURCE = "\n".join(
    [
        *(f"def function_{n}(value={n}): return value" for n in range(90)),
        *(f"CONSTANT_{n} = {n}" for n in range(100)),
        *(f"TABLE_{n} = {{key: str(key) for key in range(20)}}" for n in range(5)),
        *(f"LIST_{n} = list(range(20))" for n in range(5)),
    ]
)

TIMES = 2000


def microseconds(function: Callable[[], object]) -> float:
    """Return the least time that one call took, of several series."""
    return min(timeit.repeat(function, number=TIMES, repeat=5)) / TIMES * 1e6


def element(keeper: Keeper) -> None:
    """Do all that is done around an element."""
    keeper.begin()
    keeper.quiet()
    keeper.settle()


def main() -> None:
    """Measure, and print a line for each."""
    module = types.ModuleType("script")
    module.__file__ = __file__
    sys.modules["script"] = module
    exec(compile(SOURCE, __file__, "exec"), vars(module))  # noqa: S102
    for loggers in (0, 60, 300):
        for number in range(loggers):
            logging.getLogger(f"bench.{number}")
        keeper = Keeper()
        with keeper.loading():
            pass
        print(f"{microseconds(lambda keeper=keeper: element(keeper)):8.1f}  an element, {loggers} loggers")
    for row in TABLE:
        kept = row.keep(row.read())
        print(f"{microseconds(lambda row=row, kept=kept: row.same(kept, row.read())):8.2f}  {row.name}")


if __name__ == "__main__":
    main()
