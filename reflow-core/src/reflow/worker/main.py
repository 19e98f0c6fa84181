"""The two ways a worker is started: for one slot of a job, or as a lane of the local pool."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from struct import Struct
from types import FrameType
from typing import Any, NoReturn

import msgspec

from ..authoring.hints import resolve
from ..model import layout
from ..model.definition import Definition
from ..model.ranges import from_ranges
from ..model.record import JobSpec
from .context import TaskInterrupted
from .element import ElementRunner, failure_of, redirect
from .load import load_flow
from .mailbox import Mailbox
from .tags import claim

#: one element to be run, as it stands in the pool's pipe: number of the job, element, flags
TOKEN = Struct("<IIII")
#: ring the bell when the element has ended, and when it has started
RING_END, RING_START = 1, 2

#: jobs whose inputs a lane keeps open
_MOST_OPEN = 64


class Announced(msgspec.Struct, frozen=True):
    """A job made known to a lane: its number in tokens, its tag, and what is reported of its elements."""

    number: int
    tag: str
    task: str
    array: bool
    attempt: int


class Interrupts:
    """What a termination signal does: interrupt the task, or end the worker between tasks."""

    def __init__(self) -> None:
        self.runner: ElementRunner | None = None
        self.asked = False
        self.idle = False
        signal.signal(signal.SIGTERM, self._handle)

    def check(self) -> None:
        """Raise where the signal came before there was anything to be interrupted."""
        if self.asked:
            raise TaskInterrupted("SIGTERM")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if self.idle or (self.runner is not None and self.runner.inside):
            raise TaskInterrupted(signal.Signals(number).name)


class Work:
    """What this process knows of a run: its definition, its code, its jobs."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._definitions: dict[int, Definition] = {}
        self._flows: dict[int, Any] = {}

    def runner(self, tag: str, mailbox: Mailbox) -> ElementRunner:
        """Prepare to run elements of a job.

        Raises
        ------
        Exception
            Whatever importing the user's script raises.
        """
        with open(layout.job(self._root, tag), "rb") as stream:
            spec = msgspec.json.decode(stream.read(), type=JobSpec)
        generation = spec.generation
        if generation not in self._definitions:
            with open(layout.definition(self._root, generation), "rb") as stream:
                definition = msgspec.json.decode(stream.read(), type=Definition)
            self._flows[generation] = load_flow(definition.entry, layout.code(self._root, generation))
            self._definitions[generation] = definition
        step = self._flows[generation].tasks[spec.task]
        types = {name: hint.type for name, hint in resolve(step.function, step.names).items()}
        task = self._definitions[generation].task(spec.task)
        return ElementRunner(self._root, spec, task, step.function, types, mailbox)


class _Gone(Exception):
    """The pool is gone, or wants no more of this lane."""


class Lane:
    """A worker of the local pool: runs elements as they come out of the pool's pipe, until it closes.

    All lanes read one pipe: whoever is free takes the next element, so a long
    element holds up no other.
    """

    def __init__(self, root: str, tag: str, slot: int, tokens: int, bell: int, control: int, parent: int) -> None:
        for descriptor in (tokens, bell, control):
            os.set_inheritable(descriptor, False)
        self._root = root
        self._tokens, self._bell, self._control = tokens, bell, control
        self._parent = parent
        self._interrupts = Interrupts()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._mailbox = Mailbox(root, tag, slot)
        self._work = Work(root)
        self._jobs: dict[int, Announced] = {}
        self._runners: dict[int, ElementRunner] = {}
        self._unread = b""
        self._poll = select.poll()
        self._poll.register(tokens, select.POLLIN)
        self._poll.register(control, 0)  # nothing but its end

    def serve(self) -> None:
        """Work until the pool closes its pipe, is gone, or asks this lane to end."""
        try:
            while not self._interrupts.asked and os.getppid() == self._parent:
                token = self._take()
                number, index, flags, _ = TOKEN.unpack(token)
                self._element(number, index, flags)
        except _Gone:
            pass
        self._mailbox.close()
        self._ring()

    def _take(self) -> bytes:
        while True:
            try:
                token = os.read(self._tokens, TOKEN.size)
            except BlockingIOError:
                self._mailbox.sync()
                self._ring()
                try:
                    self._interrupts.idle = True
                    heard = self._poll.poll()
                except TaskInterrupted:
                    raise _Gone from None
                finally:
                    self._interrupts.idle = False
                if any(descriptor == self._control for descriptor, _ in heard):
                    raise _Gone from None
                continue
            if not token:
                raise _Gone
            return token

    def _job(self, number: int) -> Announced:
        while number not in self._jobs:
            more = os.read(self._control, 65536)
            if not more:
                raise _Gone
            *lines, self._unread = (self._unread + more).split(b"\n")
            for line in lines:
                job = msgspec.json.decode(line, type=Announced)
                self._jobs[job.number] = job
        return self._jobs[number]

    def _element(self, number: int, index: int, flags: int) -> None:
        job = self._job(number)
        redirect(self._root, job.task, job.array, index, job.attempt)
        begin = time.time()
        self._mailbox.started(msgspec.json.encode(job.task), index, job.attempt, begin)
        if flags & RING_START:
            self._ring()
        runner = self._runners.get(number)
        if runner is None:
            try:
                runner = self._runners[number] = self._work.runner(job.tag, self._mailbox)
            except BaseException as error:  # the user's script may raise anything when it is imported
                self._mailbox.failed(failure_of(error, job.task, index, job.attempt, begin))
            while len(self._runners) > _MOST_OPEN:
                self._runners.pop(next(iter(self._runners))).close()
        if runner is not None:
            self._interrupts.runner = runner
            runner.before = self._interrupts.check
            runner.run(index, begin)
        if flags & RING_END:
            self._ring()

    def _ring(self) -> None:
        try:
            os.write(self._bell, b"\0")
        except (BlockingIOError, BrokenPipeError):
            pass  # the pool has rings enough to wake for, or is gone


def slot(root: str, tag: str, index: int) -> None:
    """Run the element of one slot of a scheduler's job."""
    interrupts = Interrupts()
    job = os.environ.get("REFLOW_JOB_ID", "")
    if not claim(layout.tag(root, tag), f"claimed {job}"):
        return  # the run has given this submission up, and made another
    with open(layout.job(root, tag), "rb") as stream:
        spec = msgspec.json.decode(stream.read(), type=JobSpec)
    element = from_ranges(spec.elements)[index]
    redirect(root, spec.task, spec.array, element, spec.attempt)
    mailbox = Mailbox(root, tag, index, job=job)
    begin = time.time()
    mailbox.started(msgspec.json.encode(spec.task), element, spec.attempt, begin)
    try:
        runner = interrupts.runner = Work(root).runner(tag, mailbox)
    except BaseException as error:  # the user's script may raise anything when it is imported
        mailbox.failed(failure_of(error, spec.task, element, spec.attempt, begin))
    else:
        runner.run(element, begin)
    mailbox.close()


def _leave(code: int) -> NoReturn:
    """End at once: threads and exit handlers of user code must not hold the job."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(code)


def main(argv: list[str]) -> NoReturn:
    """``python -m reflow.worker ROOT TAG`` or ``... --lane ROOT TAG LANE TOKENS BELL CONTROL PARENT``."""
    # What cannot be encoded is no reason for a task to fail.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    if argv[0] == "--lane":
        root, tag, *numbers = argv[1:]
        Lane(root, tag, *map(int, numbers)).serve()
    else:
        slot(argv[0], argv[1], int(os.environ.get("REFLOW_SLOT", "0")))
    _leave(0)
