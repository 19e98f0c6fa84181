"""Memory and time: everything people write, and never less than they wrote."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import UsageError
from reflow.model.options import PORTABLE, canonical
from reflow.model.resources import Resources, parse_resource, parse_resources
from reflow.model.units import format_mem, format_time, parse_mem, parse_time

POWERS = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
SPANS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hours": 3600, "d": 86400, "days": 86400}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16G", 16 * 1024**3),
        ("500M", 500 * 1024**2),
        ("2 GiB", 2 * 1024**3),
        ("2gb", 2 * 1024**3),
        ("1T", 1024**4),
        ("64k", 64 * 1024),
        ("512B", 512),
        ("1.5G", 3 * 512 * 1024**2),
        (" 1 M ", 1024**2),
        (4096, 4096),
    ],
)
def test_memory_as_written(text: str | int, size: int) -> None:
    assert parse_mem(text) == size


@pytest.mark.parametrize(
    "text", ["", "16", "G", "16X", "16 G G", "-1G", "0G", 0, -5, True, 1.5, None, "١G", "1e3M", "1,5G"]
)
def test_memory_that_cannot_be_read(text: Any) -> None:
    with pytest.raises(UsageError) as caught:
        parse_mem(text)
    assert repr(text) in caught.value.message
    assert "16G" in (caught.value.hint or "")


@given(
    st.integers(0, 10**6),
    st.text("0123456789", max_size=12),
    st.sampled_from(sorted(POWERS)),
    st.sampled_from(["", "B", "iB", "ib"]),
)
def test_memory_is_never_less_than_written(whole: int, fraction: str, unit: str, suffix: str) -> None:
    written = Fraction(f"{whole}.{fraction or 0}") * POWERS[unit]
    text = f"{whole}.{fraction}{unit}{suffix}" if fraction else f"{whole} {unit}{suffix}"
    if written == 0:
        with pytest.raises(UsageError):
            parse_mem(text)
    else:
        assert 0 <= parse_mem(text) - written < 1


@given(st.integers(1, 2**60))
def test_memory_reads_back(size: int) -> None:
    assert parse_mem(format_mem(size)) == size


@pytest.mark.parametrize(
    ("size", "text"), [(1024**3, "1G"), (1536 * 1024**2, "1536M"), (1000, "1000B"), (0, "0B"), (2**60, "1048576T")]
)
def test_memory_is_shown_briefly(size: int, text: str) -> None:
    assert format_mem(size) == text


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("02:00:00", 7200),
        ("1-00:00:00", 86400),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("100:00:00", 360000),
        ("90m", 5400),
        ("1h30m", 5400),
        ("1 h 30 min", 5400),
        ("2 days", 172800),
        ("1.5h", 5400),
        ("0.1s", 1),
        (3600, 3600),
        (0.2, 1),
        (59.5, 60),
        (timedelta(hours=1, microseconds=1), 3601),
        (timedelta(days=2), 172800),
    ],
)
def test_time_as_written(written: Any, seconds: int) -> None:
    assert parse_time(written) == seconds


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("02:00", "could be hours and minutes"),
        ("90", "has no unit"),
        ("1:60:00", "out of range"),
        ("1:00:75", "out of range"),
        ("1-24:00:00", "out of range"),
        ("", "is not a duration"),
        ("soon", "is not a duration"),
        ("5 fortnights", "is not a duration"),
        ("1h soon", "is not a duration"),
        ("1:2:3:4", "is not a duration"),
        ("-1h", "is not a duration"),
        ("0s", "more than nothing"),
        (0, "more than nothing"),
        (-3, "more than nothing"),
        (timedelta(0), "more than nothing"),
        (float("nan"), "is not a duration"),
        (float("inf"), "is not a duration"),
        (True, "is not a duration"),
        (None, "is not a duration"),
    ],
)
def test_time_that_cannot_be_read(written: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_time(written)
    assert "HH:MM:SS" in (caught.value.hint or "")


@given(st.lists(st.tuples(st.decimals(0, 10**6, places=3), st.sampled_from(sorted(SPANS))), min_size=1, max_size=3))
def test_time_is_never_less_than_written(parts: list[tuple[Any, str]]) -> None:
    text = " ".join(f"{number}{unit}" for number, unit in parts)
    written = sum((Fraction(number) * SPANS[unit] for number, unit in parts), Fraction(0))
    if written == 0:
        with pytest.raises(UsageError):
            parse_time(text)
    else:
        assert 0 <= parse_time(text) - written < len(parts)


@given(st.floats(0, 1e9, exclude_min=True))
def test_seconds_round_up(seconds: float) -> None:
    assert 0 <= parse_time(seconds) - Fraction(seconds) < 1


@given(st.integers(1, 10**9))
def test_time_reads_back(seconds: int) -> None:
    assert parse_time(format_time(seconds)) == seconds


@given(st.timedeltas(min_value=timedelta(microseconds=1), max_value=timedelta(days=10**6)))
def test_timedelta_rounds_up(span: timedelta) -> None:
    assert timedelta(0) <= timedelta(seconds=parse_time(span)) - span < timedelta(seconds=1)


def test_resources_by_name() -> None:
    given = {"cpus": 4, "mem": "2G", "time": "1h", "gpus": 0, "nodes": "2", "tasks": None}
    assert parse_resources(given) == Resources(cpus=4, mem=2 * 1024**3, time=3600, gpus=0, nodes=2)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("cpus", 0, "cpus: 0 is not a whole number of at least 1"),
        ("cpus", True, "cpus: True"),
        ("cpus", 1.5, "cpus: 1.5"),
        ("cpus", "٤", "cpus: '٤'"),
        ("gpus", -1, "gpus: -1 is not a whole number of at least 0"),
        ("mem", "16", "mem: '16' has no unit"),
        ("mem", 16, "mem: 16 is 16 bytes"),
        ("time", "02:00", "time: '02:00' could be"),
    ],
)
def test_resources_that_cannot_be_read(name: str, value: object, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_resource(name, value)
    assert caught.value.message.startswith(says)


def test_options_have_one_name() -> None:
    assert canonical("partition") == canonical("queue") == "queue"
    assert canonical("mail-user") == "mail_user"
    assert canonical("--job-name") == "name"
    assert canonical("gres") == "gres"
    assert {canonical(name) for name in PORTABLE} == set(PORTABLE)
