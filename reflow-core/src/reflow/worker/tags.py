"""Whose a submission is: the worker's that claims it, or nobody's any more.

``tags/TAG`` is created exclusively, whole, by link(2), which holds on network
file systems too. It says ``claimed JOB_ID`` or ``void``; whoever came first has
decided.
"""

from __future__ import annotations

from . import durable
from .opener import read_regular

VOID = "void"


def create(path: str, word: str) -> str:
    """Create the file with `word`, or find out what it says already.

    Returns
    -------
    str
        `word` where this call has created it, else its content.
    """
    if durable.claim(path, word.encode()):
        return word
    return read(path)


def read(path: str) -> str:
    """What it says; "" where nobody has decided yet."""
    try:
        return read_regular(path).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def claim(path: str, word: str) -> bool:
    """Claim a submission for a job that has started; False where it is void."""
    return (read(path) or create(path, word)) != VOID


def void(path: str) -> str | None:
    """Give a submission up.

    Returns
    -------
    str or None
        None where it is void now; the job's id where a worker has claimed it.
    """
    said = create(path, VOID)
    return None if said == VOID else said.partition(" ")[2]
