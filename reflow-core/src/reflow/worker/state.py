"""The state of the user's own modules, as it was after import, and putting it back after each element.

Put back is plain data: names of modules, classes and functions, attributes of instances of own classes, variables of
closures, and the contents of containers that can be reached from there, mutable defaults among them. What is built
when it is first needed and is no plain data, such as a model, stays: it is what a warm worker is for.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from operator import attrgetter, is_
from types import CellType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

from .objects import MOST_BYTES, Kept, Large, kept

#: types whose values are plain, by themselves or by what they hold
_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, range, type(...)})
_HOLDERS = frozenset({list, tuple, set, frozenset, deque})

#: modules all of whose values are plain: dates, numbers, paths, patterns and identifiers
_PLAIN_MODULES = frozenset(
    {"datetime", "decimal", "fractions", "pathlib", "pathlib._local", "re", "uuid", "zoneinfo", "ipaddress"}
)

#: types of the standard library whose instances keep what they hold in attributes
_BOXES = frozenset(
    {
        ("types", "SimpleNamespace"),
        ("argparse", "Namespace"),
        ("collections", "ChainMap"),
        ("collections", "UserDict"),
        ("collections", "UserList"),
        ("functools", "partial"),
        ("queue", "Queue"),
        ("queue", "LifoQueue"),
        ("queue", "PriorityQueue"),
        ("threading", "Barrier"),
        ("threading", "BoundedSemaphore"),
        ("threading", "Condition"),
        ("threading", "Event"),
        ("threading", "Semaphore"),
        ("_thread", "_local"),
    }
)

_LIBRARIES = tuple({os.path.join(os.path.dirname(path), "") for path in (os.__file__, os.path.realpath(os.__file__))})


def is_own(module: ModuleType) -> bool:
    """Return whether a module is the user's own: neither installed nor of the standard library."""
    file = vars(module).get("__file__")
    name = vars(module).get("__name__")
    if not isinstance(file, str) or not isinstance(name, str):
        return False
    if "reflow" in (name.partition(".")[0], (vars(module).get("__package__") or "").partition(".")[0]):
        return False
    if not file.endswith(".py") or "/site-packages/" in file or "/dist-packages/" in file:
        return False
    return not file.startswith(_LIBRARIES)


def below(top: str, entry: str) -> Callable[[ModuleType], bool]:
    """Return what accepts the module `entry` and own modules below a directory."""
    top = os.path.join(os.path.realpath(top), "")

    def accept(module: ModuleType) -> bool:
        if vars(module).get("__name__") == entry:
            return True
        return is_own(module) and os.path.realpath(vars(module)["__file__"]).startswith(top)

    return accept


def is_plain(value: Any) -> bool:
    """Return whether a value is plain data, with all that it holds."""
    try:
        return _plain(value)
    except Exception:  # it holds itself, or does not let itself be looked at
        return False


def _plain(value: Any) -> bool:
    kind = type(value)
    if kind in _ATOMS or kind is bytearray:
        return True
    if kind in _HOLDERS:
        return all(map(_plain, value))
    if issubclass(kind, dict):  # and its subclasses in `collections`
        factory = getattr(value, "default_factory", None)
        return (
            kind.__module__ in ("builtins", "collections")
            and (factory is None or isinstance(factory, type))
            and all(map(_plain, value))
            and all(map(_plain, value.values()))
        )
    if issubclass(kind, tuple):  # named
        return hasattr(kind, "_fields") and all(map(_plain, value))
    if kind.__module__ in _PLAIN_MODULES:
        return True
    if kind.__module__ == "numpy":
        return getattr(value, "nbytes", MOST_BYTES + 1) <= MOST_BYTES and not getattr(value.dtype, "hasobject", True)
    if isinstance(value, array):
        return len(value) * value.itemsize <= MOST_BYTES
    if hasattr(kind, "_member_map_") and hasattr(kind, "_value2member_map_"):  # a member of an Enum
        return True
    fields = getattr(kind, "__dataclass_fields__", None)
    return isinstance(fields, dict) and all(_plain(getattr(value, name, None)) for name in fields)


def _same(one: Any, other: Any) -> bool:
    """Return whether two plain values are equal and of the same type."""
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:
        return False


class _Place:
    """A namespace or a container of which a copy is kept.

    Attributes
    ----------
    group : str
        The module by which it was found.
    original : list of pairs
        Key and value of all that it held after import.
    """

    def __init__(self, holder: Any, group: str) -> None:
        self.holder = holder
        self.group = group
        self.original = self.items()
        self.accepted = self.original

    def items(self) -> list[tuple[Any, Any]]:
        """Return keys and values as they are now; the keys of a sequence are all one object, for they are compared."""
        return [(0, value) for value in self.holder]

    def views(self) -> tuple[Any, ...]:
        """Return what shows the present content, in an order that changes only with it."""
        return (self.holder,)

    def put(self, items: list[tuple[Any, Any]]) -> None:
        """Hold these items, and nothing else."""
        values = [value for _, value in items]
        if isinstance(self.holder, (list, bytearray)):
            self.holder[:] = values
        else:
            self.holder.clear()
            (self.holder.extend if isinstance(self.holder, deque) else self.holder.update)(values)

    def replace(self, old: Any, new: Any) -> bool:
        """Take another object for one that was there after import; tell whether it was."""
        if not any(value is old for _, value in self.original):
            return False
        untouched = self.accepted is self.original and _identical(self.items(), self.original)
        self.original = [(key, new if value is old else value) for key, value in self.original]
        if untouched:  # else `settle` puts it in place
            self.put(self.original)
            self.accepted = self.original
        return True

    def settle(self, known: Mapping[int, Any]) -> tuple[bool, bool, bool]:
        """Put back what is plain data.

        Returns
        -------
        tuple of bool
            Whether plain data was changed, whether anything was built that stays, and whether something cannot be
            put back.
        """
        now = self.items()
        if _identical(now, self.accepted):
            return False, False, False
        if all(_restorable(key, known) and _restorable(value, known) for key, value in now):
            changed = not _equal(now, self.original)
            self.put(self.original)
            self.accepted = self.original
            return changed, False, False
        plain = [value for _, value in now if not any(value is old for _, old in self.accepted) and is_plain(value)]
        self.accepted = now
        return bool(plain) and not isinstance(self.holder, (list, deque, set)), True, False

    def absorb(self, before: list[tuple[Any, Any]]) -> None:
        """Take what an import has changed for the original."""
        now = self.items()
        if not _identical(now, before):
            self.original = self.accepted = now


class _Mapping(_Place):
    """A dictionary."""

    def items(self) -> list[tuple[Any, Any]]:
        return list(self.holder.items())

    def views(self) -> tuple[Any, ...]:
        return self.holder, self.holder.values()

    def put(self, items: list[tuple[Any, Any]]) -> None:
        self.holder.clear()
        for key, value in items:  # to update a counter is to add
            self.holder[key] = value

    def absorb(self, before: list[tuple[Any, Any]]) -> None:
        now = self.items()
        if not _identical(now, before):
            self.original = _merged(self.original, before, now)
            self.accepted = now


class _Names(_Place):
    """Names of a module, a class, a function or an instance: each is judged by itself."""

    def items(self) -> list[tuple[Any, Any]]:
        return [(name, value) for name, value in list(self._space.items()) if name[:2] != "__"]

    @property
    def _space(self) -> Mapping[str, Any]:
        space: Mapping[str, Any] = vars(self.holder)
        return space

    def views(self) -> tuple[Any, ...]:
        return (self._space.values(),)

    def settle(self, known: Mapping[int, Any]) -> tuple[bool, bool, bool]:
        now, original, accepted = dict(self.items()), dict(self.original), dict(self.accepted)
        changed = built = stuck = False
        for name in [*now, *[name for name in original if name not in now]]:
            old, new = original.get(name, _NOTHING), now.get(name, _NOTHING)
            if new is old:
                continue
            was_plain = old is _NOTHING or _restorable(old, {}) or _is_mark(old, original)
            if new is _NOTHING or _restorable(new, known) or not was_plain:
                stuck |= not was_plain and (new is _NOTHING or is_plain(new))
                changed |= not _same(old, new)
                try:
                    self._set(name, old)
                except Exception:  # a class may forbid it
                    stuck = True
                    continue
                if old is _NOTHING:
                    now.pop(name)
                else:
                    now[name] = old
            else:
                built |= new is not accepted.get(name, _NOTHING)
        self.accepted = list(now.items())
        return changed, built, stuck

    def put(self, items: list[tuple[Any, Any]]) -> None:
        wanted = dict(items)
        now = dict(self.items())
        for name in [*now, *wanted]:
            if now.get(name, _NOTHING) is not wanted.get(name, _NOTHING):
                self._set(name, wanted.get(name, _NOTHING))

    def _set(self, name: str, value: Any) -> None:
        if value is not _NOTHING:
            setattr(self.holder, name, value)
        elif name in self._space:
            delattr(self.holder, name)

    def absorb(self, before: list[tuple[Any, Any]]) -> None:
        now = self.items()
        if not _identical(now, before):
            self.original = _merged(self.original, before, now)
            self.accepted = now


class _Module(_Names):
    """Names of a module, of a function, or of an instance: by their dictionaries, whatever their types say."""

    def _set(self, name: str, value: Any) -> None:
        space = vars(self.holder)
        if value is not _NOTHING:
            space[name] = value
        else:
            space.pop(name, None)


class _Chosen(_Names):
    """Single names of a module or a class that is not own, which own code assigns."""

    def __init__(self, holder: Any, group: str, names: set[str]) -> None:
        self._chosen = names
        super().__init__(holder, group)

    @property
    def _space(self) -> Mapping[str, Any]:
        space = vars(self.holder)
        return {name: space[name] for name in self._chosen if name in space}

    def views(self) -> tuple[Any, ...]:
        return ()


class _Slots(_Names):
    """Attributes of an instance whose class keeps them in slots."""

    @property
    def _space(self) -> Mapping[str, Any]:
        found = {}
        for name in _slots_of(type(self.holder)):
            value = getattr(self.holder, name, _NOTHING)
            if value is not _NOTHING:
                found[name] = value
        return found

    def views(self) -> tuple[Any, ...]:
        return ()


def _slots_of(kind: type) -> list[str]:
    return [name for name, value in vars(kind).items() if type(value) is MemberDescriptorType]


class _Variable(_Place):
    """A variable of a closure."""

    def items(self) -> list[tuple[Any, Any]]:
        try:
            return [(0, self.holder.cell_contents)]
        except ValueError:  # not assigned
            return []

    def views(self) -> tuple[Any, ...]:
        return ()

    def put(self, items: list[tuple[Any, Any]]) -> None:
        if items:
            self.holder.cell_contents = items[0][1]
        else:
            del self.holder.cell_contents


_NOTHING: Any = object()


def _identical(one: list[tuple[Any, Any]], other: list[tuple[Any, Any]]) -> bool:
    return len(one) == len(other) and all(a is c and b is d for (a, b), (c, d) in zip(one, other, strict=True))


def _equal(one: list[tuple[Any, Any]], other: list[tuple[Any, Any]]) -> bool:
    return len(one) == len(other) and all(
        _same(a, c) and (b is d or _same(b, d)) for (a, b), (c, d) in zip(one, other, strict=True)
    )


def _merged(
    original: list[tuple[Any, Any]], before: list[tuple[Any, Any]], now: list[tuple[Any, Any]]
) -> list[tuple[Any, Any]]:
    """Apply to `original` the difference between what was before an import and what is now."""
    was, merged, after = dict(before), dict(original), dict(now)
    merged |= {name: value for name, value in after.items() if was.get(name, _NOTHING) is not value}
    return [(name, value) for name, value in merged.items() if name in after or name not in was]


def _is_mark(value: Any, names: Mapping[str, Any]) -> bool:
    """Return whether a value only says that nothing was built yet: an object without content that has a name itself."""
    return type(value) is object and sum(each is value for each in names.values()) > 1


def _restorable(value: Any, known: Mapping[int, Any]) -> bool:
    return id(value) in known or is_plain(value)


class State:
    """The plain data of the user's own modules.

    Parameters
    ----------
    accept : callable
        Tells own modules from others.
    """

    def __init__(self, accept: Callable[[ModuleType], bool] = is_own) -> None:
        self._accept = accept
        self._modules: dict[int, ModuleType] = {}
        self._names: set[str] = set()
        self._places: dict[int, _Place] = {}
        #: objects that were there after import, kept so that their ids stay theirs
        self._known: dict[int, Any] = {}
        self._kept: dict[int, Kept] = {}
        self._caches: dict[int, tuple[Any, str]] = {}
        #: own functions, and the defaults and code that each had after import
        self._functions: list[FunctionType] = []
        self._parts: list[tuple[Any, ...]] = []
        self._slotted: list[_Names] = []
        self._rules: list[Callable[[str], bool | None]] = []
        #: names that own code writes, and those of other modules that are not loaded yet
        self._written: set[str] = set()
        self._patched: set[str] = set()
        self._filled: list[int] = []
        self._live: list[Any] = []
        self._flat: list[Any] = []
        self._cells: list[CellType] = []
        self._contents: list[Any] = []

    # --- what there is ---

    @property
    def modules(self) -> list[ModuleType]:
        """Own modules."""
        return list(self._modules.values())

    def add(self, modules: Iterable[ModuleType | None]) -> bool:
        """Keep a copy of what modules hold that are own and new; tell whether there was one."""
        found = False
        fresh = [one for one in modules if isinstance(one, ModuleType) and id(one) not in self._modules]
        own = [module for module in fresh if self._is_own(module)]
        self._names.update(module.__name__ for module in own)
        for module in own:
            self._modules[id(module)] = module
            self._walk(_Module(module, module.__name__), module)
            self._look_closely(module)
            found = True
        if found | self._add_patched():
            self._refresh()
        return found

    def know(self, named: Callable[[str], bool | None], written: Iterable[str]) -> None:
        """Take over what the configuration names as own, and the names that own code writes."""
        self._rules.append(named)
        fresh = set(written) - self._written
        self._written |= fresh
        self._patched |= fresh

    def _look_closely(self, module: ModuleType) -> None:
        """Have large arrays of a module compared as a whole where own code writes them."""
        for name, value in list(vars(module).items()):
            one = self._kept.get(id(value))
            if isinstance(one, Large) and f"{module.__name__}:{name}" in self._written:
                one.look_closely()

    def _is_own(self, module: ModuleType) -> bool:
        name = vars(module).get("__name__")
        for named in self._rules:
            found = named(name) if isinstance(name, str) else None
            if found is not None:
                return found
        return self._accept(module)

    def _add_patched(self) -> bool:
        """Keep a copy of attributes of other modules, where these are loaded; tell whether there was one."""
        chosen: dict[int, tuple[Any, set[str]]] = {}
        for reference in sorted(self._patched):
            name, _, attributes = reference.partition(":")
            holder: Any = sys.modules.get(name)
            if holder is None:
                continue
            self._patched.discard(reference)
            if id(holder) in self._modules:
                continue
            *around, last = attributes.split(".")
            for each in around:
                holder = getattr(holder, each, None)
            if isinstance(holder, (ModuleType, type)) and id(holder) not in self._places:
                chosen.setdefault(id(holder), (holder, set()))[1].add(last)
        for holder, names in chosen.values():
            place = _Chosen(holder, getattr(holder, "__module__", holder.__name__), names)
            self._places[id(holder)] = place
            for _, value in place.original:
                if is_plain(value):
                    for inside, contents in list(self._inside(value, place.group)):
                        self._walk(inside, contents)
        return bool(chosen)

    def _walk(self, first: _Place, holder: Any) -> None:
        todo = [(first, holder)]
        while todo:
            place, holder = todo.pop()
            if id(holder) in self._places:
                continue
            self._places[id(holder)] = place
            for value in chain.from_iterable(place.original) if type(place) is _Mapping else _values(place.original):
                todo += self._inside(value, place.group)

    def _inside(self, value: Any, group: str) -> Iterator[tuple[_Place, Any]]:
        """Give the places that a value is or has."""
        kind = type(value)
        if kind in _ATOMS or id(value) in self._known:
            return
        self._known[id(value)] = value
        if issubclass(kind, (list, set, deque, dict)):
            yield from self._of_container(value, group)
        elif kind in (tuple, frozenset) or issubclass(kind, tuple):
            for item in value:
                yield from self._inside(item, group)
        elif kind is FunctionType:
            if value.__module__ in self._names:
                yield from self._of_function(value, group)
                self._keep(value)
        elif isinstance(value, type):
            if value.__module__ not in self._names:
                return
            members = getattr(value, "_member_map_", None)
            if members is None:
                yield _Names(value, group), value
            else:
                yield from ((_Module(one, group), one) for one in members.values() if hasattr(one, "__dict__"))
        elif kind in (staticmethod, classmethod, property):
            for name in ("__func__", "fget", "fset", "fdel"):
                yield from self._inside(getattr(value, name, None), group)
        elif kind.__name__ == "_lru_cache_wrapper" and kind.__module__ == "functools":
            self._caches[id(value)] = value, group
            yield from self._inside(value.__wrapped__, group)
        elif self._keep(value):
            return
        elif kind.__module__ in self._names or (kind.__module__, kind.__name__) in _BOXES:
            if kind.__name__ == "partial":
                for part in (value.func, value.args, value.keywords):
                    yield from self._inside(part, group)
            if type(getattr(value, "__dict__", None)) is dict:
                yield _Module(value, group), value
            elif _slots_of(kind):
                yield _Slots(value, group), value

    def _of_container(self, value: Any, group: str) -> Iterator[tuple[_Place, Any]]:
        kind = type(value)
        own = kind.__module__ in self._names
        if issubclass(kind, dict):
            yield _Mapping(value, group), value
        elif own or kind in (list, set, deque):
            yield _Place(value, group), value
        space = getattr(value, "__dict__", None) if own else None
        if type(space) is dict:
            self._known[id(space)] = space
            yield _Module(value, group), space

    def _keep(self, value: Any) -> bool:
        """Keep the state of an object that changes in place; tell whether it is of such a kind."""
        found = kept(value)
        if found is not None:
            self._kept[id(value)] = found
        return found is not None

    def _of_function(self, function: FunctionType, group: str) -> Iterator[tuple[_Place, Any]]:
        yield _Module(function, group), function
        self._functions.append(function)
        self._parts.append(_parts(function))
        if function.__kwdefaults__:
            yield _Mapping(function.__kwdefaults__, group), function.__kwdefaults__
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            yield from self._inside(value, group)
        for cell in function.__closure__ or ():
            if id(cell) not in self._known:
                self._known[id(cell)] = cell
                yield _Variable(cell, group), cell

    def _refresh(self) -> None:
        """Note all contents as they are now, for the next quick comparison."""
        places = list(self._places.values())
        self._live = [view for place in places for view in place.views()]
        self._flat = list(chain.from_iterable(self._live))
        self._cells = [place.holder for place in places if type(place) is _Variable]
        self._contents = _contents(self._cells)
        self._slotted = [place for place in places if isinstance(place, (_Slots, _Chosen))]
        self._filled = self._sizes()

    def _sizes(self) -> list[int]:
        return [cache.cache_info().currsize for cache, _ in self._caches.values()]

    # --- what has changed ---

    def unchanged(self) -> bool:
        """Compare all contents with those that were noted last, at some nanoseconds each."""
        try:
            return (
                sum(map(len, self._live)) == len(self._flat)
                and all(map(is_, chain.from_iterable(self._live), self._flat))
                and all(map(is_, _contents(self._cells), self._contents))
                and list(map(_parts, self._functions)) == self._parts
                and (not self._kept or all(one.same() for one in self._kept.values()))
                and (not self._caches or self._sizes() == self._filled)
                and (not self._slotted or all(_identical(one.items(), one.accepted) for one in self._slotted))
            )
        except RuntimeError:  # a thread changes something meanwhile
            return False

    def put_back(self) -> bool:
        """Put back plain data that has changed.

        Returns
        -------
        bool
            Whether the modules are now as a fresh process would have them, apart from what is kept warm. False where
            one and the same element has built something that stays and changed plain data of the same module: one may
            belong to the other.
        """
        if self.unchanged():
            return True
        changed, built, stuck = set(), set(), False
        for (_, group), before, now in zip(self._caches.values(), self._filled, self._sizes(), strict=True):
            if now != before:
                built.add(group)
        stuck |= not self._put_kept()
        for place in list(self._places.values()):
            differs, keeps, stays = place.settle(self._known)
            stuck |= stays
            if differs:
                changed.add(place.group)
            if keeps:
                built.add(place.group)
        self._refresh()
        return not stuck and not changed & built

    def _put_kept(self) -> bool:
        """Put back functions and objects that change in place; False where that is not possible for all."""
        for function, parts in zip(self._functions, self._parts, strict=True):
            function.__defaults__, function.__kwdefaults__, function.__code__ = parts
        fine = True
        for key, one in list(self._kept.items()):
            if one.same():
                continue
            former, now = one.value, one.put()
            if now is None:
                fine = False
            elif now is not former:  # names that are bound to it are bound to another one
                del self._kept[key]
                one.value = self._known[id(now)] = now
                self._kept[id(now)] = one
                replaced = [place.replace(former, now) for place in self._places.values()]
                fine &= any(replaced)
        return fine

    def rewind(self) -> None:
        """Put back all, also what was built since import."""
        self._put_kept()
        for place in self._places.values():
            if not _identical(place.items(), place.original):
                place.put(place.original)
                place.accepted = place.original
        for cache, _ in self._caches.values():
            cache.cache_clear()
        self._refresh()

    # --- imports within an element ---

    def before_import(self) -> list[tuple[_Place, list[tuple[Any, Any]]]]:
        """Return all contents, for `after_import`."""
        return [(place, place.items()) for place in self._places.values()]

    def after_import(
        self, before: list[tuple[_Place, list[tuple[Any, Any]]]], modules: Iterable[ModuleType | None]
    ) -> bool:
        """Take what an import has changed for the state after import; tell whether an own module was loaded."""
        found = self.add(modules)
        for place, items in before:
            now = place.items()
            if not _identical(now, items):
                place.absorb(items)
                for value in _values(place.original):
                    for inside, holder in list(self._inside(value, place.group)):
                        self._walk(inside, holder)
                self._refresh()
        return found


#: what of a function can be assigned and decides what a call of it does
_parts = attrgetter("__defaults__", "__kwdefaults__", "__code__")


def _values(items: list[tuple[Any, Any]]) -> list[Any]:
    return [value for _, value in items]


def _contents(cells: list[CellType]) -> list[Any]:
    found = []
    for cell in cells:
        try:
            found.append(cell.cell_contents)
        except ValueError:
            found.append(_NOTHING)
    return found
