"""Whose a submission is: the worker's that claims it, or nobody's any more.

``tags/TAG`` is created exclusively, whole, by link(2), which holds on network
file systems too. It says ``claimed JOB_ID`` or ``void``; whoever came first has
decided. When the run has ended, ``over`` takes the place of either.
"""

from __future__ import annotations

from . import durable
from .opener import read_regular

VOID = "void"

#: the run has ended: should the scheduler start the job again, it runs nothing
OVER = "over"


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
    """Claim a submission for a job that has started; False where nothing of it is to run any more."""
    return (read(path) or create(path, word)) not in (VOID, OVER)


def close(path: str) -> None:
    """Let no job of a submission run anything any more; what runs goes on."""
    durable.make_directories(path.rpartition("/")[0])
    durable.write_new(path, OVER.encode(), durable=False)


def void(path: str) -> str | None:
    """Give a submission up.

    Returns
    -------
    str or None
        None where it is void now; the job's id where a worker has claimed it.
    """
    said = create(path, VOID)
    return None if said == VOID else said.partition(" ")[2]
