"""Work that takes no longer than it may, whatever it waits for."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread


def within(seconds: float, work: Callable[[], str]) -> str:
    """Run `work` for so many seconds at most; what it says, or that it did not end in time.

    Time-outs of sockets bound each wait for a byte, and name resolution has none: only who waits can bound the whole.
    What does not end in time goes on unobserved, and ends with the process.
    """
    said: list[str] = []
    thread = Thread(target=lambda: said.append(work()), name="reflow-notify", daemon=True)
    thread.start()
    thread.join(seconds)
    return said[0] if said else f"it took longer than {seconds:g} s"
