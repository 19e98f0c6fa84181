"""`Engine`: the one place where a run is advanced, however it is driven."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TypeGuard

import msgspec

from ...config import Config
from ...errors import ReflowError
from ...model import layout
from ...model.cache import CacheBackend
from ...model.definition import Definition
from ...model.job import Ended, Executor, JobState, Letter, Pool
from ...model.lifecycle.states import ACTIVE, SUCCEEDED
from ...model.names import FailureClass, RunState
from ...model.ranges import to_ranges
from ...model.record import (
    Expanded,
    Failed,
    Finished,
    Mail,
    PoolOpened,
    Read,
    Requeued,
    RunChanged,
    Skipped,
    Started,
    Told,
)
from ...model.state import State
from ...planning.plan import Action, Expand, Finish, GiveUp, Record, Skip, Submit, next_due, plan
from ...planning.tags import new_tag
from ...worker.collector import paused
from ...worker.durable import FILE, make_directories
from ...worker.opener import LOG
from ..definition.cache import Forgiving
from ..jobs.factory import Jobs
from ..jobs.failures import fail
from ..jobs.submissions import Scheduler
from ..journal.lease import Lease
from ..journal.log import Results
from ..journal.report_reader import belated, unread
from ..journal.writer import Writer
from .authors import Authors
from .cache_publisher import Keeper
from .commands import give_up, obey
from .expand import Expander

#: seconds between two looks for mailed commands while a pool works
_LISTEN = 0.5

#: seconds between two questions about what the scheduler is about to tell
_AGAIN = 1.0

#: seconds by which clocks of two hosts may differ; by more, and what the one says tells the other nothing
_ASKEW = 60.0


class Engine:
    """Advances one run. Holds its lease from construction to `close`.

    Parameters
    ----------
    root : str
        The run's root directory.
    lease : Lease
        The lease on it; released by `close`.
    executor : Executor
        What runs its jobs.
    cache : CacheBackend, optional
        None: nothing is reused or kept.
    config : Config
        The run's configuration.
    """

    def __init__(self, root: str, lease: Lease, executor: Executor, cache: CacheBackend | None, config: Config) -> None:
        self.pooled = is_pool(executor)
        #: when this process will advance the run again, if it waits to do so
        self.back = 0.0
        #: a command of this process's own is in the mail
        self.hurry = False
        #: takes sentences on what takes long, for people
        self.say: Callable[[str], None] | None = None
        self._planned = 0.0
        #: where this process has workers of its own
        self._pool: Pool | None = None
        self._policy = str(config.get("cache.policy"))
        self.config = config
        self.writer = Writer(root, lease)
        self.root, self.state = root, self.writer.state
        self._cache = None if cache is None else Forgiving(cache, self.writer.warn, self.writer.warn)
        jobs = Jobs(root, self.writer.definition, config, self.writer.secrets.inherited, self.writer.trusted)
        self._grace = grace = float(config.get("run.grace"))
        relays = not self.pooled and bool(config.get("dispatch.chain") and config.get("dispatch.fast_advance"))
        self.scheduler = Scheduler(
            self.writer,
            executor,
            jobs,
            pooled=self.pooled,
            grace=grace,
            lost_after=float(config.get("run.lost_after")),
            relays=relays,
            interval=float(config.get("dispatch.interval")),
            hear=self.hear,
        )
        self._results = Results(root)
        self._keeper = Keeper(self.writer, self._results, self._cache)
        self._authors = Authors(self.writer, self._results)
        #: what interrupted workers said, and when that was read, by mailbox: the scheduler knows why they were
        self._interrupted: dict[str, tuple[Letter, float]] = {}

    @property
    def definition(self) -> Definition:
        """The run's definition, of the code generation that counts now."""
        return self.writer.definition

    @property
    def executor(self) -> Executor:
        """What runs its jobs."""
        return self.scheduler.executor

    @property
    def warnings(self) -> list[str]:
        """What people should hear of, each once."""
        return self.writer.warnings

    # --- one step ------------------------------------------------------------

    @paused()
    def ingest(self, letters: Iterable[Letter]) -> None:
        """Write down what workers have reported."""
        for letter in letters:
            if not self.pooled and _interrupted(self.state, letter) is not None:
                _, read = self._interrupted.get(letter.box, (letter, self.writer.now()))
                self._interrupted[letter.box] = letter, read
            else:
                self._take(letter)

    def _take(self, letter: Letter) -> None:
        state, log = self.state, self.writer
        for record, payload in letter.records:
            if type(record) is Finished:
                if state.accepts(record):
                    log.add(record, payload)
                    if not record.f:
                        self._keeper.note(record)
            elif type(record) is Started and state.accepts(record):
                state.apply(record)  # type: ignore[arg-type]
        log.add(Read(box=letter.box, upto=letter.upto))

    def ended(self, ends: Iterable[Ended]) -> None:
        """Write down slots that ended without a record of their own."""
        for end in ends:
            position = self.state.open_flights.get(end.tag)
            if position is None:
                continue
            flight = self.state.flights[position]
            index = flight.elements[end.slot]
            progress = self.state.tasks[flight.task]
            if progress.job[index] != position or progress.status[index] not in ACTIVE:
                continue
            status = end.status
            cls = status.failure_class
            if cls is None:
                cls = FailureClass.CANCELLED if status.state is JobState.CANCELLED else FailureClass.EXIT
            why = status.reason or status.native
            if cls is FailureClass.CANCELLED and progress.stopped and why == "cancelled":
                why = progress.reason  # the pool knows that it was asked to, and not why
            said = end.said
            fail(
                self.writer,
                Failed(
                    task=flight.task,
                    elements=str(index),
                    attempt=progress.attempt[index],
                    f=cls,
                    at=self.writer.now(),
                    d=said.d if said is not None else "",
                    p=said.p if said is not None else "",
                    j=end.tag,
                    b=progress.began.get(index, 0.0),
                    x=status.exit_code,
                    s=status.signal,
                    w=why,
                ),
            )

    @paused()
    def advance(self, *, start: bool = True) -> bool:
        """Do all that can be done now.

        Parameters
        ----------
        start : bool
            Whether anything may be started; else only what follows from what has ended is written down.

        Returns
        -------
        bool
            Whether the run has ended.

        Raises
        ------
        LeaseLost
            Another process has taken over; nothing more may be written.
        """
        self.writer.check()
        if self.state.run is RunState.PENDING:
            self.writer.add(RunChanged(state=RunState.RUNNING, at=self.writer.now()))
        while actions := self._possible(
            plan(self.definition, self.state, self.scheduler.limits, planned := self.writer.now()), start=start
        ):
            if any(isinstance(action, (Expand, Finish)) for action in actions) and self._authors.judge():
                continue  # what can be done now is another thing
            for action in actions:
                self._carry_out(action)
            self.writer.check()
            if self.state.run.ended:
                break
        self._planned = planned
        self._keeper.keep(force=self.state.run.ended)
        self.writer.commit()
        return self.state.run.ended

    def _possible(self, actions: Sequence[Action], *, start: bool) -> list[Action]:
        """What can be done now: nothing is submitted to a scheduler that is away, or full."""
        closed = self.scheduler.away or self.scheduler.full
        left_out = () if start and not closed else (Submit,) if start else (Submit, Expand)
        return [action for action in actions if not isinstance(action, left_out)]

    def tells(self, occasion: str) -> bool:
        """Whether people are to be told of this now; writes down that they are."""
        if occasion in self.state.told:
            return False
        self.writer.check()
        self.writer.add(Told(occasion=occasion, at=self.writer.now()))
        self.writer.commit()
        return True

    @property
    def pause(self) -> float | None:
        """Seconds until a held element may be tried again; None where none is."""
        wait = next_due(self.state, self._planned)  # what has come due since was not planned yet
        return None if wait is None else max(0.0, self._planned + wait - self.writer.now())

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Expand):
            self._expand(action.task)
        elif isinstance(action, Submit):
            self.scheduler.submit(action)
        elif isinstance(action, Record):
            self.writer.add(action.event)
        elif isinstance(action, GiveUp):
            give_up(self.writer, self.scheduler, dict.fromkeys(action.tasks), action.reason, whole=action.whole)
        elif isinstance(action, Skip):
            self.writer.add(Skipped(task=action.task, reason=action.reason, at=self.writer.now()))
        else:
            self._keeper.keep(force=True, final=True)
            self.scheduler.close()
            self.writer.add(RunChanged(state=action.state, reason=action.reason, at=self.writer.now()))

    def _expand(self, name: str) -> None:
        self.writer.flush()
        if self._pool is not None and self.definition.task(name).array:
            self._pool.warm()
        ctime = bool(self.config.get("cache.ctime"))
        expander = Expander(
            self.root,
            self.definition,
            self.state,
            self._results,
            self._cache,
            self._policy,
            ctime=ctime,
            trusted=self.writer.trusted,
        )
        expander.tell = self.say
        try:
            self.writer.add_all(expander.expand(name))
        except ReflowError as error:
            self._doom(name, error)

    def _doom(self, name: str, error: ReflowError) -> None:
        """A task whose inputs cannot be made up fails as a whole, in its first element that has no result."""
        now = self.writer.now()
        task = self.definition.task(name)
        progress = self.state.tasks[name]
        known = len(progress.status)
        index = next((i for i in range(known) if progress.status[i] not in SUCCEEDED), known)
        part = max(progress.parts, self.state.epoch)
        why = {"its inputs could not be made up": str(index)}
        size = max(known, index + 1)
        self.writer.add(Expanded(task=name, size=size, part=part, pending=str(index), at=now, misses=why))
        reason = str(error)
        directory = layout.log_dirs(self.root, name, task.array, [index])[0]
        path = layout.log(self.root, name, task.array, index)
        with suppress(OSError):  # the event has it
            make_directories(directory)
            with open(os.open(path, LOG, FILE), "a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(reason + "\n")
        self.writer.add(
            Failed(
                task=name,
                elements=str(index),
                attempt=progress.attempt[index],
                f=FailureClass(getattr(error, "failure", FailureClass.ERROR)),
                at=now,
                w=error.line,
            )
        )

    # --- what was heard --------------------------------------------------------

    def hear(self) -> bool:
        """Take in what the mailbox holds; says whether there was anything."""
        letters = unread(self.root, self.state, self.writer.trusted)
        self.ingest(letters)
        return bool(letters)

    def obey(self) -> list[str]:
        """Carry out what was mailed; says what was done."""
        return list(obey(self.writer, self.scheduler, self._recall))

    def _recall(self, elements: Mapping[str, Sequence[int]]) -> None:
        """Take in what was reported of these elements after they had been given up."""
        self.ingest(belated(self.root, self.state, self.writer.trusted, elements))

    @property
    def doubtful(self) -> bool:
        """Whether the scheduler is to be asked, whoever advances the run: only it knows how something has ended."""
        return bool(self._interrupted) or self.scheduler.doubtful

    def settle(self) -> float | None:
        """Take in what interrupted workers said, with the scheduler's word on why they were.

        Returns
        -------
        float or None
            Seconds until it is asked again about those of which it has said nothing; None where there are none.
        """
        soonest: float | None = None
        for box, (letter, read) in list(self._interrupted.items()):
            record = _interrupted(self.state, letter)
            if record is not None:
                gone = self.state.gone.get((record.t, record.i))
                left = self._unsettled(record, read) if gone is None or not gone.sure else 0.0
                if left > 0:
                    soonest = left if soonest is None else min(soonest, left)
                    continue
                if (
                    gone is not None
                    and gone.f
                    and (record.f != FailureClass.REQUEUED or gone.f == FailureClass.CANCELLED)
                ):
                    why = f"{gone.w} ({record.w})" if gone.w else record.w
                    record = msgspec.structs.replace(record, f=gone.f, w=why)
                letter = msgspec.structs.replace(letter, records=[(record, msgspec.json.encode(record))])
            self._take(letter)
            del self._interrupted[box]
        return soonest

    def _unsettled(self, record: Finished, read: float) -> float:
        """Seconds for which the scheduler may still say why an element was interrupted; 0 where it need not be asked.

        It has said nothing before it was asked, a visibility lag after the interruption at the earliest. Then what it
        says to be alive is waited for, as long as for a record that is late.
        """
        now, lag = self.writer.now(), self.executor.limits.visibility_lag
        ended = record.e if abs(read - record.e) <= _ASKEW else read
        flight = self.state.flight_of(record.t, record.i)
        asked = self.scheduler.answered and flight is not None and flight.tag not in self.scheduler.unheard
        if not asked or self.scheduler.answered < ended + lag:
            return max(ended + lag - now, _AGAIN)
        return 0.0 if now >= ended + lag + self._grace else _AGAIN

    # --- life ----------------------------------------------------------------

    def recover(self, *, asked: bool = False) -> None:
        """Take over from a driving process that is gone: read what its workers said, end them, free the rest.

        ``asked``: it was this process, and the user has ended it; what its workers had to break off has ended, too.
        """
        from .orphan_workers import end_workers

        for tag in self.state.pools:
            end_workers(self.root, tag)
        for letter in unread(self.root, self.state, self.writer.trusted):
            if not asked:
                # A process that fails interrupts its workers on its way out: that is no end of what they ran.
                records = [one for one in letter.records if not _broken_off(self.state, one[0])]
                letter = msgspec.structs.replace(letter, records=records)
            self.ingest([letter])
        for position in list(self.state.open_flights.values()):
            flight = self.state.flights[position]
            progress = self.state.tasks[flight.task]
            rest = [
                index
                for index in flight.elements
                if progress.job[index] == position and progress.status[index] in ACTIVE
            ]
            now = self.writer.now()
            if rest and progress.stopped:
                self.writer.add(
                    Failed(
                        task=flight.task,
                        elements=to_ranges(rest),
                        attempt=flight.attempt,
                        f=FailureClass.CANCELLED,
                        at=now,
                        w=progress.reason,
                    )
                )
            elif rest:
                why = "the process that drove the run is gone"
                self.writer.add(Requeued(task=flight.task, elements=to_ranges(rest), reason=why, at=now))
        self.writer.commit()

    def attend(self, progress: Callable[[Engine, str], None]) -> None:
        """Obey what was mailed to a run that nobody drives, and leave it to who drives it on to submit anything."""
        self.recover()
        for said in self.obey():
            progress(self, said)
        self.scheduler.away = True
        self.advance()

    def drive(self, pool: Pool, progress: Callable[[Engine, str], None]) -> None:
        """Advance until the run has ended, in this process, with a pool's workers.

        Parameters
        ----------
        pool : Pool
            The executor, closed at the end.
        progress : callable
            Told after each step; its second argument is a message for the user, or "".
        """
        tag = new_tag(os.urandom(8))
        self.recover()
        for said in self.obey():
            progress(self, said)
        pool.open(self.root, tag, python=self.definition.python, cwd=self.definition.cwd)
        self._pool = pool
        self.writer.add(PoolOpened(tag=tag, host=os.uname().nodename, at=self.writer.now()))
        self.writer.commit()
        listened = time.monotonic()
        self.hurry = self.stop_now = interrupted = False
        try:
            while not self.advance():
                if self.stop_now:
                    raise KeyboardInterrupt
                progress(self, "")
                pause = self.pause
                heard = pool.wait(_LISTEN if pause is None else min(_LISTEN, pause))
                self.writer.check()
                self.ingest(heard.letters)
                self.ended(heard.ended)
                for warning in heard.warnings:
                    progress(self, warning)
                if self.hurry or time.monotonic() - listened > _LISTEN:
                    self.hurry = False
                    listened = time.monotonic()
                    for said in self.obey():
                        progress(self, said)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            pool.close()
        if interrupted:
            self.recover(asked=True)
            for said in self.obey():
                progress(self, said)
            self.advance()
        progress(self, "")

    def commit(self) -> None:
        """Make all that was decided durable."""
        self.writer.commit()

    def close(self) -> None:
        """Commit, and release the lease."""
        try:
            self._results.close()
            self._keeper.close()
        finally:
            self.writer.close(self.back)


def is_pool(executor: Executor) -> TypeGuard[Pool]:
    """Whether it runs jobs inside of this process; by its class alone, since properties may ask a scheduler."""
    return all(callable(getattr(type(executor), name, None)) for name in ("open", "wait", "close"))


def _interrupted(state: State, letter: Letter) -> Finished | None:
    """A worker's word, where it counts, that its element was ended from outside."""
    for record, _ in letter.records:
        if isinstance(record, Finished) and _broken_off(state, record):
            return record
    return None


def _broken_off(state: State, record: Mail) -> bool:
    return type(record) is Finished and record.interrupted and state.accepts(record)
