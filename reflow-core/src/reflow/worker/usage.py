"""What one element uses of a process that runs many: CPU time, and peak memory from the kernel's own mark."""

from __future__ import annotations

import os
import sys
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

#: what `getrusage` counts memory in
_UNIT = 1 if sys.platform == "darwin" else 1024

#: bytes by which two readings of the same mark may differ
_SLACK = 1 << 20

#: page faults of an element that cannot have raised the mark by more than some megabytes, were all pages large ones
_FEW = 4


def reset_mark() -> bool:
    """Set the process's peak of resident memory to what it has now (Linux); tell whether that was possible."""
    try:
        file = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(file, b"5")
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def read_mark() -> int:
    """Return the process's peak of resident memory since the mark was reset, in bytes; 0 where it cannot be read."""
    try:
        with open("/proc/self/status", "rb") as stream:
            for line in stream:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


class Meter:
    """Measures one element after the other.

    Parameters
    ----------
    alone : bool
        Whether the process is there for elements alone: nobody else needs its mark.
    """

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self._marked = False
        #: what the mark was when it was last read, with nothing since that could have raised it; 0 where it was reset
        self._mark = 0
        #: whether the mark is above what the process holds now, so that it says nothing of the next element
        self._raised = True
        #: peak that `getrusage` shows whatever the mark is: that of the program which this process was before `exec`
        self._former = 0
        if alone and reset_mark():
            shown = getrusage(RUSAGE_SELF).ru_maxrss * _UNIT
            self._former = shown if shown > read_mark() + _SLACK else 0
        self.begin()

    def begin(self) -> None:
        """Begin to measure an element."""
        if self._raised:
            self._marked, self._raised, self._mark = self._alone and reset_mark(), not self._alone, 0
        self._own, self._children = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)

    def end(self) -> tuple[float, int]:
        """Return what was used since: CPU seconds, and peak memory in bytes, which is 0 where it cannot be known.

        Children count once they have been waited for. Of their memory the system keeps the largest peak alone: where
        an earlier element had a child with a larger one, nobody knows.
        """
        own, children = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)
        cpu = sum(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            for before, after in ((self._own, own), (self._children, children))
        )
        peak = self._peak(own.ru_maxrss, own.ru_minflt - self._own.ru_minflt)
        theirs = children.ru_maxrss * _UNIT
        if children.ru_maxrss > self._children.ru_maxrss:
            peak = max(peak, theirs) if peak else 0
        elif children.ru_minflt != self._children.ru_minflt and theirs > peak:
            peak = 0
        return max(0.0, cpu), peak

    def _peak(self, shown: int, faults: int) -> int:
        """Return the process's own peak, of a reading and of how many pages were mapped since the element began."""
        if not self._marked:
            return shown * _UNIT if shown > self._own.ru_maxrss else 0
        if self._mark and faults <= _FEW:
            return self._mark
        self._raised = faults > _FEW
        self._mark = shown * _UNIT if shown * _UNIT > self._former else read_mark()
        return self._mark
