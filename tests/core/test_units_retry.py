"""Retry as people write it: keys as text, ceilings with units, and every mistake told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from reflow.model.names import FailureClass
from reflow.model.retry import Retry, Scale


def test_what_was_written_becomes_what_was_meant() -> None:
    retry = Retry(
        max=3,
        on={"oom": Scale(mem=2), "timeout": Scale(time=1.5)},
        delay="5m",
        backoff=2,
        max_mem="64G",
        max_time="1-00:00:00",
        infrastructure=0,
    )
    assert retry.problems() == []
    assert dict(retry.on) == {FailureClass.OOM: Scale(mem=2), FailureClass.TIMEOUT: Scale(time=1.5)}
    assert (retry.max_mem, retry.max_time, retry.delay) == (64 * 1024**3, 86400, 300)


def test_round_trip_through_a_run_file() -> None:
    retry = Retry(max=1, on={FailureClass.OOM: Scale(mem=2.0)}, max_mem=2**30, max_time=timedelta(hours=1), delay=0.5)
    assert msgspec.json.decode(msgspec.json.encode(retry), type=Retry) == retry
    assert retry.max_time == 3600


def test_defaults_have_no_problem() -> None:
    assert Retry().problems() == []


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"max": -1}, "max=-1 is not a whole number"),
        ({"max": True}, "max=True is not a whole number"),
        ({"max": None}, "max=None is not a whole number"),
        ({"infrastructure": 1.5}, "infrastructure=1.5 is not a whole number"),
        (
            {"on": {"memory": Scale(mem=2)}},
            "no failure class that is tried again: 'memory'; there are error, exit, oom",
        ),
        ({"on": {"cancelled": Scale(mem=2)}}, "no failure class that is tried again"),
        ({"on": {"oom": 2}}, "on['oom'] is 2; write Scale(mem=2.0)"),
        ({"on": {"oom": Scale(mem=0.5)}}, "factors are numbers of at least 1"),
        ({"on": {"oom": Scale(time=float("inf"))}}, "factors are numbers of at least 1"),
        ({"on": ["oom"]}, "on=['oom'] is not a mapping"),
        ({"max_mem": "64"}, "max_mem: '64' has no unit of memory; write"),
        ({"max_time": "02:00"}, "max_time: '02:00' could be"),
        ({"delay": -1}, "delay=-1 is not a duration"),
        ({"delay": "soon"}, "delay='soon' is not a duration"),
        ({"delay": float("nan")}, "delay=nan is not a duration"),
        ({"backoff": 0.5}, "backoff=0.5 is not a number of at least 1"),
    ],
)
def test_each_mistake_is_told(written: dict[str, Any], says: str) -> None:
    (problem,) = Retry(**written).problems()
    assert says in problem


def test_all_mistakes_are_told() -> None:
    assert len(Retry(max=-1, delay="soon", backoff=0, max_mem="x", on={"no": 3}).problems()) == 6  # type: ignore[dict-item]
