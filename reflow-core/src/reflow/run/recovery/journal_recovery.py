"""Making up the truth of a run whose files were damaged: from events, inputs, job specifications and the mailbox.

Nothing that is there is overwritten. What was salvaged goes to the event file
of a new epoch, which builds on the last byte before the damage; the damaged
files stay where they are, and nobody reads them any more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from ...errors import DataError, ReflowError
from ...model import layout
from ...model.definition import Definition
from ...model.frames import HEAD, salvage
from ...model.lifecycle.states import CACHED, PENDING, QUEUED, RUNNING, SUCCESS
from ...model.names import RunState
from ...model.ranges import from_ranges, to_ranges
from ...model.record import (
    Again,
    Cancelled,
    CodeChanged,
    Epoch,
    Event,
    Expanded,
    Failed,
    Finished,
    Hit,
    Intent,
    JobSpec,
    Kept,
    Mail,
    Obeyed,
    PoolOpened,
    Read,
    Requeued,
    Reset,
    RunChanged,
    Settled,
    Uncached,
    Voided,
)
from ...model.state import State
from ...model.versions import require_schema
from ...worker.durable import sync_directory
from ...worker.inputs import Element, Header, Inputs
from ...worker.opener import WHOLE, decoded, read_regular
from ...worker.tags import void
from ..definition.trust import acting
from ..journal.lease import latest, newest
from ..journal.log import Log, Span, content, written
from ..journal.report_reader import commands, frozen_trust

_event = msgspec.json.Decoder(Event)
_mail = msgspec.json.Decoder(Mail)
_header = msgspec.json.Decoder(Header)
_element = msgspec.json.Decoder(Element)

_DONE = (SUCCESS, CACHED)
_FLYING = (QUEUED, RUNNING)


class Chapter(msgspec.Struct):
    """One epoch's event file, as it is found.

    ``whole`` is the number of its bytes before any damage, ``damage`` says what is wrong with it.
    """

    epoch: int
    whole: int
    frames: list[tuple[int, bytes]]
    damage: str = ""


def survey(root: str) -> list[Chapter]:
    """The event files that count, oldest first, with all frames that can be read.

    Raises
    ------
    DataError
        One was written by a version that this one does not read.
    """
    epoch = max(latest(root), newest(f"{root}/events", ".log"))
    chapters: list[Chapter] = []
    length: int | None = None
    while epoch > 0:
        path = layout.events(root, epoch)
        must = written(root, epoch) if length is None else length
        content(root, epoch, length, must)  # waits for what another host has written
        data = _bytes(path)[:length]
        frames, gaps = salvage(data)
        whole = gaps[0][0] if gaps else len(data)
        with suppress(msgspec.MsgspecError, IndexError):
            require_schema(path, frames[0][1])
        first = _decoded(frames[0][1]) if frames else None
        chapter = Chapter(epoch, whole, frames)
        if not data and must:
            chapter.damage = f"{path} is missing"
        elif whole < must or any(offset > whole for offset, _ in frames):
            chapter.damage = f"{path} is damaged at byte {whole}"
        elif frames and not isinstance(first, Epoch):
            chapter.whole, chapter.damage = 0, f"{path} does not begin with its epoch"
        if frames or chapter.damage:
            chapters.append(chapter)
        if isinstance(first, Epoch):
            epoch, length = first.former, first.length
        else:
            epoch, length = epoch - 1, None
    return chapters[::-1]


def _bytes(path: str) -> bytes:
    """What a file holds; nothing where it is not there, or is no file that can be read."""
    try:
        return read_regular(path, most=WHOLE)
    except OSError:
        return b""


def _decoded(payload: bytes) -> Event | None:
    try:
        event: Event = _event.decode(payload)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return event


class Salvage:
    """Brings a run's state to what can be known of it, and writes down what is missing.

    Parameters
    ----------
    root : str
        The run's root directory.
    definition : Definition
        Of its first code generation.
    epoch : int
        Of the lease that is held.

    Attributes
    ----------
    state : State
        Where the run stands.
    done : list of str
        What was found and mended, a sentence each.
    """

    def __init__(self, root: str, definition: Definition, epoch: int) -> None:
        self.root = root
        self.definition = definition
        self.state = State(definition)
        self.done: list[str] = []
        self.intents: dict[str, Intent] = {}
        #: (task, part) -> how many elements the task had, and which of them the file of inputs holds
        self.parts: dict[tuple[str, int], tuple[int, str]] = {}
        self._epoch = epoch
        self._log: Log | None = None
        self._former = Span(0, 0)

    # --- events --------------------------------------------------------------

    def events(self) -> None:
        """Read all events; where some are damaged, write down anew what follows the damage."""
        rest: list[bytes] = []
        damaged = False
        for chapter in survey(self.root):
            if damaged:
                rest += [payload for _, payload in chapter.frames]
                if chapter.damage:
                    self.done.append(f"{chapter.damage}; what can be read of it was written down anew")
                continue
            end = 0
            for offset, payload in chapter.frames:
                if offset >= chapter.whole:
                    break
                event = _decoded(payload)
                if event is None or not self._fits(event, strict=False):
                    chapter.damage = f"{layout.events(self.root, chapter.epoch)} makes no sense at byte {offset}"
                    break
                self._note(event)
                self.state.apply(event, chapter.epoch, offset + HEAD, len(payload))
                end = offset + HEAD + len(payload) + 1
            if end or not chapter.damage:
                self._former = Span(chapter.epoch, end)
            if chapter.damage:
                damaged = True
                self.done.append(f"{chapter.damage}; what can be read of it was written down anew")
                rest += [payload for offset, payload in chapter.frames if offset >= end]
        if damaged or self._nothing_but_files():
            self.state.has_gaps = True
            self._again(rest)

    def _nothing_but_files(self) -> bool:
        """Whether all events are lost, of a run that had some."""
        if self._former.epoch:
            return False
        told = any(name.endswith(".json") for name in _names(f"{self.root}/jobs")) or any(
            "." in name for name in _names(f"{self.root}/inputs")
        )
        if told:
            self.done.append(f"{self.root}/events is lost; what other files tell was written down anew")
        return told

    def _again(self, payloads: list[bytes]) -> None:
        """Write down again what stands behind the damage, and before it what other files tell of the lost part."""
        events = [event for payload in payloads if (event := _decoded(payload)) is not None]
        kept = [payload for payload in payloads if _decoded(payload) is not None]
        for event in events:
            self._note(event)
        for event in self._lost_parts():
            self.add(event)
        for event in self._lost_jobs():
            self.add(event)
        dropped = len(payloads) - len(kept)
        for event, payload in zip(events, kept, strict=True):
            if isinstance(event, Epoch):
                continue
            if self._fits(event):
                self.add(event, payload)
            else:
                dropped += 1
        if dropped:
            self.done.append(f"{dropped} events make no sense without those that are lost, and were left out")
        self._mail_again()
        self._reports()
        if self.state.run is RunState.PENDING and self.state.flights:
            self.add(RunChanged(state=RunState.RUNNING, at=time.time()))

    def _note(self, event: Event) -> None:
        if isinstance(event, Intent):
            self.intents[event.tag] = event
        elif isinstance(event, Expanded):
            self.parts[event.task, event.part] = (event.size, event.pending)

    def _lost_parts(self) -> Iterator[Event]:
        """Expansions that no event tells of, though their inputs were written."""
        for task in self.definition.tasks:
            found = []
            for name in _names(f"{self.root}/inputs"):
                head, _, number = name.rpartition(".")
                if head == task.name and number.isdigit() and (task.name, int(number)) not in self.parts:
                    found.append(int(number))
            for part in sorted(found):
                if part < self.state.tasks[task.name].parts:
                    continue  # of an expansion that was never written down, or was made again since
                try:
                    size, pending = _contents(layout.inputs(self.root, task.name, part))
                except (OSError, ReflowError, msgspec.MsgspecError):
                    continue
                event = Expanded(task=task.name, size=size, part=part, pending=pending, at=time.time())
                self._note(event)
                self.done.append(f"{task.name} was expanded: its inputs tell so, no event does")
                yield event

    def _lost_jobs(self) -> Iterator[Event]:
        """Submissions that no event tells of, though what their workers need was written."""
        specs: list[tuple[float, JobSpec]] = []
        for name in _names(f"{self.root}/jobs"):
            tag, _, end = name.rpartition(".")
            if end != "json" or tag in self.intents:
                continue
            path = layout.job(self.root, tag)
            with suppress(OSError, msgspec.MsgspecError):
                spec = decoded(_spec.decode, read_regular(path))
                specs.append((os.stat(path).st_mtime, spec))
        pools = [name for name, _ in _pools(self.root)]
        for pool in pools[-1:]:
            if pool not in self.state.pools:
                yield PoolOpened(tag=pool, host=os.uname().nodename, at=time.time())
        for at, spec in sorted(specs, key=lambda one: (one[1].attempt, one[0])):
            event = Intent(
                tag=spec.tag,
                task=spec.task,
                elements=spec.elements,
                attempt=spec.attempt,
                part=int(spec.inputs.rpartition(".")[2]),
                at=at,
                generation=spec.generation,
                resources=spec.resources,
                array=spec.array,
            )
            if self._voided(spec.tag) or not self._fits(event):
                continue
            progress = self.state.tasks[spec.task]
            elements = from_ranges(spec.elements)
            if any(progress.attempt[index] > spec.attempt for index in elements):
                continue
            self.done.append(f"job {spec.tag} was submitted, or about to be: its specification tells so, no event does")
            self._note(event)
            behind = [index for index in elements if progress.attempt[index] < spec.attempt]
            if behind:
                yield Again(task=spec.task, elements=to_ranges(behind), attempt=spec.attempt, due=0.0, at=at)
            yield event

    def _voided(self, tag: str) -> bool:
        try:
            return read_regular(layout.tag(self.root, tag)) == b"void"
        except OSError:
            return False

    def _mail_again(self) -> None:
        """Commands of which no event tells that they were obeyed may have been: nobody obeys them a second time."""
        generation = self.state.generation
        for command in commands(self.root, self.state, acting(self.root, frozen_trust(self.state))):
            told = f"{command.verb} may have been carried out before the run was damaged; give it again if it is due"
            self.add(Obeyed(id=command.id, verb=command.verb, at=time.time(), said=told))
            self.done.append(f"{command.id}: {told}")
            generation = max(generation, command.generation)
        generation = max([generation, *(flight.generation for flight in self.state.flights)])
        if generation > self.state.generation:
            self.add(CodeChanged(generation=generation, at=time.time()))

    def _fits(self, event: Event, strict: bool = True) -> bool:
        """Whether an event makes sense where the run stands; `strict`: some before it may be missing."""
        if isinstance(event, Finished | Hit):
            progress = self.state.tasks.get(event.t)
            if progress is None or event.i < 0:
                return False
            if isinstance(event, Hit):
                return not (strict and event.i < len(progress.status) and progress.status[event.i] in _DONE)
            known = event.i < len(progress.status)
            return known and not (strict and progress.status[event.i] in _DONE)
        if isinstance(event, Expanded):
            return event.task in self.state.tasks
        if isinstance(event, Intent | Failed | Requeued | Again | Settled | Reset | Kept | Uncached) or (
            isinstance(event, Cancelled) and event.elements is not None
        ):
            progress = self.state.tasks.get(event.task)
            if progress is None:
                return False
            try:
                elements = from_ranges(event.elements or "")
            except ValueError:
                return False
            if any(not 0 <= index < len(progress.status) for index in elements):
                return False
            if not strict or isinstance(event, Kept | Uncached | Settled | Reset | Cancelled):
                return True
            if isinstance(event, Intent) and any(flight.tag == event.tag for flight in self.state.flights):
                return False
            return not any(progress.status[index] in _DONE for index in elements)
        return True

    def _counts(self, record: Finished) -> bool:
        """Whether a worker's report is to be believed now."""
        progress = self.state.tasks.get(record.t)
        if progress is None or not 0 <= record.i < len(progress.status):
            return False
        if progress.status[record.i] in _DONE or record.a < progress.attempt[record.i]:
            return False
        return not record.f or self.state.accepts(record)

    # --- mailbox and inputs --------------------------------------------------

    def mail(self) -> None:
        """Take in what stands behind damage in the mailbox: a worker's report is whole in itself."""
        for box, records in _boxes(self.root, damaged=True):
            upto = _whole(self.root, box)
            if self.state.boxes.get(box, 0) >= upto:
                continue
            count = self._take(box, records)
            self.done.append(f"{self.root}/mailbox/{box} is damaged; {count} results were found in it")

    def _reports(self) -> None:
        """Take in all that workers have reported."""
        for box, records in _boxes(self.root):
            if box in self.state.boxes or records:
                self._take(box, records)

    def _take(self, box: str, records: list[tuple[Mail, bytes]]) -> int:
        """Take in one mailbox file; how many of its results count."""
        count = 0
        for record, payload in records:
            if isinstance(record, Finished) and self._counts(record):
                self.add(record, payload)
                count += 1
        self.add(Read(box=box, upto=_whole(self.root, box)))
        return count

    def inputs(self, pooled: bool) -> None:
        """Elements whose inputs are lost are expanded anew; what workers of a pool have reported of them counts."""
        if pooled and any(
            self._without(name, [i for code in (*_FLYING, PENDING) for i in progress.indices(code)])
            for name, progress in self.state.tasks.items()
            if progress.open
        ):
            self._reports()
        for task in self.definition.tasks:
            progress = self.state.tasks[task.name]
            if not progress.open:
                continue
            spoiled = [index for index in progress.indices(SUCCESS) if not progress.kept[index]]
            spoiled = [] if task.cache is False else self._without(task.name, spoiled)
            if spoiled:
                self.add(Uncached(task=task.name, elements=to_ranges(spoiled), reason="its inputs were damaged"))
                self.done.append(f"{len(spoiled)} results of {task.name} are not kept: their inputs are damaged")
            flying = self._without(task.name, [i for code in _FLYING for i in progress.indices(code)])
            flights = {progress.job[index] for index in flying}
            for position in sorted(flights):
                flight = self.state.flights[position]
                held = [i for i in flight.elements if progress.job[i] == position and progress.status[i] in _FLYING]
                if pooled:
                    now = time.time()
                    self.add(Requeued(task=task.name, elements=to_ranges(held), reason="damaged inputs", at=now))
                elif void(layout.tag(self.root, flight.tag)) is None:
                    self.add(Voided(tag=flight.tag, reason="its inputs were damaged", at=time.time()))
            lost = self._without(task.name, progress.indices(PENDING))
            if lost:
                self.add(Reset(task=task.name, elements=to_ranges(lost), at=time.time(), reason="repair"))
                self.done.append(f"{len(lost)} elements of {task.name} are looked up again: their inputs are lost")

    def _without(self, task: str, indices: list[int]) -> list[int]:
        """Those elements whose inputs cannot be read."""
        progress = self.state.tasks[task]
        opened: dict[int, Inputs | None] = {}
        lost = []
        for index in indices:
            part = progress.part[index]
            if part not in opened:
                try:
                    opened[part] = Inputs(layout.inputs(self.root, task, part))
                except (OSError, ReflowError, msgspec.MsgspecError):
                    opened[part] = None
            inputs = opened[part]
            try:
                if inputs is None or not inputs.has(index):
                    raise DataError("")
                inputs.element(index)
            except (OSError, ReflowError, msgspec.MsgspecError):
                lost.append(index)
        for inputs in opened.values():
            if inputs is not None:
                inputs.close()
        return lost

    # --- writing -------------------------------------------------------------

    def add(self, event: Event, payload: bytes | None = None) -> None:
        """Write one event down, for the time being beside the place where it belongs."""
        if self._log is None:
            draft = f"{layout.events(self.root, self._epoch)}.draft"
            with suppress(FileNotFoundError):
                os.unlink(draft)
            self._log = Log(self.root, self._epoch, self.state, self._former, draft)
        self._log.add(event, payload)

    def finish(self) -> int:
        """Let what was written count; returns how many bytes that are, 0 for none."""
        if self._log is None:
            return 0
        self._log.close()
        path = layout.events(self.root, self._epoch)
        os.rename(self._log.path, path)
        sync_directory(os.path.dirname(path))
        return self._log.synced


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


_spec = msgspec.json.Decoder(JobSpec)


def _pools(root: str) -> list[tuple[str, float]]:
    """Tags below which pools' workers have reported, oldest first."""
    found: list[tuple[str, float]] = []
    for shard in _names(f"{root}/mailbox"):
        for tag in _names(f"{root}/mailbox/{shard}"):
            with suppress(OSError):
                found.append((tag, os.stat(f"{root}/mailbox/{shard}/{tag}/jobs").st_mtime))
    return sorted(found, key=lambda one: one[1])


def _boxes(root: str, damaged: bool = False) -> Iterator[tuple[str, list[tuple[Mail, bytes]]]]:
    """All mailbox files, the oldest first, with all records that can be read; or only those with damage in between."""
    paths: list[tuple[float, str]] = []
    for top, folders, names in os.walk(f"{root}/mailbox"):
        if top == f"{root}/mailbox" and "commands" in folders:
            folders.remove("commands")
        for name in names:
            if name.replace(".", "").isdigit():
                with suppress(OSError):
                    paths.append((os.stat(f"{top}/{name}").st_mtime, f"{top}/{name}"))
    for _, path in sorted(paths):
        frames, gaps = salvage(_bytes(path))
        if damaged and not any(offset > gaps[0][0] for offset, _ in frames if gaps):
            continue
        records: list[tuple[Mail, bytes]] = []
        for _, payload in frames:
            with suppress(msgspec.MsgspecError):
                if not records:
                    require_schema(path, payload)
                records.append((_mail.decode(payload), payload))
        yield path[len(f"{root}/mailbox/") :], records


def _whole(root: str, box: str) -> int:
    """Where the last whole frame of a mailbox file ends."""
    frames, _ = salvage(_bytes(f"{root}/mailbox/{box}"))
    return frames[-1][0] + HEAD + len(frames[-1][1]) + 1 if frames else 0


def _contents(path: str) -> tuple[int, str]:
    """How many elements a task had when a file of inputs was written, and which of them it holds."""
    inputs = Inputs(path)
    try:
        header = inputs.header
        held = [index for index in range(header.size) if inputs.has(index)]
        for index in held:
            inputs.element(index)
    finally:
        inputs.close()
    return header.size, to_ranges(held)


def index_of(path: str, size: int, pending: str) -> bytes | None:
    """Make up the index of a file of inputs from its frames; None where they are not all there."""
    try:
        frames, gaps = salvage(read_regular(path, most=WHOLE))
    except OSError:
        return None
    held = list(from_ranges(pending))
    if gaps or len(frames) != len(held) + 1:
        return None
    index = bytearray(8 * size)
    for element, (offset, _) in zip(held, frames[1:], strict=True):
        index[8 * element : 8 * element + 8] = offset.to_bytes(8, "little")
    return bytes(index)
