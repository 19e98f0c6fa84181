"""The event log: what was decided and what was reported, one file per lease epoch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import msgspec

from ... import __version__
from ...model import layout
from ...model.frames import HEAD, frame, parse
from ...model.lifecycle.states import SUCCEEDED
from ...model.record import SCHEMA, Epoch, Event, Finished, Hit
from ...model.state import Progress, State
from ...model.trace import event_tracer
from ...model.versions import require_schema
from ...worker.durable import create, make_directories, naming, sync_directory
from ...worker.opener import frames_of, open_regular
from ...worker.trust import Trust
from ..definition.load import damaged
from .lease import latest, newest, owner

_event = msgspec.json.Decoder(Event)
decode_event = _event.decode


class _Raw(msgspec.Struct):
    r: msgspec.Raw


_result = msgspec.json.Decoder(_Raw)


#: bytes written at a time
_CHUNK = 1 << 22

#: bytes of results read at a time
_AHEAD = 1 << 16

#: event files held open to read results: who drives a run by steps begins a new one with each
_MOST_OPEN = 32


class Span(msgspec.Struct, frozen=True):
    """An event file, and how many of its bytes count (None: all whole frames)."""

    epoch: int
    length: int | None


def header(root: str, epoch: int, trusted: Trust | None = None) -> Epoch | None:
    """The first frame of an epoch's event file; None where there is no whole one.

    Raises
    ------
    DataError
        It is no epoch's, or was written by a version that this one does not read.
    Untrusted
        Nobody of `trusted` has written it, or others could have; None: whoever.
    """
    path = layout.events(root, epoch)
    try:
        file = open_regular(path, trusted)
    except FileNotFoundError:
        return None
    try:
        data = os.read(file, 4096)
    finally:
        os.close(file)
    payloads, _ = parse(data)
    if not payloads:
        return None  # its writer died before it could begin
    try:
        require_schema(path, payloads[0])
        first = _event.decode(payloads[0])
    except (msgspec.MsgspecError, RecursionError):
        first = None
    if isinstance(first, Epoch):
        return first
    raise damaged(root, f"{path} does not begin with its epoch")


def readable(root: str) -> None:
    """Make sure that the newest event file is of a known version: what a newer one has begun is left alone.

    Raises
    ------
    DataError
        It was written by a version that this one does not read.
    """
    epoch = newest(f"{root}/events", ".log")
    if epoch:
        header(root, epoch)


#: seconds between further looks at a file that is shorter than it is known to be
PATIENCE = (0.1, 0.5, 2.0)


def content(
    root: str, epoch: int, length: int | None, must: int, trusted: Trust | None = None
) -> tuple[list[bytes], int]:
    """The whole frames of an event file, and where the last one ends; nothing where there is none.

    Another host's last words may be seen late, so a file that is shorter than
    it must be is opened again before anybody calls it damaged.

    Parameters
    ----------
    root, epoch : str, int
        Which file.
    length : int, optional
        How much of it counts; None: all.
    must : int
        How many bytes are known to be there.
    trusted : Trust, optional
        Who must have written it; None: whoever.
    """
    path = layout.events(root, epoch)
    payloads: list[bytes] = []
    end = 0
    for pause in (*PATIENCE, None):
        try:
            file = open_regular(path, trusted)
        except FileNotFoundError:
            size, payloads, end = 0, [], 0
        else:
            try:
                size = os.fstat(file).st_size
                with naming(path):
                    payloads, end = frames_of(file, 0, length)
            finally:
                os.close(file)
        if max(size, end) >= must or pause is None:
            break
        time.sleep(pause)
    return payloads, end


def written(root: str, epoch: int, trusted: Trust | None = None) -> int:
    """Return how many bytes of an epoch's event file its writer knew to be durable; 0 where nobody can tell.

    Raises
    ------
    Untrusted
        Nobody of `trusted` has written its lease, or others could have; None: whoever.
    """
    try:
        return owner(root, epoch, trusted).length
    except OSError:
        return 0


def spans(root: str, held: int = 0, trusted: Trust | None = None) -> list[Span]:
    """The event files that count, oldest first, each with how much of it its successor has read.

    Parameters
    ----------
    root : str
        The run's root directory.
    held : int
        An epoch that is known to have been claimed: a listing of another host's names may be stale.
    trusted : Trust, optional
        Who must have written them; None: whoever.

    Raises
    ------
    DataError
        One is missing, or damaged at its beginning.
    """
    epoch = max(held, latest(root), newest(f"{root}/events", ".log"))
    chain: list[Span] = []
    length: int | None = None
    while epoch > 0:
        # Asked before the file is read: it only grows.
        must = written(root, epoch, trusted) if length is None else length
        first = header(root, epoch, trusted)
        if first is None and must and content(root, epoch, None, must)[1]:
            first = header(root, epoch, trusted)
        if first is None:
            if must or chain:
                path = layout.events(root, epoch)
                raise damaged(root, f"{path} is missing or damaged, and it is known to have been there")
            epoch -= 1
            continue
        chain.append(Span(epoch, length))
        epoch, length = first.former, first.length
    return chain[::-1]


def replay(root: str, state: State, held: int = 0, trusted: Trust | None = None) -> Span:
    """Bring `state` to what the log says; `held`, `trusted`: see `spans`.

    Returns
    -------
    Span
        The last event file, and the length of what was read of it.

    Raises
    ------
    DataError
        Bytes that must be there are damaged or missing.
    """
    last = Span(0, 0)
    for span in spans(root, held, trusted):
        path = layout.events(root, span.epoch)
        # Of a file that nobody builds on yet, what its writer had made durable must be there; the rest may be torn.
        must = written(root, span.epoch, trusted) if span.length is None else span.length
        payloads, end = content(root, span.epoch, span.length, must, trusted)
        if end < must:
            raise damaged(root, f"{path} is damaged at byte {end}; its first {must} bytes were whole once")
        offset = HEAD
        for payload in payloads:
            try:
                state.apply(_event.decode(payload), span.epoch, offset, len(payload))
            except (msgspec.MsgspecError, LookupError, RecursionError) as error:
                raise damaged(root, f"{path} makes no sense at byte {offset - HEAD}: {error!r}") from None
            offset += len(payload) + 1 + HEAD
        last = Span(span.epoch, end)
    return last


class Log:
    """Writes one epoch's event file, and keeps a state in step with it.

    Parameters
    ----------
    root : str
        The run's root directory.
    epoch : int
        The epoch of the lease that is held.
    state : State
        As replayed; every event that is added is applied to it.
    former : Span
        What `replay` has returned.
    path : str, optional
        Where it is written, if not to its place at once.
    """

    def __init__(self, root: str, epoch: int, state: State, former: Span, path: str | None = None) -> None:
        self.root = root
        self.epoch = epoch
        self.state = state
        self.path = path or layout.events(root, epoch)
        make_directories(os.path.dirname(self.path))
        self._file = create(self.path, flags=os.O_RDWR)
        self._trace = event_tracer()
        self._buffer = bytearray()
        self._written = 0
        self._synced = 0
        self.add(
            Epoch(
                schema=SCHEMA,
                epoch=epoch,
                former=former.epoch,
                length=former.length or 0,
                host=os.uname().nodename,
                pid=os.getpid(),
                at=time.time(),
                version=__version__,
                gaps=state.has_gaps,
            )
        )
        self.commit()
        sync_directory(os.path.dirname(self.path))

    def add(self, event: Event, payload: bytes | None = None) -> None:
        """Write one event down, and apply it; durable only after `commit`."""
        if payload is None:
            payload = msgspec.json.encode(event)
        offset = self._written + len(self._buffer) + HEAD
        self._buffer += frame(payload)
        self.state.apply(event, self.epoch, offset, len(payload))
        if self._trace is not None:
            self._trace(event)

    def add_all(self, events: Iterable[Event]) -> None:
        """Write many events down, in order, as `add` does."""
        encode, apply, buffer, epoch = msgspec.json.encode, self.state.apply, self._buffer, self.epoch
        trace = self._trace
        for event in events:
            payload = encode(event)
            offset = self._written + len(buffer) + HEAD
            buffer += frame(payload)
            apply(event, epoch, offset, len(payload))
            if trace is not None:
                trace(event)

    def flush(self) -> None:
        """Hand what was added to the system, so that it can be read."""
        # At its place, and kept until it is written: one that is interrupted here is written whole the next time.
        with naming(self.path):
            while self._buffer:
                done = os.pwrite(self._file, bytes(self._buffer[:_CHUNK]), self._written)
                self._written += done
                del self._buffer[:done]

    def commit(self) -> None:
        """Make all that was added durable."""
        self.flush()
        if self._synced != self._written:
            with naming(self.path):
                os.fsync(self._file)
            self._synced = self._written

    @property
    def synced(self) -> int:
        """Bytes of the file that are durable."""
        return self._synced

    @property
    def span(self) -> Span:
        """The file being written, and how much of it counts."""
        return Span(self.epoch, self._written)

    def close(self) -> None:
        """Commit, and let go of the file."""
        try:
            self.commit()
        finally:
            os.close(self._file)


class Results:
    """Reads encoded results out of event files, by where `State` says they lie."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._files: dict[int, int] = {}
        # Results that are read together mostly lie together: what was read around one is kept for the next.
        self._data, self._data_at, self._data_of = b"", 0, -1

    def _file(self, epoch: int) -> int:
        file = self._files.get(epoch)
        if file is None:
            while len(self._files) >= _MOST_OPEN:
                os.close(self._files.pop(next(iter(self._files))))
            file = self._files[epoch] = open_regular(layout.events(self._root, epoch))
        return file

    def _payload(self, epoch: int, offset: int, length: int) -> bytes:
        start = offset - self._data_at
        if epoch != self._data_of or start < 0 or start + length > len(self._data):
            self._data = os.pread(self._file(epoch), max(length, _AHEAD), offset)
            self._data_at, self._data_of, start = offset, epoch, 0
        return self._data[start : start + length]

    def plain(self, progress: Progress, index: int) -> object:
        """What an element returned, as plain data.

        Raises
        ------
        LookupError
            No event file has it: it has not succeeded, or what its worker reported is not taken in yet.
        """
        if progress.status[index] not in SUCCEEDED or progress.file[index] <= 0:
            raise LookupError(f"{progress.name}[{index}] has no result")
        payload = self._payload(progress.file[index], progress.offset[index], progress.length[index])
        return msgspec.json.decode(bytes(_result.decode(payload).r))

    def outputs(self, progress: Progress) -> list[bytes | None]:
        """The encoded results of a task's elements, in index order; None of those that did not succeed."""
        found: list[bytes | None] = [None] * len(progress.status)
        columns = enumerate(zip(progress.status, progress.file, progress.offset, progress.length, strict=True))
        # As they lie in the files, where several workers' reports take turns.
        for epoch, offset, length, index in sorted(
            (epoch, offset, length, index) for index, (status, epoch, offset, length) in columns if status in SUCCEEDED
        ):
            found[index] = bytes(_result.decode(self._payload(epoch, offset, length)).r)
        return found

    def record(self, epoch: int, offset: int, length: int) -> Finished | Hit:
        """The whole record of one element that succeeded."""
        record = _event.decode(self._payload(epoch, offset, length))
        assert isinstance(record, (Finished, Hit))
        return record

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()
