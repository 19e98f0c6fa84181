"""Watching imports while an element runs: what a module changes when it is imported is no element's.

A module that is first imported within an element is not imported again by the next one. What it has set then, in the
environment or the locale, say, has to stay as it would in a fresh process that imports it.
"""

from __future__ import annotations

import _thread
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

#: where every import of a module that is not loaded passes through, whatever statement or function asks for it
_machinery: Any = sys.modules.get("_frozen_importlib")


class Watch:
    """Calls back before and after each import that loads something, not for those that happen within it.

    Parameters
    ----------
    before : callable
        Called before; what it returns is given to `after`.
    after : callable
        Called after, with what `before` has returned and the names of the modules that were loaded.
    noted : mapping
        Names of modules -> what is called as soon as each was loaded, also within the import of another one.
    """

    def __init__(
        self,
        before: Callable[[], Any],
        after: Callable[[Any, list[str]], object],
        noted: Mapping[str, Callable[[], None]],
    ) -> None:
        self._noted = noted
        self._before = before
        self._after = after
        self._inside: set[int] = set()
        self._original: Callable[[str, Any], ModuleType] | None = None
        #: the hook that was made last, and what it calls
        self._made: tuple[Any, Any] = (None, None)

    def start(self) -> None:
        """Watch from here on."""
        if self._original is None and _machinery is not None:
            self._original = _machinery._find_and_load
            if self._made[0] is not self._original:
                self._made = self._original, self._hook(self._original)
            _machinery._find_and_load = self._made[1]

    def stop(self) -> None:
        """Watch no more."""
        if self._original is not None:
            _machinery._find_and_load, self._original = self._original, None

    def _hook(self, original: Callable[[str, Any], ModuleType]) -> Callable[[str, Any], ModuleType]:
        inside, begin, end, noted = self._inside, self._begin, self._end, self._noted

        def load(name: str, import_: Any) -> ModuleType:
            module = original(name, import_)
            if name in noted:
                noted[name]()
            return module

        def _find_and_load(name: str, import_: Any) -> ModuleType:
            thread = _thread.get_ident()
            if thread in inside:
                return load(name, import_)
            began = begin(thread)
            try:
                return load(name, import_)
            finally:
                end(thread, began)

        # Python leaves frames of this file out of the tracebacks that it shows of a failed import.
        for function in (load, _find_and_load):
            function.__code__ = function.__code__.replace(co_filename="<frozen importlib._bootstrap>")
        return _find_and_load

    def _begin(self, thread: int) -> tuple[Any, set[str]]:
        began = self._before(), set(sys.modules)
        self._inside.add(thread)
        return began

    def _end(self, thread: int, began: tuple[Any, set[str]]) -> None:
        self._inside.discard(thread)
        loaded = [name for name in list(sys.modules) if name not in began[1]]
        self._after(began[0], loaded)
