"""Several processes die, hang or cannot write, wherever chance has it; what was promised holds."""

from __future__ import annotations

import os
from functools import partial

import pytest
from crashlab import Fault, World, shards, warm
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from reflow.model.names import FailureClass

#: a single task, an array of two and a gather: few processes, so that a thousand schedules take a minute or two
SCRIPT = """\
from typing import Annotated
import crashlab
from reflow import Result, Workflow

wf = Workflow("crash")

@wf.job(retries=9)
def make() -> list[int]:
    crashlab.ran("make", 0)
    return [10, 20]

@wf.array_job(retries=9)
def work(x: Annotated[int, Result(step="make")]) -> int:
    crashlab.ran("work", x // 10 - 1)
    return x + 1

@wf.job(retries=9)
def total(xs: Annotated[list[int], Result(step="work")]) -> int:
    crashlab.ran("total", 0)
    return sum(xs) + 31
"""

faults = st.builds(
    Fault,
    process=st.integers(0, 12),
    step=st.integers(0, 110),
    how=st.sampled_from(["kill", "kill", "kill", "tear", "ENOSPC", "EIO+", "stop"]),
)
#: what the cluster says of workers that died. Its own fault costs an element one of the three attempts that nobody
#: can raise, so of those, and of nodes that hang, no more befall a run.
schedules = st.tuples(
    st.lists(faults, min_size=1, max_size=5, unique_by=lambda fault: fault[:2]),
    st.sampled_from(["true", "false"]),
    st.sampled_from([FailureClass.EXIT, FailureClass.NODE_FAIL, FailureClass.PREEMPTED]),
).filter(lambda one: sum(one[2] is not FailureClass.EXIT or fault.how == "stop" for fault in one[0]) <= 3)


def survives(schedule: tuple[list[Fault], str, FailureClass]) -> None:
    planned, fast, harm = schedule
    with World(*planned, script=SCRIPT, settings={"REFLOW_DISPATCH_FAST_ADVANCE": fast}, harm=harm) as world:
        world.submit()
        world.recover()
        if not world.stopped:
            world.check(elements=[("make", 0), ("work", 0), ("work", 1), ("total", 0)], failures={})
        run = world.run()
        assert (run.state.value, run.result("total")) == ("SUCCESS", 63)
        before = run.status(elements=True)
        world.thaw()
        world.settle()
        assert run.status(elements=True) == before
        assert not world.queued()


def many(number: int, examples: int) -> None:
    @seed(number)
    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(schedules)
    def each(schedule: tuple[list[Fault], str, FailureClass]) -> None:
        survives(schedule)

    each()


@pytest.mark.parametrize(
    "examples", [pytest.param(20, id="20"), pytest.param(1000, id="1000", marks=pytest.mark.exhaustive)]
)
def test_random_schedules(examples: int) -> None:
    warm()
    parts = 4
    first = int(os.environ.get("REFLOW_FAULT_SEED", "0"))
    shards([partial(many, first + part, examples // parts) for part in range(parts)])
