"""Whose files are believed: a user's own, root's, and those of the owners and groups that the configuration names.

Who can write into a run's directory decides what code a user runs; who can
write into a cache decides what a pipeline's results are. Being the owner of a
file is no proof of having written it where others may write it, or may move
another one to its place.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

#: where the policy stands in the environment, as in the configuration: names or numbers, with commas between them
OWNERS, GROUPS = "REFLOW_RUN_TRUSTED_OWNERS", "REFLOW_RUN_TRUSTED_GROUPS"

#: the highest user or group id: the one above it means "none"
_HIGHEST = 2**32 - 2

#: what neither a user's nor a group's name holds
_ODD = frozenset("/:,\0")


class Trust(NamedTuple):
    """Who is believed.

    Attributes
    ----------
    owners : frozenset of int
        User ids whose files and directories are believed.
    groups : frozenset of int
        Group ids whose members may write them.
    """

    owners: frozenset[int]
    groups: frozenset[int] = frozenset()

    def admits(self, group: int) -> bool:
        """Whether a group may write: it is named, or no user but one who is believed is in it."""
        if group in self.groups:
            return True
        return _private(group) in self.owners

    def believes(self, user: int) -> bool:
        """Whether a user's files count: the user is named, or a member of a group that is."""
        return user in self.owners or bool(self.groups and not self.groups.isdisjoint(_groups_of(user)))

    def union(self, other: Trust) -> Trust:
        """Whoever is believed by one or the other."""
        return Trust(self.owners | other.owners, self.groups | other.groups)


def trust(owners: Iterable[str] = (), groups: Iterable[str] = ()) -> Trust:
    """Make a `Trust` of this process's user, root, and the users and groups named, by name or number.

    A name that this host does not know is passed over: it owns nothing here.
    """
    users = {os.geteuid(), 0, *(found for name in owners if (found := _number(name, _user)) is not None)}
    return Trust(frozenset(users), frozenset(f for name in groups if (f := _number(name, _group)) is not None))


def trust_in(environ: Mapping[str, str]) -> Trust:
    """Make the `Trust` that environment variables describe: all that a worker knows."""
    return trust(_listed(environ.get(OWNERS, "")), _listed(environ.get(GROUPS, "")))


def trust_of_job(env: Mapping[str, str]) -> Trust:
    """Make the `Trust` that a job's own variables describe beside this process's."""
    return trust_in({name: env.get(name) or os.environ.get(name, "") for name in (OWNERS, GROUPS)})


def wrong_name(name: str) -> str:
    """What is wrong with the name or number of a user or group; "" for nothing."""
    if not name:
        return "is empty"
    if name.isascii() and name.isdigit():
        return "" if int(name) <= _HIGHEST else "is higher than any id"
    if name[0] == "-" or name.isnumeric() or any(not c.isprintable() or c.isspace() or c in _ODD for c in name):
        return "is neither a name nor a number"
    return ""


def doubt(path: str, status: os.stat_result, trusted: Trust, *, closed: bool = False) -> tuple[str, str]:
    """Tell why a file or directory is not to be believed, and what to do about it; "" twice where it may be.

    Parameters
    ----------
    path, status
        What it is, and how it stands.
    trusted : Trust
        Who is believed.
    closed : bool
        Whether nobody else can reach it: it lies in a directory that only those who are believed can enter.
    """
    mode = status.st_mode
    if not (closed or stat.S_ISLNK(mode)):  # a link has no mode of its own
        if mode & stat.S_IWOTH:
            shown = f"{stat.S_IMODE(mode):04o}"
            return f"{path} is world-writable (mode {shown}): anybody could plant files there", f"chmod o-w {path}"
        if mode & stat.S_IWGRP and not trusted.admits(status.st_gid):
            name, shown = group_name(status.st_gid), f"{stat.S_IMODE(mode):04o}"
            return (
                f"{path} may be written by the group {name} (mode {shown}), whose members are not trusted",
                f"chmod g-w {path}; or list {name} in [run] trusted_groups, if its members may run code as you",
            )
    if not trusted.believes(status.st_uid):
        name = user_name(status.st_uid)
        return (
            f"{path} belongs to {name}, who decides what is in it",
            f"use one of your own; or list {name} in [run] trusted_owners, if you would run {name}'s code as yours",
        )
    return "", ""


def user_name(uid: int) -> str:
    """A user's name, or the number where it has none here."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """A group's name, or the number where it has none here."""
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


@lru_cache(maxsize=64)
def _private(group: int) -> int:
    """The user whose private group it is, of that user's name and with no other member; -1 where it is none's."""
    import grp
    import pwd

    try:
        found = grp.getgrgid(group)
        user = pwd.getpwnam(found.gr_name)
    except KeyError:
        return -1
    return user.pw_uid if user.pw_gid == group and set(found.gr_mem) <= {found.gr_name} else -1


@lru_cache(maxsize=64)
def _groups_of(user: int) -> frozenset[int]:
    """The groups that a user is in; none where this host does not know the user."""
    import pwd

    try:
        found = pwd.getpwuid(user)
        return frozenset(os.getgrouplist(found.pw_name, found.pw_gid))
    except (KeyError, OSError):
        return frozenset()


def _listed(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip()) and not wrong_name(name)]


def _number(name: str, known: Callable[[str], int]) -> int | None:
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return known(name)
    except (KeyError, ValueError):
        return None


def _user(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


def _group(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid
