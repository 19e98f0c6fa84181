"""Pausing the garbage collector of a process, several threads of which may ask for that at the same time."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_pauses = 0
#: whether the collector is to run once nobody pauses it
_wanted = True


@contextmanager
def paused() -> Iterator[None]:
    """Collect nothing meanwhile; the last thread to leave puts back what the first one has found."""
    global _pauses, _wanted
    with _lock:
        if not _pauses:
            _wanted = gc.isenabled()
        _pauses += 1
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            _pauses -= 1
            if not _pauses and _wanted:
                gc.enable()


def is_wanted() -> bool:
    """Return whether the collector runs, pauses disregarded."""
    with _lock:
        return _wanted if _pauses else gc.isenabled()


def want(enabled: bool) -> None:
    """Let the collector run, or not; as soon as the last pause ends."""
    global _wanted
    with _lock:
        if _pauses:
            _wanted = enabled
        else:
            (gc.enable if enabled else gc.disable)()
