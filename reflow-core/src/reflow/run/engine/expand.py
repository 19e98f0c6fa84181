"""Finding out a task's elements: their values, who they are, and what is cached of them."""

from __future__ import annotations

import os
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ...model import layout
from ...model.cache import CacheBackend, CacheEntry
from ...model.codec import files, names_files
from ...model.definition import Definition
from ...model.frames import frame
from ...model.lifecycle.states import PENDING
from ...model.names import Fingerprint, Source
from ...model.ranges import to_ranges
from ...model.record import Event, Expanded, Hit
from ...model.schema import escape, unescape
from ...model.state import State
from ...model.task import Input, Task
from ...planning.identity import Identity, counted, digest, located, types
from ...worker.durable import create, make_directories, naming, write_all, write_new
from ...worker.files import Fingerprints
from ...worker.inputs import Element, Header
from ...worker.seal import Places, differs
from ...worker.trust import Trust
from ..journal.log import Results
from .earlier import Earlier
from .made import Made
from .nearest import NEW, PACKAGES, SHORT, Nearest, kept_part
from .seen import replaced, seen
from .where import DIRECTORY
from .wiring import values

if TYPE_CHECKING:
    from .recoded import Recoded

#: of how many earlier results `explain` looks for the nearest
_NEAREST = 20_000

#: elements that are looked at together
_AT_ONCE = 5000

#: files of inputs that one epoch may write for one task
_PARTS = 1000

OTHER = "by other code than today's"


class _Value(msgspec.Struct, frozen=True, gc=False):
    """One encoded value of a parameter, with its digest, and the fingerprints and guards of files that it names."""

    name: str
    raw: bytes
    digest: bytes
    files: Mapping[str, str] = {}
    guards: Mapping[str, str] = {}
    made: tuple[str, ...] = ()
    seen: Mapping[str, str] = {}


class Expander:
    """Expands the tasks of a run.

    Parameters
    ----------
    root : str
        The run's root directory.
    definition : Definition
        Of the current code generation.
    state : State
        Where the run stands.
    results : Results
        Reads upstream results.
    cache : CacheBackend, optional
        None: nothing is looked up.
    policy : {"track", "warn", "ignore"}
        What changed code means for cached results.
    ctime : bool
        Whether files of equal size and time stamp are told apart by their ctime.
    trusted : Trust, optional
        Whose records are believed; None: whoever's.
    """

    def __init__(
        self,
        root: str,
        definition: Definition,
        state: State,
        results: Results,
        cache: CacheBackend | None,
        policy: str = "track",
        *,
        ctime: bool = True,
        trusted: Trust | None = None,
    ) -> None:
        #: takes sentences on what takes long
        self.tell: Callable[[str], None] | None = None
        self._ctime = ctime
        self._trusted = trusted
        self._root = root
        self._definition = definition
        self._state = state
        self._results = results
        self._cache = cache
        self._policy = policy
        self._fingerprints: dict[tuple[Fingerprint, bool], Fingerprints] = {}
        self._places = Places()
        #: what tasks of the run have left of the files that they made
        self._made: Made | None = None
        self._comparison: Recoded | None = None

    def expand(self, name: str) -> Iterator[Event]:
        """Expand one task: write the inputs of what must run, take the rest from the cache.

        Elements are looked at some thousands at a time, so that a million of
        them need no more memory than that.

        Yields
        ------
        event
            A `Hit` for each element that was cached, and at the end one `Expanded`.

        Raises
        ------
        Unequal
            Sources that are zipped differ in length.
        """
        task = self._definition.task(name)
        progress = self._state.tasks[name]
        self._fingerprints.clear()  # a file may have changed since the last task was looked at
        self._places = Places()
        self._made = Made(self._root, self._definition, self._state, self._results, task, self._trusted)
        wired = values(self._definition, task, self._state, self._results)
        known = len(progress.status)
        wanted = [i for i in range(wired.size) if i >= known or progress.status[i] == PENDING]
        lacking = {i for column in wired.own.values() for i in wanted if column[i] is None}
        wanted = [i for i in wanted if i not in lacking]
        inputs = {one.name: one for one in task.inputs}
        strict = task.array and not progress.ran  # its elements may write what all of them are given
        common = {one: self._reader(task, inputs[one], strict=strict)(raw) for one, raw in wired.common.items()}
        names = sorted(wired.own)
        # Numbered within the lease's epoch: a former owner who thaws overwrites nothing of its successor's.
        part = max(progress.parts, self._state.epoch * _PARTS)
        writer = _Writer(layout.inputs(self._root, task.name, part), wired.size)
        lookup = _Lookup(
            self._cache, self._definition, task, self._policy, self._barrier(task), common, names, ctime=self._ctime
        )
        lookup.fell = progress.fell
        lookup.recoded = self._recoded
        lookup.after = {upstream: self._state.tasks[upstream].made for upstream in task.after}
        columns = [(self._reader(task, inputs[own]), wired.own[own]) for own in names]
        shared = {one: value.digest for one, value in common.items()}
        exact = Identity(self._definition.workflow, task, task.code, shared, names)
        loose = Identity(self._definition.workflow, task, "", shared, names)
        keep = task.cache is not False and bool(task.code)
        if self._cache is not None and task.cache is not False and not task.code:
            lookup.notes += self._unkept(task)
        why: dict[str, list[int]] = {}
        for first in range(0, len(wanted), _AT_ONCE):
            chunk = wanted[first : first + _AT_ONCE]
            elements: dict[int, _Element] = {}
            for i in chunk:
                own = [value_of(column[i] or b"null") for value_of, column in columns]
                elements[i] = _Element(exact.key([value.digest for value in own]), loose, own)
            hits, reasons = lookup.find(elements)
            for i, found in elements.items():
                entry = hits.get(i)
                if entry is not None:
                    other = lookup.reserve(entry, found)
                    yield Hit(t=name, i=i, r=entry.result, by=entry.run_id, at=entry.time, o=entry.outputs, w=other)
                    continue
                if writer.empty:
                    writer.add_header(self._header(task, wired.size, common, names))
                attempt = progress.attempt[i] + 1 if i < known else 1
                writer.add(i, found.stored(keep, attempt))
                why.setdefault(reasons.get(i, NEW), []).append(i)
        writer.close()
        misses = sorted(i for indices in why.values() for i in indices)
        yield Expanded(
            task=name,
            size=wired.size,
            part=part,
            pending=to_ranges(misses),
            at=time.time(),
            skipped=to_ranges(lacking),
            misses={reason: to_ranges(indices) for reason, indices in why.items()},
            notes=tuple(lookup.notes),
        )

    def _recoded(self, entry: CacheEntry) -> str:
        if self._comparison is None:
            from .recoded import Recoded

            self._comparison = Recoded(self._root, self._definition)
        return self._comparison.since(entry)

    def _unkept(self, task: Task) -> list[str]:
        """Say that results of a task are not kept, and of all others for the same reason; once."""
        names = [one.name for one in self._definition.tasks if one.code_problem == task.code_problem]
        if task.name != names[0]:
            return []
        return [f"{', '.join(names)}: results are not kept for later runs: {task.code_problem}"]

    # --- identity ------------------------------------------------------------

    def _reader(self, task: Task, wired: Input, *, strict: bool = False) -> Callable[[bytes], _Value]:
        """Return what takes the digests of one parameter's values.

        A run directory counts by its path alone, or not at all where the task is portable. ``strict``: see `Made`.
        """
        name = wired.name
        if wired.source is Source.RUN_DIR:
            portable = task.cache == "portable"
            return lambda raw: _Value(name, raw, b"" if portable else digest(raw))
        if names_files(wired.schema):
            return partial(self._value, task, wired, strict)
        return lambda raw: _Value(name, raw, digest(raw))

    def _value(self, task: Task, wired: Input, strict: bool, raw: bytes) -> _Value:
        """Digests of one value that may name files."""
        named = files(raw, wired.schema)
        if not named:
            return _Value(wired.name, raw, digest(raw))
        policy = wired.fingerprint or task.fingerprint
        key = (policy, wired.fingerprint is not None)
        fingerprints = self._fingerprints.get(key)
        if fingerprints is None:
            fingerprints = self._fingerprints[key] = Fingerprints(policy, named=key[1], tell=self.tell)
        cwd = self._definition.cwd
        prints = fingerprints.many((os.path.join(cwd, path), declared) for path, declared in named)
        # A path that is no UTF-8 is kept as text that is.
        marks = {escape(path): found.digest for path, found in prints.items()}
        guards = {escape(path): found.guard for path, found in prints.items() if found.guard is not None}
        made: tuple[str, ...] = ()
        if wired.source is Source.RESULT and self._made is not None:
            made = tuple(self._made.correct(marks, strict=strict))
        told = seen(wired.name, prints, self._places.of)
        return _Value(wired.name, raw, digest(raw, sorted(marks.items())), marks, guards, made, told)

    # --- the cache -----------------------------------------------------------

    def _barrier(self, task: Task) -> str | None:
        """Why no element of a task may be taken from the cache, whatever it holds."""
        definition = self._definition
        if self._cache is None:
            return "caching is switched off"
        if task.cache is False:
            return "caching is off for this task"
        if definition.force or task.name in definition.force_tasks:
            return "forced"
        if not task.code:
            return task.code_problem
        for upstream in task.after:
            if self._state.tasks[upstream].ran:
                return f"ordered after {upstream}, which ran"
        return None

    def _header(self, task: Task, size: int, common: Mapping[str, _Value], names: Sequence[str]) -> Header:
        plain = {one.name for one in task.inputs if one.source is Source.PLAIN}  # Python fills in the default
        return Header(
            task=task.name,
            size=size,
            common={name: msgspec.Raw(value.raw) for name, value in common.items() if name not in plain},
            names=tuple(names),
            parts=_parts(common.values()),
            files=_merged(value.files for value in common.values()),
            guards=_merged(value.guards for value in common.values()),
            generation=self._definition.generation,
            made=tuple([path for value in common.values() for path in value.made]),
            seen=_merged(value.seen for value in common.values()),
        )


class _Element(msgspec.Struct, frozen=True, gc=False):
    """An element: its key, what makes its key without the code, and its own values."""

    exact: str
    other: Identity
    own: list[_Value]

    @property
    def loose(self) -> str:
        """The key without the code."""
        return self.other.key([value.digest for value in self.own])

    def stored(self, keep: bool, attempt: int) -> Element:
        """What its inputs file says of it; `keep`: its result may be kept in the cache."""
        return Element(
            v=tuple([msgspec.Raw(value.raw) for value in self.own]),
            k=self.exact if keep else "",
            d={**_parts(self.own), "loose": self.loose} if keep else {},
            f=_merged([value.files for value in self.own]),
            g=_merged([value.guards for value in self.own]),
            m=tuple([path for value in self.own for path in value.made]),
            a=attempt,
            s=self.seen,
        )

    @property
    def seen(self) -> dict[str, str]:
        """What tells its own files apart from others of equal fingerprints."""
        return _merged([value.seen for value in self.own])


class _Writer:
    """Writes an inputs file, if anything is added to it; durable once it is closed."""

    def __init__(self, path: str, size: int) -> None:
        self._path = path
        self._index = array("Q", bytes(8 * size))
        self._chunks: list[bytes] = []
        self._offset = 0
        self._file = -1

    @property
    def empty(self) -> bool:
        """Whether nothing was added yet."""
        return not self._offset

    def add_header(self, header: Header) -> None:
        """Begin the file."""
        make_directories(os.path.dirname(self._path))
        with suppress(FileNotFoundError):  # of a process that died before the run knew of it
            os.unlink(self._path)
        self._file = create(self._path)
        self._append(msgspec.json.encode(header))

    def add(self, index: int, element: Element) -> None:
        """Write one element's inputs."""
        self._index[index] = self._offset
        self._append(msgspec.json.encode(element))
        if len(self._chunks) >= _AT_ONCE:
            self._flush()

    def _append(self, payload: bytes) -> None:
        data = frame(payload)
        self._chunks.append(data)
        self._offset += len(data)

    def _flush(self) -> None:
        with naming(self._path):
            write_all(self._file, b"".join(self._chunks))
        self._chunks.clear()

    def close(self) -> None:
        """Make the file and its index durable."""
        if self._file < 0:
            return
        self._flush()
        os.fsync(self._file)
        os.close(self._file)
        if sys.byteorder == "big":
            self._index.byteswap()
        write_new(self._path + ".idx", self._index.tobytes())


class _Lookup:
    """Finds a task's elements in the cache, and says why others are not there."""

    def __init__(
        self,
        cache: CacheBackend | None,
        definition: Definition,
        task: Task,
        policy: str,
        barrier: str | None,
        common: Mapping[str, _Value],
        own: Sequence[str],
        *,
        ctime: bool,
    ) -> None:
        self._cache = cache
        self._definition = definition
        self._task = task
        self._policy = policy
        self._barrier = barrier
        self._shared = _parts(common.values())
        self._own = own
        self._past: list[CacheEntry] | None = None
        self._near: Nearest | None = None
        self._earlier = Earlier(definition)
        #: element -> how it failed before in this run
        self.fell: Mapping[int, str] = {}
        #: (path, seal, fingerprint or guard) -> how it differs from that
        self._known: dict[tuple[str, str], str] = {}
        self._ctime = ctime
        self._places = Places()
        #: what tells files of the common values apart from others of equal fingerprints
        self._seen = _merged(value.seen for value in common.values())
        self._located = names_files(task.returns)
        #: tasks that this one is ordered after -> run -> when that computed the newest of their results
        self.after: Mapping[str, Mapping[str, float]] = {}
        self.notes: list[str] = []
        #: names what of the code has changed since a result was computed
        self.recoded: Callable[[CacheEntry], str] = lambda _: ""

    def find(self, elements: Mapping[int, _Element]) -> tuple[dict[int, CacheEntry], dict[int, str]]:
        """Entries of those that are cached, and reasons for the others."""
        if self._barrier is not None or self._cache is None:
            return {}, dict.fromkeys(elements, self._barrier or "")
        keys = {i: self._keys(element.exact) for i, element in elements.items()}
        found = self._cache.lookup([key for several in keys.values() for key in several])
        hits: dict[int, CacheEntry] = {}
        reasons: dict[int, str] = {}
        missing: dict[int, _Element] = {}
        for i, element in elements.items():
            entries = [found[key] for key in keys[i] if key in found]
            if entries:
                self._choose(i, element, entries, hits, reasons)
            else:
                missing[i] = element
        if missing and self._policy != "track":
            for i, entry in self._of_other_code(missing).items():
                self._choose(i, missing[i], [entry], hits, reasons)
        if self._near is not None or missing:
            self._nearest().take(entry.key for entry in hits.values())
        for i, element in missing.items():
            if i not in hits and i not in reasons:
                reasons[i] = self._why(i, element)
        return hits, reasons

    def _keys(self, key: str) -> tuple[str, ...]:
        """The keys under which a result may be kept: of this directory alone, or of any."""
        return (located(key, self._definition.cwd), key) if self._located else (key,)

    def reserve(self, entry: CacheEntry, element: _Element) -> str:
        """Return what there is to say of a hit: other code, or other versions of packages."""
        said = [] if self.is_of(entry, element) else [OTHER]
        if entry.packages != self._task.packages:
            from ...authoring.code.packages import difference

            changed = difference(entry.packages, self._task.packages)
            said += [f"with {changed}"] if changed else []
        return ", ".join(said)

    def is_of(self, entry: CacheEntry, element: _Element) -> bool:
        """Whether an entry is of the element's own code."""
        return entry.key == element.exact or entry.key in self._keys(element.exact)

    def _choose(
        self,
        i: int,
        element: _Element,
        entries: Iterable[CacheEntry],
        hits: dict[int, CacheEntry],
        reasons: dict[int, str],
    ) -> None:
        """Take the first entry that can be used, or enter why there is none."""
        for entry in entries:
            spoiled = self._spoiled(entry) if self.after or entry.outputs or entry.guards else ""
            if entry.seen and not spoiled:
                spoiled = replaced(entry.seen, {**self._seen, **element.seen}, ctime=self._ctime)
            if not spoiled:
                hits[i] = entry
                return
            reasons.setdefault(i, spoiled)

    def _of_other_code(self, missing: Mapping[int, _Element]) -> dict[int, CacheEntry]:
        assert self._cache is not None
        older = {entry.parts.get("loose", ""): entry.key for entry in reversed(self._history())}
        loose = {i: self._keys(element.loose) for i, element in missing.items()}
        chosen = {i: next((key for key in several if key in older), None) for i, several in loose.items()}
        keys = {i: older[key] for i, key in chosen.items() if key is not None}
        found = self._cache.lookup(list(keys.values()))
        taken = {i: found[key] for i, key in keys.items() if key in found}
        if taken and self._policy == "warn":
            told = f"{self._task.name}: {len(taken)} cached results were computed by other code than today's"
            self.notes.append(told)
        return taken

    def _spoiled(self, entry: CacheEntry) -> str:
        """Why an entry can't be used.

        It was computed before what its task is ordered after, an output is gone
        or changed, or an input that was young is another now.
        """
        for upstream, made in self.after.items():
            # Within one run the order held, whatever the clocks of its hosts say.
            if any(time > entry.time for run, time in made.items() if run != entry.run_id):
                return f"ordered after {upstream}, which ran since"
        if entry.outputs and self._task.verify and self._definition.verify:
            for path, digest in entry.outputs.items():
                how = self._differs(path, digest)
                if how:
                    return f"output {path} {how}"
        for path, digest in entry.guards.items():
            if self._differs(path, digest):
                return f"input {path} has changed"
        return ""

    def _differs(self, path: str, text: str) -> str:
        known = self._known.get((path, text))
        if known is None:
            known = self._known[path, text] = differs(unescape(path), text, ctime=self._ctime, place=self._places.of)
        return known

    def _history(self) -> list[CacheEntry]:
        """Earlier results of the task, newest first."""
        if self._past is None:
            assert self._cache is not None
            self._past = []
            for entry in self._cache.history(self._definition.workflow, self._task.name):
                if entry.run_id != self._definition.run_id:
                    self._past.append(entry)
                if len(self._past) >= _NEAREST and self._policy == "track":
                    break
        return self._past

    def _nearest(self) -> Nearest:
        if self._near is None:
            history = self._history()
            if any(DIRECTORY in entry.parts for entry in history):
                self._shared[DIRECTORY] = digest(self._definition.cwd.encode()).hex()[:SHORT]
            self._near = Nearest(history, self._own, self.recoded)
        return self._near

    def _why(self, index: int, element: _Element) -> str:
        """Say what became of the element before, or what differs from the nearest earlier result."""
        if index in self.fell:
            return f"failed before ({self.fell[index]}), no result"
        fate = self._earlier.fate(self._task.name, element.exact)
        return fate or self._nearest().why(parts_of(self._task, self._shared) | _parts(element.own))


def _parts(values: Iterable[_Value]) -> dict[str, str]:
    """Short digests of values, for `explain`: what each says, and the files that it names."""
    found: dict[str, str] = {}
    for value in values:
        if value.files:
            found[value.name] = kept_part(digest(value.raw), value.raw)
            found[f"files of {value.name}"] = digest(b"", sorted(value.files.items())).hex()[:SHORT]
        elif value.digest:
            found[value.name] = kept_part(value.digest, value.raw)
    return found


def _merged(marks: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """What all values say of the files that they name; most name none."""
    found: dict[str, str] = {}
    for one in marks:
        if one:
            found.update(one)
    return found


def parts_of(task: Task, shared: Mapping[str, str]) -> dict[str, str]:
    """Return the components of an identity that all elements of a task share, as the cache keeps them."""
    digests = {"code": task.code, "types": types(task), "env": task.env_digest}
    parts = {name: one[:SHORT] for name, one in digests.items()}
    if task.counted:
        versions = ", ".join(f"{name} {version}" for name, version in sorted(task.counted.items()))
        parts[PACKAGES] = f"{counted(task)[:SHORT]}={versions}"
    return parts | {"version": task.version, **shared}
