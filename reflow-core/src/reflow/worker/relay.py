"""The last worker of a group goes on with the run: how it knows that it is, and how it becomes the advance.

Workers meet in pairs, in a tree of exclusive creates: who comes first to a place
leaves its number there, and is done; who finds the other's number goes on to the
next place up. So one of them gets to the top, after all others have reported, at
two creates for each worker on average, and log2(N) at most. A worker that is lost
leaves nobody at the top, and the wake-up goes on; one that is started again
repeats its former steps, and heals what that one had left undone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

import msgspec

from ..errors import Untrusted
from ..model import layout
from ..model.record import Awaited, JobSpec
from .durable import FILE, make_directories
from .opener import LOG, read_regular
from .trust import trust_in

#: seconds of its walltime that a job must have left to advance a run
TIME = 30.0

_awaited = msgspec.json.Decoder(list[Awaited])


def last(directory: str, position: int, count: int) -> bool:
    """Arrive as number `position` of `count`.

    Parameters
    ----------
    directory : str
        Where these meet, and nobody else.
    position, count : int
        Who this is, counted from 0, and how many they are.

    Returns
    -------
    bool
        Whether all others have arrived before.

    Raises
    ------
    OSError
        The file system refuses.
    """
    level = 0
    while count > 1 << level:
        side = position >> level
        if (side ^ 1) << level < count:  # else nobody is on the other side
            place = f"{directory}/{level}/{(side >> 1) // layout.FANOUT}/{side >> 1}"
            if _first(place, str(position)) or int(os.readlink(place)) >> level == side:
                return False
        level += 1
    return True


def _first(place: str, word: str) -> bool:
    """Create a link that says `word`; False where one is there. A symbolic link is created whole, by one call."""
    for missing in (True, False):
        try:
            os.symlink(word, place)
            return True
        except FileExistsError:
            return False
        except FileNotFoundError:
            if not missing:
                raise
            make_directories(os.path.dirname(place))
    raise AssertionError  # pragma: no cover - the second round returns or raises


def due(root: str, spec: JobSpec, slot: int, slots: int, begun: float) -> list[str]:
    """Wake-ups that wait for nothing any more, now that this slot has reported durably.

    Parameters
    ----------
    root : str
        The run's root directory.
    spec : JobSpec
        The job.
    slot, slots : int
        Which of how many slots this is.
    begun : float
        When the job started, in seconds since the epoch.

    Returns
    -------
    list of str
        Their tags; empty where this is not the last worker, or its job has too little left to go on.
    """
    if not spec.relay:
        return []
    try:
        if not last(layout.relay(root, spec.tag), slot, slots):
            return []
        _first(_looked(root, spec.tag), "0")  # a list that is written after this is seen to by who writes it
        waiting = _awaited.decode(read_regular(layout.wakes(root, spec.tag), trust_in(os.environ)))
        found = [one.wake for one in waiting if last(layout.relay(root, one.wake), one.position, one.count)]
    except (OSError, ValueError, Untrusted):
        return []  # whatever is wrong, the wake-up is there
    walltime = spec.resources.time
    return [] if walltime is not None and time.time() - begun > walltime - TIME else found


def _looked(root: str, tag: str) -> str:
    """The place that tells that a job's last worker looks for wake-ups, or has looked."""
    return f"{layout.relay(root, tag)}/looked"


def count(root: str, tag: str, waiting: Iterable[Awaited]) -> None:
    """Count a job among those that wake-ups wait for, where it may have ended before its list of them was written.

    Without that, no other job would be the last. Where this one is, whoever
    submits the wake-ups finds that it has reported.
    """
    try:
        if os.path.lexists(_looked(root, tag)):
            for one in waiting:
                last(layout.relay(root, one.wake), one.position, one.count)
    except (OSError, ValueError):
        pass  # whatever is wrong, the wake-up is there


def command(root: str, wakes: list[str]) -> list[str]:
    """What the last worker becomes."""
    from ..model.python import ADVANCE, program  # few workers are the last

    return list(program(sys.executable, ADVANCE, "--last", root, *wakes))


def become(root: str, wakes: list[str]) -> None:
    """Replace this process by the advance; returns only where that fails. What it says goes to the wake-up's log."""
    try:
        log = os.open(layout.job_log(root, wakes[0]), LOG, FILE)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        argv = command(root, wakes)
        os.execv(argv[0], argv)
    except OSError:
        pass
