"""Memory and time as people write them, parsed once into bytes and seconds.

A value is never rounded down: what is asked of a scheduler is at least what was written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reflow.errors import UsageError

if TYPE_CHECKING:
    from datetime import timedelta

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_MEM = re.compile(r"(\d+)(?:\.(\d+))?\s*([kmgt]?)(i?b)?", re.IGNORECASE | re.ASCII)
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)
_SPAN = re.compile(r"(\d+)(?:\.(\d+))?\s*([a-z]+)\s*", re.IGNORECASE | re.ASCII)
_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
}

_MEM_HINT = "write a number and a unit, such as '16G', '500M' or '2 GiB' (powers of 1024), or a number of bytes"
_TIME_HINT = "write 'HH:MM:SS', 'D-HH:MM:SS', a number with its unit such as '90m' or '2h', or a number of seconds"


def parse_mem(value: str | int) -> int:
    """Read an amount of memory.

    Parameters
    ----------
    value : str or int
        ``"16G"``, ``"500M"``, ``"1.5 GiB"``, ``"512B"``: K, M, G, T, with or
        without B or iB, in either case, are powers of 1024. A plain int is bytes.

    Returns
    -------
    int
        Bytes, rounded up.

    Raises
    ------
    UsageError
        Where it is not positive, has no unit, or cannot be read.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str):
        match = _MEM.fullmatch(value.strip())
        if match is None:
            raise UsageError(f"{value!r} is not an amount of memory", hint=_MEM_HINT)
        whole, fraction, power, suffix = match.groups()
        if not power and (suffix or "").lower() != "b":
            raise UsageError(f"{value!r} has no unit of memory", hint=_MEM_HINT)
        size = _times(whole, fraction, 1024 ** _POWERS[power.lower()])
    else:
        raise UsageError(f"{value!r} is not an amount of memory", hint=_MEM_HINT)
    if size <= 0:
        raise UsageError(f"{value!r}: memory must be more than nothing", hint=_MEM_HINT)
    return size


def format_mem(size: int) -> str:
    """Write bytes with the largest unit that divides them; `parse_mem` reads the same number back."""
    power = 0
    while power < 4 and size and size % 1024 == 0:
        size //= 1024
        power += 1
    return f"{size}{'BKMGT'[power]}"


def parse_time(value: str | float | timedelta) -> int:
    """Read a duration.

    Parameters
    ----------
    value : str, int, float or timedelta
        ``"02:00:00"``, ``"1-00:00:00"``, ``"90m"``, ``"1h 30m"``; a number is
        seconds. A string of two fields (``"02:00"``), or of a number alone, is
        refused: schedulers read those differently.

    Returns
    -------
    int
        Seconds, rounded up.

    Raises
    ------
    UsageError
        Where it is not positive, is ambiguous, or cannot be read.
    """
    seconds = _seconds(value)
    if seconds <= 0:
        raise UsageError(f"{value!r}: a time must be more than nothing", hint=_TIME_HINT)
    return seconds


def format_time(seconds: int) -> str:
    """Write seconds as ``HH:MM:SS`` or ``D-HH:MM:SS``; `parse_time` reads the same number back."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02}:{minute:02}:{second:02}"
    return f"{days}-{clock}" if days else clock


def _seconds(value: object) -> int:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value != value or value in (float("inf"), float("-inf")):
            raise UsageError(f"{value!r} is not a duration", hint=_TIME_HINT)
        return int(value) + (value > int(value))
    if isinstance(value, str):
        return _text_seconds(value)
    from datetime import timedelta

    if isinstance(value, timedelta):
        return value.days * 86400 + value.seconds + (value.microseconds > 0)
    raise UsageError(f"{value!r} is not a duration", hint=_TIME_HINT)


def _text_seconds(value: str) -> int:
    text = value.strip()
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        days, first, second, third = clock.groups()
        if days is None and third is None:
            what = "has no unit" if second is None else "could be hours and minutes, or minutes and seconds"
            raise UsageError(f"{value!r} {what}", hint=_TIME_HINT)
        if any(int(field or 0) > 59 for field in (second, third)) or (days is not None and int(first) > 23):
            raise UsageError(f"{value!r} has a field out of range", hint=_TIME_HINT)
        return int(days or 0) * 86400 + int(first) * 3600 + int(second or 0) * 60 + int(third or 0)
    position = total = 0
    while (span := _SPAN.match(text, position)) is not None:
        whole, fraction, unit = span.groups()
        if unit.lower() not in _SECONDS:
            break
        total += _times(whole, fraction, _SECONDS[unit.lower()])
        position = span.end()
    if not text or position != len(text):
        raise UsageError(f"{value!r} is not a duration", hint=_TIME_HINT)
    return total


def _times(whole: str, fraction: str | None, unit: int) -> int:
    """``whole.fraction * unit``, exactly, rounded up."""
    digits = fraction or ""
    scale: int = 10 ** len(digits)
    return -(-int(whole + digits) * unit // scale)
