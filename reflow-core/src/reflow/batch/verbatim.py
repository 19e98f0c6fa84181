"""Options that pass verbatim to a scheduler, and those among them that would take a job out of reflow's hands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from .dialect import Dialect


def long_option(name: str, least: int) -> str:
    """Return a regular expression for a long option, also cut short to `least` characters or more."""
    return f"(?:{'|'.join(name[:end] for end in range(len(name), least - 1, -1))})(?:[= ]|$)"


def readings(word: str, following: str, bare: str) -> Iterator[str]:
    """Yield each option in a word, with what follows it; several short options may share one word.

    Parameters
    ----------
    word : str
        The word.
    following : str
        The word behind it; "" where there is none.
    bare : str
        Letters of the short options without a value, behind which another may begin in the same word.
    """
    yield f"{word} {following}"
    while len(word) > 2 and word[0] == "-" and word[1] in bare:
        word = f"-{word[2:]}"
        yield f"{word} {following}"


def refuse(speaks: Dialect, words: Sequence[str], *, reruns: bool, shown: str = "native={!r}") -> None:
    """Refuse options that rename a job, send it elsewhere, let it run again or change how it is submitted.

    Parameters
    ----------
    speaks : Dialect
        The scheduler.
    words : sequence of str
        The options, as they are given to the command that submits.
    reruns : bool
        Whether the scheduler may run this job again by itself.
    shown : str
        How the message names an option.

    Raises
    ------
    UsageError
        For the first of them.
    """
    for at, word in enumerate(words):
        found = {
            kind
            for text in readings(word, "".join(words[at + 1 : at + 2]), speaks.bare)
            for kind in ("renames", "strays", "requeues", "breaks")
            if re.match(getattr(speaks, kind), text)
        }
        name = shown.format(word)
        if "renames" in found:
            raise UsageError(
                f"{name}: jobs are found by their names, which begin with a tag of reflow's",
                hint="name='...' says what follows the tag",
            )
        if "strays" in found:
            ways = ", ".join(speaks.address)
            raise UsageError(
                f"{name}: all jobs of a run are on one instance of {speaks.title}",
                hint=f"name it where the run is submitted: {ways}" if ways else "submit the run there",
            )
        if "requeues" in found and not reruns:
            raise UsageError(
                f"{name}: 'requeue' is not for tasks: no scheduler runs one again", hint="retries= says how often"
            )
        if "breaks" in found:
            raise UsageError(
                f"{name}: reflow itself decides what is submitted, and reads the job's id from the answer",
                hint="leave it out",
            )
