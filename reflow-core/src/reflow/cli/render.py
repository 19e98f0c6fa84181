"""Everything that is printed: data on stdout, talk on stderr, tables that fit the terminal.

What a run's author or a scheduler wrote is never printed raw: control characters
and lone surrogates are shown as escapes, so no name can move the cursor or stop
the output.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from ..model import terminal

clean = terminal.clean

#: colour of a state, as click and rich both name it
COLOURS = {
    "SUCCESS": "green",
    "FAILED": "red",
    "CANCELLED": "magenta",
    "SKIPPED": "yellow",
    "STALLED": "yellow",
    "RUNNING": "blue",
}


def coloured(stream: TextIO) -> bool:
    """Whether colours and moving bars are welcome on `stream`."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def style(text: str, colour: str | None, stream: TextIO) -> str:
    """`text` in bold `colour` where the stream takes colours."""
    if colour is None or not coloured(stream):
        return text
    import click

    return click.style(text, fg=colour, bold=True)


def put(text: object = "") -> None:
    """Print lines of data."""
    _write(sys.stdout, clean(text, lines=True))


def say(text: object = "") -> None:
    """Print lines for the person at the terminal, who may not be there."""
    _write(sys.stderr, clean(text, lines=True))


def complain(kind: str, text: object) -> None:
    """Print ``kind: text`` on stderr, as an error, a warning or a hint."""
    colour = {"error": "red", "warning": "yellow"}.get(kind)
    _write(sys.stderr, f"{style(f'{kind}:', colour, sys.stderr)} {clean(text, lines=True)}")


class Verbatim:
    """Prints what others wrote, byte by byte; on a terminal as text in which control characters are escaped.

    Parameters
    ----------
    raw : bool
        Whether a terminal is given the bytes as they are, too.
    """

    def __init__(self, *, raw: bool = False) -> None:
        self._raw = raw or not sys.stdout.isatty()
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode

    def put(self, piece: bytes) -> None:
        """Print what comes next."""
        if self._raw:
            sys.stdout.flush()
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        text = clean(self._decode(piece).replace("\r\n", "\n"), lines=True)
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()


def put_json(value: object) -> None:
    """Print plain data as JSON, in ASCII, so that it passes through any terminal or pipe."""
    import json

    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print a table on stdout that folds, and never cuts, what does not fit.

    Parameters
    ----------
    columns : sequence of str
        Headings. A column named STATE is coloured.
    rows : iterable of sequences
        One sequence of cells a row; None is an empty cell.
    right : sequence of str
        Headings of the columns that are aligned on the right.
    """
    import shutil

    cells = [["" if cell is None else clean(cell) for cell in row] for row in rows]
    natural = [max(map(_width, column)) for column in zip(columns, *cells, strict=True)]
    room = shutil.get_terminal_size().columns - 2 * (len(columns) - 1)
    # The widest columns give way first: none is wider than the most that lets all of them fit.
    most = next((most for most in range(max(natural), 1, -1) if sum(min(each, most) for each in natural) <= room), 1)
    widths = [min(each, most) for each in natural]
    _put_row(columns, ["white"] * len(columns), columns, widths, right)
    for row in cells:
        colours = [COLOURS.get(cell) if column == "STATE" else None for column, cell in zip(columns, row, strict=True)]
        _put_row(row, colours, columns, widths, right)


def _put_row(
    row: Sequence[str],
    colours: Sequence[str | None],
    columns: Sequence[str],
    widths: Sequence[int],
    right: Sequence[str],
) -> None:
    """Print one row of a table, in as many lines as its longest cell takes."""
    folded = [_fold(cell, width) for cell, width in zip(row, widths, strict=True)]
    for at in range(max(map(len, folded))):
        line = []
        for column, lines, width, colour in zip(columns, folded, widths, colours, strict=True):
            text = lines[at] if at < len(lines) else ""
            pad = " " * (width - _width(text))
            line.append(style(pad + text if column in right else text + pad, colour if text else None, sys.stdout))
        _write(sys.stdout, "  ".join(line).rstrip())


def _fold(cell: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken at spaces where there are some."""
    if _width(cell) <= width:
        return [cell]
    if cell.isascii():
        import textwrap

        return textwrap.wrap(cell, width, break_on_hyphens=False)
    lines = [""]
    for char in cell:
        if lines[-1] and _width(lines[-1] + char) > width:
            lines.append("")
        lines[-1] += char
    return lines


def _width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def facts(pairs: Mapping[str, object]) -> None:
    """Print ``name  value`` lines, names padded, None left out."""
    given = {name: value for name, value in pairs.items() if value is not None and value != ""}
    width = max(map(len, given), default=0)
    for name, value in given.items():
        put(f"{name:<{width}}  {clean(value)}")


def duration(seconds: float | None) -> str | None:
    """Seconds as a person says them: ``0.42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def moment(stamp: float | None) -> str | None:
    """A time in seconds since the epoch as local date and time."""
    if stamp is None:
        return None
    from datetime import datetime, timezone

    return datetime.fromtimestamp(stamp, tz=timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def element(task: str, index: int | None) -> str:
    """How an element is named, here and in what a person types: ``task`` or ``task[3]``."""
    return task if index is None else f"{task}[{index}]"


def plural(count: int, word: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


#: failures listed one by one; the rest is counted
SHOWN_FAILURES = 5


def failure_block(failures: Sequence[Mapping[str, Any]], total: int, next_commands: Sequence[str]) -> list[str]:
    """What went wrong, and what to type next.

    Parameters
    ----------
    failures : sequence of mappings
        ``Run.status()["failures"]``, which may leave some out.
    total : int
        Number of elements that failed.
    next_commands : sequence of str
        What can be typed now.
    """
    from ..model.ranges import to_ranges

    lines: list[str] = []
    groups = _alike(failures)[:SHOWN_FAILURES]
    for failure, indices in groups:
        name = failure["task"] + (f"[{to_ranges(indices)}]" if indices else "")
        lines.append(f"FAILED {clean(name)} ({_how(failure)})")
        lines += [f"  {clean(line)}" for line in failure["reason"].splitlines()]
        if failure.get("place"):
            lines.append(f"  at {clean(failure['place'])}")
        lines.append(f"  log: {clean(failure['log'])}")
    more = total - sum(len(indices) or 1 for _, indices in groups)
    if more > 0:
        lines.append(f"and {plural(more, 'more failure')}")
    return lines + [f"{'next:' if at == 0 else '     '} {command}" for at, command in enumerate(next_commands)]


def _alike(failures: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], list[int]]]:
    """Return failures with their indices; elements of one job that could not be launched stand together."""
    groups: list[tuple[Mapping[str, Any], list[int]]] = []
    for failure in failures:
        index = failure["index"]
        last, indices = groups[-1] if groups else ({}, [])
        same = all(failure[key] == last.get(key) for key in ("task", "class", "reason", "log", "attempt"))
        if same and failure["class"] == "launch" and indices and index is not None and index > indices[-1]:
            indices.append(index)
        else:
            groups.append((failure, [] if index is None else [index]))
    return groups


def _how(failure: Mapping[str, Any]) -> str:
    """The class of a failure, with what belongs to it."""
    how = [str(failure["class"])]
    if failure["signal"]:
        how.append(f"signal {failure['signal']}")
    elif failure["exit_code"]:
        how.append(f"exit code {failure['exit_code']}")
    if failure["attempt"] > 1:
        how.append(f"attempt {failure['attempt']}")
    return ", ".join(how)
