"""Text of others on a terminal: control characters are shown as escapes, so that none of them acts."""

from __future__ import annotations

from typing import TextIO


def clean(text: object, *, lines: bool = False) -> str:
    """Return text that can be printed anywhere.

    Parameters
    ----------
    text : object
        Converted by ``str``.
    lines : bool
        Keep line ends and tabs; otherwise they are escaped too.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode("ascii")
        for char in str(text)
    )


def cleaned_for(stream: TextIO, text: str) -> str:
    """Return the text as it is for a file or a pipe, and with escapes for a terminal."""
    return clean(text.replace("\r\n", "\n"), lines=True) if stream.isatty() else text
