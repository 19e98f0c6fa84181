"""A frozen script inside a process that is not reflow's: a notebook, a service, somebody's own script.

Results are decoded to classes of the script, and the inline executor runs its functions. Where the process has
imported the same code itself, that is used; else the frozen copy is imported so that nothing of it stays: neither
its modules, nor what it changes of the process when it is imported.
"""

from __future__ import annotations

import gc
import linecache
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType

from ..authoring.flow import Flow
from ..model.definition import Definition, Entry, Module
from ..model.digest import sha256
from . import collector
from .frozen import Frozen
from .load import load_flow
from .opener import read_regular

#: one frozen script at a time has its modules where imports find them
_turn = threading.RLock()


def loaded(definition: Definition) -> Flow | None:
    """Return the run's workflow as this process has imported it itself, of whatever code; None where it has not."""
    entry = definition.entry
    for module in (sys.modules.get(entry.module), sys.modules.get("__main__")):
        flow = getattr(module, entry.variable, None) if module is not None and entry.variable else None
        if not isinstance(flow, Flow) or flow.name != definition.workflow:
            continue
        if (os.path.abspath(flow.file) if flow.file else "") == entry.file:
            return flow
    return None


def same_code(flow: Flow, definition: Definition) -> bool:
    """Whether a workflow's functions are those that were frozen, as far as their code can be told."""
    from ..authoring.code.own import Own
    from ..authoring.code.reach import analyse

    functions = {name: step.function for name, step in flow.tasks.items()}
    if functions.keys() != {task.name for task in definition.tasks}:
        return False
    codes = analyse(functions, Own(definition.entry)).codes
    return all(task.code and codes[task.name].digest == task.code for task in definition.tasks)


class Isolated:
    """Has a frozen script's modules in ``sys.modules``, and its directory on ``sys.path``, only within ``with``.

    Only one thread at a time is within; others that import the same names at that moment find them too. Installed
    modules that the script imports stay imported, since many cannot be imported twice.

    Parameters
    ----------
    entry : Entry
        The script.
    frozen : Frozen, optional
        What has its frozen code; the script is imported as it is today where None.
    """

    def __init__(self, entry: Entry, frozen: Frozen | None = None) -> None:
        self._entry = entry
        self.frozen = frozen
        self._modules: dict[str, ModuleType] = {}
        self._flow: Flow | None = None
        self._depth = 0
        self._before: dict[str, ModuleType] = {}
        self._state: AbstractContextManager[None] = nullcontext()

    def __enter__(self) -> Flow:
        """Put the modules in place and return the workflow; errors are those of `enter`."""
        self.enter()
        return self.flow

    def __exit__(self, *error: object) -> None:
        """Take the modules out again."""
        self.leave()

    @property
    def flow(self) -> Flow:
        """The workflow, once it is imported."""
        assert self._flow is not None
        return self._flow

    def enter(self) -> None:
        """Put the modules in place; the first time, import the script.

        Raises
        ------
        Exception
            Whatever importing it raises; nothing is in place then.
        """
        _turn.acquire()
        self._depth += 1
        if self._depth == 1:
            frozen = {} if self.frozen is None else self.frozen.modules
            self._state = _unchanged([self._entry.file, *(module.file for module in frozen.values())])
            self._state.__enter__()
            self._before = dict(sys.modules)
            for name in frozen:
                if name in sys.modules and not _is_same(sys.modules[name], frozen[name]):
                    del sys.modules[name]
            sys.modules.update(self._modules)
            if self.frozen is not None:
                sys.meta_path.insert(0, self.frozen)
            sys.path[:0] = [path for path in self._entry.path if path not in sys.path]
        try:
            if self._flow is None:
                self._flow = load_flow(self._entry, self.frozen)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Take the modules out again."""
        self._depth -= 1
        try:
            if self._depth == 0:
                self._take_out()
                self._state.__exit__(None, None, None)
        finally:
            _turn.release()

    def _take_out(self) -> None:
        new = {
            name: module
            for name, module in list(sys.modules.items())
            if module is not self._before.get(name) and (name in self._before or _own(name, module, self._entry))
        }
        for name in new:
            del sys.modules[name]
        self._modules |= new
        for name, module in self._before.items():
            sys.modules.setdefault(name, module)
        self._before = {}
        if self.frozen is not None:
            sys.meta_path.remove(self.frozen)


def _is_same(module: ModuleType, frozen: Module) -> bool:
    """Whether a module that this process has imported has the frozen source, as far as its file tells."""
    try:
        file = os.path.abspath(module.__file__ or "")
        return sha256(read_regular(file, follow=True)).hexdigest() == frozen.digest
    except (OSError, AttributeError, TypeError):
        return False


def _own(name: str, module: ModuleType, entry: Entry) -> bool:
    """Whether a module is the script, or lies beside or below it, and is not installed there."""
    if name == entry.module:
        return True
    places = [getattr(module, "__file__", None), *(getattr(module, "__path__", None) or ())]
    return any(
        isinstance(place, str) and place.startswith(os.path.join(top, "")) and "site-packages" not in place
        for place in places
        for top in entry.path[:1]
    )


@contextmanager
def _unchanged(files: Iterable[str]) -> Iterator[None]:
    """Put back what importing a script may change of a process, beside its modules."""
    import logging

    lines = {file: linecache.cache.get(file) for file in files}
    path, argv, hook = list(sys.path), list(sys.argv), sys.excepthook
    environ, cwd = dict(os.environ), os.getcwd()
    collects, thresholds = collector.is_wanted(), gc.get_threshold()
    log = logging.getLogger()
    level, disabled, handlers = log.level, logging.root.manager.disable, list(log.handlers)
    main = threading.current_thread() is threading.main_thread()
    numbers = [one for one in signal.valid_signals() if one not in (signal.SIGKILL, signal.SIGSTOP)] if main else []
    before = {number: signal.getsignal(number) for number in numbers}
    with warnings.catch_warnings():
        try:
            yield
        finally:
            sys.path[:], sys.argv[:], sys.excepthook = path, argv, hook
            if dict(os.environ) != environ:
                os.environ.clear()
                os.environ.update(environ)
            os.chdir(cwd)
            for file, line in lines.items():
                linecache.cache.pop(file, None)
                if line is not None:
                    linecache.cache[file] = line
            collector.want(collects)
            gc.set_threshold(*thresholds)
            log.setLevel(level)
            logging.disable(disabled)
            for handler in [one for one in log.handlers if one not in handlers]:
                log.removeHandler(handler)
            for number, former in before.items():
                if former is not None and signal.getsignal(number) != former:
                    signal.signal(number, former)
