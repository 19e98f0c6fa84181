"""Reading a run's journal as a story: each event once, in order, a piece of a file at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from ...errors import Stalled, UsageError
from ...model import layout
from ...model.definition import Definition
from ...model.frames import HEAD
from ...model.ranges import from_ranges
from ...model.record import Event, Expanded
from ...model.state import State
from ...model.story import Subject, Subjects, kind_of, sentence, time_of
from ...worker.durable import naming
from ...worker.opener import open_regular, pieces_of
from ..definition.load import damaged
from ..journal.lease import latest, owner
from ..journal.log import PATIENCE, decode_event, spans, written
from .status import standing

#: seconds between two looks at a journal that grows
_LOOK = 0.5

#: looks that find a run stalled, or ended and still held, before it is no longer followed
_ENOUGH = 5


class Journal:
    """Reads the event files of a run, as far as they are written, each event once.

    Parameters
    ----------
    root : str
        The run's root directory.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        #: the file that is being read, and how far it has been read
        self.epoch, self.offset = 0, 0

    def new(self) -> Iterator[tuple[Event, int, int, int]]:
        """Yield the events that were added since the last call, each with epoch, offset and length of its record.

        Raises
        ------
        DataError
            Bytes that must be there are damaged or missing, or of a schema that this version does not read.
        """
        for span in spans(self._root):
            if span.epoch < self.epoch:
                continue
            if span.epoch > self.epoch:
                self.epoch, self.offset = span.epoch, 0
            # Of a file that nobody builds on yet, what its writer had made durable must be there; the rest may be torn.
            must = written(self._root, span.epoch) if span.length is None else span.length
            for pause in (*PATIENCE, None):
                yield from self._read(span.length)
                if self.offset >= must:
                    break
                if pause is None:
                    path = layout.events(self._root, span.epoch)
                    raise damaged(self._root, f"{path} is damaged at byte {self.offset}; {must} bytes were written")
                time.sleep(pause)  # another host's last words may be seen late

    def _read(self, length: int | None) -> Iterator[tuple[Event, int, int, int]]:
        path = layout.events(self._root, self.epoch)
        try:
            file = open_regular(path)
        except FileNotFoundError:
            return
        try:
            with naming(path):
                for payloads, end in pieces_of(file, self.offset, length):
                    for payload in payloads:
                        yield self._decoded(path, payload), self.epoch, self.offset + HEAD, len(payload)
                        self.offset += HEAD + len(payload) + 1
                    assert self.offset == end
        finally:
            os.close(file)

    def _decoded(self, path: str, payload: bytes) -> Event:
        try:
            return decode_event(payload)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise damaged(self._root, f"{path} makes no sense at byte {self.offset}: {error!r}") from None


def story(
    root: str,
    definition: Definition,
    task: str | None = None,
    elements: Collection[int] | None = None,
    *,
    follow: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield the events of a run as `Run.events` does."""
    arrays = {one.name: one.array for one in definition.tasks}
    chosen = None if task is None or not arrays[task] else elements
    subjects, size, at = Subjects(), None, 0.0
    for event, epoch in _followed(root, definition) if follow else _recorded(root):
        about = subjects.of(event)
        at = time_of(event) or at
        if isinstance(event, Expanded) and event.task == task:
            size = event.size
        if task is not None and not any(_is_about(one, task, chosen) for one in about):
            continue
        name = about[0][0] if len({name for name, _ in about}) == 1 else None
        indices = about[0][1] if len(about) == 1 and name and arrays.get(name, True) else None
        yield {
            "at": at or None,
            "epoch": epoch,
            "event": kind_of(event),
            "task": name,
            "elements": indices,
            "text": sentence(event),
        }
    if chosen and size is not None and max(chosen) >= size:
        raise UsageError(f"{task} has {size} elements, so there is no element {max(chosen)}")


def _is_about(subject: Subject, task: str, chosen: Collection[int] | None) -> bool:
    name, elements = subject
    if name != task or chosen is None or elements is None:
        return name == task
    among = from_ranges(elements)
    return any(index in among for index in chosen)


def _recorded(root: str) -> Iterator[tuple[Event, int]]:
    for event, epoch, _, _ in Journal(root).new():
        yield event, epoch


def _followed(root: str, definition: Definition) -> Iterator[tuple[Event, int]]:
    """Yield events as they are written, until the run has ended.

    Raises
    ------
    Stalled
        It will not end by itself.
    """
    journal, state, looks = Journal(root), State(definition), 0
    while True:
        count = 0
        for event, epoch, offset, length in journal.new():
            state.apply(event, epoch, offset, length)
            count += 1
            yield event, epoch
        word = standing(root, definition, state)
        if state.run.ended and _is_released(root):
            return
        looks = 0 if count or not (state.run.ended or word["status"] == "STALLED") else looks + 1
        if looks >= _ENOUGH:
            if state.run.ended:
                return
            raise Stalled(f"nothing more will happen by itself: {word['reason']}")
        time.sleep(_LOOK)


def _is_released(root: str) -> bool:
    """Whether no process holds the lease, so that nothing follows by itself."""
    epoch = latest(root)
    holder = owner(root, epoch) if epoch else None
    return holder is None or holder.released or holder.dead()
