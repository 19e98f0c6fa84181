"""Inputs of a task's elements: a file of frames, and the offset of each element's.

The first frame is the header: what all elements share. The index holds eight
bytes an element, little-endian: the offset of its frame, 0 where it has none (it
was taken from the cache).
"""

import os
from collections.abc import Mapping

import msgspec

from ..errors import DataError
from ..model.frames import HEAD, unframe
from .opener import decoded, open_regular
from .trust import Trust


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What all elements of a task share.

    ``common`` holds encoded values by parameter; ``names`` the parameters of
    which each element has its own; ``parts`` short digests for `explain`, and
    ``files``, ``guards`` the fingerprints of files in the common values.
    ``generation`` is that of the code which the elements' keys speak of,
    ``made`` names the files that other tasks of the run have written, ``seen``
    what tells files of equal fingerprints apart (`reflow.run.engine.seen`).
    """

    task: str
    size: int
    common: Mapping[str, msgspec.Raw]
    names: tuple[str, ...]
    parts: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    guards: Mapping[str, str] = {}
    generation: int = 1
    made: tuple[str, ...] = ()
    seen: Mapping[str, str] = {}


class Values(msgspec.Struct, frozen=True):
    """An element's own values, in the order of the header's names: all that a worker needs."""

    v: tuple[msgspec.Raw, ...]


class Element(msgspec.Struct, frozen=True, omit_defaults=True):
    """One element: values, identity ("" where it is not cached), its short digests, fingerprints and guards.

    ``m`` names the files that other tasks of the run have written, ``a`` is the
    attempt for which all this was found out, ``s`` is like the header's ``seen``.
    """

    v: tuple[msgspec.Raw, ...]
    k: str = ""
    d: Mapping[str, str] = {}
    f: Mapping[str, str] = {}
    g: Mapping[str, str] = {}
    m: tuple[str, ...] = ()
    a: int = 1
    s: Mapping[str, str] = {}


#: bytes read at a time
_AHEAD = 1 << 16

_header = msgspec.json.Decoder(Header)
_values = msgspec.json.Decoder(Values)
_element = msgspec.json.Decoder(Element)


def _hint(path: str) -> str:
    root = os.path.dirname(os.path.dirname(path))
    return f"`reflow repair {root}` rebuilds what can be rebuilt"


class Inputs:
    """Reads the inputs of single elements by slice.

    Parameters
    ----------
    path : str
        The file.
    trusted : Trust, optional
        Who must have written it; None: whoever.

    Raises
    ------
    DataError
        The file is damaged or missing.
    Untrusted
        Somebody else has written it, or could have.
    """

    def __init__(self, path: str, trusted: Trust | None = None) -> None:
        self.path = path
        try:
            self._file = open_regular(path, trusted)
            self._index = open_regular(path + ".idx", trusted)
        except FileNotFoundError as error:
            raise DataError(f"{error.filename} is missing", hint=_hint(path)) from None
        except OSError as error:
            raise DataError(f"{error.filename} is damaged: {error.strerror}", hint=_hint(path)) from None
        # Who reads one element mostly reads others near it next: what was read is kept.
        self._data, self._data_at = b"", 0
        self._offsets, self._offsets_at = b"", 0
        self.header: Header = decoded(_header.decode, self._frame(0))

    def _damaged(self, offset: int) -> DataError:
        return DataError(f"{self.path} is damaged at byte {offset}", hint=_hint(self.path))

    def _frame(self, offset: int) -> bytes:
        start = offset - self._data_at
        if start < 0 or start + HEAD > len(self._data):
            self._data, self._data_at, start = os.pread(self._file, _AHEAD, offset), offset, 0
        try:
            length = HEAD + int(self._data[start : start + 8], 16) + 1
        except ValueError:
            raise self._damaged(offset) from None
        if start + length > len(self._data):
            self._data, self._data_at, start = os.pread(self._file, max(length, _AHEAD), offset), offset, 0
        payload = unframe(self._data[start : start + length])
        if payload is None:
            raise self._damaged(offset)
        return payload

    def _offset(self, index: int) -> int:
        start = 8 * index - self._offsets_at
        if start < 0 or start + 8 > len(self._offsets):
            self._offsets, self._offsets_at, start = os.pread(self._index, _AHEAD, 8 * index), 8 * index, 0
        return int.from_bytes(self._offsets[start : start + 8], "little")

    def has(self, index: int) -> bool:
        """Whether it holds that element."""
        return self._offset(index) > 0

    def values(self, index: int) -> tuple[msgspec.Raw, ...]:
        """An element's own values, encoded."""
        return _values.decode(self._frame(self._offset(index))).v

    def element(self, index: int) -> Element:
        """All that is known of an element."""
        return _element.decode(self._frame(self._offset(index)))

    def close(self) -> None:
        """Let go of the files."""
        os.close(self._file)
        os.close(self._index)
