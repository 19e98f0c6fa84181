"""Whether this user may act on a run: who advances it runs what its directory says."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from ...config import Config
from ...errors import Untrusted
from ...store.trust import distrust, require
from ...worker.durable import share
from ...worker.trust import GROUPS, OWNERS, Trust, doubt, trust

T = TypeVar("T")

NOBODY = Trust(frozenset())

_PARTS = ("mailbox", "events", "code", "jobs", "scripts", "inputs", "tags", "lease")


def trust_of(config: Config) -> Trust:
    """Whom a configuration trusts, beside this user and root."""
    return trust(config.get("run.trusted_owners") or (), config.get("run.trusted_groups") or ())


def policy() -> Trust:
    """Whom this user trusts: as site, user and environment say, whatever directory this is and whatever run."""
    from ...config import load_config
    from ...plugins import registry as plugin_registry

    return trust_of(load_config(tables=lambda disabled: plugin_registry(disabled).settings()))


def require_own(root: str) -> None:
    """Make sure that a run is this user's, or of somebody whom this user's configuration trusts.

    Reading a run needs no trust: its records are plain data.

    Raises
    ------
    Untrusted
        It is not, or others may write in it.
    """
    home = os.path.dirname(root)
    outer = (os.path.dirname(home),)  # it may be one like /tmp
    inner = (home, root, *(f"{root}/{part}" for part in _PARTS))
    trusted = trust()
    if distrust(outer, trusted, sticky=True)[0] or distrust(inner, trusted)[0]:
        trusted = policy()
        share(trusted.groups)
        require(outer, "the run directory", trusted, sticky=True)
        require(inner, "the run", trusted)


def acting(root: str, frozen: Trust) -> Trust:
    """Whom this process, which acts on a run, believes.

    Parameters
    ----------
    root : str
        The run's root directory.
    frozen : Trust
        Whom the run's configuration trusts, as of its submission.
    """
    try:
        own = not doubt(root, os.stat(root), frozen)[0]
    except FileNotFoundError:  # a run that is only rehearsed
        own = True
    return frozen if own else frozen.union(policy())


def believing(root: str, read: Callable[[Trust], T], frozen: Trust = NOBODY) -> T:
    """Read what a run's directory says, for a user who only looks at the run.

    Parameters
    ----------
    root : str
        The run's root directory.
    read : callable
        Is given whom to believe: the run's owner, and whom the run's configuration trusts; where that is not enough,
        whom this user's configuration trusts, too.
    frozen : Trust
        Whom the run's configuration trusts, as of its submission; nobody where it is not known yet.
    """
    try:
        own = {os.stat(root).st_uid}
    except FileNotFoundError:  # a run that is only rehearsed
        own = set()
    trusted = trust().union(frozen).union(Trust(frozenset(own)))
    try:
        return read(trusted)
    except Untrusted:
        return read(trusted.union(policy()))


def handed_on(trusted: Trust) -> dict[str, str]:
    """Environment variables that tell workers whom they believe; none where it is nobody but this user and root."""
    found = {OWNERS: sorted(trusted.owners - trust().owners), GROUPS: sorted(trusted.groups)}
    return {name: ",".join(map(str, ids)) for name, ids in found.items() if ids}
