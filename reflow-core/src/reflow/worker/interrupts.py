"""Signals that end a task's work early: from outside, or by the worker's own clock before the walltime is over."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from . import children
from .context import TaskInterrupted

#: seconds that children have to end by themselves after a signal that ends the task, before the task is interrupted
_PATIENCE = 2.0

#: of the time that a warning leaves, what children have of it before the task is interrupted
_SHARE = 0.5

#: seconds after which a warning that has interrupted nothing is given again
_AGAIN = 1.0

#: seconds after which an interruption that a destructor or a callback has swallowed is raised again
_LOST = 0.05

#: signals by which schedulers tell of a limit that is near, or reached (Grid Engine, LSF, Flux)
LIMITS = ("SIGUSR1", "SIGXCPU", "SIGALRM")


# The functions of `signal` make members of an Enum of what they return, at many times the cost.
_signal: Any = sys.modules.get("_signal", signal)

_EVERY = _signal.valid_signals()

_Handler = Callable[[int, FrameType | None], None]


@contextmanager
def blocked() -> Iterator[None]:
    """Block all signals, for a thread that is started within and inherits that.

    The kernel may have a new thread handle a signal that was meant for the process. Python up to 3.12 does not make
    the main thread look for it then.
    """
    mask = _signal.pthread_sigmask(signal.SIG_BLOCK, _EVERY)
    try:
        yield
    finally:
        _signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Interrupts:
    """What a termination signal does: interrupt, once, where that is possible, and be remembered anyway.

    A warning, which the worker's own clock gives before the walltime is over,
    interrupts one element, once; a termination signal may follow.
    """

    def __init__(self) -> None:
        #: name of the first termination signal that came, or ""
        self.asked = ""
        #: name of the signal by which the running element was warned, or ""
        self.warned = ""
        #: whether a signal raises `TaskInterrupted`: user code is being run, or nothing at all
        self.exposed = False
        self.listening = False
        #: children that are not told of signals: they were there before any element
        self.spared: Collection[int] = ()
        self._clock: _Clock | None = None
        #: seconds after the walltime at which the stack of what still runs is written to the log; before it where
        #: nobody can tell how soon it is killed then
        self.dumps = -1.0
        self._watching = 0
        #: number of the signal whose interruption was swallowed, and of the one that was sent again for that
        self._swallowed = self._repeated = 0

    def listen(self, *numbers: int) -> None:
        """Handle these signals from now on."""
        self.listening = True
        for number in numbers:
            signal.signal(number, self._handle)

    def expect(self, number: int, seconds: float, left: float) -> None:
        """Let the element that begins be warned by a signal in so many seconds, `left` seconds before its end."""
        signal.signal(number, self._handle)
        self._clock = _Clock(number, seconds, left, self._handle)

    def watch(self, left: float) -> None:
        """Have the stack written to the log at about the end of the walltime, in `left` seconds.

        A thread does that which needs no interpreter: code that never returns to it is found, too.
        """
        import faulthandler

        with blocked():
            faulthandler.dump_traceback_later(max(0.01, left + max(self.dumps, -left / 20)), file=2)
        self._watching = os.getpid()

    def expose(self) -> None:
        """Let a signal interrupt from here on; one that has come before does so at once."""
        self.exposed = True
        if self.asked or self.warned:
            raise TaskInterrupted(self.asked or self.warned)

    def relax(self) -> None:
        """Interrupt no more: the task has ended."""
        self.exposed = False
        self._swallowed = 0
        if self._watching == os.getpid():  # a process that the task has forked has no such thread
            import faulthandler

            faulthandler.cancel_dump_traceback_later()
            self._watching = 0
        if self._clock is not None:
            self._clock.stop()

    def caused(self, error: BaseException) -> bool:
        """Whether an exception is an interruption from outside: a task can raise such ones itself.

        Where nobody listens for signals, as in a person's own process, all are.
        """
        outside = self.asked or self.warned or not self.listening
        return isinstance(error, (TaskInterrupted, KeyboardInterrupt)) and bool(outside)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        patience = _PATIENCE
        if self._repeated == number:
            self._repeated = 0
            if self._swallowed == number:
                self._swallowed = 0
                self._interrupt(name)
            return
        if self._clock is not None and self._clock.rings(number):
            if self.warned:
                return
            self.warned = name
            patience = self._clock.left * _SHARE
        elif self.asked:
            return  # what is being saved is not to be interrupted, too
        else:
            self.asked = name
        if self.exposed:
            # What a task waits for ends first, by itself where it can: `subprocess.run` kills it when interrupted.
            children.await_end(children.tell(number, {*self.spared, *children.services()}), patience)
            self._interrupt(name)

    def _interrupt(self, name: str) -> NoReturn:
        """Raise `TaskInterrupted`, and again where the interpreter swallows it.

        It does so where a signal arrives in a destructor or in a callback of the garbage collector. All such
        exceptions are given to `sys.unraisablehook`.
        """
        former = sys.unraisablehook

        def notice(unraisable: Any) -> None:
            if not isinstance(unraisable.exc_value, TaskInterrupted):
                former(unraisable)
            elif self.exposed:
                self._swallowed = int(getattr(signal, name))
                with blocked():
                    _thread.start_new_thread(self._repeat, (self._swallowed, _thread.get_ident()))

        sys.unraisablehook = notice
        raise TaskInterrupted(name)

    def _repeat(self, number: int, main: int) -> None:
        """Send a signal again to the main thread, from another one, when the destructor has had time to end."""
        pause = _thread.allocate_lock()  # a task may have replaced `time.sleep`
        pause.acquire()
        pause.acquire(timeout=_LOST)
        if self._swallowed == number and signal.getsignal(number) == self._handle:
            self._repeated = number
            signal.pthread_kill(main, number)


class _Clock:
    """Sends this process a signal after a while, from a thread: no timer that a task may want for itself is used."""

    def __init__(self, number: int, seconds: float, left: float, handler: _Handler) -> None:
        self.left = left
        self._handler = handler
        self._number = number
        self._rang = self._ended = False
        self._last = -_AGAIN
        self._pid = os.getpid()
        self._main = _thread.get_ident()
        self._stopped, self._over = _thread.allocate_lock(), _thread.allocate_lock()
        self._stopped.acquire()
        self._over.acquire()
        with blocked():
            _thread.start_new_thread(self._wait, (min(max(seconds, 0.0), _thread.TIMEOUT_MAX),))

    def _wait(self, seconds: float) -> None:
        if not self._stopped.acquire(timeout=seconds):
            self._rang = True
            self._ring()
            # One that comes just before a system call does not interrupt it: the handler would run when that returns.
            while not self._stopped.acquire(timeout=_AGAIN):
                if self._rang and signal.getsignal(self._number) == self._handler:
                    self._ring()
        self._over.release()

    def _ring(self) -> None:
        self._last = time.monotonic()
        signal.pthread_kill(self._main, self._number)

    def rings(self, number: int) -> bool:
        """Whether a signal that has come is this clock's."""
        if number != self._number or not (self._rang or time.monotonic() - self._last < _AGAIN / 2):
            return False
        self._rang = False
        return True

    def stop(self) -> None:
        """Ring no more; when this returns, a signal that was sent has arrived."""
        if self._ended or os.getpid() != self._pid:
            return  # in a process that the task has forked there is no such thread
        self._ended = True
        self._stopped.release()
        self._over.acquire()
