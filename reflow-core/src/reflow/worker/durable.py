"""Writing files so that a crash leaves the old one, the new one, or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from stat import S_IMODE, S_IRGRP, S_IRWXG, S_IWGRP

#: modes of what is made, of which the umask takes away: no group may write it, whatever the umask is, but for `share`
FILE, DIRECTORY = 0o644, 0o755

#: groups that are trusted
_sharing: frozenset[int] = frozenset()


def share(groups: frozenset[int]) -> None:
    """Let these groups write what this process makes from now on, in directories of theirs that they may write."""
    global _sharing
    _sharing = groups


def shared(path: str, file: int | None = None, mode: int = FILE) -> None:
    """Let a group that is trusted read and write what was made in a directory which it may write.

    Parameters
    ----------
    path : str
        The file or directory.
    file : int, optional
        Its descriptor, where it is open.
    mode : int
        With which it was made, before the umask took from that: what the group was not to read is private.
    """
    if not (_sharing and mode & S_IRGRP):
        return
    above = os.stat(os.path.dirname(path))
    status = os.stat(path) if file is None else os.fstat(file)
    theirs = above.st_mode & S_IWGRP and above.st_gid == status.st_gid and status.st_gid in _sharing
    now = S_IMODE(status.st_mode)
    wanted = now | mode & S_IRWXG | S_IWGRP
    if theirs and status.st_uid == os.geteuid() and wanted != now:
        os.chmod(path if file is None else file, wanted)


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


def create(path: str, mode: int = FILE, flags: int = os.O_WRONLY) -> int:
    """Create a file that is not there yet, and open it.

    Raises
    ------
    FileExistsError
        There is something of that name, be it a link that leads nowhere.
    """
    file = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    shared(path, file, mode)
    return file


def beside(path: str) -> str:
    """A name beside a file that nobody can foresee."""
    return f"{path}.{os.urandom(8).hex()}.tmp"


def make_directories(path: str) -> None:
    """Make a directory, and those above it that are missing; what is there stays as it is."""
    try:
        os.mkdir(path, DIRECTORY)
        shared(path, mode=DIRECTORY)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    except FileNotFoundError:
        above = os.path.dirname(path)
        if above in ("", path):
            raise
        make_directories(above)
        with suppress(FileExistsError):  # another process was as fast
            os.mkdir(path, DIRECTORY)
            shared(path, mode=DIRECTORY)


def write_new(path: str, data: bytes, mode: int = FILE, *, durable: bool = True) -> None:
    """Create a file whole; one that is there is replaced. Not `durable`: it need not outlive the machine."""
    temporary = beside(path)
    file = create(temporary, mode)
    try:
        try:
            with naming(path):
                write_all(file, data)
                if durable:
                    os.fsync(file)
        finally:
            os.close(file)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        sync_directory(os.path.dirname(path))


def claim(path: str, data: bytes) -> bool:
    """Create a file whole, and only if there is none: the exclusive create that NFS keeps too.

    Returns
    -------
    bool
        Whether it was created by this call.
    """
    temporary = beside(path)
    file = create(temporary)
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
