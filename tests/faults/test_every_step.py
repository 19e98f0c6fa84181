"""A process dies, hangs or finds the disk full at each of its steps in turn; what was promised holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import cycle

import pytest
from crashlab import ANSWER, STOPPED, Fault, Past, World, shards, warm

#: every so many steps are tried where not all are
STRIDE = 23

ERRORS = ("ENOSPC", "EIO+", "EDQUOT+", "EROFS+", "ENOSPC+", "EIO", "EDQUOT")


@pytest.fixture(scope="module")
def past() -> list[Past]:
    """All processes of a run to which nothing happens, with their steps."""
    warm()
    with World(counting=True) as world:
        assert world.submit() == ""
        world.settle()
        world.check()
        assert len(world.past) == 11, "single, array of three, its second attempt, gather; and a wake-up after each"
        assert {past.role for past in world.past} == {"submit", "worker", "wake-up"}
        return world.past


def steps(past: list[Past], stride: int, *, writes: bool = False, files: bool = False) -> Iterator[tuple[int, int]]:
    """Each step, or each `stride`-th, of each process; writes, or changes of files, only."""
    found = [
        (process, step)
        for process, one in enumerate(past)
        for step, name in enumerate(one.steps)
        if not (writes and "write" not in name.split()[0])
        and not ((writes or files) and name.split()[0] in ("before", "after"))
    ]
    yield from found[int(os.environ.get("REFLOW_FAULT_SEED", "0")) % stride :: stride]


def killed(fault: Fault) -> None:
    with World(fault) as world:
        world.submit()
        world.recover()
        world.check()
        assert world.past[fault.process].end == "SIGKILL", "it was not killed"


def failed(fault: Fault) -> None:
    with World(fault) as world:
        world.submit()
        world.recover()
        world.check()
        assert "Traceback" not in world.past[fault.process].end or "[OSError] [Errno" in world.past[fault.process].end


def stopped(fault: Fault) -> None:
    with World(fault) as world:
        world.submit()
        world.recover()
        if not world.stopped:
            return  # it was cancelled by those that went on without it, and so ended
        world.check()
        run = world.run()
        before = run.status(elements=True)
        world.thaw()
        assert world.past[fault.process].end != STOPPED
        world.settle()
        assert run.status(elements=True) == before, "what was thawed has changed something"
        assert run.result("total") == ANSWER
        assert not world.queued()


def all_of(stride: int) -> list[object]:
    return [pytest.param(stride, id="some"), pytest.param(1, id="each", marks=pytest.mark.slow)]


@pytest.mark.parametrize("stride", all_of(STRIDE))
def test_killed_before_or_after_any_step(past: list[Past], stride: int) -> None:
    shards(killed, [Fault(*place, "kill") for place in steps(past, stride)])


@pytest.mark.parametrize("stride", all_of(STRIDE))
def test_killed_in_the_midst_of_any_write(past: list[Past], stride: int) -> None:
    shards(killed, [Fault(*place, "tear") for place in steps(past, stride, writes=True)])


@pytest.mark.parametrize("stride", all_of(STRIDE))
def test_the_file_system_refuses_any_step(past: list[Past], stride: int) -> None:
    shards(failed, [Fault(*place, how) for place, how in zip(steps(past, stride, files=True), cycle(ERRORS))])


@pytest.mark.parametrize("stride", all_of(STRIDE))
def test_stopped_at_any_step_and_thawed_after_others_took_over(past: list[Past], stride: int) -> None:
    shards(stopped, [Fault(*place, "stop") for place in steps(past, stride)])
