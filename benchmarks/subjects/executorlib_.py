"""executorlib at its fastest, one pool for all calls. Usage: ``executorlib_.py ELEMENTS WORKERS [CACHE]``."""

from __future__ import annotations

import sys
import time

from executorlib import SingleNodeExecutor
from report import report


def noop(x: int) -> int:
    """Give the number back."""
    return x


if __name__ == "__main__":
    elements, workers = map(int, sys.argv[1:3])
    cache = {"cache_directory": sys.argv[3]} if len(sys.argv) > 3 else {}
    begin = time.perf_counter()
    with SingleNodeExecutor(max_workers=workers, block_allocation=True, **cache) as executor:
        futures = [executor.submit(noop, x) for x in range(elements)]
        answer = sum(future.result() for future in futures)
    report(time.perf_counter() - begin, answer)
