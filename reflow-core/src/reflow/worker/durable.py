"""Writing files so that a crash leaves the old one, the new one, or nothing."""

from __future__ import annotations

import os
from _thread import get_ident
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Let errors of writing to a descriptor, which has no name, say which file it is."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


def write_all(file: int, data: bytes) -> None:
    """Write every byte of `data`."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _beside(path: str) -> str:
    """A name that nobody else uses, on any host, in any process, in any thread."""
    return f"{path}.{os.uname().nodename}.{os.getpid()}.{get_ident():x}.tmp"


def write_new(path: str, data: bytes, mode: int = 0o666, *, durable: bool = True) -> None:
    """Create a file whole; one that is there is replaced. Not `durable`: it need not outlive the machine."""
    temporary = _beside(path)
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with naming(path):
            write_all(file, data)
            if durable:
                os.fsync(file)
    finally:
        os.close(file)
    os.replace(temporary, path)
    if durable:
        sync_directory(os.path.dirname(path))


def claim(path: str, data: bytes) -> bool:
    """Create a file whole, and only if there is none: the exclusive create that NFS keeps too.

    Returns
    -------
    bool
        Whether it was created by this call.
    """
    temporary = _beside(path)
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        with naming(path):
            write_all(file, data)
            os.fsync(file)
        try:
            os.link(temporary, path)
        except FileExistsError:
            # A link whose answer was lost on the way has succeeded all the same.
            return os.fstat(file).st_nlink == 2
        sync_directory(os.path.dirname(path))
        return True
    finally:
        os.close(file)
        os.unlink(temporary)


def keep(path: str) -> str:
    """Move a damaged file aside, rather than overwrite it; returns where it is now."""
    number = 1
    while os.path.lexists(f"{path}.damaged-{number}"):
        number += 1
    os.rename(path, f"{path}.damaged-{number}")
    return f"{path}.damaged-{number}"


def sync_directory(path: str) -> None:
    """Make names in a directory durable, where the file system lets one ask for it."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(file)
    except OSError:
        pass
    finally:
        os.close(file)
