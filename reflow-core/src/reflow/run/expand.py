"""Finding out a task's elements: their values, who they are, and what is cached of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ..model import layout
from ..model.cache import CacheBackend, CacheEntry
from ..model.codec import files
from ..model.definition import Definition
from ..model.frames import frame
from ..model.names import Fingerprint, Source
from ..model.ranges import to_ranges
from ..model.record import Event, Expanded, Hit
from ..model.state import PENDING, State
from ..model.task import Input, Task
from ..planning.identity import Identity, digest, types
from ..worker.files import Fingerprints, unchanged
from ..worker.inputs import Element, Header
from .durable import write_new
from .log import Results
from .wiring import Wired, values

#: characters of a digest that are kept for `explain`
_SHORT = 16

#: of how many earlier results `explain` looks for the nearest
_NEAREST = 20_000

#: files of inputs that one epoch may write for one task
_PARTS = 1000

NEW = "no earlier result"


class _Value(msgspec.Struct, frozen=True):
    """One encoded value, with what identifies it."""

    raw: bytes
    digest: bytes
    parts: tuple[tuple[str, str], ...]
    files: Mapping[str, str]
    guards: Mapping[str, str]


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
    """

    def __init__(
        self,
        root: str,
        definition: Definition,
        state: State,
        results: Results,
        cache: CacheBackend | None,
        policy: str = "track",
    ) -> None:
        self._root = root
        self._definition = definition
        self._state = state
        self._results = results
        self._cache = cache
        self._policy = policy
        self._fingerprints: dict[tuple[Fingerprint, bool], Fingerprints] = {}

    def expand(self, name: str) -> list[Event]:
        """Expand one task: write the inputs of what must run, take the rest from the cache.

        Returns
        -------
        list of events
            An `Expanded`, then a `Hit` for each element that was cached.

        Raises
        ------
        Unequal
            Sources that are zipped differ in length.
        """
        task = self._definition.task(name)
        progress = self._state.tasks[name]
        self._fingerprints.clear()  # a file may have changed since the last task was looked at
        wired = values(self._definition, task, self._state, self._results)
        known = len(progress.status)
        wanted = [i for i in range(wired.size) if i >= known or progress.status[i] == PENDING]
        lacking = {i for column in wired.own.values() for i in wanted if column[i] is None}
        wanted = [i for i in wanted if i not in lacking]
        inputs = {one.name: one for one in task.inputs}
        common = {one: self._value(task, inputs[one], raw) for one, raw in wired.common.items()}
        names = sorted(wired.own)
        elements = self._elements(task, inputs, common, names, wired, wanted)
        shared = {name: short for value in common.values() for name, short in value.parts}
        hits, reasons, notes = self._look_up(task, wanted, shared, elements)
        misses = [i for i in wanted if i not in hits]
        # Numbered within the lease's epoch: a former owner who thaws overwrites nothing of its successor's.
        part = max(progress.parts, self._state.epoch * _PARTS)
        if misses:
            self._write(task, part, wired.size, common, names, misses, elements)
        why: dict[str, list[int]] = {}
        for i in misses:
            why.setdefault(reasons.get(i, NEW), []).append(i)
        events: list[Event] = [
            Expanded(
                task=name,
                size=wired.size,
                part=part,
                pending=to_ranges(misses),
                at=time.time(),
                skipped=to_ranges(lacking),
                misses={reason: to_ranges(indices) for reason, indices in why.items()},
                notes=tuple(notes),
            )
        ]
        events.extend(Hit(t=name, i=i, r=entry.result, by=entry.run_id, o=entry.outputs) for i, entry in hits.items())
        return events

    # --- identity ------------------------------------------------------------

    def _value(self, task: Task, wired: Input, raw: bytes) -> _Value:
        """Digest of one value; of a run directory by its path alone, or not at all where the task is portable."""
        if wired.source is Source.RUN_DIR:
            if task.cache == "portable":
                return _Value(raw, b"", (), {}, {})
            found = digest(raw)
            return _Value(raw, found, ((wired.name, found.hex()[:_SHORT]),), {}, {})
        named = files(raw, wired.schema)
        if not named:
            found = digest(raw)
            return _Value(raw, found, ((wired.name, found.hex()[:_SHORT]),), {}, {})
        policy = wired.fingerprint or task.fingerprint
        key = (policy, wired.fingerprint is not None)
        fingerprints = self._fingerprints.get(key)
        if fingerprints is None:
            fingerprints = self._fingerprints[key] = Fingerprints(policy, named=key[1])
        cwd = self._definition.cwd
        prints = fingerprints.many((os.path.join(cwd, path), declared) for path, declared in named)
        marks = {path: found.digest for path, found in prints.items()}
        guards = {path: found.guard for path, found in prints.items() if found.guard is not None}
        ordered = sorted(marks.items())
        alone = digest(raw).hex()[:_SHORT]
        whole = digest(raw, ordered)
        parts: tuple[tuple[str, str], ...] = ((wired.name, alone),)
        if ordered:
            parts += ((f"files of {wired.name}", digest(b"", ordered).hex()[:_SHORT]),)
        return _Value(raw, whole, parts, marks, guards)

    def _elements(
        self,
        task: Task,
        inputs: Mapping[str, Input],
        common: Mapping[str, _Value],
        names: Sequence[str],
        wired: Wired,
        wanted: Sequence[int],
    ) -> dict[int, tuple[str, str, list[_Value]]]:
        """Key, key without the code, and own values of each element."""
        shared = {name: value.digest for name, value in common.items()}
        workflow = self._definition.workflow
        exact = Identity(workflow, task, task.code, shared, names)
        loose = Identity(workflow, task, "", shared, names)
        columns = [(inputs[name], wired.own[name]) for name in names]
        found: dict[int, tuple[str, str, list[_Value]]] = {}
        for i in wanted:
            own = [self._value(task, one, column[i] or b"null") for one, column in columns]
            digests = [value.digest for value in own]
            found[i] = (exact.key(digests), loose.key(digests), own)
        return found

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
            return "the task's source code could not be read, or was edited after it was imported"
        for upstream in task.after:
            if self._state.tasks[upstream].ran:
                return f"ordered after {upstream}, which ran"
        return None

    def _look_up(
        self,
        task: Task,
        wanted: Sequence[int],
        shared: Mapping[str, str],
        elements: Mapping[int, tuple[str, str, list[_Value]]],
    ) -> tuple[dict[int, CacheEntry], dict[int, str], list[str]]:
        barrier = self._barrier(task)
        if barrier is not None or self._cache is None:
            return {}, dict.fromkeys(wanted, barrier or ""), []
        found = self._cache.lookup([elements[i][0] for i in wanted])
        hits = {i: found[elements[i][0]] for i in wanted if elements[i][0] in found}
        reasons: dict[int, str] = {}
        notes: list[str] = []
        missing = [i for i in wanted if i not in hits]
        history: list[CacheEntry] = []
        if missing:
            history = self._history(task)
        if missing and self._policy != "track":
            older = {entry.parts.get("loose", ""): entry for entry in reversed(history)}
            wrong = [i for i in missing if elements[i][1] in older]
            found = self._cache.lookup([older[elements[i][1]].key for i in wrong])
            for i in wrong:
                entry = found.get(older[elements[i][1]].key)
                if entry is not None:
                    hits[i] = entry
            taken = [i for i in wrong if i in hits]
            if taken and self._policy == "warn":
                notes.append(f"{task.name}: {len(taken)} cached results were computed by other code than today's")
        self._verify(task, hits, reasons)
        _explain(task, [i for i in missing if i not in hits], shared, elements, history, reasons)
        return dict(sorted(hits.items())), reasons, notes

    def _verify(self, task: Task, hits: dict[int, CacheEntry], reasons: dict[int, str]) -> None:
        """Drop hits whose output files are gone or changed, or whose young input files have become others."""
        check = task.verify and self._definition.verify
        outputs: dict[str, str] = {}
        guards: dict[str, str] = {}
        for entry in hits.values():
            guards.update(entry.guards)
            if check:
                outputs.update(entry.outputs)
        gone = set(unchanged(outputs)) if outputs else set()
        other = set(unchanged(guards)) if guards else set()
        if not (gone or other):
            return
        for i, entry in list(hits.items()):
            lost = next((path for path in entry.outputs if path in gone), None) if check else None
            changed = next((path for path in entry.guards if path in other), None)
            # One path may be fingerprinted differently by two entries: judge by this one's own.
            if lost is not None and unchanged({lost: entry.outputs[lost]}):
                what = "has changed" if os.path.lexists(lost) else "is gone"
                reasons[i] = f"output {lost} {what}"
                del hits[i]
            elif changed is not None and unchanged({changed: entry.guards[changed]}):
                reasons[i] = f"input {changed} has changed"
                del hits[i]

    def _history(self, task: Task) -> list[CacheEntry]:
        assert self._cache is not None
        found: list[CacheEntry] = []
        for entry in self._cache.history(self._definition.workflow, task.name):
            if entry.run_id != self._definition.run_id:
                found.append(entry)
            if len(found) >= _NEAREST and self._policy == "track":
                break
        return found

    # --- inputs --------------------------------------------------------------

    def _write(
        self,
        task: Task,
        part: int,
        size: int,
        common: Mapping[str, _Value],
        names: Sequence[str],
        misses: Sequence[int],
        elements: Mapping[int, tuple[str, str, list[_Value]]],
    ) -> None:
        plain = {one.name for one in task.inputs if one.source is Source.PLAIN}  # Python fills in the default
        header = Header(
            task=task.name,
            size=size,
            common={name: msgspec.Raw(value.raw) for name, value in common.items() if name not in plain},
            names=tuple(names),
            parts={name: short for value in common.values() for name, short in value.parts},
            files={path: mark for value in common.values() for path, mark in value.files.items()},
            guards={path: guard for value in common.values() for path, guard in value.guards.items()},
            generation=self._definition.generation,
        )
        cached = task.cache is not False and bool(task.code)
        chunks = [frame(msgspec.json.encode(header))]
        offset = len(chunks[0])
        index = bytearray(8 * size)
        for i in misses:
            exact, loose, own = elements[i]
            element = Element(
                v=tuple(msgspec.Raw(value.raw) for value in own),
                k=exact if cached else "",
                d={name: short for value in own for name, short in value.parts} | {"loose": loose} if cached else {},
                f={path: mark for value in own for path, mark in value.files.items()},
                g={path: guard for value in own for path, guard in value.guards.items()},
            )
            data = frame(msgspec.json.encode(element))
            index[8 * i : 8 * i + 8] = offset.to_bytes(8, "little")
            chunks.append(data)
            offset += len(data)
        path = layout.inputs(self._root, task.name, part)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_new(path, b"".join(chunks))
        write_new(path + ".idx", bytes(index))


def parts_of(task: Task, shared: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """An identity's components, as the cache keeps them."""
    return {"code": task.code[:_SHORT], "types": types(task)[:_SHORT], "version": task.version, **shared, **own}


def _explain(
    task: Task,
    missing: Sequence[int],
    shared: Mapping[str, str],
    elements: Mapping[int, tuple[str, str, list[_Value]]],
    history: Sequence[CacheEntry],
    reasons: dict[int, str],
) -> None:
    """Name what differs from the nearest earlier result."""
    if not missing or not history:
        return
    near = {key for entry in history for key in _leave_one_out(entry.parts)}
    newest = history[0].parts
    for i in missing:
        if i in reasons:
            continue
        parts = parts_of(task, shared, {name: short for value in elements[i][2] for name, short in value.parts})
        differing = next((key[0] for key in _leave_one_out(parts) if key in near), None)
        if differing is None:
            names = ({*parts, *newest}) - {"loose"}
            differing = ", ".join(sorted(name for name in names if parts.get(name) != newest.get(name)))
        reasons[i] = f"{differing} changed" if differing else NEW


def _leave_one_out(parts: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Each component's name, with a hash of all the other components."""
    hashes = {name: hash((name, value)) for name, value in parts.items() if name != "loose"}
    whole = sum(hashes.values())
    for name, one in hashes.items():
        yield name, whole - one
