"""Keeping results in the cache."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from ...model import layout
from ...model.cache import CacheBackend, CacheEntry
from ...model.codec import names_files
from ...model.codec_wire import names_paths
from ...model.digest import sha256
from ...model.lifecycle.states import SUCCESS
from ...model.ranges import from_ranges, to_ranges
from ...model.record import Finished, Hit, Kept, Uncached
from ...model.schema import escape, unescape
from ...model.task import Task
from ...planning.identity import located
from ...worker.durable import create
from ...worker.files import SPOILED, Settler
from ...worker.given import CHANGED, KNOWN, LEFT, SINCE, what_it_is
from ...worker.inputs import Element, Inputs
from ...worker.seal import read_seal, refreshed
from ..definition.load import load_definition
from ..journal.log import Results
from ..journal.writer import Writer
from .expand import parts_of
from .seen import known
from .where import DIRECTORY, depends

#: results published at a time
_PUBLISH = 1000

#: files of inputs held open
_MOST_OPEN = 32


class Keeper:
    """Publishes results of a run.

    Parameters
    ----------
    writer : Writer
        The run.
    results : Results
        Where its results are read.
    cache : CacheBackend, optional
        None: nothing is kept.
    """

    def __init__(self, writer: Writer, results: Results, cache: CacheBackend | None) -> None:
        self._writer = writer
        self._results = results
        self._cache = cache
        self._inputs: dict[str, Inputs] = {}
        #: (path, seal) -> what else tells the file apart from others of its size and time
        self._words: dict[tuple[str, str], str] = {}
        #: path -> seal of a file that elements share
        self._shared: dict[str, str] = {}
        self._fresh: dict[str, list[int]] = {}
        #: what the cache could not take: tried again at the end of the run, and by whoever comes after it
        self._later: dict[str, list[int]] = {}
        waiting = os.path.exists(layout.unpublished(writer.root))
        for name, progress in writer.state.tasks.items():
            unkept = [index for index in progress.indices(SUCCESS) if not progress.kept[index]]
            if unkept:
                (self._later if waiting else self._fresh)[name] = unkept

    def note(self, record: Finished) -> None:
        """An element has succeeded."""
        self._fresh.setdefault(record.t, []).append(record.i)

    def keep(self, *, force: bool = False, final: bool = False) -> None:
        """Publish results to the cache: many at a time, or all there are.

        Results that name files wait for the run's end: until then another
        element may turn out to have written them, too, or goes on with a file
        that they share.

        Parameters
        ----------
        force : bool
            Whether few results are published, too, and what could not be before.
        final : bool
            Whether the run is about to end.
        """
        if force:
            for name, indices in self._later.items():
                self._fresh.setdefault(name, []).extend(indices)
            self._later = {}
        elif sum(len(indices) for name, indices in self._fresh.items() if not self._waits(name)) < _PUBLISH:
            return
        fresh, self._fresh = self._fresh, {}
        if not (final or self._writer.state.run.ended):
            self._fresh = {name: indices for name, indices in fresh.items() if self._waits(name)}
            fresh = {name: indices for name, indices in fresh.items() if name not in self._fresh}
        if self._cache is None or not fresh:
            return
        self._writer.commit()  # what others may reuse must outlive us
        settler = Settler()
        chunks = list(_chunks(fresh))
        for at, chunk in enumerate(chunks):
            if not self._publish(chunk, settler):
                for left in chunks[at:]:
                    for name, unkept in left.items():
                        self._later.setdefault(name, []).extend(unkept)
                with suppress(OSError):
                    os.close(create(layout.unpublished(self._writer.root)))
                return
        if force:
            with suppress(OSError):
                os.unlink(layout.unpublished(self._writer.root))

    def _publish(self, fresh: Mapping[str, Sequence[int]], settler: Settler) -> bool:
        """Publish results of these elements; says whether the cache could take them."""
        assert self._cache is not None
        entries: list[CacheEntry] = []
        decided: list[Kept | Uncached] = []
        for name, indices in fresh.items():
            if self._writer.definition.task(name).cache is not False:
                self._collect(name, indices, settler, entries, decided)
        try:
            if entries:
                self._writer.check()
                self._cache.publish(entries)
        except OSError as error:
            self._writer.warn(f"results cannot be kept in the cache now: {error}")
            return False
        for event in decided:
            self._writer.add(event)
        return True

    def _waits(self, name: str) -> bool:
        return names_paths(self._writer.definition.task(name).returns)

    def publish(self) -> int:
        """Publish what was not published yet; returns how many results that are."""
        tasks = self._writer.state.tasks.values()
        before = sum(progress.kept.count(1) for progress in tasks)
        self.keep(force=True)
        self._writer.commit()
        return sum(progress.kept.count(1) for progress in tasks) - before

    def republish(self) -> int:
        """Publish whatever the cache lacks, be it that it was given it once; returns how many results that are."""
        if self._cache is None:
            return 0
        state = self._writer.state
        uncached = {(one.task, index) for one in state.uncached for index in from_ranges(one.elements)}
        for name, progress in state.tasks.items():
            keys: dict[str, int] = {}
            for index in progress.indices(SUCCESS):
                if progress.kept[index] and (name, index) not in uncached:
                    key = self._key(name, index)
                    if key:
                        keys[key] = index
            found = self._cache.lookup(list(keys))
            lacking = [index for key, index in keys.items() if key not in found]
            for index in lacking:
                progress.kept[index] = 0
            if lacking:
                self._fresh[name] = sorted([*self._fresh.get(name, ()), *lacking])
        return self.publish()

    def _collect(
        self,
        name: str,
        indices: Sequence[int],
        settler: Settler,
        entries: list[CacheEntry],
        decided: list[Kept | Uncached],
    ) -> None:
        """Make up what the cache is to hold of a task's elements, and what is to be written down of them."""
        task = self._writer.definition.task(name)
        progress = self._writer.state.tasks[name]
        kept: list[int] = []
        spoiled: dict[str, list[int]] = {}
        recoded: list[int] = []
        strange: dict[str, list[int]] = {}
        shared: dict[str, str] = {}
        shared_of: Inputs | None = None
        for index in indices:
            if progress.status[index] != SUCCESS or progress.kept[index]:
                continue  # it has started over since: its key may be that of other inputs than its result
            inputs = self._part(name, progress.part[index])
            element = inputs.element(index)
            if not element.k:
                continue
            flight = self._writer.state.flight_of(name, index)
            if flight is not None and not self._same_code(name, inputs.header.generation, flight.generation):
                recoded.append(index)
                continue
            record = self._results.record(progress.file[index], progress.offset[index], progress.length[index])
            if isinstance(record, Finished) and record.w:
                strange.setdefault(record.w, []).append(index)
                continue
            guards: dict[str, str] = {}
            words: dict[str, str] = {}
            if inputs.header.files or element.f:
                why = self._settle(settler, task, inputs, element, record, guards, words)
                if why:
                    spoiled.setdefault(why, []).append(index)
                    continue
            if inputs is not shared_of:
                shared, shared_of = parts_of(task, inputs.header.parts), inputs
            parts = {**shared, **element.d}
            key = self._located(task, element.k, inputs, element, record)
            if key != element.k:
                cwd = self._writer.definition.cwd
                parts |= {DIRECTORY: sha256(cwd.encode()).hexdigest()[:16], "loose": located(parts["loose"], cwd)}
            entries.append(
                CacheEntry(
                    key=key,
                    workflow=self._writer.definition.workflow,
                    task=name,
                    result=record.r,
                    parts=parts,
                    outputs={path: self._refreshed(path, text) for path, text in record.o.items()},
                    guards=guards,
                    seen=known({**inputs.header.seen, **element.s}, words),
                    run_id=self._writer.definition.run_id,
                    time=record.e if isinstance(record, Finished) else time.time(),
                    packages=task.packages,
                )
            )
            kept.append(index)
        if kept:
            decided.append(Kept(task=name, elements=to_ranges(kept)))
        for left, reason in (
            *((indices, reason) for reason, indices in spoiled.items()),
            (recoded, "the task's code changed while the run used it"),
            *((indices, reason) for reason, indices in strange.items()),
        ):
            if left:
                decided.append(Uncached(task=name, elements=to_ranges(left), reason=reason))

    def _settle(
        self,
        settler: Settler,
        task: Task,
        inputs: Inputs,
        element: Element,
        record: Finished | Hit,
        guards: dict[str, str],
        words: dict[str, str],
    ) -> str:
        """Judge the input files of an element's result, as far as its worker has not.

        Parameters
        ----------
        guards, words : dict
            Take the guards to keep with the result, and what tells files apart from others of their size and time.

        Returns
        -------
        str
            Why the result must not be kept; "" where it may be.
        """
        files, young = {**element.f, **inputs.header.files}, {**element.g, **inputs.header.guards}
        looked = record.u if isinstance(record, Finished) else ()
        for path, word in zip(list(element.f if task.array else files), looked, strict=False):
            if word == CHANGED:
                return SPOILED
            if word != LEFT:
                del files[path]
                if word[:1] in (KNOWN, SINCE):
                    words[path] = word
                elif word:
                    guards[path] = word
        found = settler.settle(
            {unescape(path): digest for path, digest in files.items()},
            {unescape(path): young[path] for path in files if path in young},
        )
        if isinstance(found, str):
            return found
        guards.update({escape(path): guard for path, guard in found.items()})
        seen = {**inputs.header.seen, **element.s}
        words |= {path: self._word(path, digest, seen[path]) for path, digest in files.items() if path in seen}
        words |= {path: KNOWN + guard for path, guard in guards.items() if guard.startswith("content:")}
        return ""

    def _refreshed(self, path: str, text: str) -> str:
        """The seal of a file that a result names; one that elements share is looked at once."""
        if read_seal(text).mark != "*":
            return refreshed(unescape(path), text)
        if path not in self._shared:
            self._shared[path] = refreshed(unescape(path), text)
        return self._shared[path]

    def _word(self, path: str, digest: str, text: str) -> str:
        """What tells a file apart from others of its size and time, found out once."""
        if (path, text) not in self._words:
            self._words[path, text] = what_it_is(unescape(path), digest, text)
        return self._words[path, text]

    def _key(self, name: str, index: int) -> str:
        """The key under which an element's result is kept; "" where it is not to be."""
        progress = self._writer.state.tasks[name]
        inputs = self._part(name, progress.part[index])
        element = inputs.element(index)
        if not element.k:
            return ""
        record = self._results.record(progress.file[index], progress.offset[index], progress.length[index])
        return self._located(self._writer.definition.task(name), element.k, inputs, element, record)

    def _located(self, task: Task, key: str, inputs: Inputs, element: Element, record: Finished | Hit) -> str:
        """The key of a result, which holds in one directory alone where it names files by way of that."""
        definition = self._writer.definition
        if names_files(task.returns) and depends(
            bytes(record.r), task, definition, record.o, (inputs.header.files, element.f)
        ):
            return located(key, definition.cwd)
        return key

    def _same_code(self, name: str, keyed: int, ran: int) -> bool:
        """Whether the code generation that an element's key speaks of and the one that ran it are one to this task."""
        if keyed == ran:
            return True
        one, other = (load_definition(self._writer.root, generation).task(name) for generation in (keyed, ran))
        return all(
            getattr(one, part) == getattr(other, part)
            for part in ("code", "env_digest", "version", "counted", "inputs")
        )

    def _part(self, name: str, part: int) -> Inputs:
        path = layout.inputs(self._writer.root, name, part)
        inputs = self._inputs.get(path)
        if inputs is None:
            while len(self._inputs) >= _MOST_OPEN:
                self._inputs.pop(next(iter(self._inputs))).close()
            inputs = self._inputs[path] = Inputs(path, self._writer.trusted)
        return inputs

    def close(self) -> None:
        """Let go of files, and of the cache."""
        for inputs in self._inputs.values():
            inputs.close()
        if self._cache is not None:
            self._cache.close()


def _chunks(fresh: Mapping[str, Sequence[int]]) -> Iterator[dict[str, Sequence[int]]]:
    """Split elements into parts of `_PUBLISH` or some more: what is published together is held in memory."""
    chunk: dict[str, Sequence[int]] = {}
    size = 0
    for name, indices in fresh.items():
        for first in range(0, len(indices), _PUBLISH):
            chunk[name] = indices[first : first + _PUBLISH]
            size += len(chunk[name])
            if size >= _PUBLISH:
                yield chunk
                chunk, size = {}, 0
    if chunk:
        yield chunk
