"""Objects of the user's modules that change in place and are neither plain data nor namespaces.

Each kind of them compares its present state with the one after import, at little cost, and puts that back: arrays,
streams in memory, files, iterators, queues, locks, decimal contexts and generic
functions. What cannot be put back says so.
"""

from __future__ import annotations

import gc
import sys
from array import array
from collections.abc import Callable
from operator import length_hint
from types import GeneratorType
from typing import Any

#: the largest array of which a copy is compared as it is
MOST_BYTES = 1 << 16

#: the largest array or stream of which a copy is kept; of larger ones a sample is compared
_MOST_COPIED = 1 << 23

#: bytes of one block of a sample, and how many blocks there are
_BLOCK, _BLOCKS = 1 << 12, 1 << 10

#: how deep iterators of iterators are looked at
_DEEPEST = 8

#: attributes of a decimal context
_CONTEXT = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


class Kept:
    """An object whose state after import is known.

    Parameters
    ----------
    value : object
        The object, as it is after import.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def same(self) -> bool:
        """Return whether the object is as it was after import."""
        raise NotImplementedError

    def put(self) -> Any:
        """Put its state back, and return the object that now stands for it; None where that is not possible."""
        raise NotImplementedError


# --- arrays and streams ---------------------------------------------------------------------------------------------


class _Array(Kept):
    """A small array of numbers: a `bytearray`, an `array` or one of numpy."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._data = _bytes(value)

    def same(self) -> bool:
        return _bytes(self.value) == self._data

    def put(self) -> Any:
        return self.value if _put_bytes(self.value, self._data) else None


class Large(Kept):
    """An array of more than `MOST_BYTES`: its checksum is compared, that of a sample where it is very large."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._whole = False
        self._sum = _checksum(value)
        self._data = _bytes(value) if _size(value) <= _MOST_COPIED else None

    def same(self) -> bool:
        """Return whether the checksum is the one after import."""
        return _checksum(self.value, whole=self._whole) == self._sum

    def look_closely(self) -> None:
        """Compare all of it from now on."""
        self._whole = True
        self._sum = _checksum(self.value, whole=True)

    def put(self) -> Any:
        """Put the copy back, where there is one."""
        return self.value if self._data is not None and _put_bytes(self.value, self._data) else None


class _References(Kept):
    """An array of numpy whose items are objects."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._items = value.copy()

    def same(self) -> bool:
        value, items = self.value, self._items
        return value.shape == items.shape and all(a is b for a, b in zip(value.flat, items.flat, strict=True))

    def put(self) -> Any:
        if self.value.shape != self._items.shape or not self.value.flags.writeable:
            return None
        self.value[...] = self._items
        return self.value


def _size(value: Any) -> int:
    if isinstance(value, array):
        return len(value) * value.itemsize
    return int(getattr(value, "nbytes", len(value) if isinstance(value, bytearray) else 0))


def _bytes(value: Any) -> bytes:
    return bytes(value) if type(value) is bytearray else value.tobytes()


def _put_bytes(value: Any, data: bytes) -> bool:
    """Put the content of an array back; False where that is not possible."""
    try:
        if type(value) is bytearray:
            value[:] = data
        elif isinstance(value, array):
            del value[:]
            value.frombytes(data)
        else:
            numpy = sys.modules["numpy"]
            flat = numpy.frombuffer(data, dtype=value.dtype).reshape(value.shape)
            writable = value.flags.writeable
            value[...] = flat
            return bool(writable)
    except (BufferError, ValueError):
        return False
    return True


def _checksum(value: Any, *, whole: bool = False) -> tuple[Any, ...]:
    """Return a checksum of an array's content: of all of it up to `_MOST_COPIED`, else of blocks spread over it."""
    import zlib

    shape = getattr(value, "shape", len(value))
    if isinstance(value, (bytearray, array)):
        raw = memoryview(value).cast("B")
    elif value.flags.c_contiguous:
        raw = memoryview(value.reshape(-1).view("u1"))
    elif whole or value.nbytes <= _MOST_COPIED:
        raw = memoryview(value.tobytes())
    else:  # a view with gaps, as its memory is
        return shape, zlib.crc32(value[tuple(slice(None, None, max(1, n // 64)) for n in value.shape)].tobytes())
    if whole or len(raw) <= _MOST_COPIED:
        return shape, zlib.crc32(raw)
    found = 0
    for start in range(0, len(raw), len(raw) // _BLOCKS):
        found = zlib.crc32(raw[start : start + _BLOCK], found)
    return shape, found


class _Stream(Kept):
    """A stream in memory."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._state = self._now()

    def _now(self) -> tuple[Any, ...]:
        return () if self.value.closed else (self.value.getvalue(), self.value.tell())

    def same(self) -> bool:
        return self._now() == self._state

    def put(self) -> Any:
        if not self._state or self.value.closed:
            return None
        content, position = self._state
        self.value.seek(0)
        self.value.truncate()
        self.value.write(content)
        self.value.seek(position)
        return self.value


class _Reader(Kept):
    """A file that is open for reading: its position."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._position = self._now()

    def _now(self) -> int | None:
        try:
            return int(self.value.tell())
        except (OSError, ValueError):  # closed, or a line is being read
            return None

    def same(self) -> bool:
        return self._now() == self._position

    def put(self) -> Any:
        if self._position is None or self.value.closed or self.value.writable():
            return None
        self.value.seek(self._position)
        return self.value


# --- iterators ------------------------------------------------------------------------------------------------------


class _Counter(Kept):
    """A counter of `itertools`: it cannot be set back, and another one takes its place."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._text = repr(value)

    def same(self) -> bool:
        return repr(self.value) == self._text

    def put(self) -> Any:
        parts = self._text[len("count(") : -1].split(", ")
        return type(self.value)(*map(_number, parts))


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return float(text)


class _Moving(Kept):
    """An iterator or a generator: a copy that was made after import takes its place, where one can be made."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._state = _positions(value)
        self._copy = _copied(value)

    def same(self) -> bool:
        now, then = _positions(self.value), self._state
        return len(now) == len(then) and all(
            a is b or (type(a) is int and type(b) is int and a == b) for a, b in zip(now, then, strict=True)
        )

    def put(self) -> Any:
        fresh, self._copy = self._copy, None
        if fresh is None:
            return None
        self._copy = _copied(fresh)
        self._state = _positions(fresh)
        return fresh


def _positions(value: Any, depth: int = 0) -> list[Any]:
    """Return what an iterator has before it and refers to: any step of it changes that."""
    if isinstance(value, GeneratorType):
        frame = value.gi_frame
        return [-2] if frame is None else [frame.f_lasti, *_positions_within(frame.f_locals.values(), depth)]
    return [length_hint(value, -1), *_positions_within(gc.get_referents(value), depth)]


def _positions_within(parts: Any, depth: int) -> list[Any]:
    found: list[Any] = []
    for part in parts:
        if isinstance(part, type):
            continue
        found.append(part)
        if depth < _DEEPEST and type(part) is tuple:
            found += _positions_within(part, depth + 1)
        elif depth < _DEEPEST and is_moving(part):
            found += _positions(part, depth + 1)
    return found


def is_moving(value: Any) -> bool:
    """Return whether a value is an iterator of Python's own."""
    kind = type(value)
    if kind is GeneratorType:
        return True
    if kind.__module__ not in ("builtins", "itertools") or not hasattr(kind, "__next__"):
        return False
    return iter(value) is value


def _copied(value: Any) -> Any:
    """Return an iterator that goes on as this one would; None where none can be made."""
    if isinstance(value, GeneratorType):
        return None
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # itertools are copied so up to Python 3.13
            return _rebuilt(value)
    except Exception:
        return None


def _rebuilt(value: Any) -> Any:
    make, arguments, *state = value.__reduce__()
    fresh = make(*_rebuilt_within(arguments))
    if state and state[0] is not None:
        fresh.__setstate__(_rebuilt_within(state[0]) if type(state[0]) is tuple else state[0])
    return fresh


def _rebuilt_within(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    if any(isinstance(one, GeneratorType) for one in parts):
        raise TypeError("a generator cannot be copied")
    return tuple(_rebuilt(one) if is_moving(one) else one for one in parts)


# --- queues, locks and the like -------------------------------------------------------------------------------------


class _Queue(Kept):
    """A `queue.SimpleQueue`, which shows only how many items it has."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._items = self._drained()
        self._fill()

    def _drained(self) -> list[Any]:
        return [self.value.get_nowait() for _ in range(self.value.qsize())]

    def _fill(self) -> None:
        for item in self._items:
            self.value.put(item)

    def same(self) -> bool:
        if self.value.qsize() != len(self._items):
            return False
        if not self._items:
            return True
        now = self._drained()
        for item in now:
            self.value.put(item)
        return len(now) == len(self._items) and all(a is b for a, b in zip(now, self._items, strict=True))

    def put(self) -> Any:
        self._drained()
        self._fill()
        return self.value


class _Lock(Kept):
    """A lock, free or held."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._held = self._now()

    def _now(self) -> bool:
        locked = getattr(self.value, "locked", None) or self.value._is_owned  # of an RLock up to Python 3.13
        return bool(locked())

    def same(self) -> bool:
        return self._now() == self._held

    def put(self) -> Any:
        try:
            while self._now() and not self._held:
                self.value.release()
        except RuntimeError:  # another thread holds it
            return None
        if self._held and not self._now():
            self.value.acquire(False)
        return self.value


class _Context(Kept):
    """A context of `decimal`."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._state = value.copy()

    def same(self) -> bool:
        now, then = self.value, self._state
        return (
            all(getattr(now, name) == getattr(then, name) for name in _CONTEXT)
            and now.flags == then.flags
            and now.traps == then.traps
        )

    def put(self) -> Any:
        for name in _CONTEXT:
            setattr(self.value, name, getattr(self._state, name))
        self.value.flags, self.value.traps = self._state.flags.copy(), self._state.traps.copy()
        return self.value


class _Registry(Kept):
    """The functions that a generic function of `functools` chooses from."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._cells = dict(zip(value.dispatch.__code__.co_freevars, value.dispatch.__closure__, strict=True))
        self._functions = dict(value.registry)

    def same(self) -> bool:
        now, then = self.value.registry, self._functions
        return len(now) == len(then) and all(now.get(kind) is function for kind, function in then.items())

    def put(self) -> Any:
        registry = self._cells["registry"].cell_contents
        registry.clear()
        registry.update(self._functions)
        self.value._clear_cache()
        return self.value


_LOCKS = {("_thread", "lock"), ("_thread", "RLock")}
_STREAMS = {("_io", "StringIO"), ("_io", "BytesIO")}
_FILES = {("_io", "TextIOWrapper"), ("_io", "BufferedReader")}


def kept(value: Any) -> Kept | None:
    """Return what keeps an object's state, where its kind is one of those that change in place."""
    try:
        make = _kind_of(value)
        return make(value) if make is not None else None
    except Exception:  # a closed file, a stream that is none
        return None


def _kind_of(value: Any) -> Callable[[Any], Kept] | None:
    kind = type(value)
    named = kind.__module__, kind.__name__
    make: Callable[[Any], Kept] | None = None
    if kind in (bytearray, array) or named == ("numpy", "ndarray"):
        if getattr(getattr(value, "dtype", None), "hasobject", False):
            make = _References if value.size <= _BLOCK and value.dtype.kind == "O" else None
        else:
            make = _Array if _size(value) <= MOST_BYTES else Large
    elif named == ("itertools", "count"):
        make = _Counter
    elif named in _STREAMS:
        make = _Stream
    elif named in _FILES:
        make = _Reader if value.fileno() > 2 and value.readable() and value.seekable() else None
    elif named == ("_queue", "SimpleQueue"):
        make = _Queue
    elif named in _LOCKS:
        make = _Lock
    elif named == ("decimal", "Context"):
        make = _Context
    elif is_moving(value):
        make = _Moving
    elif getattr(getattr(value, "dispatch", None), "__module__", "") == "functools" and hasattr(value, "_clear_cache"):
        make = _Registry
    return make
