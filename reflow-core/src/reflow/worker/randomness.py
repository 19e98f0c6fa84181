"""Random numbers of elements: as after import where the script seeds them, else fresh ones for each element.

This holds for the generators that `random` and `numpy.random` share, and for those that own modules keep in names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

#: how many blocks of numbers imports may draw before that is taken for seeding
_MOST_BLOCKS = 512

#: methods that seed
_SEEDING = ("seed", "setstate", "set_state")

_NOBODY = object()

#: bits of the seed from which on it is taken to be the system's entropy
_ENTROPY = 96


class _Source:
    """A generator that all code shares."""

    module = ""

    def __init__(self) -> None:
        #: words of its state when an import began, or when its module was loaded
        self.first: tuple[int, ...] | None = None
        #: the state that the script's seeding has left, or None where it does not seed
        self.seeded: Any = None

    @property
    def loaded(self) -> bool:
        """Whether there is such a generator."""
        return self.generator is not None

    @property
    def generator(self) -> Any:
        """The generator."""
        return getattr(sys.modules.get(self.module), self.attribute, None)

    attribute = ""

    def words(self) -> tuple[int, ...]:
        """Return the words of its state."""
        raise NotImplementedError

    def state(self) -> Any:
        """Return its state."""
        raise NotImplementedError

    def put(self, state: Any) -> None:
        """Set its state."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Seed it with entropy."""
        raise NotImplementedError

    def owns(self, function: Any) -> bool:
        """Return whether a function seeds this generator."""
        return (
            getattr(function, "__self__", _NOBODY) is self.generator and getattr(function, "__name__", "") in _SEEDING
        )

    def note(self) -> None:
        """Note its state, before anything can have seeded it."""
        if self.loaded:
            self.first = self.words()

    def judge(self) -> None:
        """Find out whether it was seeded since its state was noted."""
        if self.loaded and self.first is not None and not _continues(self.first, self.words()):
            self.seeded = self.state()
        self.first = None


class _Standard(_Source):
    """That of `random`."""

    module, attribute = "random", "_inst"

    def words(self) -> tuple[int, ...]:
        return tuple(self.generator.getstate()[1])

    def state(self) -> Any:
        return self.generator.getstate()

    def put(self, state: Any) -> None:
        self.generator.setstate(state)

    def refresh(self) -> None:
        self.generator.seed(int.from_bytes(os.urandom(16), "big"))


class _Numpy(_Source):
    """That of `numpy.random`."""

    module, attribute = "numpy.random.mtrand", "_rand"

    @property
    def generator(self) -> Any:
        found = super().generator
        if type(getattr(found, "_bit_generator", None)).__name__ != "MT19937":
            return None
        return found

    def words(self) -> tuple[int, ...]:
        _, key, position, *_ = self.generator.get_state()
        return (*key.tolist(), int(position))

    def state(self) -> Any:
        return self.generator.get_state()

    def put(self, state: Any) -> None:
        self.generator.set_state(state)

    def refresh(self) -> None:
        data = os.urandom(16)
        self.generator.seed([int.from_bytes(data[start : start + 4], "big") for start in range(0, 16, 4)])


class Randomness:
    """The random numbers that elements of one process get.

    Parameters
    ----------
    shared : bool
        Whether the generators are a person's own, to be given back after each element.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self._shared = shared
        self._sources: tuple[_Source, ...] = (_Standard(), _Numpy())
        #: what to call once a module was imported, by its name
        self.noted: dict[str, Callable[[], None]] = {
            "random": self._sources[0].note,
            "numpy.random": self._sources[1].note,
        }
        #: generators of own modules that were seeded, and their states
        self._own: dict[int, tuple[Any, Any]] = {}
        self._seen: dict[int, Any] = {}
        self._host: list[Any] = []

    def begin_import(self) -> None:
        """Note where generators stand before something is imported."""
        for source in self._sources:
            source.note()

    def end_import(self) -> None:
        """Find out what the import has seeded."""
        for source in self._sources:
            source.judge()

    def take(self, modules: Iterable[ModuleType]) -> None:
        """Note the generators that own modules keep."""
        for module in modules:
            if self._shared and id(module) not in self._seen:
                self._seen[id(module)] = module
                self._suppose(module)
            for name, value in list(vars(module).items()):
                if id(value) in self._seen or not _is_generator(value):
                    continue
                self._seen[id(value)] = value
                if _is_standard(value):
                    if not _is_unseeded(name, module):
                        self._own[id(value)] = value, value.getstate()
                elif _is_seeded(value):
                    self._own[id(value)] = value, _state_of(value)

    def _suppose(self, module: ModuleType) -> None:
        """Find out by its source what a module has seeded, where it was imported before anybody watched."""
        for call in _calls(module):
            for source in self._sources:
                if source.loaded and source.seeded is None and source.owns(_value_of(call, module)):
                    source.seeded = source.state()

    def begin(self) -> None:
        """Let the element that begins have its random numbers."""
        self._host = [(source, source.state()) for source in self._sources if source.loaded] if self._shared else []
        for source in self._sources:
            if not source.loaded:
                continue
            if source.seeded is not None:
                source.put(source.seeded)
            else:
                source.refresh()
        for value, state in self._own.values():
            _put_state(value, state)

    def give_back(self) -> None:
        """Give the generators back as they were before the element."""
        for source, state in self._host:
            source.put(state)
        for value, state in self._own.values():
            _put_state(value, state)


def _continues(first: tuple[int, ...], now: tuple[int, ...]) -> bool:
    """Return whether a Mersenne Twister has come from one state to another by drawing numbers."""
    if first[:-1] == now[:-1]:
        return True
    from random import Random

    twister = Random()
    twister.setstate((3, first, None))
    for _ in range(_MOST_BLOCKS):
        twister.getrandbits(32 * 624)
        if twister.getstate()[1][:-1] == now[:-1]:
            return True
    return False


def _calls(module: ModuleType) -> list[list[str]]:
    """Return the dotted names of what is called at a module's top level, outside of functions and of its guard."""
    import ast  # the process is a person's own: no worker loads it

    try:
        with open(vars(module)["__file__"], "rb") as stream:
            todo: list[ast.AST] = list(ast.parse(stream.read()).body)
    except (KeyError, OSError, SyntaxError, ValueError):
        return []
    found = []
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "__name__" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Call):
            found.append(ast.unparse(node.func).split("."))
        todo += ast.iter_child_nodes(node)
    return found


def _value_of(names: list[str], module: ModuleType) -> Any:
    value = vars(module).get(names[0])
    for name in names[1:]:
        value = getattr(value, name, None)
    return value


def _is_standard(value: Any) -> bool:
    """Return whether a value is a generator of `random` that a module keeps, and not the one that all code shares."""
    random = sys.modules.get("random")
    return random is not None and type(value) is random.Random and value is not random._inst


def _is_unseeded(name: str, module: ModuleType) -> bool:
    """Return whether a module's source makes a generator of `random` without a seed: its state does not tell."""
    import re

    try:
        with open(vars(module)["__file__"], encoding="utf-8", errors="replace") as stream:
            source = stream.read()
    except (KeyError, OSError):
        return True
    return re.search(rf"(?m)^[ \t]*{re.escape(name)}\b[^=\n]*=.*\bRandom\(\s*(?:None\s*)?\)", source) is not None


def _is_generator(value: Any) -> bool:
    kind = type(value)
    if _is_standard(value):
        return True
    return kind.__module__.startswith("numpy.random") and kind.__name__ in ("Generator", "RandomState")


def _is_seeded(value: Any) -> bool:
    """Return whether a generator of numpy's was seeded by a number: entropy of the system is longer than those are."""
    bits = value._bit_generator if hasattr(value, "_bit_generator") else value.bit_generator
    sequence = getattr(bits, "_seed_seq", None)
    entropy = getattr(sequence, "entropy", None)
    if isinstance(entropy, int):
        return entropy.bit_length() <= _ENTROPY
    return True


def _state_of(value: Any) -> Any:
    return value.get_state() if hasattr(value, "get_state") else value.bit_generator.state


def _put_state(value: Any, state: Any) -> None:
    if hasattr(value, "setstate"):
        value.setstate(state)
    elif hasattr(value, "set_state"):
        value.set_state(state)
    else:
        value.bit_generator.state = state
