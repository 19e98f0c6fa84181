"""Driving a run whose jobs a scheduler runs, or watching it and lending a hand, from a terminal."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ...model.job import Executor
from ...model.names import RunState
from ...model.state import State
from ...planning.plan import plan
from ..definition.load import load_definition
from ..definition.open import config_of
from ..definition.trust import acting
from ..engine.publish import catch_up
from ..journal.lease import Watch
from ..journal.report_reader import commands, frozen_trust
from ..views.status import look
from .advance import advance
from .pool import Progress, Reporter, once

#: seconds between two looks at a run, at first and at most; in between, looking takes a tenth of the time at most
_FIRST, _LAST, _SHARE = 0.2, 5.0, 10.0

#: how the time grows between two looks, and between two questions to the scheduler
_CALMER, _SHYER = 1.3, 1.5


def foreground(
    root: str,
    executor: Executor,
    *,
    chain: bool = True,
    ask: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunState:
    """Advance a run from this process, whenever there is something to do, until it has ended.

    Each round reads what has been reported. The scheduler is asked, once for all,
    every ``[run] poll`` seconds, growing to ``max_poll``. Ctrl-C, SIGTERM and
    SIGHUP leave the run as it is, after the step that is being made.

    Parameters
    ----------
    root : str
        The run's root directory.
    executor : Executor
        What runs its jobs.
    chain : bool
        Whether wake-ups are submitted, as the configuration has it.
    ask : bool
        Whether the scheduler is asked at once, of jobs that nobody may have looked after for long.
    on_progress : callable, optional
        Told what happens.

    Returns
    -------
    RunState
        How it ended.

    Raises
    ------
    KeyboardInterrupt
        One of them came.
    """
    definition = load_definition(root)
    config = config_of(definition, root)
    poll, most = float(config.get("run.poll")), float(config.get("run.max_poll"))
    on_progress = once(on_progress)
    report, watch = Reporter(on_progress), Watch()
    next_ask, due, pause = time.monotonic() + (0.0 if ask else poll), math.inf, _FIRST
    trusted = acting(root, frozen_trust(State(definition)))
    seen = ""
    tried: tuple[str, list[str]] | None = None
    with _stopped_by_signals(report) as stops:
        while True:
            began = time.monotonic()
            state = look(root, definition)
            looked = time.monotonic() - began  # what the scheduler's commands take is no reason to look less often
            report.counts(state)
            if state.run.ended:
                catch_up(root)
                return state.run
            standing = repr([progress.counts for progress in state.tasks.values()])
            pause = _FIRST if standing != seen else min(pause * _CALMER, _LAST)
            seen = standing
            actions = plan(definition, state, executor.limits, time.time())
            wanted = [type(action).__name__ for action in actions] + [one.id for one in commands(root, state, trusted)]
            ask = began >= next_ask
            if ask or began >= due or (wanted and (standing, wanted) != tried):
                # What is still wanted after this cannot be had yet: it is tried again when it is due, or news come.
                tried = standing, wanted
                with stops.held():
                    left = advance(
                        root, executor, ask=ask, chain=chain, watch=watch, waits=0.0, on_progress=on_progress
                    )
                due = math.inf if left is None else time.monotonic() + left
                if ask:
                    poll = min(most, poll * _SHYER)
                    next_ask = time.monotonic() + poll
            wait = max(min(pause, due - time.monotonic()), looked * _SHARE, _FIRST)
            time.sleep(min(wait, _LAST))


class _Stops:
    """Signals that ask this process to stop: at once, or at the end of a step."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._busy = False
        self._asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self._busy or self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self._report.say("stopping after this step; once more to stop at once")

    @contextmanager
    def held(self) -> Iterator[None]:
        """A step that is not to be interrupted by the first signal: a submission, for one."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
        if self._asked:
            raise KeyboardInterrupt


@contextmanager
def _stopped_by_signals(report: Reporter) -> Iterator[_Stops]:
    stops = _Stops(report)
    if threading.current_thread() is not threading.main_thread():
        yield stops
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] not in (signal.SIG_IGN, None):  # None: no Python code has set it, nor can put it back
            signal.signal(number, stops)
    try:
        yield stops
    finally:
        for number, former in before.items():
            if former is not None:
                signal.signal(number, former)
