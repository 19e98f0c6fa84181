"""The inline executor: elements run one after another in this very process."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from ..authoring.flow import Flow
from ..authoring.hints import resolve
from ..errors import UsageError
from ..model import layout
from ..model.definition import Definition
from ..model.frames import parse
from ..model.job import Ended, Heard, Job, JobRef, JobState, JobStatus, Letter, Limits, Submission
from ..model.names import FailureClass
from ..model.ranges import from_ranges
from ..model.record import Finished, JobSpec, Mail, Opened, Started
from ..model.resources import THREADS
from ..process.spawn import spawn
from ..worker.durable import FILE
from ..worker.element import STRANGE, ElementRunner, failure_of
from ..worker.frozen import Frozen
from ..worker.isolated import Isolated, loaded, same_code
from ..worker.keeper import Keeper
from ..worker.mailbox import Mailbox
from ..worker.opener import LOG, WHOLE, read_regular
from ..worker.state import below
from ..worker.trust import Trust, trust_of_job
from ..worker.values import strangers

_mail = msgspec.json.Decoder(Mail)

#: seconds for which elements are run before their results are handed over
WITHIN = 0.05


class _Work:
    def __init__(self, job: Job, number: int) -> None:
        self.job = job
        self.ref = JobRef(f"inline-{os.getpid()}-{number}")
        self.slots = job.slots if job.slots is not None else 1
        self.status: dict[int, JobStatus] = {}
        self.begin = time.monotonic() + (job.begin or 0.0)
        self.elements: Sequence[int] = from_ranges(job.spec.elements) if job.spec else range(self.slots)


class InlineExecutor:
    """Run each element in this process: for a debugger, tests and notebooks.

    What a task prints goes where this process prints; its log holds only the
    traceback of a failure. A walltime, and claims on cpus and memory, mean
    nothing here, and a task that ends the process ends the run.

    Parameters
    ----------
    flow : Flow, optional
        The workflow, where it cannot be imported (a notebook's).
    """

    name = "inline"
    limits = Limits(visibility_lag=0.0)

    def __init__(self, flow: Flow | None = None) -> None:
        self.flow = flow
        self._works: list[_Work] = []
        self._by_ref: dict[str, _Work] = {}
        self._todo: deque[tuple[_Work, int]] = deque()
        self._ended: list[Ended] = []
        self._root = ""
        self._tag = ""
        self._mailbox: Mailbox | None = None
        self._offset = 0
        self._runners: dict[str, ElementRunner] = {}
        self._smooth = True
        #: code generation -> its workflow, and for each task what says why a result must not be kept
        self._flows: dict[int, tuple[Flow, Mapping[str, Callable[[], bytes]]]] = {}
        #: code generation -> its frozen script, where this process has not imported the same code itself
        self._isolated: dict[int, Isolated] = {}
        self._inside: Isolated | None = None
        self._keeper: Keeper | None = None
        #: generations of which the keeper knows what the code writes
        self._known: set[int] = set()
        #: what processes of single elements have reported
        self._letters: list[Letter] = []
        self._python, self._cwd = sys.executable, "/"

    @classmethod
    def create(cls, settings: Mapping[str, Any], context: object = None) -> InlineExecutor:
        """Rebuild from `settings`, of which there are none."""
        return cls()

    @property
    def settings(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def submit(self, job: Job) -> Submission:
        """Take a job; it runs when it is waited for, or asked about."""
        work = _Work(job, len(self._works))
        self._works.append(work)
        self._by_ref[work.ref.id] = work
        self._todo.extend((work, slot) for slot in range(work.slots))
        return Submission(work.ref)

    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        """Say where jobs stand; runs one more element."""
        if not self._root:
            self._next()
        answer: dict[JobRef, JobStatus] = {}
        for ref in jobs:
            work = self._by_ref.get(ref.id)
            if work is None:
                answer[ref] = JobStatus(state=JobState.UNKNOWN, native="not a job of this process")
            elif ref.slot is not None or work.job.slots is None:
                answer[ref] = self._status(work, ref.slot or 0)
            else:
                for slot in range(work.slots):
                    answer[JobRef(ref.id, slot)] = self._status(work, slot)
        return answer

    @staticmethod
    def _status(work: _Work, slot: int) -> JobStatus:
        if not 0 <= slot < work.slots:
            return JobStatus(state=JobState.UNKNOWN, native=f"slot {slot} of {work.slots}")
        return work.status.get(slot, JobStatus(state=JobState.PENDING, reason="waiting for its turn"))

    def find(self, tags: Collection[str]) -> Mapping[str, JobRef]:
        """Jobs of this process by tag."""
        return {work.job.tag: work.ref for work in self._works if work.job.tag in tags}

    def cancel(self, jobs: Sequence[JobRef]) -> None:
        """Drop what has not run."""
        status = JobStatus(state=JobState.CANCELLED, failure_class=FailureClass.CANCELLED, reason="cancelled")
        for ref in jobs:
            work = self._by_ref.get(ref.id)
            if work is None:
                continue
            for slot in range(work.slots) if ref.slot is None else [ref.slot]:
                if 0 <= slot < work.slots and slot not in work.status:
                    self._end(work, slot, status)
        self._todo = deque((work, slot) for work, slot in self._todo if slot not in work.status)

    def open(self, root: str, tag: str, *, python: str, cwd: str) -> None:
        """Work for a run."""
        self._root, self._tag, self._python, self._cwd = root, tag, python, cwd
        self._mailbox = Mailbox(root, tag, 0, own=False)
        self._offset = 0

    @property
    def inside(self) -> bool:
        """Whether a task's function is being run."""
        return any(runner.inside for runner in self._runners.values())

    def warm(self) -> None:
        """There is nothing to get ready."""

    def wait(self, timeout: float) -> Heard:
        """Run an element, and more of them if they are short and succeed."""
        until = time.monotonic() + WITHIN
        if not self._next() and not self._ended:
            time.sleep(timeout)
        while self._smooth and time.monotonic() < until and self._next():
            pass
        self._smooth = True
        ended, self._ended = self._ended, []
        letter = self._letter()
        letters, self._letters = [*self._letters, *([letter] if letter else [])], []
        return Heard(letters, ended)

    def close(self) -> None:
        """Let go of the run's files."""
        if self._mailbox is not None:
            self._mailbox.close()
            self._mailbox = None
        self._enter(None)
        for runner in self._runners.values():
            runner.close()
        self._runners.clear()
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None
            self._known.clear()

    # --- inside --------------------------------------------------------------

    def _next(self) -> bool:
        """Run one element that may run; False where there is none."""
        now = time.monotonic()
        for _ in range(len(self._todo)):
            work, slot = self._todo.popleft()
            if now < work.begin or not self._may(work):
                self._todo.append((work, slot))
                continue
            if work.job.spec is None:
                self._script(work, slot)
            else:
                self._element(work, slot)
            return True
        return False

    def _may(self, work: _Work) -> bool:
        before = [self._by_ref.get(ref.id) for ref in work.job.after]
        return all(one is None or len(one.status) >= one.slots for one in before)

    def _end(self, work: _Work, slot: int, status: JobStatus) -> None:
        work.status[slot] = status
        if status.state is not JobState.SUCCESS:
            self._ended.append(Ended(work.job.tag, slot, status))

    def _element(self, work: _Work, slot: int) -> None:
        spec, mailbox = work.job.spec, self._mailbox
        assert spec is not None
        assert mailbox is not None
        if spec.fresh:
            self._fresh(work, slot)
            return
        index = work.elements[slot]
        begin = time.time()
        mailbox.started(msgspec.json.encode(spec.task), index, spec.attempt, begin)
        here = _directory()
        try:
            if here != self._cwd:  # a run is retried from anywhere
                os.chdir(self._cwd)
            self._enter(self._isolated.get(spec.generation))
            runner = self._runners.get(spec.tag)
            if runner is None:
                while len(self._runners) >= 16:
                    self._runners.pop(next(iter(self._runners))).close()
                runner = self._runners[spec.tag] = self._runner(work, mailbox)
        except Exception as error:
            record = failure_of(error, spec.task, index, spec.attempt, begin)
            mailbox.failed(record)
            succeeded = False
        else:
            succeeded = runner.run(index, begin, environ=spec.env)
        finally:
            if here and here != self._cwd:
                os.chdir(here)
        if not succeeded:
            self._smooth = False
            self._keep_traceback(work, index)
        work.status[slot] = JobStatus(
            state=JobState.SUCCESS if succeeded else JobState.FAILED,
            failure_class=None if succeeded else FailureClass.ERROR,
        )

    def _fresh(self, work: _Work, slot: int) -> None:
        """Run an element in a process of its own, as a scheduler would start it."""
        spec = work.job.spec
        assert spec is not None
        self._smooth = False
        if not self._definition(spec).entry.importable:
            self._refuse(work, slot)
            return
        env = {**os.environ, **spec.env, "REFLOW_SLOT": str(slot)}
        for name in THREADS:
            env.setdefault(name, str(spec.resources.cpus or 1))
        output = os.open(os.devnull, os.O_WRONLY)
        try:
            process = spawn(
                [self._python, "-m", "reflow.worker", self._root, spec.tag], env=env, cwd=self._cwd, output=output
            )
        finally:
            os.close(output)
        try:
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        letter = self._read(layout.box(self._root, spec.tag, slot, 1), 0)
        ends = [record for record, _ in letter.records if isinstance(record, Finished)] if letter else []
        if letter is not None:
            self._letters.append(letter)
        if ends and not ends[0].f:
            work.status[slot] = JobStatus(state=JobState.SUCCESS)
        elif ends:
            work.status[slot] = JobStatus(state=JobState.FAILED, failure_class=FailureClass.ERROR)
        else:
            self._end(work, slot, _status_of(code))

    def _refuse(self, work: _Work, slot: int) -> None:
        """Fail an element that no other process can run."""
        spec, mailbox = work.job.spec, self._mailbox
        assert spec is not None
        assert mailbox is not None
        error = UsageError("fresh=True is for workflows of scripts: no other process can import this one")
        index = work.elements[slot]
        mailbox.failed(failure_of(error, spec.task, index, spec.attempt, time.time()))
        self._keep_traceback(work, index)
        work.status[slot] = JobStatus(state=JobState.FAILED, failure_class=FailureClass.ERROR)

    def _definition(self, spec: JobSpec) -> Definition:
        raw = read_regular(layout.definition(self._root, spec.generation), trust_of_job(spec.env), most=WHOLE)
        return msgspec.json.decode(raw, type=Definition)

    def _runner(self, work: _Work, mailbox: Mailbox) -> ElementRunner:
        spec = work.job.spec
        assert spec is not None
        definition = self._definition(spec)
        flow, note = self._code(definition, trust_of_job(spec.env))
        if self._keeper is None:
            entry = definition.entry
            self._keeper = Keeper(alone=False, accept=below(entry.path[0] if entry.path else "/", entry.module))
        if definition.generation not in self._known:
            self._known.add(definition.generation)
            self._keeper.know(Frozen(self._root, definition).named, definition.written)
        self._keeper.take()
        step = flow.tasks[spec.task]
        types = {name: hint.type for name, hint in resolve(step.function, step.names).items()}
        return ElementRunner(
            self._root,
            spec,
            definition.task(spec.task),
            step.function,
            types,
            mailbox,
            keeper=self._keeper,
            note=note[spec.task],
        )

    def _code(self, definition: Definition, trusted: Trust) -> tuple[Flow, Mapping[str, Callable[[], bytes]]]:
        """The workflow of a code generation, and for each task what says why a result must not be kept."""
        found = self._flows.get(definition.generation)
        if found is not None:
            return found
        frozen, flow, strange = Frozen(self._root, definition, trusted), self.flow, frozenset[str]()
        frozen.known()
        if flow is None or (definition.generation > 1 and definition.entry.importable):
            flow = loaded(definition)
            if flow is None or not same_code(flow, definition):
                isolated = self._isolated.setdefault(definition.generation, Isolated(definition.entry, frozen))
                self._enter(isolated)
                flow = isolated.flow
            strange = strangers(definition, {name: step.function for name, step in flow.tasks.items()})
        notes = {task.name: (lambda: STRANGE) if task.name in strange else frozen.note for task in definition.tasks}
        found = self._flows[definition.generation] = flow, notes
        return found

    def _enter(self, isolated: Isolated | None) -> None:
        """Have the modules of a frozen script where imports find them, and those of no other."""
        if isolated is self._inside:
            return
        if self._inside is not None:
            self._inside.leave()
            self._inside = None
        if isolated is not None:
            isolated.enter()
            self._inside = isolated

    def _keep_traceback(self, work: _Work, index: int) -> None:
        """Write a failure's traceback to the element's log; where that is no file of ours, its record has it."""
        spec = work.job.spec
        letter = self._peek()
        assert spec is not None
        path = layout.log(self._root, spec.task, spec.array, index)
        for record, _ in letter.records if letter else ():
            if isinstance(record, Finished) and record.i == index and record.t == spec.task:
                with suppress(OSError):
                    opened = os.open(path, LOG, FILE)
                    with open(opened, "a", encoding="utf-8", errors="backslashreplace") as log:
                        log.write(record.d)

    def _peek(self) -> Letter | None:
        assert self._mailbox is not None
        return self._read(self._mailbox.path, self._offset)

    def _read(self, path: str, offset: int) -> Letter | None:
        """What a mailbox holds from an offset on."""
        try:
            with open(path, "rb") as stream:
                stream.seek(offset)
                payloads, end = parse(stream.read())
        except FileNotFoundError:  # its process did not come so far
            return None
        if not payloads:
            return None
        records = [(_mail.decode(payload), payload) for payload in payloads]
        box = path[len(self._root) + len("/mailbox/") :]
        return Letter(
            box,
            offset + end,
            [(record, payload) for record, payload in records if not isinstance(record, (Opened, Started))],
        )

    def _letter(self) -> Letter | None:
        letter = self._peek() if self._mailbox is not None else None
        if letter is not None:
            self._offset = letter.upto
        return letter

    def _script(self, work: _Work, slot: int) -> None:
        """A plain script is a process of its own, waited for."""
        try:
            output = os.open(work.job.log, LOG, FILE)
            try:
                env = {**os.environ, "REFLOW_SLOT": str(slot)}
                code = spawn([work.job.script], env=env, cwd=work.job.cwd, output=output).wait()
            finally:
                os.close(output)
        except OSError as error:
            failed = JobStatus(state=JobState.FAILED, failure_class=FailureClass.LAUNCH, reason=str(error))
            self._end(work, slot, failed)
            return
        self._end(work, slot, JobStatus(state=JobState.SUCCESS, exit_code=0) if code == 0 else _status_of(code))


def _status_of(code: int) -> JobStatus:
    """How a process ended that did not report its end."""
    if code < 0:
        return JobStatus(state=JobState.FAILED, signal=-code, failure_class=FailureClass.EXIT)
    return JobStatus(state=JobState.FAILED, exit_code=code, failure_class=FailureClass.EXIT)


def _directory() -> str:
    """The working directory; "" where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""
