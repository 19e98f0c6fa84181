"""Names of submissions."""

from __future__ import annotations

import re

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def new_tag(random: bytes) -> str:
    """A tag of ten characters from eight random bytes: a letter, then 45 random bits in base32.

    A letter at its head, and nothing but lower-case letters and digits: every
    scheduler takes it as a job's name, whole.
    """
    value = int.from_bytes(random[:8], "big")
    head = _LETTERS[value % 26]
    value //= 26
    tail = []
    for _ in range(9):
        tail.append(_LETTERS[value % 32])
        value //= 32
    return head + "".join(tail)


def job_name(tag: str, tail: str, most: int = 64) -> str:
    """A job's name: the tag, then what tells a person which job it is."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", tail)
    return f"{tag}.{safe}"[:most].rstrip(".")
