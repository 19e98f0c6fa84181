"""Processes that a task has started, and what those have started in turn: to be told of signals, and to be ended.

On Linux nothing escapes: the worker adopts what its own children leave behind,
in whatever session or process group, so all of it stays below the worker.
Elsewhere only its process group is known.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Collection, Iterable

_PR_SET_CHILD_SUBREAPER = 36

#: variable by which what a worker of a pool has started can be told when that is gone
MARK = "REFLOW_WORKER"

#: seconds within which what is killed is gone, unless the kernel holds it
_PATIENCE = 1.0

#: modules of services that interpreters start for themselves and share: where their process ids stand
_SERVICES = (
    ("multiprocessing.resource_tracker", "_resource_tracker", "_pid"),
    ("multiprocessing.forkserver", "_forkserver", "_forkserver_pid"),
    ("joblib.externals.loky.backend.resource_tracker", "_resource_tracker", "_pid"),
)


def adopt() -> None:
    """Be the parent of every process below this one whose own parent has ended (Linux)."""
    if sys.platform != "linux":
        return
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # an odd system: what its processes leave behind is its scheduler's to end


def some() -> bool:
    """Whether there is any child, running or ended, at the price of one system call."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    except AttributeError:  # macOS
        return False
    return True


def services() -> set[int]:
    """Children that the interpreter itself keeps: they serve later elements, and end with the worker."""
    found = set()
    for module, keeper, field in _SERVICES:
        pid = getattr(getattr(sys.modules.get(module), keeper, None), field, None)
        if isinstance(pid, int):
            found.add(pid)
    return found


def below(root: int, but: Collection[int] = ()) -> list[int]:
    """Process ids of all descendants, parents first; without those in `but`, and theirs."""
    found: list[int] = []
    todo = [root]
    while todo:
        children = [pid for pid in _children(todo.pop()) if pid not in but]
        found += children
        todo += children
    return found


def tell(number: int, but: Collection[int] = ()) -> list[int]:
    """Send a signal to all descendants; gives those that it reached."""
    reached = []
    for pid in below(os.getpid(), but):
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue
        reached.append(pid)
    return reached


def await_end(pids: Iterable[int], seconds: float) -> None:
    """Wait until these have ended, which they may do in their own time, or the time is up."""
    until = time.monotonic() + seconds
    left = list(pids)
    while (left := [pid for pid in left if _runs(pid)]) and time.monotonic() < until:
        time.sleep(0.01)


def end(but: Collection[int] = ()) -> list[str]:
    """Kill all descendants, and take leave of those that have ended.

    Parameters
    ----------
    but : collection of int
        Process ids that are spared, with all below them.

    Returns
    -------
    list of str
        ``PID (NAME)`` of what was still running.
    """
    until = time.monotonic() + _PATIENCE
    killed: dict[int, str] = {}
    me = os.getpid()
    while pids := below(me, but):
        for pid in pids:
            if _runs(pid):
                killed.setdefault(pid, _name(pid))
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        for pid in pids:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue  # a grandchild: it is adopted once its parent is gone
        if time.monotonic() > until:
            break
        if killed:
            time.sleep(0.001)
    return [f"{pid} ({name})" for pid, name in killed.items()]


def mark(tag: str, slot: int) -> str:
    """What `MARK` holds in a pool's worker and all below it."""
    return f"{tag}.{slot}"


def end_marked(words: Collection[str]) -> None:
    """Kill what workers that are gone have left, whatever session it has fled to (Linux)."""
    wanted = {f"{MARK}={word}".encode() for word in words}
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return
    for pid in pids:
        try:
            with open(f"/proc/{pid}/environ", "rb") as stream:
                if not wanted.isdisjoint(stream.read().split(b"\0")):
                    os.kill(pid, signal.SIGKILL)
        except OSError:
            continue  # it is somebody else's, or has ended


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as stream:
                found += map(int, stream.read().split())
    except FileNotFoundError:
        return _children_by_parent(pid) if os.path.exists(f"/proc/{pid}/stat") else []
    except OSError:
        pass  # it has ended meanwhile, or there is no /proc
    return found


def _children_by_parent(pid: int) -> list[int]:
    """The same where the kernel keeps no lists of children."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and _stat(int(name))[1:2] == [b"%d" % pid]]


def _runs(pid: int) -> bool:
    """Whether it has not ended; one that only waits for its parent has."""
    return _stat(pid)[:1] not in ([], [b"Z"], [b"X"])


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return "?"


def _stat(pid: int) -> list[bytes]:
    """State, parent and so on, as the kernel says them; nothing where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return stream.read().rpartition(b")")[2].split()
    except OSError:
        return []
