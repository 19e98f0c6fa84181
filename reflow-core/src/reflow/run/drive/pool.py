"""Driving a run from this process, until it has ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

import msgspec

from ...config import Config
from ...errors import ReflowError
from ...model.job import Executor, Pool
from ...model.names import RunState
from ...model.record import Command
from ...model.state import State
from ..definition.create import enter
from ..definition.load import load_definition
from ..definition.open import cache_of, config_of
from ..definition.trust import acting, trust_of
from ..engine.engine import Engine
from ..journal.lease import EXPIRY, Lease, Watch
from ..journal.log import readable
from ..journal.report_reader import post
from .notices import Teller

#: seconds between two reports of progress
_REPORT = 0.1


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What is told to who watches a run: of one task, or (``task`` "") of the whole run.

    Attributes
    ----------
    counts : mapping of str to int
        Elements by state.
    total : int
        Number of elements; 0 where it is not known yet.
    elapsed : float
        Seconds since driving began.
    message : str
        A word to the person watching, or "".
    """

    task: str = ""
    counts: Mapping[str, int] = {}
    total: int = 0
    state: str = ""
    elapsed: float = 0.0
    message: str = ""


def once(on_progress: Callable[[Progress], None] | None) -> Callable[[Progress], None] | None:
    """Wrap what is told of progress, so that one command says each message once, however often it advances a run."""
    if on_progress is None:
        return None
    said: set[str] = set()

    def tell(progress: Progress) -> None:
        if progress.message and progress.message in said:
            return
        said.add(progress.message)
        on_progress(progress)

    return tell


def expiry_of(config: Config) -> float:
    """Seconds of silence after which a lease on the run may be taken: three of a scheduler's longest commands."""
    slowest = max(float(config.get("executor.command_timeout")), float(config.get("executor.submit_timeout")))
    return max(EXPIRY, 3 * slowest)


def drive(
    root: str,
    pool: Pool,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    patience: float = 0.0,
    watch: Watch | None = None,
) -> RunState | None:
    """Advance a run until it has ended.

    Ctrl-C, SIGTERM and SIGHUP cancel it, cleanly: what has run is kept, and
    `retry` continues.

    Parameters
    ----------
    root : str
        The run's root directory.
    pool : Pool
        This process's own.
    on_progress : callable, optional
        Told what happens.
    patience : float
        Seconds to wait for a process that drives the run already.
    watch : Watch, optional
        What has been seen of it so far, where the caller tries again and again; see `Lease.acquire`.

    Returns
    -------
    RunState or None
        How it ended; None where another process drives it.
    """
    taken = take_up(root, pool, on_progress, patience=patience, watch=watch)
    if taken is None:
        return None
    engine, watcher = taken
    try:
        with _cancelled_by_signals(root, engine, watcher):
            engine.drive(pool, watcher)
    finally:
        engine.close()
    watcher.last()
    return engine.state.run


def attend(
    root: str,
    pool: Pool,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    watch: Watch | None = None,
) -> None:
    """Carry out what was mailed to a run of a pool, unless who drives it will; nothing is run.

    Parameters are those of `drive`.
    """
    taken = take_up(root, pool, on_progress, watch=watch)
    if taken is None:
        return
    engine, watcher = taken
    try:
        engine.attend(watcher)
    finally:
        engine.close()


def take_up(
    root: str,
    executor: Executor,
    on_progress: Callable[[Progress], None] | None,
    *,
    patience: float = 0.0,
    watch: Watch | None = None,
    wakes: Sequence[str] = (),
    woken: bool = False,
) -> tuple[Engine, Watcher] | None:
    """The engine of a run, under its lease, and what reports its steps; None where another process holds that.

    Parameters are those of `Lease.acquire`. No lease is left where this fails.
    """
    definition = load_definition(root)
    config = config_of(definition, root)
    say = None if on_progress is None else lambda message: on_progress(Progress(message=message))
    readable(root)
    lease = Lease.acquire(
        root,
        patience=patience,
        watch=watch,
        say=say,
        expiry=expiry_of(config),
        wakes=wakes,
        woken=woken,
        trusted=acting(root, trust_of(config)),
    )
    if lease is None:
        return None
    try:
        engine = Engine(root, lease, executor, cache_of(definition, config), config)
        engine.say = say
    except BaseException:
        lease.release()
        raise
    enter(definition, root)
    watcher = Watcher(engine, on_progress)
    watcher.teller = Teller(definition, root, config, watcher.say)
    return engine, watcher


class Reporter:
    """Tells who watches a run, if anybody does, what is new in it."""

    def __init__(self, on_progress: Callable[[Progress], None] | None) -> None:
        self._tell = on_progress
        self._began = time.monotonic()
        self._shown: dict[str, tuple[int, ...]] = {}

    def say(self, message: str) -> None:
        """Say a word."""
        self._give(Progress(message=message, elapsed=time.monotonic() - self._began))

    def counts(self, state: State) -> None:
        """Tell of each task whose elements stand otherwise than when it was told of last."""
        elapsed = time.monotonic() - self._began
        for name, progress in state.tasks.items():
            counts = tuple(progress.counts)
            if not any(counts) or self._shown.get(name) == counts:
                continue
            self._shown[name] = counts
            self._give(
                Progress(
                    task=name,
                    counts=progress.shown(),
                    total=progress.size or 0,
                    state=progress.state.value,
                    elapsed=elapsed,
                )
            )

    def _give(self, progress: Progress) -> None:
        if self._tell is None:
            return
        try:
            self._tell(progress)
        except BrokenPipeError:
            self._tell = None  # nobody watches any more, as with `| head`: that is no reason to stop half-way


class Watcher:
    """Turns steps of the engine into reports, not too often."""

    def __init__(self, engine: Engine, on_progress: Callable[[Progress], None] | None) -> None:
        self._engine = engine
        self._report = Reporter(on_progress)
        self._told = 0.0
        self._warned: set[str] = set()
        self.teller: Teller | None = None

    def __call__(self, engine: Engine, message: str) -> None:
        """Report a step, and tell people what they want to hear of."""
        if self.teller is not None:
            for occasion in self.teller.due(engine.state):
                if engine.tells(occasion.value):
                    self.teller.tell(occasion, engine.state)
        for warning in [*engine.warnings, *engine.state.notes, *([message] if message else [])]:
            if warning not in self._warned or warning == message:
                self._warned.add(warning)
                self.say(warning)
        if time.monotonic() - self._told >= _REPORT:
            self.last()

    def say(self, message: str) -> None:
        """Say a word to who watches."""
        self._report.say(message)

    def last(self) -> None:
        """Report how all tasks stand."""
        self._told = time.monotonic()
        self._report.counts(self._engine.state)


@contextmanager
def _cancelled_by_signals(root: str, engine: Engine, watcher: Watcher) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP mails a cancellation; a second one interrupts.

    So does the first where it finds this process inside a task, which only the inline executor does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if len(caught) > 1:
            engine.stop_now = True
            if len(caught) > 2:
                raise KeyboardInterrupt
            return
        name = signal.Signals(number).name
        try:
            post(
                root,
                Command(
                    id=f"signal-{os.getpid()}-{time.time_ns()}",
                    verb="cancel",
                    by=f"pid {os.getpid()}",
                    at=time.time(),
                    reason=f"interrupted by {name}",
                ),
            )
        except (OSError, ReflowError):
            raise KeyboardInterrupt from None
        engine.hurry = True
        if getattr(engine.executor, "inside", False):
            raise KeyboardInterrupt
        watcher.say("cancelling; once more to stop at once")

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] not in (signal.SIG_IGN, None):  # None: no Python code has set it, nor can put it back
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, former in before.items():
            if former is not None:
                signal.signal(number, former)
