"""Text for a shell: any value becomes one word, on one line."""

from __future__ import annotations

import re

from ..errors import UsageError

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def quote(text: str) -> str:
    r"""Write a value as one word of a shell script.

    A value with a control character in it is written as ``$'a\nb'``, so that a
    script holds no carriage return (some schedulers refuse those) and no line
    that a scheduler could take for a directive.

    Raises
    ------
    UsageError
        Where it holds a NUL, which no program can be given.
    """
    if _PLAIN.fullmatch(text):
        return text
    if "\0" in text:
        raise UsageError(f"{text!r} holds a NUL character, which no program can be given")
    if not _CONTROL.search(text):
        return "'" + text.replace("'", "'\\''") + "'"
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + _CONTROL.sub(lambda match: f"\\{ord(match[0]):03o}", escaped) + "'"


def words(argv: tuple[str, ...] | list[str]) -> str:
    """Write a command as one line."""
    return " ".join(quote(word) for word in argv)


def exports(variables: dict[str, str]) -> list[str]:
    """Lines that set and export variables; names that no shell takes are left out."""
    return [f"export {name}={quote(value)}" for name, value in variables.items() if _NAME.fullmatch(name)]
