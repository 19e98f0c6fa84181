"""A process dies, hangs or finds the disk full at each of its steps in turn; what was promised holds."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from itertools import cycle

import pytest
from crashlab import ANSWER, STOPPED, Fault, Past, World, shards, warm

from reflow import RunState
from reflow.run.journal.log import Log

#: every so many steps are tried where not all are
STRIDE = 47

#: what a file system says, once or (+) from then on to that process
ERRORS = ("ENOSPC", "EIO+", "EDQUOT+", "EROFS+", "ENOSPC+", "EIO", "EDQUOT")

#: the ways in which a run goes on: by the last worker of a group, by wake-up jobs, and by who drives it
RELAY: dict[str, str] = {}
WAKE_UPS = {"REFLOW_DISPATCH_FAST_ADVANCE": "false"}
DRIVEN = {"REFLOW_DISPATCH_CHAIN": "false"}


def lives(settings: dict[str, str]) -> list[Past]:
    """All processes of a run to which nothing happens, with their steps."""
    warm()
    with World(counting=True, settings=settings) as world:
        assert world.submit() == ""
        world.recover()
        world.check()
        return world.past


def steps(stride: int, *, writes: bool = False, files: bool = False) -> list[tuple[dict[str, str], int, int]]:
    """Each step, or each `stride`-th, of each process: or of writes, or what needs the disk, only."""
    found = []
    for settings, roles in (RELAY, ("submit", "worker")), (WAKE_UPS, ("wake-up",)), (DRIVEN, ("drive",)):
        before = len(found)
        for process, one in enumerate(lives(settings)):
            for step, name in enumerate(one.steps):
                verb = name.split()[0]
                needs = "write" in verb or verb in ("open", "fsync", "mkdir")
                if one.role in roles and ("write" in verb or not writes) and (needs or not files):
                    found.append((settings, process, step))
        assert len(found) > before + 10
    return found[int(os.environ.get("REFLOW_FAULT_SEED", "0")) % stride :: stride]


def killed(settings: dict[str, str], fault: Fault) -> None:
    with World(fault, settings=settings) as world:
        world.submit()
        world.recover()
        world.check()
        assert world.past[fault.process].end == "SIGKILL", "it was not killed"


def failed(settings: dict[str, str], fault: Fault) -> None:
    with World(fault, settings=settings) as world:
        world.submit()
        world.recover()
        world.check()
        end = world.past[fault.process].end
        assert "Traceback" not in end or end.startswith("[OSError] [Errno"), end


def stopped(settings: dict[str, str], fault: Fault) -> None:
    with World(fault, settings=settings) as world:
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


def ordered(world: World, late: float) -> None:
    """A run is cancelled after a while, and then retried, until it has succeeded."""
    world.submit()
    world.settle(late)
    world.command("cancel")
    world.recover()
    for _ in range(3):
        if world.run().state is not RunState.SUCCESS:
            world.command("retry")
            world.recover()
    world.check(elements=())


def commanded(late: float, settings: dict[str, str], fault: Fault) -> None:
    with World(fault, settings=settings) as world:
        ordered(world, late)


def commands(stride: int) -> list[partial[None]]:
    """Each `stride`-th step of those that cancel and retry, before and after the first success."""
    warm()
    found = []
    for settings in RELAY, WAKE_UPS:
        for late in 0.5, 2.5:
            with World(counting=True, settings=settings) as world:
                ordered(world, late)
                lives = list(enumerate(world.past))
            assert {"cancel", "retry"} <= {one.role for _, one in lives}
            for process, one in lives:
                if one.role in ("cancel", "retry"):
                    places = [(process, step, how) for step in range(len(one.steps)) for how in ("kill", "stop")]
                    found += [partial(commanded, late, settings, Fault(*place)) for place in places]
    return found[int(os.environ.get("REFLOW_FAULT_SEED", "0")) % stride :: stride]


def trials(
    trial: Callable[[dict[str, str], Fault], None], places: list[tuple[dict[str, str], int, int]], *hows: str
) -> None:
    shards([partial(trial, settings, Fault(*place, how)) for (settings, *place), how in zip(places, cycle(hows))])


def some_or(stride: int) -> pytest.MarkDecorator:
    """Few of the steps, or, where it may take longer, many."""
    name = "each" if stride == 1 else f"each {stride}th"
    return pytest.mark.parametrize(
        "stride", [pytest.param(STRIDE, id="some"), pytest.param(stride, id=name, marks=pytest.mark.exhaustive)]
    )


@some_or(1)
def test_killed_before_or_after_any_step(stride: int) -> None:
    trials(killed, steps(stride), "kill")


@some_or(1)
def test_killed_in_the_midst_of_any_write(stride: int) -> None:
    trials(killed, steps(stride, writes=True), "tear")


@some_or(3)
def test_the_node_dies_before_or_after_any_step(stride: int) -> None:
    trials(killed, steps(stride), "lose")


@some_or(1)
def test_the_file_system_refuses_any_step(stride: int) -> None:
    trials(failed, steps(stride, files=True), *ERRORS)


@some_or(3)
def test_stopped_at_any_step_and_thawed_after_others_took_over(stride: int) -> None:
    trials(stopped, steps(stride), "stop")


@some_or(3)
def test_who_cancels_or_retries_dies_or_hangs_at_any_step(stride: int) -> None:
    shards(commands(stride))


# A mistake in the engine is found by some trial: else the trials would prove nothing.


def at(pattern: str) -> list[tuple[dict[str, str], int, int]]:
    """Return the steps of `submit` whose description holds a pattern."""
    (submit, *_) = lives(RELAY)
    return [(RELAY, 0, step) for step, name in enumerate(submit.steps) if re.search(pattern, name)]


def test_jobs_that_are_not_looked_for_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crashlab.Remote.find", lambda self, tags: {})
    monkeypatch.setattr("reflow.run.jobs.submissions.void", lambda path: None)
    with pytest.raises(AssertionError, match="1 of 2"):  # that it is lost is known of the wake-up, and no harm
        trials(killed, at("after submit"), "kill")


def test_torn_records_that_are_believed_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def frames_of(file: int, start: int = 0, end: int | None = None) -> tuple[list[bytes], int]:
        data = os.pread(file, os.fstat(file).st_size if end is None else end - start, start)
        return [line[18:] for line in data.split(b"\n") if line], start + len(data)

    monkeypatch.setattr("reflow.run.journal.log.frames_of", frames_of)
    with pytest.raises(AssertionError, match=r"[1-9]\d* of \d+"):
        trials(killed, at(r"write run/\.reflow/[^/]+/events"), "tear")


def test_what_is_not_synced_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reflow.run.journal.log.Log.commit", Log.flush)
    with pytest.raises(AssertionError, match=r"[1-9]\d* of \d+"):
        trials(killed, at("after submit"), "lose")
