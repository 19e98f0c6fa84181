"""Opening files that others may have made: none makes the process wait, and none is read that is no plain file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EFBIG, EINVAL, EISDIR, ELOOP, ENOMEM
from functools import lru_cache
from typing import TypeVar

from ..errors import Untrusted
from ..model.frames import HEAD, parse
from .durable import FILE
from .trust import Trust, doubt

T = TypeVar("T")

#: how a log is opened
LOG = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK

#: bytes that a record of one thing (a lease, a command, a job, an entry of the registry) has at most
RECORD = 64 << 20

#: bytes that a file with something of every task or element has at most
WHOLE = 2 << 30

_AT_ONCE = 1 << 20

#: what the path of a directory inside a run's root holds
_INSIDE = f"{os.sep}.reflow{os.sep}"

#: bytes of frames read at a time, and bytes that one frame has at most
_AHEAD, _FRAME = 1 << 22, 1 << 30


def open_regular(
    path: str,
    trusted: Trust | None = None,
    *,
    closed: bool = False,
    follow: bool = False,
    place: bool = True,
    flags: int = os.O_RDONLY,
) -> int:
    """Open a file that is there; its descriptor.

    What is opened is what is checked: the name may lead elsewhere a moment later.

    Parameters
    ----------
    path : str
        The file.
    trusted : Trust, optional
        Who must own it and may write it; None: whoever.
    closed : bool
        Whether it is known to lie where nobody else can write it; its owner is looked at all the same.
    follow : bool
        Whether it may be a symbolic link; the directory that it lies in is not looked at then.
    place : bool
        Whether the directory that it lies in is looked at, too: who may write that may put one file in another's place.
    flags : int
        How it is opened; for reading where not given. What is made is made without write access for a group.

    Raises
    ------
    OSError
        It cannot be opened, or is a directory, a FIFO, a device or a link.
    Untrusted
        It, or the directory that it lies in, is another user's, or others may write it.
    """
    how = flags | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        file = os.open(path, how, FILE)
    except OSError as error:
        if error.errno == ELOOP and not follow:
            raise OSError(ELOOP, "it is a symbolic link, and none is followed here", path) from None
        raise
    try:
        if follow and trusted is not None:
            _check_link(path, trusted)
        _check(path, os.fstat(file), trusted, closed=closed)
        if place and trusted is not None and not (closed or follow):
            require_place(os.path.dirname(path), trusted)
    except BaseException:
        os.close(file)
        raise
    return file


@lru_cache(maxsize=4096)
def require_place(directory: str, trusted: Trust) -> None:
    """Refuse a directory that somebody else owns or may write; one that was in order once is not looked at again.

    Of a run, all directories above it are looked at, too, up to the run's root.

    Raises
    ------
    Untrusted
        It is another user's, or others may write it.
    """
    why, hint = doubt(directory, os.stat(directory), trusted)
    if why:
        raise Untrusted(why, hint=hint)
    above = os.path.dirname(directory)
    if _INSIDE in above:
        require_place(above, trusted)


def read_regular(path: str, trusted: Trust | None = None, *, most: int = RECORD, follow: bool = False) -> bytes:
    """Read a file whole, which has at most `most` bytes; the rest as for `open_regular`."""
    file = open_regular(path, trusted, follow=follow)
    try:
        return read_open(file, path, most=most)
    finally:
        os.close(file)


def read_open(file: int, path: str, *, most: int = RECORD) -> bytes:
    """Read an open file from where it stands to its end.

    Raises
    ------
    OSError
        It has more than `most` bytes, or more than fit into memory.
    """
    size = os.fstat(file).st_size
    if size > most:
        raise OSError(EFBIG, f"it has {size} bytes, and {most} at most are expected", path)
    try:
        pieces: list[bytes] = []
        left = most + 1
        while left and (piece := os.read(file, min(left, _AT_ONCE))):
            pieces.append(piece)
            left -= len(piece)
        if not left:
            raise OSError(EFBIG, f"it has more than {most} bytes", path)
        return b"".join(pieces)
    except MemoryError:
        raise OSError(ENOMEM, "it does not fit into memory", path) from None


def frames_of(file: int, start: int = 0, end: int | None = None) -> tuple[list[bytes], int]:
    """Read the whole frames of an open file, a piece at a time; what follows the last one is not read to its end.

    Parameters
    ----------
    file : int
        A descriptor.
    start, end : int
        Where the first frame begins, and where what counts ends; None: the file's end.

    Returns
    -------
    payloads, end
        JSON texts, in order, and the offset after the last whole frame.

    Raises
    ------
    OSError
        They do not fit into memory.
    """
    payloads: list[bytes] = []
    last = start
    try:
        for found, last in pieces_of(file, start, end):  # noqa: B007 - its last value is used
            payloads += found
    except MemoryError:
        raise OSError(ENOMEM, "it does not fit into memory") from None
    return payloads, last


def pieces_of(file: int, start: int = 0, end: int | None = None) -> Iterator[tuple[list[bytes], int]]:
    """Read the whole frames of an open file as `frames_of` does, and yield those of each piece."""
    size = _AHEAD
    while True:
        most = size if end is None else max(0, min(size, end - start))
        try:
            data = os.pread(file, most, start)
            found, taken = parse(data)
        except MemoryError:
            raise OSError(ENOMEM, "it does not fit into memory") from None
        start += taken
        yield found, start
        if taken == len(data) < size:
            return
        if not found:
            needed = _frame_size(data)
            if len(data) < size or not size < needed <= _FRAME:
                return  # at the end of what counts, or no frame
            size = needed
        else:
            size = _AHEAD


def _frame_size(data: bytes) -> int:
    """How long the frame is that begins with `data`, as it says itself; 0 where it does not."""
    try:
        return HEAD + int(data[:8], 16) + 1
    except ValueError:
        return 0


def decoded(decode: Callable[[bytes], T], data: bytes) -> T:
    """Decode what others may have written, so that whatever it is, only one error tells that it is damaged.

    Raises
    ------
    msgspec.DecodeError
        It is no UTF-8, is nested too deeply, or needs too much memory, too.
    """
    try:
        return decode(data)
    except UnicodeDecodeError as error:
        raise _damage(str(error)) from None
    except RecursionError:
        raise _damage("it is nested too deeply") from None
    except MemoryError:
        raise _damage("it does not fit into memory") from None


def _damage(why: str) -> Exception:
    import msgspec  # most wake-ups open a file or two and decode nothing

    return msgspec.DecodeError(why)


def _check_link(path: str, trusted: Trust) -> None:
    """Refuse a link that somebody else has made: where it leads to is that one's choice."""
    with suppress(FileNotFoundError):
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode) and not trusted.believes(status.st_uid):
            why, hint = doubt(path, status, trusted)
            raise Untrusted(why, hint=hint)


def _check(path: str, status: os.stat_result, trusted: Trust | None, *, closed: bool) -> None:
    if trusted is not None:
        why, hint = doubt(path, status, trusted, closed=closed)
        if why:
            raise Untrusted(why, hint=hint)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(EINVAL, "it is no regular file", path)
