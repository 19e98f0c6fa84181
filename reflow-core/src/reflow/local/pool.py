"""The local executor: warm worker processes that share one queue.

The queue is a pipe of fixed-size tokens, one an element. Every free worker
reads the next one, so a long element never holds up others, and no batch sizes
need be guessed. Elements that claim an explicit share of the machine (cpus,
mem), have a walltime or a bounded parallelism are let into the pipe only as
there is room for them.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import termios
import time
from array import array
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ..batch.script import preparation
from ..errors import ExecutorError, UsageError
from ..model import layout
from ..model.digest import sha256
from ..model.job import Ended, Heard, Job, JobRef, JobState, JobStatus, Letter, Limits, Submission
from ..model.names import FailureClass
from ..model.python import WORKER, program
from ..model.ranges import from_ranges
from ..model.record import RING_END, RING_START, TOKEN, Announced, Closed, Finished, JobSpec, Mail, Opened, Started
from ..model.resources import THREADS, Resources
from ..process.spawn import spawn
from ..worker import children
from ..worker.durable import FILE, create, make_directories, write_new
from ..worker.opener import LOG, frames_of, open_regular, read_regular
from ..worker.trust import trust

if TYPE_CHECKING:
    from subprocess import Popen

_mail = msgspec.json.Decoder(Mail)

#: what became of each slot
_WAITING, _QUEUED, _RUNNING, _SUCCESS, _FAILED = range(5)

#: seconds between the request to end and the kill
GRACE = 5.0

#: seconds for which work waits while other work has all that it needs, before it has its turn
_TURN = 1.0

#: how often an element is queued again that workers have taken and died, and how many workers may die in a row
#: that have not come so far as to begin one
_MOST_LOST = 3

#: lanes that may end in a row, over all, without having begun an element
_MOST_FRUITLESS = 500

#: groups of lanes beyond the number of workers that have a pipe at once
_MOST_PIPES = 16

#: how long the pool sleeps at most between two looks at its workers' mailboxes
_LOOK_FIRST, _LOOK_LAST = 0.05, 1.0


def _gigabytes(size: int) -> str:
    return f"{size / (1 << 30):.4g}G"


class _Work:
    """A job as the pool sees it."""

    def __init__(self, number: int, job: Job) -> None:
        self.number = number
        self.job = job
        self.ref = JobRef(f"local-{os.getpid()}-{number}")
        self.slots = job.slots if job.slots is not None else 1
        self.state = bytearray(self.slots)
        #: how many slots wait: those from `next` on, and those in `again`, unless they have ended
        self.left = self.slots
        self.next = 0
        self.again = deque[int]()
        #: whether it stands in a line
        self.lined = False
        self.ended = 0
        self.status: dict[int, JobStatus] = {}
        self.begin = time.monotonic() + (job.begin or 0.0)
        self.elements: Sequence[int] = ()
        self.slot_of: Mapping[int, int] = {}
        #: slots to be ended as soon as it is known which worker has taken them
        self.doomed: dict[int, JobStatus] = {}
        #: how often slots were lost with the worker that had taken them
        self.lost: dict[int, int] = {}
        self.group: _Group | None = None
        #: what its parallelism is counted over: the task, all attempts of it
        self.family = job.spec.task if job.spec is not None else job.tag
        #: whether its elements are let in one by one, as there is room
        asked = job.resources
        self.paced = any(claim is not None for claim in (asked.cpus, asked.mem, asked.time, job.throttle))

    def take(self) -> int:
        """The next slot to be let in."""
        self.left -= 1
        while self.again:
            slot = self.again.popleft()
            if self.state[slot] == _WAITING:
                return slot
        while self.state[self.next] != _WAITING:
            self.next += 1
        self.next += 1
        return self.next - 1

    def give_back(self, slots: Sequence[int]) -> None:
        """Let slots wait that had been taken."""
        for slot in slots:
            self.state[slot] = _WAITING
        self.again.extend(slots)
        self.left += len(slots)


class _Line:
    """Works that ask for the same, first come, first served."""

    def __init__(self, paced: bool) -> None:
        self.paced = paced
        self.works = deque[_Work]()
        #: when something of it was last let in, or when it began to wait
        self.since = time.monotonic()


class _Child:
    """A process of the pool, and what is to become of it."""

    def __init__(self, process: Popen[bytes]) -> None:
        self.process = process
        #: when it reaches its walltime; once it was asked to end, when it is killed
        self.due: float | None = None
        self.asked = False
        #: why it was asked to end, as the status of the slot it runs
        self.why: JobStatus | None = None
        try:
            self.watch = os.pidfd_open(process.pid)
        except (AttributeError, OSError):
            self.watch = -1

    def interrupt(self, why: JobStatus | None) -> None:
        """Ask it to end."""
        if not self.asked:
            self.asked, self.why, self.due = True, why, time.monotonic() + GRACE
            self._ask()

    def _ask(self) -> None:
        _signal(self.process, signal.SIGTERM)

    def enforce(self, now: float, asked: Resources) -> None:
        """End it where it has reached its walltime, kill it where it did not end when asked."""
        if self.due is None or now < self.due:
            return
        if self.asked:
            self.due = None
            _signal(self.process, signal.SIGKILL)
        else:
            self.interrupt(_timeout(asked))


class _Script(_Child):
    """A plain script that runs as one slot."""

    def __init__(self, process: Popen[bytes], work: _Work, slot: int) -> None:
        super().__init__(process)
        self.work = work
        self.slot = slot


class _Lane(_Child):
    """A warm worker process."""

    def __init__(self, process: Popen[bytes], control: int, path: str, box: str, group: _Group, mark: str) -> None:
        super().__init__(process)
        self.mark = mark
        self.control = control
        self.path = path
        self.box = box
        self.group = group
        self.file = -1
        self.offset = 0
        #: what it runs, as far as was read, and since when
        self.work: _Work | None = None
        self.slot = -1
        self.began = 0.0
        self.hired = time.monotonic()
        self.closed = False
        #: told to take nothing more
        self.retired = False

    def _ask(self) -> None:
        self.process.send_signal(signal.SIGTERM)  # it passes it on to what it has started

    def retire(self) -> None:
        """Let it end as soon as it is between two elements. One that it has taken, it runs."""
        if not self.retired:
            self.retired = True
            try:
                os.write(self.control, b"\0")
            except BrokenPipeError:
                pass  # it has ended
            os.close(self.control)


class _Group:
    """Lanes that are started alike, and the pipe they share."""

    def __init__(self, key: str, env: Mapping[str, str], wrapper: tuple[str, ...]) -> None:
        self.key = key
        self.env = env
        self.wrapper = wrapper
        self.reader = self.writer = -1
        self.lanes: list[_Lane] = []
        #: elements that are queued or run
        self.inside = 0
        #: since when it has had fewer lanes than it could use
        self.short: float | None = None
        #: a lane has died that may have taken a token
        self.suspect = False
        #: no lane may be started until all have ended
        self.clearing = False
        #: lanes that died, in a row, before they began an element
        self.barren = 0

    @property
    def tokens(self) -> int:
        """Tokens that nobody has taken."""
        count = array("i", [0])
        fcntl.ioctl(self.reader, termios.FIONREAD, count)
        return count[0] // TOKEN.size

    @property
    def staying(self) -> list[_Lane]:
        """Lanes that will take what comes."""
        return [lane for lane in self.lanes if not lane.retired]

    @property
    def wanted(self) -> int:
        """Lanes that it could use: not for what those run that leave."""
        if self.clearing or self.barren >= _MOST_LOST:
            return 0
        return self.inside - sum(lane.retired and lane.work is not None for lane in self.lanes)

    def open(self) -> None:
        """Make the pipe."""
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self.reader)
        os.close(self.writer)
        self.reader = self.writer = -1


class LocalExecutor:
    """Run jobs on this machine, in worker processes that stay warm.

    Parameters
    ----------
    max_workers : int, optional
        How many elements run at once; as many as this process may use CPUs where None.
    cpus : int, optional
        Budget for explicit ``cpus``; the machine's where None.
    mem : int, optional
        Budget for explicit ``mem`` in bytes; the machine's where None.

    Notes
    -----
    Explicit ``cpus`` and ``mem`` of a task are claims on the budget; a task that
    claims more than all of it runs alone, and a warning says so. What is not
    given claims nothing. An explicit walltime is enforced.
    """

    name = "local"
    limits = Limits(visibility_lag=0.0)

    def __init__(self, max_workers: int | None = None, cpus: int | None = None, mem: int | None = None) -> None:
        if max_workers is not None and max_workers < 1:
            raise UsageError(f"max_workers={max_workers}: at least one worker is needed")
        self._given = {"max_workers": max_workers, "cpus": cpus, "mem": mem}
        self._max_workers = max_workers or _cpus()
        self._cpu_budget = cpus or _cpus()
        self._mem_budget = mem or _memory()
        self._serial = 0
        self._by_ref: dict[str, _Work] = {}
        self._by_tag: dict[str, _Work] = {}
        #: works that have not ended, by number
        self._open: dict[int, _Work] = {}
        #: those whose time has not come
        self._held: list[_Work] = []
        self._lines: dict[object, _Line] = {}
        #: who waits for the start of an element that is queued: task, element, attempt
        self._expected: dict[tuple[str, int, int], tuple[_Work, int]] = {}
        self._groups: dict[str, _Group] = {}
        #: groups that have a pipe
        self._active: list[_Group] = []
        self._lanes: list[_Lane] = []
        self._scripts: list[_Script] = []
        self._hired = 0
        self._fruitless = 0
        #: seconds that a lane is given to begin an element, before others may have its turn
        self._patience = _TURN
        self._used_cpus = 0
        self._used_mem = 0
        self._paced_inside = 0
        self._inside: dict[str, int] = {}
        self._warned: set[str] = set()
        self._warnings: list[str] = []
        self._ended: list[Ended] = []
        self._look = _LOOK_FIRST
        self._bell_read = self._bell_write = -1
        self._poll = select.poll()
        self._index = -1
        self._indexed = 0
        self._root = ""
        self._tag = ""
        self._python = sys.executable
        self._cwd = "/"

    @classmethod
    def create(cls, settings: Mapping[str, Any], context: object = None) -> LocalExecutor:
        """Rebuild from `settings`."""
        return cls(**settings)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it was made with."""
        return {name: value for name, value in self._given.items() if value is not None}

    # --- the executor contract -----------------------------------------------

    def submit(self, job: Job) -> Submission:
        """Take a job; it is started when it is waited for, or asked about."""
        work = _Work(self._serial, job)
        if job.spec is not None:
            work.elements = from_ranges(job.spec.elements)
            if work.elements != range(work.slots):
                work.slot_of = {element: slot for slot, element in enumerate(work.elements)}
            self._announce(work, job.spec)
            work.group = self._group(job.spec)
        self._serial += 1
        self._by_ref[work.ref.id] = work
        self._by_tag[job.tag] = work
        if work.slots:
            self._open[work.number] = work
            self._held.append(work)
        return Submission(work.ref)

    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        """Say where jobs stand; lets them go on, too."""
        if not self._root:
            self._work(0.0)
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

    def find(self, tags: Collection[str]) -> Mapping[str, JobRef]:
        """Jobs of this process by tag."""
        return {tag: self._by_tag[tag].ref for tag in tags if tag in self._by_tag}

    def cancel(self, jobs: Sequence[JobRef]) -> None:
        """End jobs, or slots of them: what waits at once, what runs within a few seconds."""
        wanted: dict[int, set[int]] = {}
        for ref in jobs:
            work = self._by_ref.get(ref.id)
            if work is not None and work.number in self._open:
                every = range(work.slots)
                slots = wanted.setdefault(work.number, set())
                slots.update(every if ref.slot is None else {ref.slot}.intersection(every))
        why = JobStatus(state=JobState.CANCELLED, failure_class=FailureClass.CANCELLED, reason="cancelled")
        for group in self._active:
            self._withdraw(group, wanted)
        for number, slots in wanted.items():
            work = self._open[number]
            for slot in sorted(slots):
                if work.state[slot] == _WAITING:
                    self._fail(work, slot, why)
                elif work.state[slot] in (_QUEUED, _RUNNING):
                    self._stop(work, slot, why)

    # --- the pool ------------------------------------------------------------

    def open(self, root: str, tag: str, *, python: str, cwd: str) -> None:
        """Work for a run."""
        path = layout.announcements(root, tag)
        make_directories(os.path.dirname(path))
        self._index, self._indexed = create(path), 0
        self._bell_read, self._bell_write = os.pipe()
        os.set_blocking(self._bell_read, False)
        os.set_blocking(self._bell_write, False)
        self._poll.register(self._bell_read, select.POLLIN)
        self._root, self._tag, self._python, self._cwd = root, tag, python, cwd

    def warm(self) -> None:
        """Start one more worker, where others run and there is room: it gets ready while this process is busy.

        Where none runs, all that came before may have been cached, and what comes next as well.
        """
        groups = [lane.group for lane in self._lanes if lane.began and not (lane.retired or lane.group.clearing)]
        if groups and len(self._lanes) < self._max_workers:
            self._hire(groups[-1])

    def wait(self, timeout: float) -> Heard:
        """Let workers work until something is heard."""
        letters = self._work(timeout)
        ended, self._ended = self._ended, []
        warnings, self._warnings = self._warnings, []
        return Heard(letters, ended, warnings)

    def close(self) -> None:
        """End all workers, the running ones by a signal first, and let go of everything."""
        why = JobStatus(state=JobState.CANCELLED, failure_class=FailureClass.CANCELLED, reason="the run was stopped")
        self.cancel([work.ref for work in self._open.values()])
        for lane in self._lanes:
            lane.retire()
            if lane.work is not None:
                lane.interrupt(why)
            elif lane.file < 0:  # it has not begun, and its preparation may take for ever
                _signal(lane.process, signal.SIGTERM)
        deadline = time.monotonic() + 3 * GRACE
        while self._children and time.monotonic() < deadline:
            self._round(0.05)
        for child in self._children:  # one that never came so far as to take an element, say
            _signal(child.process, signal.SIGKILL)
            child.process.wait()
        self._reap([])
        for group in self._active:
            group.close()
        for left in (self._active, self._groups, self._lines, self._held, self._open, self._expected, self._inside):
            left.clear()
        self._ended, self._warnings = [], []
        self._used_cpus = self._used_mem = self._paced_inside = 0
        if self._index >= 0:
            self._poll.unregister(self._bell_read)
            for descriptor in (self._bell_read, self._bell_write, self._index):
                os.close(descriptor)
            self._bell_read = self._bell_write = self._index = -1

    # --- inside --------------------------------------------------------------

    @property
    def _children(self) -> list[_Lane | _Script]:
        return [*self._lanes, *self._scripts]

    def _work(self, timeout: float) -> list[Letter]:
        deadline = time.monotonic() + timeout
        while True:
            self._dispatch()
            letters, rang = self._round(max(0.0, deadline - time.monotonic()))
            if letters or self._ended or self._warnings or time.monotonic() >= deadline:
                return letters
            if not rang:
                self._look = min(self._look * 2, _LOOK_LAST)

    def _round(self, timeout: float) -> tuple[list[Letter], bool]:
        """Hear what workers say, and see to those that have ended, or are to end."""
        letters, rang = self._listen(timeout)
        self._reap(letters)
        now = time.monotonic()
        for lane in self._lanes:
            lane.enforce(now, lane.work.job.resources if lane.work is not None else Resources())
        for script in self._scripts:
            script.enforce(now, script.work.job.resources)
        return letters, rang

    def _status(self, work: _Work, slot: int) -> JobStatus:
        if not 0 <= slot < work.slots:
            return JobStatus(state=JobState.UNKNOWN, native=f"slot {slot} of {work.slots}")
        known = work.status.get(slot)
        if known is not None:
            return known
        state = work.state[slot]
        if state == _SUCCESS:
            return JobStatus(state=JobState.SUCCESS, exit_code=0)
        if state == _RUNNING:
            return JobStatus(state=JobState.RUNNING)
        return JobStatus(state=JobState.PENDING, reason="waiting for a free worker")

    def _may_start(self, work: _Work, now: float) -> bool:
        if now < work.begin:
            return False
        for ref in work.job.after:
            before = self._by_ref.get(ref.id)
            if before is not None and before.ended < before.slots:
                return False
        return True

    def _throttled(self, work: _Work) -> bool:
        return work.job.throttle is not None and self._inside.get(work.family, 0) >= work.job.throttle

    def _room(self, work: _Work) -> bool:
        """Whether another element of `work` may be let in, by budget and parallelism."""
        if work.job.spec is None and len(self._scripts) >= self._max_workers:
            return False
        if not work.paced:
            return True
        if self._throttled(work):
            return False
        asked = work.job.resources
        cpus, mem = asked.cpus or 0, asked.mem or 0
        for claim, budget, shown, what in (
            (cpus, self._cpu_budget, str, "cpus"),
            (mem, self._mem_budget, _gigabytes, "of memory"),
        ):
            if claim > budget:
                if work.job.name not in self._warned:
                    self._warned.add(work.job.name)
                    task = work.job.spec.task if work.job.spec else work.job.name
                    self._warnings.append(
                        f"{task} asks for {shown(claim)} {what}, this machine has {shown(budget)}: "
                        "its elements run alone"
                    )
                return self._paced_inside == 0
        if self._used_cpus > self._cpu_budget or self._used_mem > self._mem_budget:
            return False  # something larger than the machine runs, alone
        if self._used_cpus + cpus > self._cpu_budget or self._used_mem + mem > self._mem_budget:
            return False
        return self._paced_inside < self._max_workers

    def _dispatch(self) -> None:
        """Let in what may run now.

        What has waited for longer than a turn comes first, and nothing else
        that is paced is let in before it: it may need more than is ever free
        while others are.
        """
        now = time.monotonic()
        if self._held:
            held, self._held = self._held, []
            for work in held:
                if self._may_start(work, now):
                    self._queue(work)
                else:
                    self._held.append(work)
        late = now - _TURN
        full = self._paced_inside >= self._max_workers
        for key, line in sorted(self._lines.items(), key=lambda item: min(item[1].since, late)):
            if line.paced and full:
                continue
            self._let_in(line, now)
            if not line.works:
                del self._lines[key]
            elif line.paced and line.since < late and not self._throttled(line.works[0]):
                full = True
        self._staff(now)

    def _queue(self, work: _Work) -> None:
        """Let a work stand in line, behind what asks for the same."""
        work.lined = True
        asked = work.job.resources
        family = work.family if work.job.throttle is not None else None
        key = (work.group and work.group.key, work.paced, family, asked.cpus, asked.mem)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(work.paced)
        line.works.append(work)

    def _let_in(self, line: _Line, now: float) -> None:
        while line.works:
            work = line.works[0]
            if not work.left:
                line.works.popleft()
                work.lined = False
            elif not self._room(work):
                return
            elif work.group is None:
                self._start_script(work, work.take())
                line.since = now
            elif self._put(work, work.group):
                line.since = now
            else:
                return

    def _put(self, work: _Work, group: _Group) -> bool:
        """Queue elements, as many as make one atomic write; False where the pipe is full."""
        if group.writer < 0:
            if len(self._active) >= self._max_workers + _MOST_PIPES:
                return False
            group.open()
            self._active.append(group)
        flags = 0
        if work.paced or work.slots <= 4 * self._max_workers:
            flags |= RING_END
        if work.job.resources.time is not None:
            flags |= RING_START
        most = 1 if work.paced else select.PIPE_BUF // TOKEN.size
        slots = [work.take() for _ in range(min(most, work.left))]
        try:
            os.write(
                group.writer,
                b"".join([TOKEN.pack(work.number, work.elements[slot], flags, 0) for slot in slots]),
            )
        except BlockingIOError:
            work.give_back(slots)
            return False
        for slot in slots:
            self._enter(work, slot)
        return True

    @staticmethod
    def _name(work: _Work, slot: int) -> tuple[str, int, int]:
        """What a worker says has started, of a slot."""
        assert work.job.spec is not None
        return work.job.spec.task, work.elements[slot], work.job.spec.attempt

    def _enter(self, work: _Work, slot: int) -> None:
        work.state[slot] = _QUEUED
        if work.group is not None:
            work.group.inside += 1
            self._expected[self._name(work, slot)] = work, slot
        if work.paced:
            self._paced_inside += 1
            self._inside[work.family] = self._inside.get(work.family, 0) + 1
            self._used_cpus += work.job.resources.cpus or 0
            self._used_mem += work.job.resources.mem or 0

    def _leave(self, work: _Work, slot: int) -> None:
        if work.group is not None:
            work.group.inside -= 1
            if work.state[slot] == _QUEUED:
                self._expected.pop(self._name(work, slot), None)
        if work.paced:
            self._paced_inside -= 1
            self._inside[work.family] -= 1
            self._used_cpus -= work.job.resources.cpus or 0
            self._used_mem -= work.job.resources.mem or 0

    def _requeue(self, work: _Work, slot: int) -> None:
        """Let a slot wait again that was let in."""
        self._leave(work, slot)
        work.give_back([slot])
        if not work.lined:
            self._queue(work)

    def _end(self, work: _Work, slot: int, status: JobStatus | None) -> None:
        """Note that a slot has ended; `status` where it says more than success."""
        if work.state[slot] in (_SUCCESS, _FAILED):
            return
        if work.state[slot] == _WAITING:
            work.left -= 1
        else:
            self._leave(work, slot)
        work.state[slot] = _SUCCESS if status is None else _FAILED
        if status is not None:
            work.status[slot] = status
        work.ended += 1
        if work.ended == work.slots:
            self._open.pop(work.number, None)

    def _fail(self, work: _Work, slot: int, status: JobStatus, said: Finished | None = None) -> None:
        """End a slot whose worker has not reported its end, or (`said`) not why."""
        self._end(work, slot, status)
        self._ended.append(Ended(work.job.tag, slot, status, said))

    # --- lanes ---------------------------------------------------------------

    def _group(self, spec: JobSpec) -> _Group:
        cpus = spec.resources.cpus or 1
        asked = [cpus, sorted(spec.env.items()), spec.modules, spec.setup, spec.fresh]
        key = sha256(msgspec.json.encode(asked)).hexdigest()[:12]
        group = self._groups.get(key)
        if group is None:
            env = dict(os.environ)
            for name in THREADS:
                env.setdefault(name, str(cpus))
            env.update(spec.env)
            wrapper: tuple[str, ...] = ()
            if spec.modules or spec.setup:
                wrapper = ("/bin/bash", self._wrapper(key, spec))  # no login shell: that would set PATH anew
            group = self._groups[key] = _Group(key, env, wrapper)
        return group

    def _wrapper(self, key: str, spec: JobSpec) -> str:
        path = f"{self._root}/scripts/{self._tag}.{key}.sh"
        make_directories(os.path.dirname(path))
        write_new(path, preparation(spec.modules, spec.setup).encode("utf-8", "surrogateescape"), durable=False)
        return path

    def _announce(self, work: _Work, spec: JobSpec) -> None:
        """Write down for lanes what a work's tokens speak of."""
        if self._index < 0:
            raise ExecutorError(f"{work.job.name} was submitted to a pool that is not open")
        known = Announced(number=work.number, tag=work.job.tag, task=spec.task, array=spec.array, attempt=spec.attempt)
        line = msgspec.json.encode(known) + b"\n"
        try:
            if os.pwrite(self._index, line, self._indexed) < len(line):
                raise OSError("no space is left")  # what was written of it is written over, and never read
        except OSError as error:
            raise ExecutorError(f"local workers cannot be told of {work.job.name}: {error}") from None
        self._indexed += len(line)

    def _staff(self, now: float) -> None:
        """Give every group its lanes, within the number of workers."""
        for group in [one for one in self._active if not one.inside and not one.lanes]:
            self._active.remove(group)
            group.close()
        short: list[_Group] = []
        for group in sorted(self._active, key=lambda one: (len(one.staying), now if one.short is None else one.short)):
            while len(group.staying) < min(group.wanted, self._max_workers):
                if len(self._lanes) >= self._max_workers or not self._hire(group):
                    short.append(group)
                    group.short = now if group.short is None else group.short
                    break
            else:
                group.short = None
        if short and len(self._lanes) >= self._max_workers:
            self._hand_over(short, now)

    def _hand_over(self, short: Sequence[_Group], now: float) -> None:
        """Let lanes end, so that groups that have too few can have theirs.

        Idle ones at once; and one that is in the midst of its group's work,
        where others have waited for a turn. A lane that leaves counts until it
        has ended, so that no more elements run at once than there may.
        """
        missing = sum(min(group.wanted, self._max_workers) - len(group.staying) for group in short)
        missing -= sum(lane.retired and lane.work is None for lane in self._lanes)
        for group in self._active:
            staying = group.staying
            idle = [lane for lane in staying if lane.work is None]
            for lane in idle[: max(0, min(missing, len(staying) - group.wanted))]:
                lane.retire()
                missing -= 1
        first = short[0]
        if missing > 0 and first.short is not None and now - first.short >= _TURN:
            have = len(first.staying)
            rich = max(self._active, key=lambda one: len(one.staying))
            # One that has not begun anything is given more time with each that was let go too early: where workers
            # take longer to start than a turn lasts, two groups would take turns for ever, and none would run.
            ready = [lane for lane in rich.staying if lane.began or now - lane.hired >= self._patience]
            if ready and len(rich.staying) > have + (have > 0):
                leaving = max(ready, key=lambda lane: (lane.work is None, lane.began))
                if not leaving.began:
                    self._patience *= 2
                leaving.retire()
                first.short = now

    def _hire(self, group: _Group) -> bool:
        """Start a lane; False where that is not possible.

        Raises
        ------
        ExecutorError
            So many lanes in a row have run nothing that more would go on for ever.
        """
        if self._fruitless > _MOST_FRUITLESS:
            raise ExecutorError(
                f"{self._fruitless} local workers in a row have ended without running anything",
                hint="the run is as it was: `reflow drive` goes on with it; please report this",
            )
        slot = self._hired
        self._hired += 1
        path = layout.box(self._root, self._tag, slot)
        mark = children.mark(self._tag, slot)
        control_read, control_write = os.pipe()
        try:
            output = os.open(self._workers_log, LOG, FILE)
            try:
                numbers = (slot, group.reader, self._bell_write, control_read, os.getpid())
                process = spawn(
                    [
                        *group.wrapper,
                        *program(self._python, WORKER, "--lane", self._root, self._tag, *map(str, numbers)),
                    ],
                    env={**group.env, children.MARK: mark},
                    cwd=self._cwd,
                    output=output,
                    keep=(group.reader, self._bell_write, control_read),
                )
            finally:
                os.close(output)
        except OSError as error:
            os.close(control_write)
            self._give_up(group, str(error))
            return False
        finally:
            os.close(control_read)
        lane = _Lane(process, control_write, path, path[len(self._root) + len("/mailbox/") :], group, mark)
        self._watch(lane)
        self._lanes.append(lane)
        group.lanes.append(lane)
        return True

    @property
    def _workers_log(self) -> str:
        return f"{layout.mailbox(self._root, self._tag)}/workers.log"

    def _watch(self, child: _Child) -> None:
        if child.watch >= 0:
            self._poll.register(child.watch, select.POLLIN)

    def _unwatch(self, child: _Child) -> None:
        if child.watch >= 0:
            self._poll.unregister(child.watch)
            os.close(child.watch)

    def _withdraw(self, group: _Group, wanted: Mapping[int, Collection[int]]) -> None:
        """Take tokens of these slots, by number of the work, out of the pipe again."""
        data = b""
        while True:
            try:
                data += os.read(group.reader, 65536)
            except BlockingIOError:
                break
        keep = []
        for start in range(0, len(data), TOKEN.size):
            token = data[start : start + TOKEN.size]
            number, element, _, _ = TOKEN.unpack(token)
            slots = wanted.get(number)
            if slots is not None:
                work = self._open[number]
                slot = work.slot_of.get(element, element)
                if slot in slots:
                    self._requeue(work, slot)
                    continue
            keep.append(token)
        most = select.PIPE_BUF // TOKEN.size
        for start in range(0, len(keep), most):
            os.write(group.writer, b"".join(keep[start : start + most]))

    def _stop(self, work: _Work, slot: int, why: JobStatus) -> None:
        for child in self._children:
            if child.work is work and child.slot == slot:
                child.interrupt(why)
                return
        work.doomed[slot] = why

    # --- hearing -------------------------------------------------------------

    def _listen(self, timeout: float) -> tuple[list[Letter], bool]:
        pause = timeout
        now = time.monotonic()
        for child in self._children:
            pause = min(pause, self._look if child.watch >= 0 else 0.05)
            if child.due is not None:
                pause = min(pause, max(0.0, child.due - now))
        for work in self._held:
            if work.begin > now:
                pause = min(pause, work.begin - now)
        rang = bool(self._poll.poll(pause * 1000))
        if rang:
            self._look = _LOOK_FIRST
            try:
                os.read(self._bell_read, 65536)
            except OSError:
                pass  # it was something else, or there is none
        return [letter for lane in self._lanes if (letter := self._read(lane)) is not None], rang

    def _read(self, lane: _Lane) -> Letter | None:
        if lane.file < 0:
            try:
                lane.file = open_regular(lane.path, trust(), place=False)  # its own workers have made it
            except FileNotFoundError:
                return None
        payloads, lane.offset = frames_of(lane.file, lane.offset)
        records: list[tuple[Mail, bytes]] = []
        for payload in payloads:
            record = _mail.decode(payload)
            if self._note(lane, record):
                records.append((record, payload))
        return Letter(lane.box, lane.offset, records) if payloads else None

    def _note(self, lane: _Lane, record: Mail) -> bool:
        """Follow what a lane is doing; False where the record is not to be passed on."""
        if isinstance(record, Started):
            self._started(lane, record)
        elif isinstance(record, Finished):
            return self._finished(lane, record)
        elif isinstance(record, Closed):
            lane.closed = True
        return not isinstance(record, Opened)

    def _started(self, lane: _Lane, record: Started) -> None:
        lane.group.barren = self._fruitless = 0
        lane.began = time.monotonic()
        lane.work, lane.slot = self._expected.pop((record.t, record.i, record.a), (None, -1))
        work, slot = lane.work, lane.slot
        if work is None:
            return
        work.state[slot] = _RUNNING
        doomed = work.doomed.pop(slot, None)
        if lane.asked:
            lane.why = doomed  # it was asked for the sake of the element before
        elif doomed is not None:
            lane.interrupt(doomed)
        elif work.job.resources.time is not None:
            lane.due = lane.began + work.job.resources.time

    def _finished(self, lane: _Lane, record: Finished) -> bool:
        work, slot = lane.work, lane.slot
        lane.work = None
        if not lane.asked:
            lane.due = None
        if work is None:
            return True
        over = lane.why is not None and lane.why.failure_class is FailureClass.TIMEOUT
        if record.f and lane.why is not None and not (over and record.f == FailureClass.REQUEUED):
            self._fail(work, slot, lane.why, record)
            return False
        if lane.asked and record.f == FailureClass.CANCELLED:
            self._requeue(work, slot)
            return False
        status = None
        if record.f:
            status = JobStatus(
                state=JobState.FAILED,
                exit_code=record.x,
                signal=record.s,
                failure_class=FailureClass(record.f),
                reason=record.w,
            )
        self._end(work, slot, status)
        return True

    # --- ends ----------------------------------------------------------------

    def _reap(self, letters: list[Letter]) -> None:
        for lane in list(self._lanes):
            code = lane.process.poll()
            if code is None:
                continue
            _signal(lane.process, signal.SIGKILL)  # what the element left running dies with it
            if not lane.closed:
                children.end_marked([lane.mark])
            letter = self._read(lane)
            if letter is not None:
                letters.append(letter)
            self._lanes.remove(lane)
            lane.group.lanes.remove(lane)
            self._fruitless += not lane.began
            if lane.work is not None:
                if lane.asked and lane.why is None:
                    self._requeue(lane.work, lane.slot)
                else:
                    self._fail(lane.work, lane.slot, lane.why or _status_of(code))
            if not lane.closed:
                self._died(lane)
            lane.retire()
            self._unwatch(lane)
            if lane.file >= 0:
                os.close(lane.file)
        for group in self._active:
            if group.barren >= _MOST_LOST and not any(lane.began for lane in group.lanes):
                self._give_up(group, self._last_words())
            if group.suspect or not group.lanes:
                self._recover(group)
        for script in list(self._scripts):
            code = script.process.poll()
            if code is None:
                continue
            _signal(script.process, signal.SIGKILL)
            self._scripts.remove(script)
            self._unwatch(script)
            status = script.why or (None if code == 0 else _status_of(code))
            if status is None:
                self._end(script.work, script.slot, None)
            else:
                self._fail(script.work, script.slot, status)

    def _died(self, lane: _Lane) -> None:
        """A lane ended without a word: it may have taken a token, and others may fare alike."""
        group = lane.group
        group.suspect = True
        group.barren += not lane.began and not lane.retired

    def _last_words(self) -> str:
        """What a worker said before it had an element's log to say it to."""
        try:
            said = read_regular(self._workers_log).decode("utf-8", "replace")
            return said[-400:].strip().rpartition("\n")[2]
        except OSError:
            return ""

    def _give_up(self, group: _Group, said: str) -> None:
        """Workers cannot even begin: what waits for them fails rather than start workers for ever."""
        group.barren = 0
        status = _launch(f"the worker process did not start: {said}" if said else "the worker process did not start")
        works = [work for work in self._open.values() if work.group is group]
        self._withdraw(group, {work.number: range(work.slots) for work in works})
        for work in works:
            for slot in range(work.slots):
                if work.state[slot] == _WAITING:
                    self._fail(work, slot, status)

    def _recover(self, group: _Group) -> None:
        """Queue again what a worker took and died before it could say so.

        Only when no worker of the group is left can nobody hold a token; so the
        idle ones are let go first.
        """
        group.clearing = False
        if group.tokens or any(lane.work is not None for lane in group.lanes):
            return
        group.clearing = group.suspect = group.inside > 0
        for lane in group.lanes if group.clearing else ():
            lane.retire()
        if not group.inside or group.lanes:
            return
        group.clearing = group.suspect = False
        for work in [one for one in self._open.values() if one.group is group]:
            for slot in range(work.next):
                if work.state[slot] == _QUEUED:
                    self._lost(work, slot)

    def _lost(self, work: _Work, slot: int) -> None:
        why = work.doomed.pop(slot, None)
        lost = work.lost[slot] = work.lost.get(slot, 0) + 1
        if why is None and lost > _MOST_LOST:
            why = _launch(f"{lost} workers have died before they could begin it: {self._last_words()}".rstrip(": "))
        if why is None:
            self._requeue(work, slot)
        else:
            self._fail(work, slot, why)

    # --- scripts -------------------------------------------------------------

    def _start_script(self, work: _Work, slot: int) -> None:
        env = dict(os.environ, REFLOW_SLOT=str(slot))
        self._enter(work, slot)
        work.state[slot] = _RUNNING
        try:
            output = os.open(work.job.log, LOG, FILE)
            try:
                process = spawn([work.job.script], env=env, cwd=work.job.cwd, output=output)
            finally:
                os.close(output)
        except OSError as error:
            self._fail(work, slot, _launch(str(error)))
            return
        script = _Script(process, work, slot)
        if work.job.resources.time is not None:
            script.due = time.monotonic() + work.job.resources.time
        self._watch(script)
        self._scripts.append(script)


def _launch(reason: str) -> JobStatus:
    return JobStatus(state=JobState.FAILED, failure_class=FailureClass.LAUNCH, reason=reason)


def _timeout(asked: Resources) -> JobStatus:
    return JobStatus(
        state=JobState.FAILED,
        failure_class=FailureClass.TIMEOUT,
        reason=f"reached its walltime of {asked.time} s",
    )


def _status_of(code: int) -> JobStatus:
    if code >= 0:
        return JobStatus(
            state=JobState.FAILED,
            exit_code=code,
            failure_class=FailureClass.EXIT,
            reason=f"the process exited with code {code}",
        )
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return JobStatus(
        state=JobState.FAILED,
        signal=-code,
        failure_class=FailureClass.EXIT,
        reason=f"the process was killed by {name}",
    )


def _signal(process: Popen[bytes], number: int) -> None:
    """Signal a process and all it started in its session."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 1 << 62
