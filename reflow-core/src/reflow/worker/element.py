"""Running one element: decode, call, encode, report."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import msgspec

from ..errors import CodecError, DataError, ReflowError
from ..model import layout
from ..model.codec import codec_of, files, names_files, own_files
from ..model.digest import sha256
from ..model.names import Source
from ..model.record import Finished, JobSpec
from ..model.schema import describe
from ..model.task import Task
from . import children
from .context import Context, Requeue, enter
from .durable import FILE, make_directories, shared
from .inputs import Inputs
from .interrupts import LIMITS, Interrupts
from .keeper import Keeper
from .mailbox import Mailbox
from .opener import LOG
from .trust import trust_of_job
from .usage import Meter

if TYPE_CHECKING:
    from .outputs import Outputs

#: kinds whose decoded values cannot be changed by a task, and so may be shared between elements
_IMMUTABLE = frozenset({"none", "bool", "int", "float", "str", "bytes", "path", "uuid", "decimal", "enum", "literal"})

#: longest traceback and reason that are kept in a record; the log has all of it
_MOST_DETAILS = 8000
_MOST_REASON = 1500

#: seconds before its walltime from which on an interruption is taken to be its end: the job began before the task
_EARLY = 10.0


#: why results are not kept in the cache, as a field of their record
STRANGE = b',"w":"constants of its script are not where it ran what they were at submit"'


class ElementRunner:
    """Runs elements of one job.

    Parameters
    ----------
    root : str
        The run's root directory.
    spec : JobSpec
        The job.
    task : Task
        Its task.
    function : callable
        The task's function.
    types : mapping
        Resolved Python types of its parameters; ``return`` is the result's.
    mailbox : Mailbox
        Where to report.
    interrupts : Interrupts, optional
        The process's own, where it listens for signals.
    keeper : Keeper
        Puts the process back after each element.
    note : callable, optional
        Says, when an element has ended, why its result must not be kept, as a field of its record.
    """

    def __init__(
        self,
        root: str,
        spec: JobSpec,
        task: Task,
        function: Callable[..., Any],
        types: Mapping[str, Any],
        mailbox: Mailbox,
        interrupts: Interrupts | None = None,
        *,
        keeper: Keeper,
        note: Callable[[], bytes] = bytes,
    ) -> None:
        self._note = note
        #: of the code that it runs
        self.generation = spec.generation
        self._root = root
        self._spec = spec
        self._task = task
        self._name = msgspec.json.encode(task.name)
        #: whether the process is to run no other element
        self.fresh = spec.fresh
        self._function = function
        self._mailbox = mailbox
        self._inputs = Inputs(spec.inputs, trust_of_job(spec.env))
        #: None where the function says nothing of what it returns: that is then nobody's
        self._result = codec_of(types["return"]) if "return" in types else None
        self._shared: dict[str, Any] = {}
        decoders: dict[str, Callable[[bytes], Any]] = {}
        for wired in task.inputs:
            if wired.source is Source.RUN_DIR:
                decoders[wired.name] = _as_path
            elif wired.source is not Source.PLAIN:
                decoders[wired.name] = codec_of(types[wired.name]).decode
        schemas = {wired.name: wired.schema for wired in task.inputs}
        self._common: list[tuple[str, Callable[[bytes], Any], bytes]] = []
        for name, raw in self._inputs.header.common.items():
            if schemas[name].kind in _IMMUTABLE:
                self._shared[name] = decoders[name](bytes(raw))
            else:
                self._common.append((name, decoders[name], bytes(raw)))
        #: whether its values may name files
        self._watches = any(names_files(wired.schema) for wired in task.inputs if wired.source is not Source.RUN_DIR)
        self._own = [(name, decoders[name]) for name in self._inputs.header.names]
        self._cwd = os.getcwd()
        #: records the files that results name; made for the first that names any
        self._files: Outputs | None = None
        self._keeper = keeper
        #: children that the user's module has started when it was imported: they are no element's
        self._kept = set(children.below(os.getpid())) if children.some() else set()
        #: whether an element has left processes, which were killed: others of this process may still count on them
        self.soiled = False
        self._meter = Meter(alone=keeper.alone)
        self._pid = os.getpid()
        self._cpus = spec.resources.cpus or 1
        self._interrupts = interrupts or Interrupts()
        seconds = spec.resources.time
        #: the signal that warns of the walltime, and how many seconds before
        self._warning = _warning(spec.signal) if seconds is not None and self._interrupts.listening else None

    @property
    def inside(self) -> bool:
        """Whether user code is being run: what a signal may interrupt."""
        return self._interrupts.exposed

    def _arguments(self, index: int) -> dict[str, Any]:
        arguments = dict(self._shared)
        for name, decode, raw in self._common:
            arguments[name] = decode(raw)
        if self._own:
            for (name, decode), raw in zip(self._own, self._inputs.values(index), strict=True):
                arguments[name] = decode(bytes(raw))
        return arguments

    def run(self, index: int, begin: float, elapsed: float = 0.0, environ: Mapping[str, str] | None = None) -> bool:
        """Run one element, which was reported as started at `begin`, and report its end.

        Parameters
        ----------
        index : int
            The element.
        begin : float
            Seconds since the epoch.
        elapsed : float
            Seconds of its walltime that have passed already.
        environ : mapping, optional
            Variables that are set while it runs, where the process was not started with them.

        Returns
        -------
        bool
            Whether it succeeded.
        """
        attempt = self._spec.attempt
        streams = sys.stdout, sys.stderr
        seconds = self._spec.resources.time
        deadline = None if seconds is None else time.monotonic() + seconds - elapsed
        interrupts = self._interrupts
        enter(
            Context(
                root=self._root,
                run_id=self._spec.run_id,
                task=self._task.name,
                index=index,
                attempt=attempt,
                cpus=self._cpus,
                mem=self._spec.resources.mem,
                restarts=self._mailbox.restarts,
                deadline=deadline,
                mark=self._mark,
            )
        )
        self._keeper.begin()
        os.environ.update(environ or {})
        self._meter.begin()
        try:
            arguments = self._arguments(index)
            if self._watches:
                self._require_inputs(index)
            try:
                if self._warning is not None and deadline is not None:
                    number, ahead = self._warning
                    interrupts.spared = self._kept
                    interrupts.expect(number, deadline - ahead - time.monotonic(), ahead)
                if deadline is not None and interrupts.listening:
                    interrupts.watch(deadline - time.monotonic())
                interrupts.expose()
                value = copy_context().run(self._function, **arguments)  # context variables are the element's
            finally:
                self._quieten()
            if os.getpid() != self._pid:
                raise SystemExit(0)
            result = self._encode(value, index)
            outputs = self._outputs(result, index, begin)
            looked = self._look(index, outputs) if self._watches else b""
            named = msgspec.json.encode(outputs)
        except BaseException as error:  # whatever a task raises is its result
            if os.getpid() != self._pid:
                _end_fork(error)
            self._quieten()  # again: a timer of the task's may have interrupted that
            self._report(error, index, begin, deadline, *self._meter.end())
            return False
        else:
            self._mailbox.succeeded(
                self._name, index, attempt, begin, *self._meter.end(), result, named, self._note() + looked
            )
            return True
        finally:
            enter(None)
            interrupts.warned = ""
            self._tidy(*streams)

    def _encode(self, value: Any, index: int) -> bytes:
        if self._result is None:
            return b"null"
        try:
            return self._result.encode(value)
        except CodecError as error:
            element = f"{self._task.name}[{index}]" if self._task.array else self._task.name
            raise CodecError(
                f"{element} returned what its annotation, {describe(self._result.schema)}, does not allow: "
                f"{error.message}",
                hint=error.hint,
            ) from None

    def _outputs(self, result: bytes, index: int, begin: float) -> dict[str, str]:
        """Record the files that a result names."""
        named = files(result, self._result.schema) if self._result is not None else []
        if not named or self._result is None:
            return {}
        if self._files is None:
            from .outputs import Outputs

            policy = "content" if self._spec.fingerprint == "content" else "stat"
            run_dir = os.path.dirname(os.path.dirname(self._root))
            self._files = Outputs(self._cwd, run_dir, policy, self._inputs.header.files)
        own = own_files(result, self._result.schema)
        inputs = self._inputs.element(index).f if own else {}
        return self._files.record(named, own, inputs, begin)

    def _require_inputs(self, index: int) -> None:
        """Make sure that files which other tasks have made are as those left them, before any attempt touches them."""
        element = self._inputs.element(index)
        made = (*element.m, *self._inputs.header.made) if not self._task.array else element.m
        if made and self._spec.attempt <= element.a:
            from .given import MOST, require_same

            require_same(made[:MOST], {**self._inputs.header.files, **element.f})

    def _look(self, index: int, outputs: Mapping[str, str]) -> bytes:
        """Judge the element's own input files, a single task's common ones as well, as a field of its record.

        One that another task has made, and that the result does not name, is as that left it, or the element fails.
        """
        element, header = self._inputs.element(index), self._inputs.header
        digests, guards, seen, made = element.f, element.g, element.s, element.m
        if not self._task.array:
            digests, guards = {**digests, **header.files}, {**guards, **header.guards}
            seen, made = {**seen, **header.seen}, (*made, *header.made)
        if not digests or not (element.k or made):
            return b""
        from .given import MOST, looked_at, require_kept

        if not element.k or len(digests) > MOST:
            few = {path: digests[path] for path in made[:MOST]}
            require_kept(made, few, looked_at(few, guards, {}), outputs)
            return b""
        looked = looked_at(digests, guards, seen)
        require_kept(made, digests, looked, outputs)
        return b',"u":' + msgspec.json.encode(looked)

    def _mark(self, index: int) -> str:
        """A short digest of an element's values: what was kept of its work is of use with these alone."""
        values = [(name, bytes(raw)) for name, raw in self._inputs.header.common.items()]
        if self._own:
            own = self._inputs.values(index)
            values += [(name, bytes(raw)) for (name, _), raw in zip(self._own, own, strict=True)]
        return sha256(repr(sorted(values)).encode()).hexdigest()[:12]

    def _report(
        self, error: BaseException, index: int, begin: float, deadline: float | None, cpu: float, memory: int
    ) -> None:
        interrupts = self._interrupts
        interrupted = interrupts.caused(error)
        record = failure_of(error, self._task.name, index, self._spec.attempt, begin, interrupted=interrupted)
        seconds = self._spec.resources.time or 0
        if interrupts.asked and record.f == "requeued":
            record.s = getattr(signal, interrupts.asked)
        if record.f != "cancelled":
            pass
        elif interrupts.warned and not interrupts.asked and self._warning is not None:
            record.f, record.w = (
                "timeout",
                f"{record.w}, {self._warning[1]} s before its walltime of {seconds} s is over",
            )
        elif deadline is not None and time.monotonic() >= deadline - min(_EARLY, seconds / 10):
            record.f, record.w = "timeout", f"walltime exceeded: {record.w}"
        elif interrupts.asked in LIMITS:
            record.f, record.w = "timeout", f"a limit of the scheduler's: {record.w}"
        record.c, record.m = cpu, memory
        self._mailbox.failed(record)

    def close(self) -> None:
        """Let go of the inputs."""
        self._inputs.close()

    def _quieten(self) -> None:
        """Stop what a task may have left going: warnings, timers, signal handlers, processes."""
        self._interrupts.relax()
        alone = self._interrupts.listening  # else the process, with its timers and children, is a person's own
        if alone:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.setitimer(signal.ITIMER_PROF, 0)
        self._keeper.quiet()
        if alone and children.some() and os.getpid() == self._pid:
            self._end_children()

    def _end_children(self) -> None:
        killed = children.end({*self._kept, *children.services()})
        if killed:
            self.soiled = True
            os.write(2, f"reflow: killed what the task has left running: {', '.join(killed)}\n".encode())

    def _tidy(self, stdout: TextIO, stderr: TextIO) -> None:
        """Undo what a task may have left behind for the next one in this process."""
        sys.stdout = stdout if not stdout.closed else _reopened(1)
        sys.stderr = stderr if not stderr.closed else _reopened(2)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        self._keeper.settle()


def redirect(root: str, task: str, array: bool, index: int, attempt: int) -> None:
    """Send standard output and error, of this process and its children, to the element's log.

    Raises
    ------
    DataError
        The log cannot be written; output goes nowhere then, for it belongs to no other element.
    """
    path = layout.log(root, task, array, index)
    failure: OSError | None = None
    try:
        try:
            log = os.open(path, LOG, FILE)
        except FileNotFoundError:
            make_directories(os.path.dirname(path))
            log = os.open(path, LOG, FILE)
        shared(path, log)
    except OSError as error:
        failure = error
        log = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    if log > 2:
        os.close(log)
    else:  # the task before has closed its own
        os.set_inheritable(log, True)
    if failure is not None:
        raise DataError(f"the log {path} cannot be written: {failure.strerror}")
    if attempt > 1:
        os.write(2, b"--- attempt %d ---\n" % attempt)


def failure_of(
    error: BaseException, task: str, index: int, attempt: int, begin: float, *, interrupted: bool = False
) -> Finished:
    """What is reported of an element that raised; its traceback goes to standard error as well.

    ``interrupted``: it was made to, from outside.
    """
    from traceback import format_exception

    from .reasons import place_of, reason_of

    record = Finished(t=task, i=index, a=attempt, b=begin, e=time.time(), f="error")
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("reflow.worker"):
        trace = trace.tb_next
    below = trace
    while interrupted and below is not None and below.tb_next is not None:
        if below.tb_next.tb_frame.f_globals.get("__name__") == Interrupts.__module__:
            below.tb_next = None  # the last frame shown is where the task was, not the handler that ended it
        below = below.tb_next
    if isinstance(error, SystemExit):
        code = error.code
        record.f = "exit"
        record.x = code if isinstance(code, int) else 0 if code is None else 1
        record.w = f"the task called sys.exit({code!r}) instead of returning"
    elif isinstance(error, Requeue):
        record.f, record.w = "requeued", str(error) or "it asked for a new attempt"
        print(f"reflow: it goes on in a new attempt: {record.w}", file=sys.stderr, flush=True)
        return record
    elif interrupted:
        record.f = "cancelled"
        record.w = f"interrupted by {error}" if str(error) else "interrupted"
    elif isinstance(error, MemoryError):
        record.f = "oom"  # where the scheduler limits the address space, nothing is killed
        record.w = f"MemoryError: {error}" if str(error) else "MemoryError: no more memory could be had"
    elif isinstance(error, ReflowError):
        record.f = getattr(error, "failure", record.f)
        record.w = f"{type(error).__name__}: {error}"
    else:
        record.w = reason_of(error)
    record.w = _printable(record.w, _MOST_REASON)
    record.p = place_of(trace)
    details = "".join(format_exception(type(error), error, trace))
    try:
        sys.stdout.flush()
        print(details, end="", file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        pass  # a task may close its streams; its record still counts
    record.d = _printable(details, _MOST_DETAILS)
    return record


def _end_fork(error: BaseException) -> NoReturn:
    """End a process that a task has forked, and that came back from the task's function: it is no worker."""
    code: object = 1
    if isinstance(error, SystemExit):
        code = 0 if error.code is None else error.code
    try:
        if not isinstance(error, SystemExit):
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code if isinstance(code, int) else 1)


def _reopened(descriptor: int) -> TextIO:
    """A standard stream in place of one that a task has closed."""
    try:
        os.fstat(descriptor)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return open(  # it lives as long as the process
        descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )


def _warning(text: str) -> tuple[int, int] | None:
    """Number of a signal and seconds, of ``SIGINT@60``; None of ""."""
    name, _, seconds = text.partition("@")
    return (int(getattr(signal, name)), int(seconds)) if name else None


def _as_path(raw: bytes) -> Any:
    from pathlib import Path

    return Path(msgspec.json.decode(raw))


def _printable(text: str, most: int) -> str:
    if len(text) > most:
        text = text[: most // 2] + "\n[...]\n" + text[-most // 2 :]
    return text.encode("utf-8", "backslashreplace").decode()
