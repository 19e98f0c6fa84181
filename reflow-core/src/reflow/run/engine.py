"""`Engine`: the one place where a run is advanced, however it is driven."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeGuard

import msgspec

from ..config import Config
from ..errors import ExecutorError, ReflowError
from ..model import layout
from ..model.cache import CacheBackend, CacheEntry
from ..model.definition import Definition
from ..model.job import Ended, Executor, Job, JobRef, JobState, Letter, Pool, Submission
from ..model.names import FailureClass, RunState
from ..model.ranges import from_ranges, to_ranges
from ..model.record import (
    Asked,
    Barred,
    Cancelled,
    CodeChanged,
    Command,
    Expanded,
    Failed,
    Finished,
    Gone,
    Intent,
    Kept,
    Obeyed,
    PoolOpened,
    Read,
    Requeued,
    Reset,
    RunChanged,
    Skipped,
    Started,
    Submitted,
    Told,
    Uncached,
    Voided,
    Wake,
    Woke,
)
from ..model.schema import escape, unescape
from ..model.state import CACHED, CANCELLED, FAILED, PENDING, QUEUED, RUNNING, SKIPPED, SUCCESS, State
from ..model.task import JSON
from ..planning.plan import Action, Expand, Finish, Record, Skip, Submit, next_due, plan
from ..planning.reconcile import judge, missing, overdue, refs
from ..planning.tags import new_tag
from ..planning.waking import flying, groups, uncovered
from ..worker.files import Settler
from ..worker.inputs import Inputs
from ..worker.tags import void
from .cache import Forgiving
from .expand import Expander, parts_of
from .jobs import Jobs
from .lease import Lease, LeaseLapsed
from .log import Log, Results, replay
from .mail import UNREADABLE, commands, unread

#: results published at a time
_PUBLISH = 1000

#: seconds between two looks for mailed commands while a pool works
_LISTEN = 0.5


def load_definition(root: str, generation: int = 1) -> Definition:
    """Read a run's frozen definition.

    Raises
    ------
    DataError
        It is damaged, or was written by a newer version.
    """
    from ..errors import DataError
    from ..model.record import SCHEMA

    path = layout.definition(root, generation)
    with open(path, "rb") as stream:
        raw = stream.read()
    try:
        definition = msgspec.json.decode(raw, type=Definition)
    except msgspec.MsgspecError as error:
        raise DataError(f"{path} is damaged: {error}") from None
    if definition.schema > SCHEMA:
        raise DataError(
            f"{path} was written by a newer version of reflow ({definition.version})",
            hint="use that version, or a later one, for this run",
        )
    return definition


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What only the run's owner may read: ``secrets.json``, mode 0600.

    ``env`` holds the tasks' environment variables, ``config`` secret configuration,
    ``inherited`` what ``[executor] inherit_env`` adds to the variables that every job is given.
    """

    env: Mapping[str, Mapping[str, str]] = {}
    config: Mapping[str, JSON] = {}
    inherited: Mapping[str, str] = {}


def load_secrets(root: str, generation: int = 1) -> Secrets:
    """Read those of a code generation; empty where there are none."""
    try:
        with open(layout.secrets(root, generation), "rb") as stream:
            return msgspec.json.decode(stream.read(), type=Secrets)
    except FileNotFoundError:
        return Secrets()


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
        self.root = root
        self.pooled = is_pool(executor)
        #: why the run cannot wake itself, where it cannot
        self.stranded = ""
        #: when this process will advance the run again, if it waits to do so
        self.back = 0.0
        #: whether the scheduler does not answer, or takes nothing, for now
        self.away = False
        #: whether this process runs on a compute node, which may not be allowed to submit; and whether in a job whose
        #: work was another, so that what it cannot do is left to a wake-up
        self.woken = self.relaying = False
        #: jobs of which it could say nothing when it was asked last, by tag
        self.unheard: frozenset[str] = frozenset()
        self._planned = 0.0
        #: a command of this process's own is in the mail
        self.hurry = False
        self._relays = not self.pooled and bool(config.get("dispatch.chain") and config.get("dispatch.fast_advance"))
        self._policy = str(config.get("cache.policy"))
        self._grace = float(config.get("run.grace"))
        self._config = config
        self.executor = executor
        self.warnings: list[str] = []
        self._lease = lease
        self._cache = None if cache is None else Forgiving(cache, self._warn)
        first = load_definition(root)
        self.state = State(first)
        span = replay(root, self.state)
        self.definition = first if self.state.generation == 1 else load_definition(root, self.state.generation)
        self._log = Log(root, lease.epoch, self.state, span)
        secrets = load_secrets(root, self.state.generation)
        self._jobs = Jobs(root, self.definition, config, secrets.inherited)
        self._env = secrets.env
        self._results = Results(root)
        self._inputs: dict[str, Inputs] = {}
        self._fresh: dict[str, list[int]] = {}
        #: what interrupted workers said, by mailbox: the scheduler knows why they were
        self._interrupted: dict[str, Letter] = {}
        for name, progress in self.state.tasks.items():
            unkept = [index for index in progress.indices(SUCCESS) if not progress.kept[index]]
            if unkept:
                self._fresh[name] = unkept

    # --- one step ------------------------------------------------------------

    def ingest(self, letters: Iterable[Letter]) -> None:
        """Write down what workers have reported."""
        for letter in letters:
            if not self.pooled and _interrupted(self.state, letter) is not None:
                self._interrupted[letter.box] = letter
            else:
                self._take(letter)

    def _take(self, letter: Letter) -> None:
        state, log = self.state, self._log
        for record, payload in letter.records:
            if type(record) is Finished:
                if state.accepts(record):
                    log.add(record, payload)
                    if not record.f:
                        self._fresh.setdefault(record.t, []).append(record.i)
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
            if progress.job[index] != position or progress.status[index] not in (QUEUED, RUNNING):
                continue
            status = end.status
            cls = status.failure_class
            if cls is None:
                cls = FailureClass.CANCELLED if status.state is JobState.CANCELLED else FailureClass.EXIT
            self._log.add(
                Failed(
                    task=flight.task,
                    elements=str(index),
                    attempt=progress.attempt[index],
                    f=cls,
                    at=time.time(),
                    x=status.exit_code,
                    s=status.signal,
                    w=status.reason or status.native,
                )
            )

    def advance(self) -> bool:
        """Do all that can be done now.

        Returns
        -------
        bool
            Whether the run has ended.

        Raises
        ------
        LeaseLost
            Another process has taken over; nothing more may be written.
        """
        self._check()
        if self.state.run is RunState.PENDING:
            self._log.add(RunChanged(state=RunState.RUNNING, at=time.time()))
        while actions := self._possible(
            plan(self.definition, self.state, self.executor.limits, planned := time.time())
        ):
            for action in actions:
                self._carry_out(action)
            self._check()
            if self.state.run.ended:
                break
        self._planned = planned
        self._keep(force=self.state.run.ended)
        self._log.commit()
        return self.state.run.ended

    def _possible(self, actions: Sequence[Action]) -> list[Action]:
        """What can be done now: nothing is submitted to a scheduler that is away."""
        return [action for action in actions if not (self.away and isinstance(action, Submit))]

    def tells(self, occasion: str) -> bool:
        """Whether people are to be told of this now; writes down that they are."""
        if occasion in self.state.told:
            return False
        self._check()
        self._log.add(Told(occasion=occasion, at=time.time()))
        self._log.commit()
        return True

    @property
    def pause(self) -> float | None:
        """Seconds until a held element may be tried again; None where none is."""
        wait = next_due(self.state, self._planned)  # what has come due since was not planned yet
        return None if wait is None else max(0.0, self._planned + wait - time.time())

    def _carry_out(self, action: Expand | Skip | Submit | Record | Finish) -> None:
        if isinstance(action, Expand):
            self._expand(action.task)
        elif isinstance(action, Submit):
            self._submit(action)
        elif isinstance(action, Record):
            self._log.add(action.event)
        elif isinstance(action, Skip):
            self._log.add(Skipped(task=action.task, reason=action.reason, at=time.time()))
        else:
            self._keep(force=True)
            self._log.add(RunChanged(state=action.state, reason=action.reason, at=time.time()))

    def _expand(self, name: str) -> None:
        self._log.flush()
        expander = Expander(self.root, self.definition, self.state, self._results, self._cache, self._policy)
        try:
            for event in expander.expand(name):
                self._log.add(event)
        except ReflowError as error:
            self._doom(name, error)

    def _doom(self, name: str, error: ReflowError) -> None:
        """A task whose inputs cannot be made up fails as a whole, in its first element that has no result."""
        now = time.time()
        task = self.definition.task(name)
        progress = self.state.tasks[name]
        known = len(progress.status)
        index = next((i for i in range(known) if progress.status[i] not in (SUCCESS, CACHED)), known)
        part = max(progress.parts, self.state.epoch)
        self._log.add(Expanded(task=name, size=max(known, index + 1), part=part, pending=str(index), at=now))
        reason = str(error)
        directory = layout.log_dirs(self.root, name, task.array, [index])[0]
        os.makedirs(directory, exist_ok=True)
        path = layout.log(self.root, name, task.array, index)
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(reason + "\n")
        self._log.add(
            Failed(
                task=name,
                elements=str(index),
                attempt=progress.attempt[index],
                f=FailureClass.ERROR,
                at=now,
                w=" ".join(reason.split()),
            )
        )

    def _submit(self, action: Submit) -> None:
        task = self.definition.task(action.task)
        tag = new_tag(os.urandom(8))
        env = self._env.get(task.name, {})
        relay = self._relays and self.state.relays
        spec = self._jobs.spec(action, tag, task, env, self.state.generation, relay=relay)
        self._jobs.write(task, spec, action.elements, warm=self.pooled)
        self._log.add(
            Intent(
                tag=tag,
                task=task.name,
                elements=spec.elements,
                attempt=action.attempt,
                part=action.part,
                at=time.time(),
                generation=self.state.generation,
                resources=action.resources,
                array=task.array,
            )
        )
        self._ask_for(self._jobs.job(task, spec, len(action.elements)))

    def _ask_for(self, job: Job) -> bool:
        """Submit a job whose intent was written down; False where it was refused, or nobody knows yet."""
        if self.pooled:
            self._log.flush()  # what this process's own workers do cannot outlast the machine
        else:
            self._log.commit()
        self._check()
        now = time.time()
        try:
            submission = self.executor.submit(job)
        except ReflowError as error:
            if not isinstance(error, ExecutorError):
                error = ExecutorError(error.message, hint=error.hint)
            if error.maybe_done:
                self.away = True
                self._warn(f"{error}; it is looked for before anything else is submitted")
            elif self.relaying or (self.woken and error.elsewhere):
                self._unable(job.tag, " ".join(str(error).split()), now, error.transient)
            elif error.transient:
                self.away = True
                self._warn(f"{error}; it is tried again")
                self._log.add(Voided(tag=job.tag, reason=" ".join(str(error).split()), at=now))
            else:
                self._refused(job.tag, str(error), now)
            return False
        self._log.add(_submitted(job.tag, submission))
        return True

    def _unable(self, tag: str, why: str, now: float, passing: bool) -> None:
        """What was to be submitted from here, and cannot be, waits for a process that can."""
        self._log.add(Voided(tag=tag, reason=why, at=now))
        if not (self.relaying and passing):
            self._log.add(Barred(at=now, w=why, relay=self.relaying))
        self.away = True
        if not self.relaying:
            self.stranded = why

    def _refused(self, tag: str, why: str, now: float) -> None:
        """The scheduler did not take a job: its elements have failed to launch; a wake-up is not to be had."""
        position = self.state.open_flights.get(tag)
        if position is None:
            self._log.add(Woke(tag=tag, at=now, reason=why))
            self._warn(f"the run cannot wake itself: {why}")
            self.stranded = why
            return
        flight = self.state.flights[position]
        self._log.add(
            Failed(
                task=flight.task,
                elements=to_ranges(flight.elements),
                attempt=flight.attempt,
                f=FailureClass.LAUNCH,
                at=now,
                w=" ".join(why.split()),
            )
        )

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)

    # --- the cache -----------------------------------------------------------

    def _keep(self, force: bool = False) -> None:
        """Publish results to the cache: many at a time, or all there are."""
        if not force and sum(map(len, self._fresh.values())) < _PUBLISH:
            return
        fresh, self._fresh = self._fresh, {}
        if self._cache is None or not fresh:
            return
        self._log.commit()  # what others may reuse must outlive us
        settler = Settler()
        entries: list[CacheEntry] = []
        decided: list[Kept | Uncached] = []
        for name, indices in fresh.items():
            if self.definition.task(name).cache is not False:
                self._collect(name, indices, settler, entries, decided)
        try:
            if entries:
                self._check()
                self._cache.publish(entries)
        except OSError as error:
            self._warn(f"results cannot be kept in the cache now: {error}")
            return
        for event in decided:
            self._log.add(event)

    def _collect(
        self,
        name: str,
        indices: Sequence[int],
        settler: Settler,
        entries: list[CacheEntry],
        decided: list[Kept | Uncached],
    ) -> None:
        """Make up what the cache is to hold of a task's elements, and what is to be written down of them."""
        task = self.definition.task(name)
        progress = self.state.tasks[name]
        kept: list[int] = []
        spoiled: list[int] = []
        recoded: list[int] = []
        shared: dict[str, str] = {}
        shared_of: Inputs | None = None
        for index in indices:
            inputs = self._part(name, progress.part[index])
            element = inputs.element(index)
            if not element.k:
                continue
            flight = self.state.flight_of(name, index)
            if flight is not None and not self._same_code(name, inputs.header.generation, flight.generation):
                recoded.append(index)
                continue
            guards: Mapping[str, str] = {}
            if inputs.header.files or element.f:
                found = settler.settle(
                    _paths({**inputs.header.files, **element.f}), _paths({**inputs.header.guards, **element.g})
                )
                if found is None:
                    spoiled.append(index)
                    continue
                guards = {escape(path): guard for path, guard in found.items()}
            record = self._results.record(progress.file[index], progress.offset[index], progress.length[index])
            if inputs is not shared_of:
                shared, shared_of = parts_of(task, inputs.header.parts), inputs
            entries.append(
                CacheEntry(
                    key=element.k,
                    workflow=self.definition.workflow,
                    task=name,
                    result=record.r,
                    parts={**shared, **element.d},
                    outputs=record.o,
                    guards=guards,
                    run_id=self.definition.run_id,
                    time=record.e if isinstance(record, Finished) else time.time(),
                )
            )
            kept.append(index)
        if kept:
            decided.append(Kept(task=name, elements=to_ranges(kept)))
        for left, reason in (
            (spoiled, "an input file changed while the run used it"),
            (recoded, "the task's code changed while the run used it"),
        ):
            if left:
                decided.append(Uncached(task=name, elements=to_ranges(left), reason=reason))

    def _same_code(self, name: str, keyed: int, ran: int) -> bool:
        """Whether the code generation that an element's key speaks of and the one that ran it are one to this task."""
        if keyed == ran:
            return True
        one, other = (load_definition(self.root, generation).task(name) for generation in (keyed, ran))
        return all(getattr(one, part) == getattr(other, part) for part in ("code", "env_digest", "version", "inputs"))

    def _part(self, name: str, part: int) -> Inputs:
        path = layout.inputs(self.root, name, part)
        inputs = self._inputs.get(path)
        if inputs is None:
            while len(self._inputs) >= 32:
                self._inputs.pop(next(iter(self._inputs))).close()
            inputs = self._inputs[path] = Inputs(path)
        return inputs

    # --- commands ------------------------------------------------------------

    def obey(self) -> list[str]:
        """Carry out what was mailed; says what was done."""
        said: list[str] = []
        for command in commands(self.root, self.state):
            verb = command.verb
            if verb == "cancel":
                answer = self._cancel(command)
                verb = "cancel" if command.tasks else "stop"
            elif verb == UNREADABLE:
                answer = f"{layout.commands(self.root)}/{command.id}.json holds no command, and is passed over"
            else:
                answer = self._retry(command)
            self._log.add(Obeyed(id=command.id, verb=verb, at=time.time(), said=answer))
            self._log.commit()
            said.append(answer)
        return said

    def _cancel(self, command: Command) -> str:
        """Stop the chain first, then what is queued or runs."""
        reason = command.reason or "cancelled"
        now = time.time()
        wanted: dict[str, str | None] = dict(command.tasks) or dict.fromkeys(self.state.tasks)
        waiting = 0
        for name, elements in wanted.items():
            progress = self.state.tasks.get(name)
            if progress is None or progress.ended:
                continue
            before = progress.counts[PENDING]
            self._log.add(Cancelled(task=name, elements=elements, at=now, reason=reason))
            waiting += before - progress.counts[PENDING]
        self._log.commit()
        active = 0
        landed: dict[str, list[int]] = {}
        refs: list[JobRef] = []
        for position in self.state.open_flights.values():
            flight = self.state.flights[position]
            if flight.task not in wanted or not flight.id:
                continue
            elements = wanted[flight.task]
            chosen = None if elements is None else set(from_ranges(elements))
            progress = self.state.tasks[flight.task]
            slots = [
                slot
                for slot, index in enumerate(flight.elements)
                if (chosen is None or index in chosen)
                and progress.job[index] == position
                and progress.status[index] in (QUEUED, RUNNING)
            ]
            active += len(slots)
            landed.setdefault(flight.task, []).extend(flight.elements[slot] for slot in slots)
            cluster = flight.cluster or None
            if len(slots) == flight.left:
                refs.append(JobRef(flight.id, None, cluster))
            else:
                refs.extend(JobRef(flight.id, slot, cluster) for slot in slots)
        chain = {**self.state.wakes, **self.state.spares}
        wakes = [JobRef(wake.id, None, wake.cluster or None) for wake in chain.values() if wake.id]
        if not command.tasks and wakes:
            # The chain first: what wakes up now would only find a run that is being ended.
            self._check()
            self.executor.cancel(wakes)
            for tag in chain:
                self._log.add(Woke(tag=tag, at=time.time(), reason="cancelled"))
        if refs:
            self._check()
            self.executor.cancel(refs)
        if not self.pooled:
            for task, ended in landed.items():
                self._log.add(
                    Failed(
                        task=task,
                        elements=to_ranges(ended),
                        attempt=0,
                        f=FailureClass.CANCELLED,
                        at=time.time(),
                        w=reason,
                    )
                )
        return f"cancelled {active} queued or running and {waiting} waiting elements"

    def _retry(self, command: Command) -> str:
        """Let what failed, was cancelled or was skipped start over."""
        changed = command.generation > self.state.generation
        if changed:
            self._log.add(CodeChanged(generation=command.generation, at=time.time()))
            self.definition = load_definition(self.root, command.generation)
            self._env = load_secrets(self.root, command.generation).env
        again: dict[str, list[int]] = {}
        stale: dict[str, list[int]] = {}
        whole: set[str] = set()
        for task in self.definition.tasks:
            progress = self.state.tasks[task.name]
            if not (progress.open or progress.ended):
                continue
            if changed and progress.open and progress.counts[PENDING]:
                stale[task.name] = progress.indices(PENDING)  # who they are depends on the code
            chosen = command.tasks.get(task.name, "") if command.tasks else None
            if chosen == "":
                if any(step in again for step in task.upstream) and (progress.skipped or progress.counts[SKIPPED]):
                    chosen = None
                else:
                    continue
            among = None if chosen is None else set(from_ranges(chosen))
            indices = [
                index
                for status in (FAILED, CANCELLED, SKIPPED)
                for index in progress.indices(status)
                if among is None or index in among
            ]
            if indices or progress.skipped or progress.cancelled:
                again[task.name] = indices
        for task in self.definition.tasks:
            # What was computed from a part of its input, since some of it had failed, is computed anew with the whole.
            progress = self.state.tasks[task.name]
            partly = any(wired.allow_failed and again.keys() & set(wired.steps) for wired in task.inputs)
            if progress.open and (partly or whole.intersection(task.upstream)):
                whole.add(task.name)
                again[task.name] = list(range(len(progress.status)))
        for name in dict.fromkeys([*again, *stale]):
            indices = [*again.get(name, ()), *stale.get(name, ())]
            self._log.add(Reset(task=name, elements=to_ranges(indices), at=time.time(), reason="retry"))
        if not again:
            return "nothing to retry"
        self._log.add(RunChanged(state=RunState.RUNNING, at=time.time(), reason="retry"))
        count = sum(len(indices) or 1 for indices in again.values())
        return f"retrying {count} element{'s' if count != 1 else ''} of {', '.join(again)}"

    # --- schedulers ----------------------------------------------------------

    def resolve(self) -> float | None:
        """Find out what became of submissions whose answer was never written down.

        Returns
        -------
        float or None
            Seconds until those that the scheduler may not show yet can be
            decided; None where none is left.
        """
        unknown = {
            flight.tag: flight.at
            for position in self.state.open_flights.values()
            if not (flight := self.state.flights[position]).id and not flight.slots
        }
        unknown |= {wake.tag: wake.at for wake in self.state.wakes.values() if not wake.id}
        if not unknown:
            return None
        self._check()
        try:
            found = self.executor.find(list(unknown))
        except ExecutorError as error:
            self._outage(error)
            return None
        lag = self.executor.limits.visibility_lag
        wait: float | None = None
        for tag, at in unknown.items():
            now = time.time()
            if tag in found:
                self._log.add(_submitted(tag, Submission(found[tag])))
            elif now - at < lag:
                wait = lag - (now - at) if wait is None else max(wait, lag - (now - at))
            else:
                os.makedirs(os.path.dirname(layout.tag(self.root, tag)), exist_ok=True)
                claimed = void(layout.tag(self.root, tag))
                if claimed is None:
                    self._log.add(Voided(tag=tag, reason="the scheduler does not know it", at=now))
                elif claimed:
                    self._log.add(Submitted(tag=tag, id=claimed, at=now))
                else:
                    self._started_unseen(tag, now)
        self._log.commit()
        return wait

    def _started_unseen(self, tag: str, now: float) -> None:
        """A job has started that the scheduler does not know, and that could not tell its own id.

        So it has ended, or nobody can be asked about it. Its record counts if one
        comes within the grace period; a wake-up's start was all that was waited for.
        """
        position = self.state.open_flights.get(tag)
        if position is None:
            self._log.add(Woke(tag=tag, at=now, reason="it has started"))
            return
        flight = self.state.flights[position]
        silent = [
            index
            for index in flight.elements
            if self.state.flight_of(flight.task, index) is flight and (flight.task, index) not in self.state.gone
        ]
        if silent:
            why = "it has started, and the scheduler does not know it"
            self._log.add(Gone(tag=tag, elements=to_ranges(silent), at=now, w=why))

    def hear(self) -> bool:
        """Take in what the mailbox holds; says whether there was anything."""
        letters = unread(self.root, self.state)
        self.ingest(letters)
        return bool(letters)

    def ask(self) -> None:
        """Ask the scheduler once for everything in flight; an outage is no evidence, and is said."""
        wanted = refs(self.state)
        if not wanted:
            return
        self._check()
        try:
            answers = self.executor.query(wanted)
        except ExecutorError as error:
            self._outage(error)
            return
        lag = self.executor.limits.visibility_lag
        verdict = judge(self.state, answers, time.time(), lag)
        self.unheard = verdict.unheard
        for event in verdict.events:
            self._log.add(event)
        for tag in verdict.woken:
            self._log.add(Woke(tag=tag, at=time.time(), reason="its job is gone"))

    def _outage(self, error: ExecutorError) -> None:
        """The scheduler does not answer: no evidence of anything, and a reason to wait."""
        self.away = True
        self._log.add(Asked(at=time.time(), problem=str(error)))
        self._warn(f"the scheduler does not answer: {error}")

    def settle(self) -> float | None:
        """Take in what interrupted workers said, with the scheduler's word on why they were.

        Returns
        -------
        float or None
            Seconds until its silence is an answer, too; None where nothing waits for it.
        """
        soonest: float | None = None
        for box, letter in list(self._interrupted.items()):
            record = _interrupted(self.state, letter)
            if record is not None:
                gone = self.state.gone.get((record.t, record.i))
                left = record.e + self.executor.limits.visibility_lag - time.time()
                if gone is None and left > 0:
                    soonest = left if soonest is None else min(soonest, left)
                    continue
                if gone is not None and gone.f:
                    why = f"{gone.w} ({record.w})" if gone.w else record.w
                    record = msgspec.structs.replace(record, f=gone.f, w=why)
                letter = msgspec.structs.replace(letter, records=[(record, msgspec.json.encode(record))])
            self._take(letter)
            del self._interrupted[box]
        return soonest

    @property
    def silent(self) -> bool:
        """Whether something in flight has not reported its end, and nobody knows of it yet."""
        return any(flight.left for flight in missing(self.state))

    def give_up(self) -> float | None:
        """Let elements fail whose record did not arrive within the grace period; seconds until the next one is due."""
        failed, soonest = overdue(self.state, time.time(), self._grace)
        for event in failed:
            self._log.add(event)
        return soonest

    def arrange(self, pause: float | None) -> bool:
        """Make sure that the run is woken when it has to go on.

        Parameters
        ----------
        pause : float, optional
            Seconds until something is due by the clock, and too long to wait here.

        Returns
        -------
        bool
            Whether a wake-up was asked for: what ended in the meantime, nobody
            may have told of.
        """
        if self.away:
            return False
        open_tags = flying(self.state, self.unheard)
        limit = self.executor.limits.max_after
        asked = False
        for group in uncovered(groups(self.definition, self.state), self.state.wakes.values(), open_tags):
            waits = [tag for tag in group if tag in open_tags][:limit]
            if waits:
                asked = True
                self._wake(tuple(waits), None)
        if pause is not None and not open_tags and not any(wake.due for wake in self.state.wakes.values()):
            self._wake((), pause)
        return asked

    @property
    def covered(self) -> bool:
        """Whether a wake-up is under way."""
        return any(wake.id for wake in self.state.wakes.values())

    def _wake(self, waits: tuple[str, ...], pause: float | None) -> None:
        tag = new_tag(os.urandom(8))
        now = time.time()
        self._log.add(Wake(tag=tag, waits=waits, at=now, due=0.0 if pause is None else now + pause))
        if self._relays and self.state.relays:
            self._jobs.awaited(waits, self.state.wakes.values())
        by_tag = {flight.tag: flight for flight in missing(self.state)}
        after = [JobRef(by_tag[one].id, None, by_tag[one].cluster or None) for one in waits]
        job = self._jobs.wake(tag, after, pause)
        self._jobs.write_wake(job)
        self._ask_for(job)

    def woke(self, tag: str) -> None:
        """Note that a wake-up has started."""
        if tag in self.state.wakes:
            self._log.add(Woke(tag=tag, at=time.time()))

    def relieve(self, tags: Sequence[str]) -> list[str]:
        """Note that the work of wake-ups is done, though they have not started; says of which ones it is."""
        open_tags = flying(self.state)
        done = [tag for tag in tags if tag in self.state.wakes and open_tags.isdisjoint(self.state.wakes[tag].waits)]
        for tag in done:
            self._log.add(Woke(tag=tag, at=time.time(), reason="the last worker went on", spare=True))
        return done

    def dismiss(self) -> None:
        """The run has ended: take the wake-ups out of the queue that nobody needs any more."""
        left = {**self.state.wakes, **self.state.spares}
        refs = [JobRef(wake.id, None, wake.cluster or None) for wake in left.values() if wake.id]
        if self.pooled or not refs:
            return
        self._check()
        try:
            self.executor.cancel(refs)
        except ReflowError as error:
            self._warn(f"wake-ups that are not needed any more are still queued: {error}")
            return
        for tag in left:
            self._log.add(Woke(tag=tag, at=time.time(), reason="the run has ended"))

    # --- life ----------------------------------------------------------------

    def recover(self) -> None:
        """Take over from a driving process that is gone: read what its workers said, end them, free the rest."""
        from .survivors import end_workers

        for tag in self.state.pools:
            end_workers(self.root, tag)
        self.ingest(unread(self.root, self.state))
        for position in list(self.state.open_flights.values()):
            flight = self.state.flights[position]
            progress = self.state.tasks[flight.task]
            rest = [
                index
                for index in flight.elements
                if progress.job[index] == position and progress.status[index] in (QUEUED, RUNNING)
            ]
            if rest:
                self._log.add(
                    Requeued(
                        task=flight.task,
                        elements=to_ranges(rest),
                        reason="the process that drove the run is gone",
                        at=time.time(),
                    )
                )
        self._log.commit()

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
        self._log.add(PoolOpened(tag=tag, host=os.uname().nodename, at=time.time()))
        self._log.commit()
        listened = time.monotonic()
        self.hurry = self.stop_now = interrupted = False
        try:
            while not self.advance():
                if self.stop_now:
                    raise KeyboardInterrupt
                progress(self, "")
                pause = self.pause
                heard = pool.wait(_LISTEN if pause is None else min(_LISTEN, pause))
                self._check()
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
            self.recover()
            for said in self.obey():
                progress(self, said)
            self.advance()
        progress(self, "")

    def _check(self) -> None:
        """Make sure that this process may still write.

        One that was held up (a closed lid, a stopped process) for longer than
        it may be, while nobody took over, begins an epoch of its own anew.

        Raises
        ------
        LeaseLost
            Another process has taken over; nothing more may be written.
        """
        try:
            self._lease.check()
        except LeaseLapsed:
            lease = self._lease.renew()
            self._log.close()
            self._log = Log(self.root, lease.epoch, self.state, self._log.span)
            self._lease = lease

    def commit(self) -> None:
        """Make all that was decided durable."""
        self._log.commit()

    def close(self) -> None:
        """Commit, and release the lease."""
        try:
            self._log.close()
            self._results.close()
            for inputs in self._inputs.values():
                inputs.close()
            if self._cache is not None:
                self._cache.close()
        finally:
            self._lease.release(self.back)


def is_pool(executor: Executor) -> TypeGuard[Pool]:
    """Whether it runs jobs inside of this process; by its class alone, since properties may ask a scheduler."""
    return all(callable(getattr(type(executor), name, None)) for name in ("open", "wait", "close"))


def _interrupted(state: State, letter: Letter) -> Finished | None:
    """A worker's word, where it counts, that its element was interrupted."""
    for record, _ in letter.records:
        if type(record) is Finished and record.f == FailureClass.CANCELLED and state.accepts(record):
            return record
    return None


def _paths(written: Mapping[str, str]) -> dict[str, str]:
    """Paths as the file system has them, from the text by which records name them."""
    return {unescape(path): digest for path, digest in written.items()}


def _submitted(tag: str, submission: Submission) -> Submitted:
    ref = submission.ref or JobRef("")
    return Submitted(
        tag=tag,
        id=ref.id,
        cluster=ref.cluster or "",
        at=time.time(),
        slots={slot: one.id for slot, one in submission.slots.items()},
    )
