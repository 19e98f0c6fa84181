"""Workers of a pool whose driving process has died."""

from __future__ import annotations

import os
import signal
import time

import msgspec

from ...errors import Untrusted
from ...model.frames import parse
from ...model.record import Opened
from ...worker import children
from ...worker.mailbox import born
from ...worker.opener import open_regular
from ...worker.trust import trust
from ..journal.report_reader import lanes

_opened = msgspec.json.Decoder(Opened)


def end_workers(root: str, tag: str, patience: float = 10.0) -> None:
    """Kill what is left of a pool's workers on this host, and wait until they are gone.

    Workers end by themselves when their parent is gone, but not before the
    element that they run has ended; it is about to be run again.
    """
    here = os.uname().nodename
    alive: list[tuple[int, str]] = []
    marks: list[str] = []
    for box in lanes(root, tag):
        try:
            file = open_regular(f"{root}/mailbox/{box}", trust(), place=False)
        except (OSError, Untrusted):
            continue
        try:
            payloads, _ = parse(os.pread(file, 4096, 0))
        finally:
            os.close(file)
        if not payloads:
            continue
        first = _opened.decode(payloads[0])
        if first.host == here:
            marks.append(children.mark(tag, first.slot))
        if first.host == here and first.born and born(first.pid) == first.born:
            try:
                os.killpg(first.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
            alive.append((first.pid, first.born))
    if marks:
        children.end_marked(marks)
    deadline = time.monotonic() + patience
    while any(born(pid) == start for pid, start in alive) and time.monotonic() < deadline:
        time.sleep(0.01)
