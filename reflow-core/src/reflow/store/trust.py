"""Whose files are believed: a user's own, root's, and those of the owners that ``[run] trusted_owners`` names.

Who can write into a run's directory decides what code a user runs; who can
write into a cache decides what a pipeline's results are.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from contextlib import suppress

from ..errors import Untrusted


def owners(names: Iterable[str] = ()) -> frozenset[int]:
    """User ids that are trusted: this process's, root's, and those of the users named, by name or number.

    A name that this host does not know is passed over: it owns nothing here.
    """
    found = {os.geteuid(), 0}
    for name in names:
        if name.isdigit():
            found.add(int(name))
            continue
        import pwd

        try:
            found.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue
    return frozenset(found)


def user(uid: int) -> str:
    """A user's name, or the number where it has none here."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def distrust(paths: Iterable[str], trusted: Collection[int], *, sticky: bool = False) -> tuple[str, str]:
    """Tell why directories are not to be used, and what to do about it; "" twice where they may be, or are not there.

    Parameters
    ----------
    paths : iterable of str
        Directories, each in the one before; what lies in one that others cannot enter is out of their reach.
    trusted : collection of int
        From `owners`.
    sticky : bool
        Whether it may be one like ``/tmp``, in which everybody may make files but only move their own.
    """
    closed = False
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        safe = closed or bool(sticky and status.st_mode & stat.S_ISVTX)
        if (found := doubt(path, status, trusted, closed=safe))[0]:
            return found
        closed = closed or not status.st_mode & stat.S_IXOTH
    return "", ""


def doubt(path: str, status: os.stat_result, trusted: Collection[int], *, closed: bool = False) -> tuple[str, str]:
    """Tell why a file or directory is not to be believed, and what to do about it; "" twice where it may be.

    Parameters
    ----------
    path, status
        What it is, and how it stands.
    trusted : collection of int
        From `owners`.
    closed : bool
        Whether it lies where others cannot enter; see `closed`.
    """
    if status.st_mode & stat.S_IWOTH and not closed:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        return f"{path} is world-writable (mode {mode}): anybody could plant files there", f"chmod o-w {path}"
    if status.st_uid not in trusted:
        name = user(status.st_uid)
        return (
            f"{path} belongs to {name}, who decides what is in it",
            f"use one of your own; or list {name} in [run] trusted_owners, if you would run {name}'s code as yours",
        )
    return "", ""


def closed(paths: Iterable[str]) -> bool:
    """Whether others cannot enter one of these directories, and so reach nothing that lies below."""
    for path in paths:
        with suppress(OSError):
            if not os.stat(path).st_mode & stat.S_IXOTH:
                return True
    return False


def require(paths: Iterable[str], what: str, trusted: Collection[int], *, sticky: bool = False) -> None:
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
        One is world-writable, or another user's.
    """
    why, hint = distrust(paths, trusted, sticky=sticky)
    if why:
        raise Untrusted(f"{what}: {why}", hint=hint)


def close_to_others(path: str) -> None:
    """Where the umask lets everybody write into a directory that was just made: nobody else may enter it."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & stat.S_IWOTH:
        os.chmod(path, mode & ~stat.S_IRWXO)
