"""Facts of files, remembered from one submit to the next."""

from __future__ import annotations

import linecache
import os
import stat
import sys
import threading
import time
import tokenize
import warnings
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import lru_cache
from types import CodeType
from typing import Any

import msgspec

from ...model.digest import sha256
from .facts import SCHEME, Facts, facts_of

#: an earlier cell of a notebook may have asked for this
_FUTURE = annotations.compiler_flag
#: seconds within which a change of a file may leave its time as it is, and clocks may differ
_YOUNG = 60.0
#: files that are remembered for one project
_MOST = 2000

#: how a file is made that is not there yet
_ANEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Kept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Facts of one file: when it was what, and whether it was so young that its content has to be compared."""

    stat: tuple[int, int, int]
    young: bool
    digest: str
    facts: msgspec.Raw


class Sources:
    """Reads modules' facts.

    Parameters
    ----------
    path : str
        File in which they are remembered; "" for none. One that cannot be used is no error.
    """

    def __init__(self, path: str = "") -> None:
        #: files that were parsed
        self.parsed = 0
        #: file -> SHA-256 of the source that its facts are of; "" where it was read twice and differed
        self.digests: dict[str, str] = {}
        self._path = path
        self._kept = _load(path)
        self._fresh: dict[str, _Kept] = {}

    def facts(self, file: str) -> Facts | None:
        """Return the facts of a file; None where it cannot be read or parsed."""
        try:
            status = os.stat(file)
            state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            kept = self._kept.get(file)
            if kept is not None and kept.stat == state and not kept.young:
                self._note(file, kept.digest)
                return msgspec.msgpack.decode(kept.facts, type=Facts)
            with open(file, "rb") as stream:
                source = stream.read()
        except (OSError, ValueError, msgspec.MsgspecError):
            return None
        digest = sha256(source).hexdigest()
        self._note(file, digest)
        young = time.time() - max(status.st_mtime, status.st_ctime) < _YOUNG
        if kept is not None and kept.digest == digest:
            with suppress(msgspec.MsgspecError):
                facts = msgspec.msgpack.decode(kept.facts, type=Facts)
                if not young or kept.stat != state:
                    self._fresh[file] = _Kept(state, young, digest, kept.facts)
                return facts
        self.parsed += 1
        parsed = parse(source)
        if parsed is not None:
            self._fresh[file] = _Kept(state, young, digest, msgspec.Raw(msgspec.msgpack.encode(parsed)))
        return parsed

    def _note(self, file: str, digest: str) -> None:
        self.digests[file] = digest if self.digests.get(file, digest) == digest else ""

    def save(self) -> None:
        """Remember what was read."""
        if not self._path or not self._fresh:
            return
        fresh = {file: kept for file, kept in self._fresh.items() if _is_text(file)}
        whole = {**_load(self._path), **fresh}
        for file in list(whole)[: max(0, len(whole) - _MOST)]:
            del whole[file]
        temporary = f"{self._path}.{os.urandom(8).hex()}.tmp"
        with suppress(OSError):
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            with open(os.open(temporary, _ANEW, 0o600), "wb") as stream:
                stream.write(msgspec.msgpack.encode(whole))
            os.replace(temporary, self._path)
        self._fresh = {}


def _is_text(name: str) -> bool:
    """Return whether a file's name is Unicode, which is all that the memory can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def memory_of(directory: str, top: str) -> str:
    """Return the file in a cache directory that remembers the facts of a project."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}-{SCHEME}"
    return os.path.join(
        directory, "facts", f"{sha256(top.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}-{version}"
    )


def _load(path: str) -> dict[str, _Kept]:
    """Read what is remembered; nothing where somebody else could have written it, for code is told apart by it."""
    if not path:
        return {}
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode) or not (_is_own(status) and _is_own(os.stat(os.path.dirname(path)))):
                return {}
            return msgspec.msgpack.decode(stream.read(), type=dict[str, _Kept])
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError):
        return {}


def _is_own(status: os.stat_result) -> bool:
    """Return whether nobody but this user can have written a file, or made one in a directory."""
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


#: Python 3.10 and 3.11 count the depth of syntax trees for all threads together; filters of warnings are shared, too
_parsing = threading.Lock()


@lru_cache(maxsize=8)
def parse(source: str | bytes) -> Facts | None:
    """Return the facts of source text; None where it cannot be parsed."""
    try:
        with _parsing, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return facts_of(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def text_of(file: str, scope: Mapping[str, Any]) -> str:
    """Return the source of a file, or that of a notebook's cell; "" where there is none."""
    try:
        with tokenize.open(file) as stream:
            return stream.read()
    except (OSError, SyntaxError, ValueError):
        linecache.checkcache(file)
        return "".join(linecache.getlines(file, dict(scope)))


def is_older_than_process(file: str) -> bool:
    """Return whether a file has not been touched since before this process began."""
    try:
        status = os.stat(file)
    except OSError:
        return False
    return max(status.st_mtime, status.st_ctime) < _born() - _YOUNG


@lru_cache(maxsize=1)
def _born() -> float:
    """Return when this process started; 0 where nothing tells."""
    try:
        with open("/proc/self/stat", "rb") as stream:
            ticks = int(stream.read().rpartition(b")")[2].split()[19])
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


class Compiled:
    """What a source compiles to, statement by statement: a function may be of another source than is there now."""

    def __init__(self, source: str, imports: Collection[str]) -> None:
        self._source = source
        # Methods of what is imported are called by instructions of their own.
        self._imports = [f"import {','.join(imports)}\n"] if imports else []
        self._lines = source.split("\n")  # as Python counts them
        self._known: dict[tuple[int, int, int], frozenset[CodeType]] = {}

    def has(self, code: CodeType, first: int, last: int) -> bool:
        """Return whether a code object was made of the statement in these lines."""
        flags = code.co_flags & _FUTURE
        key = (first, last, flags)
        if key not in self._known:
            lines = self._lines[first - 1 : last]
            ahead = [*self._imports, *(["if 1:\n"] if lines and lines[0][:1].isspace() else [])]
            blank = ["\n"] * (first - 1 - len(ahead))
            found = None
            if len(ahead) < first:
                found = _codes("".join([*blank, *ahead, "\n".join(lines)]), flags)
            if found is None:  # a part of a compound statement
                found = _codes(self._source, flags)
            self._known[key] = found or frozenset()
        return code in self._known[key]


def _codes(source: str, flags: int) -> frozenset[CodeType] | None:
    """Return every code object that a source compiles to; None where it does not."""
    found: set[CodeType] = set()
    try:
        with warnings.catch_warnings():  # they were given when it was imported
            warnings.simplefilter("ignore")
            todo = [compile(source, "", "exec", flags, dont_inherit=True)]
    except (SyntaxError, ValueError):
        return None
    while todo:
        code = todo.pop()
        found.add(code)
        todo.extend(item for item in code.co_consts if isinstance(item, CodeType))
    return frozenset(found)
