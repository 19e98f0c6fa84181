"""The local executor: warm worker processes that share one queue.

The queue is a pipe of fixed-size tokens, one an element. Every free worker
reads the next one, so a long element never holds up others, and no batch sizes
need be guessed. Elements that claim an explicit share of the machine (cpus,
mem), have a walltime or a bounded parallelism are let into the pipe only as
there is room for them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import select
import signal
import sys
import termios
import time
from array import array
from collections.abc import Collection, Mapping, Sequence
from subprocess import Popen
from typing import Any

import msgspec

from ..errors import ExecutorError
from ..model import layout
from ..model.frames import parse
from ..model.job import Ended, Heard, Job, JobRef, JobState, JobStatus, Letter, Limits, Submission
from ..model.names import FailureClass
from ..model.ranges import from_ranges
from ..model.record import Closed, Finished, JobSpec, Mail, Opened, Started
from ..model.resources import Resources
from ..process.spawn import spawn
from ..worker.main import RING_END, RING_START, TOKEN, Announced

_mail = msgspec.json.Decoder(Mail)

#: what became of each slot
_WAITING, _QUEUED, _RUNNING, _SUCCESS, _FAILED = range(5)

#: seconds between the request to end and the kill
GRACE = 5.0

#: how long the pool sleeps at most between two looks at its workers' mailboxes
_LOOK_FIRST, _LOOK_LAST = 0.05, 1.0


class _Work:
    """A job as the pool sees it."""

    def __init__(self, number: int, job: Job) -> None:
        self.number = number
        self.job = job
        self.ref = JobRef(f"local-{os.getpid()}-{number}")
        self.slots = job.slots if job.slots is not None else 1
        self.state = bytearray(self.slots)
        self.next = 0
        self.waiting = list[int]()  # slots to be queued again
        self.inside = 0
        self.ended = 0
        self.status: dict[int, JobStatus] = {}
        self.cancelled = False
        self.begin = time.monotonic() + (job.begin or 0.0)
        self.elements: Sequence[int] = ()
        self.slot_of: Mapping[int, int] = {}
        self.pids: dict[int, _Script] = {}
        #: slots to be ended as soon as it is known which worker has taken them
        self.doomed: dict[int, JobStatus] = {}
        self.group: _Group | None = None
        #: what its parallelism is counted over: the task, all attempts of it
        self.family = job.spec.task if job.spec is not None else job.tag

    @property
    def todo(self) -> int:
        """Slots that have not been let in."""
        return 0 if self.cancelled else self.slots - self.next + len(self.waiting)

    def take(self) -> int:
        """The next slot to be let in."""
        if self.waiting:
            return self.waiting.pop()
        self.next += 1
        return self.next - 1

    @property
    def paced(self) -> bool:
        """Whether its elements are let in one by one, as there is room."""
        asked = self.job.resources
        return (
            asked.cpus is not None or asked.mem is not None or asked.time is not None or self.job.throttle is not None
        )


class _Script:
    """A plain script that runs as one slot."""

    def __init__(self, process: Popen[bytes], deadline: float | None) -> None:
        self.process = process
        self.deadline = deadline
        self.why: JobStatus | None = None
        self.kill_at: float | None = None


class _Lane:
    """A warm worker process."""

    def __init__(self, slot: int, process: Popen[bytes], control: int, path: str, box: str, group: _Group) -> None:
        self.slot = slot
        self.process = process
        self.control = control
        self.path = path
        self.box = box
        self.group = group
        self.file = -1
        self.offset = 0
        self.announced = 0
        self.work: _Work | None = None
        self.index = -1
        self.deadline: float | None = None
        #: why this worker is being ended, as the status of the slot it runs
        self.why: JobStatus | None = None
        self.kill_at: float | None = None
        self.closed = False
        self.retired = False


class _Group:
    """Lanes that were started alike, and the pipe they share."""

    def __init__(self, key: str, env: Mapping[str, str], wrapper: tuple[str, ...]) -> None:
        self.key = key
        self.env = env
        self.wrapper = wrapper
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)
        self.lanes: list[_Lane] = []
        self.announcements: list[tuple[int, bytes]] = []
        self.suspect = False

    @property
    def tokens(self) -> int:
        """Tokens that nobody has taken."""
        count = array("i", [0])
        fcntl.ioctl(self.reader, termios.FIONREAD, count)
        return count[0] // TOKEN.size

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


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
            raise ExecutorError(f"max_workers={max_workers}: at least one worker is needed")
        self._given = {"max_workers": max_workers, "cpus": cpus, "mem": mem}
        self._max_workers = max_workers or _cpus()
        self._cpu_budget = cpus or _cpus()
        self._mem_budget = mem or _memory()
        self._works: list[_Work] = []
        self._by_ref: dict[str, _Work] = {}
        self._by_tag: dict[str, _Work] = {}
        self._open: list[_Work] = []
        self._groups: dict[str, _Group] = {}
        self._lanes: list[_Lane] = []
        self._serial = 0
        self._used_cpus = 0
        self._used_mem = 0
        self._paced_inside = 0
        self._inside: dict[str, int] = {}
        self._warned: set[str] = set()
        self._warnings: list[str] = []
        self._ended: list[Ended] = []
        self._look = _LOOK_FIRST
        self._bell_read = self._bell_write = -1
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
        work = _Work(len(self._works), job)
        if job.spec is not None:
            work.elements = from_ranges(job.spec.elements)
            if work.elements != range(work.slots):
                work.slot_of = {element: slot for slot, element in enumerate(work.elements)}
        self._works.append(work)
        self._by_ref[work.ref.id] = work
        self._by_tag[job.tag] = work
        self._open.append(work)
        if work.slots == 0:
            self._open.remove(work)
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
            if work is not None:
                slots = wanted.setdefault(work.number, set())
                slots.update(range(work.slots) if ref.slot is None else [ref.slot])
        why = JobStatus(state=JobState.CANCELLED, failure_class=FailureClass.CANCELLED, reason="cancelled")
        for number, slots in wanted.items():
            work = self._works[number]
            self._withdraw(work, slots)
            for slot in sorted(slots):
                if work.state[slot] == _WAITING:
                    if slot >= work.next:
                        work.waiting.extend(range(work.next, slot))
                        work.next = slot + 1
                    else:
                        work.waiting.remove(slot)
                    self._end(work, slot, why, entered=False)
                    self._ended.append(Ended(work.job.tag, slot, why))
                elif work.state[slot] in (_QUEUED, _RUNNING):
                    self._stop(work, slot, why)

    # --- the pool ------------------------------------------------------------

    def open(self, root: str, tag: str, *, python: str, cwd: str) -> None:
        """Work for a run."""
        self._bell_read, self._bell_write = os.pipe()
        os.set_blocking(self._bell_read, False)
        os.set_blocking(self._bell_write, False)
        self._root, self._tag, self._python, self._cwd = root, tag, python, cwd

    def wait(self, timeout: float) -> Heard:
        """Let workers work until something is heard."""
        letters = self._work(timeout)
        ended, self._ended = self._ended, []
        warnings, self._warnings = self._warnings, []
        return Heard(letters, ended, warnings)

    def close(self) -> None:
        """End all workers, the running ones by a signal first, and let go of everything."""
        why = JobStatus(state=JobState.CANCELLED, failure_class=FailureClass.CANCELLED, reason="the run was stopped")
        for work in list(self._open):
            self.cancel([work.ref])
        for lane in list(self._lanes):
            self._retire(lane)
            if lane.work is not None:
                self._interrupt(lane, why)
        deadline = time.monotonic() + GRACE
        while (self._lanes or any(work.pids for work in self._open)) and time.monotonic() < deadline + 2 * GRACE:
            self._work(0.05)
        for process in self._processes():  # one that never came so far as to take an element, say
            _signal(process, signal.SIGKILL)
            process.wait()
        for group in self._groups.values():
            group.close()
        self._groups.clear()
        self._open.clear()
        if self._bell_read >= 0:
            os.close(self._bell_read)
            os.close(self._bell_write)
            self._bell_read = self._bell_write = -1

    # --- inside --------------------------------------------------------------

    def _work(self, timeout: float) -> list[Letter]:
        deadline = time.monotonic() + timeout
        while True:
            self._dispatch()
            letters, rang = self._listen(max(0.0, deadline - time.monotonic()))
            self._reap(letters)
            self._enforce()
            if letters or self._ended or self._warnings or time.monotonic() >= deadline:
                return letters
            if not rang:
                self._look = min(self._look * 2, _LOOK_LAST)

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

    def _room(self, work: _Work) -> bool:
        """Whether another element of `work` may be let in, by budget and parallelism."""
        if work.job.throttle is not None and self._inside.get(work.family, 0) >= work.job.throttle:
            return False
        asked = work.job.resources
        cpus, mem = asked.cpus or 0, asked.mem or 0
        for claim, budget, what in (
            (cpus, self._cpu_budget, "cpus"),
            (mem, self._mem_budget, "bytes of memory"),
        ):
            if claim > budget:
                if work.job.name not in self._warned:
                    self._warned.add(work.job.name)
                    task = work.job.spec.task if work.job.spec else work.job.name
                    self._warnings.append(
                        f"{task} asks for {claim} {what}, this machine has {budget}: its elements run alone"
                    )
                return self._paced_inside == 0
        if self._used_cpus > self._cpu_budget or self._used_mem > self._mem_budget:
            return False  # something larger than the machine runs, alone
        if self._used_cpus + cpus > self._cpu_budget or self._used_mem + mem > self._mem_budget:
            return False
        return self._paced_inside < self._max_workers

    def _dispatch(self) -> None:
        now = time.monotonic()
        scripts = sum(len(work.pids) for work in self._open)
        for work in self._open:
            if not work.todo or not self._may_start(work, now):
                continue
            if work.job.spec is None:
                while work.todo and scripts < self._max_workers and self._room(work):
                    self._start_script(work, work.take())
                    scripts += 1
                continue
            group = self._group_of(work, work.job.spec)
            if not any(number == work.number for number, _ in group.announcements):
                self._announce(group, work)
            if work.paced:
                flags = RING_END | (RING_START if work.job.resources.time is not None else 0)
                while work.todo and self._room(work):
                    slot = work.take()
                    if not self._put(group, TOKEN.pack(work.number, work.elements[slot], flags, 0)):
                        work.waiting.append(slot)
                        break
                    self._enter(work, slot)
            else:
                self._fill(group, work)
        for group in self._groups.values():
            self._staff(group)

    def _fill(self, group: _Group, work: _Work) -> None:
        """Queue as many elements as the pipe takes, in writes that are atomic each."""
        most = select.PIPE_BUF // TOKEN.size
        flags = RING_END if work.slots <= 4 * self._max_workers else 0
        while work.todo:
            slots = [work.take() for _ in range(min(most, work.todo))]
            data = b"".join([TOKEN.pack(work.number, work.elements[slot], flags, 0) for slot in slots])
            if not self._put(group, data):
                work.waiting.extend(reversed(slots))
                return
            for slot in slots:
                work.state[slot] = _QUEUED
            work.inside += len(slots)

    @staticmethod
    def _put(group: _Group, data: bytes) -> bool:
        try:
            os.write(group.writer, data)
        except BlockingIOError:
            return False
        return True

    def _enter(self, work: _Work, slot: int) -> None:
        work.state[slot] = _QUEUED
        work.inside += 1
        if work.paced:
            self._paced_inside += 1
            self._inside[work.family] = self._inside.get(work.family, 0) + 1
            self._used_cpus += work.job.resources.cpus or 0
            self._used_mem += work.job.resources.mem or 0

    def _leave(self, work: _Work) -> None:
        work.inside -= 1
        if work.paced:
            self._paced_inside -= 1
            self._inside[work.family] -= 1
            self._used_cpus -= work.job.resources.cpus or 0
            self._used_mem -= work.job.resources.mem or 0

    def _end(self, work: _Work, slot: int, status: JobStatus | None, *, entered: bool = True) -> None:
        """Note that a slot has ended; `status` where it says more than success."""
        if work.state[slot] in (_SUCCESS, _FAILED):
            return
        if entered:
            self._leave(work)
        work.state[slot] = _SUCCESS if status is None else _FAILED
        if status is not None:
            work.status[slot] = status
        work.ended += 1
        if work.ended == work.slots and work in self._open:
            self._open.remove(work)

    # --- lanes ---------------------------------------------------------------

    def _group_of(self, work: _Work, spec: JobSpec) -> _Group:
        if work.group is None:
            work.group = self._group(spec)
        return work.group

    def _group(self, spec: JobSpec) -> _Group:
        cpus = spec.resources.cpus or 1
        key = hashlib.sha256(
            msgspec.json.encode([cpus, sorted(spec.env.items()), spec.modules, spec.setup])
        ).hexdigest()[:12]
        group = self._groups.get(key)
        if group is None:
            env = dict(os.environ)
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
                env.setdefault(name, str(cpus))
            env.update(spec.env)
            wrapper: tuple[str, ...] = ()
            if spec.modules or spec.setup:
                wrapper = ("bash", "-l", self._wrapper(key, spec))
            group = self._groups[key] = _Group(key, env, wrapper)
        return group

    def _wrapper(self, key: str, spec: JobSpec) -> str:
        from shlex import quote

        path = f"{self._root}/scripts/{self._tag}.{key}.sh"
        lines = ["# prepares the environment of local workers", "set -e"]
        if spec.modules:
            lines.append("module load " + " ".join(quote(module) for module in spec.modules))
        if spec.setup:
            lines.append(spec.setup)
        lines.append('exec "$@"')
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write("\n".join(lines) + "\n")
        return path

    def _announce(self, group: _Group, work: _Work) -> None:
        spec = work.job.spec
        assert spec is not None
        line = (
            msgspec.json.encode(
                Announced(number=work.number, tag=work.job.tag, task=spec.task, array=spec.array, attempt=spec.attempt)
            )
            + b"\n"
        )
        group.announcements.append((work.number, line))

    def _staff(self, group: _Group) -> None:
        """Start lanes for what is queued, within the number of workers."""
        wanted = min(self._max_workers, sum(work.inside for work in self._open if work.group is group))
        have = [lane for lane in group.lanes if not lane.retired]
        while len(have) < wanted:
            if sum(not lane.retired for lane in self._lanes) >= self._max_workers:
                idle = next(
                    (
                        one
                        for one in self._lanes
                        if one.group is not group and one.work is None and not one.retired and not one.group.tokens
                    ),
                    None,
                )
                if idle is None:
                    break
                self._retire(idle)
            lane = self._hire(group)
            if lane is None:
                return
            have.append(lane)
        for lane in have:
            self._tell(lane)

    def _hire(self, group: _Group) -> _Lane | None:
        slot = self._serial
        self._serial += 1
        path = layout.box(self._root, self._tag, slot)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        control_read, control_write = os.pipe()
        output = os.open(
            f"{layout.mailbox(self._root, self._tag)}/workers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666
        )
        try:
            process = spawn(
                [
                    *group.wrapper,
                    self._python,
                    "-m",
                    "reflow.worker",
                    "--lane",
                    self._root,
                    self._tag,
                    str(slot),
                    str(group.reader),
                    str(self._bell_write),
                    str(control_read),
                    str(os.getpid()),
                ],
                env=group.env,
                cwd=self._cwd,
                output=output,
                keep=(group.reader, self._bell_write, control_read),
            )
        except OSError as error:
            os.close(control_write)
            self._stillborn(group, str(error))
            return None
        finally:
            os.close(output)
            os.close(control_read)
        lane = _Lane(slot, process, control_write, path, path[len(self._root) + len("/mailbox/") :], group)
        self._lanes.append(lane)
        group.lanes.append(lane)
        return lane

    def _tell(self, lane: _Lane) -> None:
        news = lane.group.announcements[lane.announced :]
        if news:
            try:
                os.write(lane.control, b"".join(line for _, line in news))
            except BrokenPipeError:
                return  # it died; it is about to be reaped
            lane.announced += len(news)

    @staticmethod
    def _retire(lane: _Lane) -> None:
        """Let a lane end as soon as it is idle."""
        if not lane.retired:
            lane.retired = True
            os.close(lane.control)

    def _interrupt(self, lane: _Lane, why: JobStatus | None) -> None:
        if lane.why is None and lane.kill_at is None:
            lane.why = why
            lane.kill_at = time.monotonic() + GRACE
            _signal(lane.process, signal.SIGTERM)

    def _withdraw(self, work: _Work, slots: Collection[int]) -> None:
        """Take tokens of these slots out of the pipe again."""
        group = work.group
        if group is None:
            return
        data = b""
        while True:
            try:
                more = os.read(group.reader, 65536)
            except BlockingIOError:
                break
            data += more
        keep = []
        for start in range(0, len(data), TOKEN.size):
            token = data[start : start + TOKEN.size]
            number, element, _, _ = TOKEN.unpack(token)
            slot = work.slot_of.get(element, element) if number == work.number else -1
            if number == work.number and slot in slots:
                work.state[slot] = _WAITING
                work.waiting.append(slot)
                self._leave(work)
            else:
                keep.append(token)
        most = select.PIPE_BUF // TOKEN.size
        for start in range(0, len(keep), most):
            os.write(group.writer, b"".join(keep[start : start + most]))

    def _stop(self, work: _Work, slot: int, why: JobStatus) -> None:
        script = work.pids.get(slot)
        if script is not None:
            if script.kill_at is None:
                script.why = why
                script.kill_at = time.monotonic() + GRACE
                _signal(script.process, signal.SIGTERM)
            return
        for lane in self._lanes:
            if lane.work is work and work.slot_of.get(lane.index, lane.index) == slot:
                self._interrupt(lane, why)
                return
        work.doomed[slot] = why

    # --- hearing -------------------------------------------------------------

    def _listen(self, timeout: float) -> tuple[list[Letter], bool]:
        pause = min(timeout, self._look if self._lanes or any(w.pids for w in self._open) else timeout)
        now = time.monotonic()
        for moment in self._moments():
            pause = min(pause, max(0.0, moment - now))
        poll = select.poll()
        if self._bell_read >= 0:
            poll.register(self._bell_read, select.POLLIN)
        watched = []
        for process in self._processes():
            try:
                descriptor = os.pidfd_open(process.pid)
            except (AttributeError, OSError):
                pause = min(pause, 0.05)
                continue
            watched.append(descriptor)
            poll.register(descriptor, select.POLLIN)
        try:
            rang = bool(poll.poll(pause * 1000))
        finally:
            for descriptor in watched:
                os.close(descriptor)
        if rang:
            self._look = _LOOK_FIRST
            try:
                os.read(self._bell_read, 65536)
            except OSError:
                pass  # it was something else, or there is none
        return [letter for lane in self._lanes if (letter := self._read(lane)) is not None], rang

    def _moments(self) -> list[float]:
        times = [work.begin for work in self._open if work.todo and work.job.begin]
        watched: list[_Lane | _Script] = [*self._lanes]
        for work in self._open:
            watched.extend(work.pids.values())
        for one in watched:
            times.extend(moment for moment in (one.deadline, one.kill_at) if moment is not None)
        return times

    def _processes(self) -> list[Popen[bytes]]:
        return [lane.process for lane in self._lanes] + [
            script.process for work in self._open for script in work.pids.values()
        ]

    def _read(self, lane: _Lane) -> Letter | None:
        if lane.file < 0:
            try:
                lane.file = os.open(lane.path, os.O_RDONLY)
            except FileNotFoundError:
                return None
        data = b""
        while more := os.pread(lane.file, 1 << 22, lane.offset + len(data)):
            data += more
        if not data:
            return None
        payloads, end = parse(data)
        lane.offset += end
        records: list[tuple[Mail, bytes]] = []
        for payload in payloads:
            record = _mail.decode(payload)
            if self._note(lane, record):
                records.append((record, payload))
        return Letter(lane.box, lane.offset, records) if payloads else None

    def _note(self, lane: _Lane, record: Mail) -> bool:
        """Follow what a lane is doing; False where the record is not to be passed on."""
        kind = type(record)
        if kind is Started:
            assert isinstance(record, Started)
            work = self._find(lane, record.t, record.i, record.a)
            lane.work, lane.index = work, record.i
            if work is not None:
                slot = self._slot(work, record.i)
                work.state[slot] = _RUNNING
                seconds = work.job.resources.time
                lane.deadline = None if seconds is None else time.monotonic() + seconds
                if slot in work.doomed:
                    self._interrupt(lane, work.doomed.pop(slot))
        elif kind is Finished:
            assert isinstance(record, Finished)
            work, why = lane.work, lane.why
            lane.work, lane.deadline = None, None
            if work is None:
                return True
            slot = self._slot(work, record.i)
            if record.f and why is not None:
                self._end(work, slot, why)
                self._ended.append(Ended(work.job.tag, slot, why))
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
        elif kind is Closed:
            lane.closed = True
        return kind is not Opened

    @staticmethod
    def _slot(work: _Work, element: int) -> int:
        return work.slot_of.get(element, element) if work.slot_of else element

    def _find(self, lane: _Lane, task: str, element: int, attempt: int) -> _Work | None:
        for work in self._open:
            spec = work.job.spec
            if (
                spec is not None
                and spec.task == task
                and spec.attempt == attempt
                and (element in work.slot_of if work.slot_of else element < work.slots)
                and work.state[self._slot(work, element)] == _QUEUED
            ):
                return work
        return None

    # --- ends ----------------------------------------------------------------

    def _reap(self, letters: list[Letter]) -> None:
        for lane in list(self._lanes):
            code = lane.process.poll()
            if code is None:
                continue
            _signal(lane.process, signal.SIGKILL)  # what the element left running dies with it
            letter = self._read(lane)
            if letter is not None:
                letters.append(letter)
            self._lanes.remove(lane)
            lane.group.lanes.remove(lane)
            if lane.work is not None:
                work, slot = lane.work, self._slot(lane.work, lane.index)
                status = lane.why or _status_of(code)
                self._end(work, slot, status)
                self._ended.append(Ended(work.job.tag, slot, status))
            if not lane.closed:
                lane.group.suspect = True
                if lane.file < 0 and lane.why is None:
                    self._stillborn(lane.group, self._last_words())
            if lane.file >= 0:
                os.close(lane.file)
            self._retire(lane)
        for group in self._groups.values():
            if group.suspect:
                self._recover(group)
        for work in list(self._open):
            for slot, script in list(work.pids.items()):
                code = script.process.poll()
                if code is None:
                    continue
                _signal(script.process, signal.SIGKILL)
                del work.pids[slot]
                ended = script.why or (None if code == 0 else _status_of(code))
                self._end(work, slot, ended)
                if ended is not None:
                    self._ended.append(Ended(work.job.tag, slot, ended))

    def _last_words(self) -> str:
        """What a worker said before it had an element's log to say it to."""
        path = f"{layout.mailbox(self._root, self._tag)}/workers.log"
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                return stream.read()[-400:].strip().rpartition("\n")[2]
        except OSError:
            return ""

    def _stillborn(self, group: _Group, said: str) -> None:
        """A worker could not even begin: its elements fail rather than start workers for ever."""
        status = JobStatus(
            state=JobState.FAILED,
            failure_class=FailureClass.LAUNCH,
            reason=f"the worker process did not start: {said}" if said else "the worker process did not start",
        )
        for work in list(self._open):
            if work.group is group:
                self._withdraw(work, range(work.slots))
                for slot in range(work.slots):
                    if work.state[slot] == _WAITING:
                        self._end(work, slot, status, entered=False)
                        self._ended.append(Ended(work.job.tag, slot, status))
                work.waiting.clear()
                work.next = work.slots

    def _recover(self, group: _Group) -> None:
        """Queue again what a worker took and died before it could say so.

        Only when no worker of the group is left can nobody hold a token; so the
        idle ones are let go first.
        """
        if group.tokens or any(lane.work is not None for lane in group.lanes):
            return
        missing = [
            (work, slot)
            for work in self._open
            if work.group is group
            for slot in range(work.next)
            if work.state[slot] == _QUEUED
        ]
        if not missing:
            group.suspect = False
            return
        if group.lanes:
            for lane in group.lanes:
                self._retire(lane)
            return
        group.suspect = False
        for work, slot in missing:
            self._leave(work)
            work.state[slot] = _WAITING
            why = work.doomed.pop(slot, None)
            if why is None:
                work.waiting.append(slot)
            else:
                self._end(work, slot, why, entered=False)
                self._ended.append(Ended(work.job.tag, slot, why))

    def _enforce(self) -> None:
        """End what has reached its walltime, and kill what did not end when asked."""
        now = time.monotonic()
        for lane in self._lanes:
            if lane.kill_at is not None and now >= lane.kill_at:
                _signal(lane.process, signal.SIGKILL)
            elif lane.deadline is not None and now >= lane.deadline and lane.work is not None:
                self._interrupt(lane, _timeout(lane.work.job.resources))
        for work in self._open:
            for script in work.pids.values():
                if script.kill_at is not None and now >= script.kill_at:
                    _signal(script.process, signal.SIGKILL)
                elif script.deadline is not None and now >= script.deadline and script.kill_at is None:
                    script.why = _timeout(work.job.resources)
                    script.kill_at = now + GRACE
                    _signal(script.process, signal.SIGTERM)

    # --- scripts -------------------------------------------------------------

    def _start_script(self, work: _Work, slot: int) -> None:
        env = dict(os.environ, REFLOW_SLOT=str(slot))
        self._enter(work, slot)
        work.state[slot] = _RUNNING
        try:
            output = os.open(work.job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                process = spawn([work.job.script], env=env, cwd=work.job.cwd, output=output)
            finally:
                os.close(output)
        except OSError as error:
            status = JobStatus(state=JobState.FAILED, failure_class=FailureClass.LAUNCH, reason=str(error))
            self._end(work, slot, status)
            self._ended.append(Ended(work.job.tag, slot, status))
            return
        seconds = work.job.resources.time
        work.pids[slot] = _Script(process, None if seconds is None else time.monotonic() + seconds)


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
