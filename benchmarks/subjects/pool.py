"""The yardstick: a bare process pool, which records nothing. Usage: ``pool.py ELEMENTS WORKERS``."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor

from report import report


def noop(x: int) -> int:
    """Give the number back."""
    return x


if __name__ == "__main__":
    elements, workers = map(int, sys.argv[1:])
    begin = time.perf_counter()
    with ProcessPoolExecutor(workers) as pool:
        answer = sum(pool.map(noop, range(elements), chunksize=1))
    report(time.perf_counter() - begin, answer)
