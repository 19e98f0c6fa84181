"""Advancing a run whose jobs a scheduler runs: from the submit command, a wake-up, or the foreground."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

from ...errors import LeaseLost
from ...model import layout
from ...model.job import Executor
from ...model.trace import debug
from ...worker.tags import void
from ..definition.load import load_definition
from ..definition.open import config_of
from ..engine.engine import Engine
from ..journal.lease import Watch
from .pool import Progress, Watcher, take_up

#: how long an advance waits in place for something that is due by the clock, rather than submit a wake-up for it
IN_PLACE = 120.0

#: what is kept of a wake-up's walltime, where it waits for as long as it can
_MARGIN = 300.0

#: how long the last worker of a group, in whose place others could run, waits for who advances the run now
BRIEF = 30.0


def advance(
    root: str,
    executor: Executor,
    *,
    wakes: Sequence[str] = (),
    relaying: bool = False,
    ask: bool = True,
    chain: bool = True,
    patience: float = 0.0,
    watch: Watch | None = None,
    waits: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> float | None:
    """Advance a run once, under its lease.

    Parameters
    ----------
    root : str
        The run's root directory.
    executor : Executor
        What runs its jobs.
    wakes : sequence of str
        Tags of the wake-ups whose work this is; none in the foreground.
    relaying : bool
        Whether this is done before they have started, in another job. They have to do it where this does not.
    ask : bool
        Whether the scheduler is asked about jobs that have not reported.
    chain : bool
        Whether wake-ups are submitted.
    patience : float
        Seconds to wait for the process that advances the run now.
    watch : Watch, optional
        What has been seen of it so far, where the caller tries again and again; see `Lease.acquire`.
    waits : float
        Seconds for which the caller will wait for what is due by the clock; for what is due later, a wake-up is
        submitted, where there are any. None: it does not come back, and neither is the run said to be taken up again.
    on_progress : callable, optional
        Told what happens.

    Returns
    -------
    float or None
        Seconds after which the caller has to advance the run again; None where
        it has ended, will be woken, or is another process's now.
    """
    woken = bool(wakes) and not relaying
    try:
        taken = take_up(root, executor, on_progress, patience=patience, watch=watch, wakes=wakes, woken=woken)
    except LeaseLost:
        return None
    if taken is None:
        debug("Another process holds the lease and advances the run")
        return None
    engine, watcher = taken
    relieved: list[str] = []
    try:
        scheduler = engine.scheduler
        scheduler.woken, scheduler.relaying = woken, relaying
        if woken:
            for tag in wakes:
                scheduler.woke(tag)
        chained = chain and bool(engine.config.get("dispatch.chain"))
        pause = _step(engine, watcher, ask=ask, chain=chained, waits=waits or 0.0)
        debug(
            "The advance is done; %s", "nothing is due here" if pause is None else f"the next one is due in {pause:g} s"
        )
        watcher.last()
        if relaying:
            relieved = scheduler.relieve(wakes) if pause is None else []
        else:
            engine.back = 0.0 if pause is None or waits is None else time.time() + pause
    except LeaseLost:
        return None  # whoever has taken over knows all that was decided here in time
    finally:
        engine.close()
    for tag in relieved:  # not before all is done, and durable: until then they are what goes on if this process dies
        void(layout.tag(root, tag))
    return pause


def _step(engine: Engine, watcher: Watcher, *, ask: bool, chain: bool, waits: float) -> float | None:
    scheduler = engine.scheduler
    unclear = scheduler.resolve()
    engine.hear()
    for said in engine.obey():
        watcher.say(said)
    if (ask or engine.doubtful) and scheduler.silent and not scheduler.away:
        scheduler.ask()
    scheduler.enforce()
    while True:
        lagging = engine.settle()
        due = scheduler.give_up()
        ended = engine.advance()
        watcher(engine, "")
        if ended:
            scheduler.dismiss()
            return None
        times = [moment for moment in (due, engine.pause, unclear, lagging, scheduler.again) if moment is not None]
        pause = min(times) if times else None
        late = pause is not None and pause > waits
        arranged = chain and scheduler.arrange(pause if late else None)
        engine.commit()
        if scheduler.stranded and scheduler.woken and scheduler.away:
            return None  # this node cannot submit, and will not in a while
        if not arranged:
            break
        # A job that ended before its wake-up was submitted has reported meanwhile: nobody would wake for it. And one
        # that nobody may wait for any more has ended, too.
        news = engine.hear() or scheduler.replaced
        if scheduler.stranded and not scheduler.away:
            news = scheduler.ask() or news
            scheduler.enforce()
        if not news or (not ask and scheduler.arranged):
            break  # wake-ups see to what has ended: who submits a run does not stay for its stages
    if pause is None:
        pause = scheduler.again
    # What is still to be cancelled needs somebody to come again, whoever will be woken.
    return None if late and scheduler.covered and not engine.state.kills else pause


def ask(root: str, executor: Executor) -> None:
    """Ask the scheduler once, and write down what it says, and what follows from that; nothing is submitted.

    What it says can never run is cancelled. Where nothing is left of the run, it ends.
    """
    taken = take_up(root, executor, None, watch=Watch())
    if taken is None:
        return  # who advances the run now asks, too
    engine, watcher = taken
    try:
        engine.hear()
        engine.scheduler.ask()
        engine.scheduler.enforce()
        engine.settle()
        engine.scheduler.give_up()
        if engine.advance(start=False):
            engine.scheduler.dismiss()
        watcher(engine, "")
    except LeaseLost:
        pass  # who has taken over asks, too
    finally:
        engine.close()


def waking(root: str, tag: str, executor: Executor) -> Iterator[float]:
    """What a wake-up does: advance, and wait in place for what is due soon.

    Where the scheduler knows no begin time, it waits for as long as its walltime lets it, before it asks for another.

    Yields
    ------
    float
        Seconds to wait before going on.
    """
    begins = executor.limits.begin
    walltime = config_of(load_definition(root), root).dispatch().resources.time
    # What waits in a job whose walltime is short would be killed, and nobody would go on.
    left = IN_PLACE if walltime is None else min(IN_PLACE, walltime / 2)
    if not begins:
        left = max(left, (walltime or 0) - _MARGIN)
    waits = left if begins else math.inf
    # Whoever advances the run now may have read the mailbox before the jobs ended that this process was woken for: it
    # is waited for, however long that takes.
    while (pause := advance(root, executor, wakes=(tag,), patience=math.inf, waits=waits)) is not None:
        yield pause if begins or left <= 0 else min(pause, left)
        left -= pause
        waits = max(1.0, left) if begins or left <= 0 else math.inf


def wake(root: str, tag: str, executor: Executor) -> None:
    """Do all of it."""
    for pause in waking(root, tag, executor):
        time.sleep(pause)


def relay(root: str, wakes: Sequence[str], executor: Executor) -> None:
    """What the last worker of a group does: the work of the wake-ups that wait for it, unless it has to be waited for.

    The scheduler is not asked: who has not reported is in no such group.
    """
    advance(root, executor, wakes=wakes, relaying=True, ask=False, patience=BRIEF, watch=Watch(), waits=math.inf)
