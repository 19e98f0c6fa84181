"""What a worker reports: an append-only file of frames, with one writer.

A *started* record is in the kernel before user code runs, so that it outlives
the process. *Finished* records are made durable together: those of at most 50 ms,
and no more than 512, are waiting for a sync whenever the worker is between
elements, and none when it is idle or ends. So what a machine that dies can cost
is 50 ms of computing for each worker.
"""

from __future__ import annotations

import os
import time

import msgspec

from ..model import layout
from ..model.frames import frame
from ..model.record import SCHEMA, Closed, Finished, Opened
from ..model.versions import VERSION
from .durable import create, make_directories

GROUP = 512
WITHIN = 0.05


def born(pid: int) -> str:
    """When a process started, as the kernel counts it; "" where that cannot be told, or it has ended (a zombie)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
    except (OSError, IndexError):
        return ""


def _create(root: str, tag: str, slot: int) -> tuple[int, int]:
    """Make the file of a slot's next start; its descriptor, and which start that is."""
    start = 1
    make_directories(os.path.dirname(layout.box(root, tag, slot)))
    while True:
        path = layout.box(root, tag, slot, start)
        try:
            return create(path, flags=os.O_WRONLY | os.O_APPEND), start
        except FileExistsError:
            start += 1


def give_up(root: str, tag: str, slot: int) -> None:
    """Let no worker of a slot run it any more, should the scheduler start it after all; one that has begun goes on."""
    file, _ = _create(root, tag, slot)
    try:
        host, now = os.uname().nodename, time.time()
        opened = Opened(
            schema=SCHEMA, tag=tag, slot=slot, host=host, pid=os.getpid(), b=now, void=True, version=VERSION
        )
        os.write(file, frame(msgspec.json.encode(opened)))
    finally:
        os.close(file)


class Mailbox:
    """One start of one slot.

    Parameters
    ----------
    root : str
        The run's root directory.
    tag, slot : str, int
        The submission, and the slot in it.
    job : str
        The scheduler's id of the job, where there is one.
    brief : bool
        Whether it is closed soon after its one report, which is made durable then.
    own : bool
        Whether this process is there for the run alone: who takes the run over may end it.
    """

    def __init__(self, root: str, tag: str, slot: int, *, job: str = "", brief: bool = False, own: bool = True) -> None:
        self._brief = brief
        self._file, self.start = _create(root, tag, slot)
        #: how often the scheduler has started this slot before: a lane of the local pool is no job of one element
        self.restarts = self.start - 1 if brief else 0
        self.path = layout.box(root, tag, slot, self.start)
        self.host = os.uname().nodename
        self._host = msgspec.json.encode(self.host)
        self._unsynced = 0
        self._synced = time.monotonic()
        pid = os.getpid()
        self._write(
            msgspec.json.encode(
                Opened(
                    schema=SCHEMA,
                    tag=tag,
                    slot=slot,
                    host=self.host,
                    pid=pid,
                    job=job,
                    born=born(pid) if own else "",
                    b=time.time(),
                    version=VERSION,
                )
            )
        )

    def _write(self, payload: bytes) -> None:
        data = frame(payload)
        while data:
            data = data[os.write(self._file, data) :]

    def started(self, task: bytes, index: int, attempt: int, begin: float) -> None:
        """Say that an element's function is about to be called; `task` is JSON."""
        self._write(b'{"k":"started","t":%b,"i":%d,"a":%d,"b":%.6f}' % (task, index, attempt, begin))

    def succeeded(
        self,
        task: bytes,
        index: int,
        attempt: int,
        begin: float,
        cpu: float,
        memory: int,
        result: bytes,
        outputs: bytes,
        more: bytes = b"",
    ) -> None:
        """Report a result; `task`, `result` and `outputs` are JSON, `more` is further fields, each after a comma."""
        self._write(
            b'{"k":"finished","t":%b,"i":%d,"a":%d,"b":%.6f,"e":%.6f,"h":%b,"c":%.6f,"m":%d,"r":%b,"o":%b%b}'
            % (
                *(task, index, attempt, begin, time.time(), self._host, cpu, memory, result, outputs),
                more,
            )
        )
        self._reported()

    def failed(self, record: Finished) -> None:
        """Report a failure."""
        record.h = self.host
        self._write(msgspec.json.encode(record))
        self._reported()

    def _reported(self) -> None:
        self._unsynced += 1
        if self._brief:
            return
        if self._unsynced >= GROUP or time.monotonic() - self._synced > WITHIN:
            self.sync()

    def sync(self) -> None:
        """Make durable what was reported."""
        if self._unsynced:
            os.fsync(self._file)
            self._unsynced = 0
        self._synced = time.monotonic()

    def close(self) -> None:
        """Say that nothing follows, and make all of it durable."""
        self._write(msgspec.json.encode(Closed(b=time.time())))
        os.fsync(self._file)
        os.close(self._file)
