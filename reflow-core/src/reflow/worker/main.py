"""The two ways a worker is started: for one slot of a job, or as a lane of the local pool."""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

import msgspec

from ..authoring.hints import resolve
from ..errors import DataError, Untrusted
from ..model import layout
from ..model.definition import Definition
from ..model.ranges import from_ranges
from ..model.record import RING_END, RING_START, TOKEN, Announced, Finished, JobSpec, Mail, Opened
from ..model.versions import require_schema
from . import children, relay
from .context import TaskInterrupted
from .durable import share
from .element import STRANGE, ElementRunner, failure_of, redirect
from .frozen import Frozen
from .interrupts import LIMITS, Interrupts
from .keeper import Keeper
from .load import load_flow
from .mailbox import Mailbox
from .opener import WHOLE, frames_of, open_regular, read_regular
from .tags import claim
from .trust import Trust, trust_in
from .values import strangers

#: jobs whose inputs a lane keeps open
_MOST_OPEN = 64


class Work:
    """What this process knows of a run: its definition, its code, its jobs."""

    def __init__(self, root: str, interrupts: Interrupts, keeper: Keeper) -> None:
        self._root = root
        self._keeper = keeper
        self._interrupts = interrupts
        self._definitions: dict[int, Definition] = {}
        self._frozen: dict[int, Frozen] = {}
        self._current = 0
        self._flows: dict[int, Any] = {}
        self._strange: dict[int, frozenset[str]] = {}
        self._trusted = trust_in(os.environ)

    def runner(self, tag: str, mailbox: Mailbox) -> ElementRunner:
        """Prepare to run elements of a job.

        Raises
        ------
        Exception
            Whatever importing the user's script raises.
        """
        spec = job_spec(self._root, tag, self._trusted)
        generation = spec.generation
        if generation not in self._definitions:
            raw = read_regular(layout.definition(self._root, generation), self._trusted, most=WHOLE)
            definition = msgspec.json.decode(raw, type=Definition)
            if generation not in self._frozen:
                self._frozen[generation] = Frozen(self._root, definition, self._trusted)
                self._keeper.know(self._frozen[generation].named, definition.written)
            self.use(generation)
            with self._keeper.loading():
                self._flows[generation] = load_flow(definition.entry, self._frozen[generation])
                gc.enable()
            self._definitions[generation] = definition
            # Before anything runs: tasks may change what they find in their module.
            functions = {name: step.function for name, step in self._flows[generation].tasks.items()}
            self._strange[generation] = strangers(definition, functions)
        step = self._flows[generation].tasks[spec.task]
        types = {name: hint.type for name, hint in resolve(step.function, step.names).items()}
        task = self._definitions[generation].task(spec.task)
        strange = spec.task in self._strange[generation]
        note = (lambda: STRANGE) if strange else self._frozen[generation].note
        return ElementRunner(
            *(self._root, spec, task, step.function, types, mailbox, self._interrupts),
            keeper=self._keeper,
            note=note,
        )

    def use(self, generation: int) -> None:
        """Have the modules of a code generation where imports find them: a pool's lane may see several."""
        if generation != self._current:
            former, self._current = self._current, generation
            if former:
                self._frozen[former].leave()
            self._frozen[generation].enter()
            if former:
                self._keeper.take()  # elements find the finders of this one


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
        self._tokens, self._bell = tokens, bell
        self._parent = parent
        self._interrupts = Interrupts()
        self._interrupts.listen(signal.SIGTERM)
        self._interrupts.dumps = 2.5  # the pool asks it to end first, and kills it later
        # Nobody sends it to a session of its own; ignored, it would be in all that tasks start as well.
        signal.signal(signal.SIGINT, _pass_over)
        self._mailbox = Mailbox(root, tag, slot)
        self._keeper = Keeper()
        self._work = Work(root, self._interrupts, self._keeper)
        self._announcements = layout.announcements(root, tag)
        self._trusted = trust_in(os.environ)
        self._read = 0
        #: whether this process is not as it was any more, and another one has to take its place
        self._spent = False
        self._jobs: dict[int, Announced] = {}
        self._runners: dict[int, ElementRunner] = {}
        #: whether the pool wants no more of this lane: a byte, or the pipe's end
        self._dismissed = select.poll()
        self._dismissed.register(control, select.POLLIN)
        self._poll = select.poll()
        self._poll.register(tokens, select.POLLIN)
        self._poll.register(control, select.POLLIN)

    def serve(self) -> None:
        """Work until the pool closes its pipe, is gone, or asks this lane to end."""
        try:
            while not (self._interrupts.asked or self._spent) and os.getppid() == self._parent:
                number, index, flags, _ = TOKEN.unpack(self._take())
                self._element(number, index, flags)
        except _Gone:
            pass
        self._mailbox.close()
        self._ring()

    def _take(self) -> bytes:
        """The next token; who has taken one serves it, whatever happens."""
        while True:
            if self._dismissed.poll(0):
                raise _Gone
            try:
                token = os.read(self._tokens, TOKEN.size)
            except BlockingIOError:
                self._mailbox.sync()
                self._ring()
                try:
                    self._interrupts.expose()
                    self._poll.poll()
                except TaskInterrupted:
                    raise _Gone from None
                finally:
                    self._interrupts.exposed = False
                continue
            if not token:
                raise _Gone
            return token

    def _job(self, number: int) -> Announced:
        if number not in self._jobs:
            with open(open_regular(self._announcements, self._trusted), "rb") as stream:
                stream.seek(self._read)
                lines = stream.read()
            lines = lines[: lines.rfind(b"\n") + 1]
            self._read += len(lines)
            for job in msgspec.json.Decoder(Announced).decode_lines(lines):
                self._jobs[job.number] = job
        return self._jobs[number]

    def _element(self, number: int, index: int, flags: int) -> None:
        job = self._job(number)
        begin = time.time()
        self._mailbox.started(msgspec.json.encode(job.task), index, job.attempt, begin)
        if flags & RING_START:
            self._ring()
        try:
            redirect(self._root, job.task, job.array, index, job.attempt)
            runner = self._runner(job)
        except BaseException as error:  # the user's script may raise anything when it is imported
            self._mailbox.failed(failure_of(error, job.task, index, job.attempt, begin))
        else:
            runner.run(index, begin)
            self._spent = runner.fresh or runner.soiled or bool(self._keeper.spent)
        if flags & RING_END:
            self._ring()

    def _runner(self, job: Announced) -> ElementRunner:
        runner = self._runners.get(job.number)
        if runner is None:
            while len(self._runners) >= _MOST_OPEN:
                self._runners.pop(next(iter(self._runners))).close()
            runner = self._runners[job.number] = self._work.runner(job.tag, self._mailbox)
        self._work.use(runner.generation)
        return runner

    def _ring(self) -> None:
        try:
            os.write(self._bell, b"\0")
        except (BlockingIOError, BrokenPipeError):
            pass  # the pool has rings enough to wake for, or is gone


def job_spec(root: str, tag: str, trusted: Trust) -> JobSpec:
    """Return what is to be known of a job, as somebody who is trusted has written it.

    Raises
    ------
    DataError
        Another version of reflow has submitted it, with another schema.
    """
    path = layout.job(root, tag)
    raw = read_regular(path, trusted)
    require_schema(path, raw)
    return msgspec.json.decode(raw, type=JobSpec)


def slot(root: str, tag: str, index: int) -> list[str]:
    """Run the element of one slot of a scheduler's job.

    Returns
    -------
    list of str
        Tags of wake-ups whose work this process is to go on with, being the last that they wait for.
    """
    begun = _begun()
    interrupts = Interrupts()
    # Some schedulers send SIGINT first. A shell that ignores it, for what it starts in the background, means itself.
    interrupts.listen(*(signal.SIGTERM, signal.SIGINT, signal.SIGUSR2), *(getattr(signal, name) for name in LIMITS))
    job = os.environ.get("REFLOW_JOB_ID", "")
    spec = job_spec(root, tag, trust_in(os.environ))  # first: what another version has submitted is left as it is
    if not claim(layout.tag(root, tag), f"claimed {job}"):
        return []  # the run has given this submission up, and made another
    elements = from_ranges(spec.elements)
    element = elements[index]
    mailbox = Mailbox(root, tag, index, job=job, brief=True)
    before = [record for start in range(1, mailbox.start) for record in _said(layout.box(root, tag, index, start))]
    if any(isinstance(record, Opened) and record.void for record in before):
        mailbox.close()  # the run has given this slot up, and made another attempt
        return []
    if any(isinstance(record, Finished) and not record.interrupted for record in before):
        mailbox.close()  # the scheduler has started it again, for reasons of its own: what is reported stays
        return relay.due(root, spec, index, len(elements), begun)
    begin = time.time()
    mailbox.started(msgspec.json.encode(spec.task), element, spec.attempt, begin)
    try:
        redirect(root, spec.task, spec.array, element, spec.attempt)
        runner = Work(root, interrupts, Keeper(several=False)).runner(tag, mailbox)
    except BaseException as error:  # the user's script may raise anything when it is imported
        mailbox.failed(failure_of(error, spec.task, element, spec.attempt, begin))
    else:
        runner.run(element, begin, max(0.0, begin - begun))
    mailbox.close()
    wakes = relay.due(root, spec, index, len(elements), begun)
    return [] if interrupts.asked else wakes


def _begun() -> float:
    """When the job began, as its script has noted: what prepares it may take a while."""
    now = time.time()
    try:
        return min(now, float(os.environ["REFLOW_BEGIN"]))
    except (KeyError, ValueError):
        return now


def _pass_over(number: int, frame: object) -> None:
    """What does nothing, and is not inherited by the programs that a task starts."""


def _said(box: str) -> list[Mail]:
    """What was reported by an earlier start of a slot, or of it."""
    file = open_regular(box, trust_in(os.environ))
    try:
        payloads, _ = frames_of(file)
    finally:
        os.close(file)
    return [msgspec.json.decode(payload, type=Mail) for payload in payloads]


def _clear() -> None:
    """Leave nothing behind: neither output that is not written, nor processes."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    if children.some():
        children.end(children.services())


def _leave(code: int) -> NoReturn:
    """End at once: threads and exit handlers of user code must not hold the job."""
    _clear()
    os._exit(code)


def main(argv: list[str]) -> NoReturn:
    """``python -m reflow.worker ROOT TAG`` or ``... --lane ROOT TAG LANE TOKENS BELL CONTROL PARENT``."""
    children.adopt()
    share(trust_in(os.environ).groups)
    # What cannot be encoded is no reason for a task to fail.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    try:
        _work(argv)
    except (DataError, Untrusted) as error:  # reflow, or the run, was replaced while the job was queued
        print(f"reflow: {error.message}", file=sys.stderr)
        _leave(error.exit_code)
    _leave(0)


def _work(argv: list[str]) -> None:
    if argv[0] == "--lane":
        root, tag, *numbers = argv[1:]
        Lane(root, tag, *map(int, numbers)).serve()
        return
    wakes = slot(argv[0], argv[1], int(os.environ.get("REFLOW_SLOT", "0")))
    if wakes:
        _clear()
        relay.become(argv[0], wakes)
