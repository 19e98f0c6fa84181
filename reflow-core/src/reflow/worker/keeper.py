"""Keeping a process as good as new for each element: what is put back after one, and what makes a worker retire."""

from __future__ import annotations

import _thread
import fcntl
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from .imports import Watch
from .randomness import Randomness
from .restore import Base
from .state import State, is_own

#: descriptors that elements may leave open in a worker, over all
_MOST_LEFT = 64

#: seconds within which threads that are about to end have ended
_PATIENCE = 0.05

#: packages that are the same whatever the process is like when they are imported
_INDIFFERENT = {*sys.stdlib_module_names, "reflow", "msgspec"}


class Keeper:
    """Puts a process back after each element.

    Parameters
    ----------
    alone : bool
        Whether the process is there for elements alone; else it is a person's own, whose state is taken anew before
        each element.
    several : bool
        Whether more than one element may run in it.
    accept : callable
        Tells modules whose state is put back from others.
    """

    def __init__(
        self,
        *,
        alone: bool = True,
        several: bool = True,
        accept: Callable[[ModuleType], bool] = is_own,
    ) -> None:
        #: whether the process is there for elements alone
        self.alone = alone
        self._several = several
        self._base = Base()
        self._state = State(accept)
        self._random = Randomness(shared=not alone)
        self._loading = False
        self._watch = Watch(self._before_import, self._after_import, self._random.noted)
        self._threads = _thread._count()
        self._own_threads: frozenset[int] = frozenset()
        self._lowest = 0
        #: why the process must not run another element, or ""
        self.spent = ""

    def know(self, named: Callable[[str], bool | None], written: Iterable[str]) -> None:
        """Take over what is known of a run's code.

        Parameters
        ----------
        named : callable
            Tells of a module's name whether the configuration names it as own; None where it is silent.
        written : iterable of str
            Names that own code rebinds or changes, of other modules too, as ``module:name``.
        """
        self._state.know(named, written)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Take what the user's modules set when they are imported for the state that elements find."""
        if self._several:
            self._loading = True
            self._random.begin_import()
            self._watch.start()
        try:
            yield
        finally:
            if self._several:
                self._watch.stop()
                self._random.end_import()
                self._loading = False
        self.take()

    def take(self) -> None:
        """Take the process as it is now for the state that elements find."""
        self._base.take()
        if self._several:
            self._state.add(list(sys.modules.values()))
            self._random.take(self._state.modules)
            self._own_threads = _non_daemons()
            self._threads = _thread._count()
            self._lowest = _lowest()

    def begin(self) -> None:
        """Begin an element."""
        if not self._several:
            return
        if not self.alone:
            self._base.take()
        self._random.begin()
        self._watch.start()

    def quiet(self) -> None:
        """Put back what would get into the way of the element's report: limits, signal handlers."""
        self._watch.stop()
        self._base.put_back(early=True)

    def settle(self) -> None:
        """Put back all else at an element's end."""
        try:
            self._settle()
        except Exception as error:  # objects of the user's may raise anything when they are looked at
            self.spent = f"{type(error).__name__}: {error}"

    def _settle(self) -> None:
        self._base.put_back(early=False)
        if not self._several:
            return
        if not self._state.put_back():
            if self.alone:
                self.spent = "state of its modules"
            else:
                self._state.rewind()
        if not self.alone:
            self._random.give_back()
            return
        if self._base.stuck:
            self.spent = self._base.stuck[0]
        elif _thread._count() != self._threads and not self._only_idle():
            self.spent = "threads"
        elif _lowest() > self._lowest + _MOST_LEFT:
            self.spent = "descriptors"
        _show_warnings_again()

    def close(self) -> None:
        """Leave a person's own process as it was."""
        if not self.alone:
            self._state.rewind()

    def _only_idle(self) -> bool:
        """Tell whether all threads that an element has left are daemons or wait for work of a pool."""
        until = time.monotonic() + _PATIENCE
        while _busy(self._own_threads):
            if time.monotonic() > until:
                return False
            time.sleep(0.001)
        self._threads = _thread._count()
        return True

    # --- imports within an element ---

    def _before_import(self) -> tuple[Any, ...] | None:
        if self._loading:
            return None
        self._random.begin_import()
        changed = bool(self._base.changed("all"))
        own = changed or bool(self._base.changed("own")) or not self._state.unchanged()
        return changed, own, self._base.read(), self._state.before_import()

    def _after_import(self, before: tuple[Any, ...] | None, names: list[str]) -> None:
        if before is None:
            return
        changed, own, read, state = before
        self._base.absorb(read, self._base.read())
        modules = [sys.modules.get(name) for name in names]
        loaded = self._state.after_import(state, modules)
        self._random.end_import()
        self._random.take(self._state.modules)
        foreign = [name for name in names if name.partition(".")[0] not in _INDIFFERENT]
        if self.alone and ((own and loaded) or (changed and foreign)):
            # A fresh process would have imported it otherwise: what it has made of itself is this element's.
            self.spent = "an import after changes"


def _non_daemons() -> frozenset[int]:
    threading = sys.modules.get("threading")
    if threading is None:
        return frozenset()
    return frozenset(thread.ident for thread in threading.enumerate() if not thread.daemon)


def _busy(known: Collection[int]) -> bool:
    """Tell whether threads other than the known ones run that are neither daemons nor wait for work of a pool."""
    left = _non_daemons().difference(known, (_thread.get_ident(),))
    if not left:
        return False
    pools = sys.modules.get("concurrent.futures.thread")
    worker = getattr(getattr(pools, "_worker", None), "__code__", None)
    frames = sys._current_frames()
    return any(ident not in frames or frames[ident].f_code is not worker for ident in left)


def _lowest() -> int:
    """Return the lowest descriptor that is free: at least as many are open."""
    try:
        found = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 0)
    except OSError:
        return 1 << 30
    os.close(found)
    return int(found)


def _show_warnings_again() -> None:
    """Let the next element show warnings that this one has shown: each has a log of its own."""
    forget = getattr(sys.modules.get("warnings"), "_filters_mutated", None)
    if forget is not None:
        forget()
