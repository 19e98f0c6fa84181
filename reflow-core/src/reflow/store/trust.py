"""Which directories are used: those that only who is believed can write in; see `reflow.worker.trust`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from errno import EINVAL

from ..errors import Untrusted
from ..worker.trust import Trust, doubt


def distrust(paths: Iterable[str], trusted: Trust, *, sticky: bool = False) -> tuple[str, str]:
    """Tell why directories are not to be used, and what to do about it; "" twice where they may be, or are not there.

    Parameters
    ----------
    paths : iterable of str
        Directories, each in the one before; what lies in one that nobody else can enter is out of their reach.
    trusted : Trust
        Who is believed.
    sticky : bool
        Whether it may be one like ``/tmp``, in which everybody may make files but only move their own; or one that a
        group may write: what its members put in the place of a directory below is theirs, and refused for that.
    """
    inside = False
    for path in paths:
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                if (found := doubt(path, status, trusted))[0]:
                    return found
                status = os.stat(path)
        except OSError:
            continue
        outer = sticky and (status.st_mode & stat.S_ISVTX or not status.st_mode & stat.S_IWOTH)
        safe = inside or bool(outer)
        if (found := doubt(path, status, trusted, closed=safe))[0]:
            return found
        inside = inside or shut(status, trusted)
    return "", ""


def require_database(path: str, what: str, trusted: Trust) -> None:
    """Refuse a SQLite database whose file, journals or directory somebody else can write; it need not be there.

    Journals lie where the file is that a link leads to; one that is there is rolled into the database.

    Parameters
    ----------
    path : str
        The database.
    what, trusted
        See `require`.

    Raises
    ------
    Untrusted
        Others may write there, or it is another user's.
    OSError
        One of the files is no regular file.
    """
    place = os.path.realpath(path)
    files = [place, *(f"{place}{end}" for end in ("-journal", "-wal", "-shm"))]
    require((os.path.dirname(path), path), what, trusted)
    require((os.path.dirname(place), *files), what, trusted)
    for file in files:
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(file).st_mode):
                raise OSError(EINVAL, "it is no regular file", file)


def closed(paths: Iterable[str], trusted: Trust) -> bool:
    """Whether nobody else can enter one of these directories, and so reach anything that lies below."""
    for path in paths:
        with suppress(OSError):
            if shut(os.stat(path), trusted):
                return True
    return False


def shut(status: os.stat_result, trusted: Trust) -> bool:
    """Whether only who is believed can enter a directory."""
    mode = status.st_mode
    return not mode & stat.S_IXOTH and (not mode & stat.S_IXGRP or trusted.admits(status.st_gid))


def require(paths: Iterable[str], what: str, trusted: Trust, *, sticky: bool = False) -> None:
    """Refuse directories that somebody else can write in.

    Parameters
    ----------
    paths, trusted, sticky
        See `distrust`.
    what : str
        How the message names them.

    Raises
    ------
    Untrusted
        Others may write one, or it is another user's.
    """
    why, hint = distrust(paths, trusted, sticky=sticky)
    if why:
        raise Untrusted(f"{what}: {why}", hint=hint)
