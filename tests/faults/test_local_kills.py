"""The local executor: its driving process and its workers die, or cannot write, at each of their steps in turn."""

from __future__ import annotations

from functools import partial
from itertools import cycle

import pytest
from crashlab import LANES, Fault, LocalWorld, shards, warm

from reflow import RunState

STRIDE = 13


def places(stride: int, *, writes: bool = False) -> list[tuple[int, int]]:
    """Each step of the driving process and of its lanes, as often as they were seen; in what order varies a bit."""
    warm()
    with LocalWorld(counting=True) as world:
        assert world.submit() == ""
        world.check()
        lives = {0: world.past[0], **{LANES + number: lane for number, lane in enumerate(world.lanes())}}
    assert len(lives) >= 2
    found = [
        (process, step)
        for process, life in lives.items()
        for step, name in enumerate(life.steps)
        if not writes or "write" in name.split()[0]
    ]
    assert len(found) > 25
    return found[::stride]


def survives(fault: Fault) -> None:
    with LocalWorld(fault) as world:
        end = world.submit()
        if fault.process >= LANES and fault.how in ("kill", "tear"):
            assert end == "", "a worker's death is no business of who drives"
        world.recover()
        world.check()
        assert world.run().state is RunState.SUCCESS


some_or_each = pytest.mark.parametrize(
    "stride", [pytest.param(STRIDE, id="some"), pytest.param(1, id="each", marks=pytest.mark.exhaustive)]
)
some_or_half = pytest.mark.parametrize(
    "stride", [pytest.param(STRIDE, id="some"), pytest.param(2, id="each second", marks=pytest.mark.exhaustive)]
)


@some_or_each
def test_a_local_run_is_killed_before_or_after_any_step(stride: int) -> None:
    shards([partial(survives, Fault(*place, "kill")) for place in places(stride)])


@some_or_each
def test_a_local_run_is_killed_in_the_midst_of_any_write(stride: int) -> None:
    shards([partial(survives, Fault(*place, "tear")) for place in places(stride, writes=True)])


@some_or_half
def test_the_file_system_refuses_any_step_of_a_local_run(stride: int) -> None:
    errors = cycle(["ENOSPC", "EIO+", "EDQUOT", "EROFS+", "ENOSPC+"])
    shards([partial(survives, Fault(*place, how)) for place, how in zip(places(stride), errors, strict=False)])
