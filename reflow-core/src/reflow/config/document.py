"""One TOML file: its data, and on which line each key stands."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress

from ..errors import ConfigError, Untrusted
from ..model.task import JSON
from ..worker.opener import open_regular, read_open
from ..worker.trust import Trust, doubt

#: bytes that a file has at most
_MOST = 4 << 20

_TOKEN = re.compile(
    r"""
    (?P<skip>[ \t\r]+|\#[^\n]*)
    |(?P<newline>\n)
    |(?P<string>\"\"\"(?:\\.|[^\\])*?\"{3,5}|'''.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')
    |(?P<word>[^\s\#"'\[\]{},=.]+)
    |(?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class Document:
    """A configuration file that was read.

    Parameters
    ----------
    file : str
        Its path.
    data : dict
        What it says.
    text : str
        As it stands.
    """

    def __init__(self, file: str, data: dict[str, JSON], text: str) -> None:
        self.file = file
        self.data = data
        self._lines = positions(text)

    def line(self, *path: str) -> int:
        """The line of a key, or of the nearest table around it; 0 where even that is unknown."""
        for end in range(len(path), 0, -1):
            if path[:end] in self._lines:
                return self._lines[path[:end]]
        return 0


def read(file: str, trusted: Trust | None = None, *, required: bool = False) -> Document | None:
    """Read a file; None where there is none.

    Parameters
    ----------
    file : str
        Its path.
    trusted : Trust, optional
        Who must own it and may write it; None: whoever.
    required : bool
        Whether there must be one.

    Raises
    ------
    Untrusted
        Where it is another user's, or others may write it.
    ConfigError
        Where it cannot be read, is not UTF-8, or is no TOML (with the line), or where a
        required one does not exist.
    """
    try:
        opened = open_regular(file, trusted, follow=True)
        try:
            raw = read_open(opened, file, most=_MOST)
        finally:
            os.close(opened)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise ConfigError(f"configuration file {file} does not exist") from None
        return None
    except OSError as error:
        if trusted is not None:
            _require_own(file, trusted)
        raise ConfigError(f"configuration file {file} cannot be read: {error.strerror or error}") from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}:{line}: the file is not UTF-8", hint="Save it with that encoding.") from None
    text = text.replace("\r\n", "\n")
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return Document(file, tomllib.loads(text), text)
    except RecursionError:
        raise ConfigError(f"{file}: no TOML: it is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        at = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)", message)
        line = int(at[1]) if at and at[1] else text.count("\n") + 1
        said = message[: at.start()] if at else message
        raise ConfigError(f"{file}:{line}: no TOML: {said}", hint=_advice(text.split("\n")[line - 1])) from None


def _require_own(file: str, trusted: Trust) -> None:
    """Raise `Untrusted` where a file that cannot be read is another user's, or others may write it."""
    with suppress(OSError):
        why, hint = doubt(file, os.stat(file), trusted)
        if why:
            raise Untrusted(why, hint=hint)


def _advice(line: str) -> str | None:
    """What is mostly wrong with a line that is no TOML."""
    name, equals, value = line.partition("=")
    value = value.strip()
    if equals and value and value[0] not in "\"'[{" and not value[0].isdigit():
        return f'A string is written in quotes: {name.strip()} = "..."'
    return None


def positions(text: str) -> dict[tuple[str, ...], int]:
    """The line of every table and key of a TOML text (that of the outermost key for what is inside a value)."""
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    path: list[str] = []
    line, depth, state = 1, 0, "start"
    for token in _TOKEN.finditer(text):
        kind, part = token.lastgroup, token.group()
        if kind == "newline" and depth == 0:
            if state == "header":
                table = tuple(path)
                _note(found, table, line)
            path, state = [], "start"
        elif state == "value":
            if kind == "mark":
                depth += (part in "[{") - (part in "]}")
        elif kind == "mark" and part == "[" and not path:
            state = "header"
        elif kind == "mark" and part == "=":
            _note(found, (*table, *path), line)
            state = "value"
        elif kind == "word":
            path.append(part)
        elif kind == "string":
            path.append(part[1:-1])
        line += part.count("\n")
    if state == "header":
        _note(found, tuple(path), line)
    return found


def _note(found: dict[tuple[str, ...], int], path: tuple[str, ...], line: int) -> None:
    for end in range(1, len(path) + 1):
        found.setdefault(path[:end], line)
