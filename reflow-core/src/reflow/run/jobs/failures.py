"""Writing down that elements ended without a record of their own, and leaving the words where `logs` finds them."""

from __future__ import annotations

import os
import time
from contextlib import suppress

import msgspec

from ...model import layout
from ...model.names import FailureClass
from ...model.ranges import from_ranges, to_ranges
from ...model.record import Failed
from ...worker.durable import FILE, make_directories, write_all
from ...worker.opener import LOG, open_regular
from ...worker.reasons import dumped
from ..journal.writer import Writer

#: bytes at the end of a log in which a stack is looked for
_TAIL = 1 << 15


def fail(writer: Writer, event: Failed) -> None:
    """Write a failure down; where elements have no log, the log of their job says why.

    A time-out that left no record is written down for each element on its own,
    with the stack that its worker has written into the log.
    """
    array = writer.definition.task(event.task).array
    elements = list(from_ranges(event.elements))
    if event.f is FailureClass.TIMEOUT and not event.d:
        left = []
        for index in elements:
            stack, place = dumped(_end(layout.log(writer.root, event.task, array, index)))
            if stack:
                writer.add(msgspec.structs.replace(event, elements=str(index), d=stack, p=place))
            else:
                left.append(index)
        elements = left
    if not elements:
        return
    if event.j and event.f is not FailureClass.CANCELLED:
        _say(writer.root, event, elements, array=array)
    writer.add(msgspec.structs.replace(event, elements=to_ranges(elements)))


def _say(root: str, event: Failed, elements: list[int], *, array: bool) -> None:
    """Append the words of a failure to its job's log, and where none of it ran this time to logs of earlier attempts.

    Nothing fails for it.
    """
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    words = f"({event.f.value}): {event.w}\n"
    lacking = []
    for index in elements:
        path = layout.log(root, event.task, array, index)
        if not os.path.exists(path):
            lacking.append(index)
        elif event.f is FailureClass.LAUNCH:
            _append(path, f"reflow, {moment}: attempt {event.attempt} failed {words}")
    if lacking:
        name = f"{event.task}[{to_ranges(lacking)}]" if array else event.task
        _append(layout.job_log(root, event.j), f"reflow, {moment}: {name} failed {words}")


def _append(path: str, line: str) -> None:
    with suppress(OSError):
        make_directories(os.path.dirname(path))
        log = os.open(path, LOG, FILE)
        try:
            write_all(log, line.encode("utf-8", "replace"))
        finally:
            os.close(log)


def _end(path: str) -> str:
    """The end of a log; "" where there is none."""
    try:
        file = open_regular(path)
    except OSError:
        return ""
    try:
        size = os.fstat(file).st_size
        return os.pread(file, _TAIL, max(0, size - _TAIL)).decode("utf-8", "replace")
    finally:
        os.close(file)
