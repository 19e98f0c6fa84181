"""Which elements of a run have written which file: no two of them the same."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping

from ...model.codec import owns_files
from ...model.lifecycle.states import SUCCEEDED
from ...model.names import FailureClass
from ...model.ranges import to_ranges
from ...model.record import Failed
from ...model.schema import unescape
from ...worker.seal import Seal, read_seal, same_file
from ..journal.log import Results
from ..journal.writer import Writer

#: elements that a reason names
_NAMED = 4

#: task and index
_Element = tuple[str, int]


class Authors:
    """Finds files that results of several elements name as their own work, and fails those elements.

    It looks at each result once, and only at those of tasks whose results can name a file.

    Parameters
    ----------
    writer : Writer
        The run.
    results : Results
        Where its results are read.
    """

    def __init__(self, writer: Writer, results: Results) -> None:
        self._writer = writer
        self._results = results
        #: place of a file -> the first element that has named it
        self._first: dict[int, _Element] = {}
        #: place of a file -> all elements that have named it, where there are several
        self._several: dict[int, set[_Element]] = {}
        #: task -> where the result of each element lay when it was looked at
        self._seen: dict[str, tuple[array[int], array[int]]] = {}
        #: task -> the tasks that have ended before it begins
        self._upstream: dict[str, frozenset[str]] = {}

    def judge(self) -> bool:
        """Fail the elements that have written one file; says whether there are any."""
        self._writer.flush()
        doubtful: set[int] = set()
        for task in self._writer.definition.tasks:
            if owns_files(task.returns):
                doubtful |= self._look(task.name)
        reasons: dict[_Element, str] = {}
        results: dict[_Element, dict[int, tuple[str, Seal]]] = {}
        for place in sorted(doubtful):
            authors = self._authors(place, results)
            left: dict[str, set[Seal]] = {}
            for (name, _), (_, seal) in authors.items():
                left.setdefault(name, set()).add(seal)
            makers = [seal for (name, _), (_, seal) in authors.items() if not self._passed_on(name, seal, left)]
            if len(makers) < 2 or not any(map(self._wrote, makers)):
                self._several[place] = set(authors)
                continue
            names = list(map(self._title, authors))
            path = next(iter(authors.values()))[0]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            reason = (
                f"{', '.join(names[:_NAMED])}{more} have written one file, {path}: "
                "give each a name of its own, take it from the other's result by Result, "
                "or annotate the result with reflow.Shared()"
            )
            for element in authors:
                reasons.setdefault(element, reason)
            del self._several[place]
            self._first.pop(place, None)
        self._fail(reasons)
        return bool(reasons)

    def _look(self, name: str) -> set[int]:
        """Enter the files of a task's results that were not looked at yet; return those that others name, too."""
        progress = self._writer.state.tasks[name]
        files, offsets = self._seen.setdefault(name, (array("i"), array("q")))
        more = len(progress.status) - len(files)
        files.extend([-1] * more)
        offsets.extend([-1] * more)
        fresh = sorted(
            (progress.file[index], progress.offset[index], index)
            for index, status in enumerate(progress.status)
            if status in SUCCEEDED
            and (offsets[index] != progress.offset[index] or files[index] != progress.file[index])
        )
        several: set[int] = set()
        for file, offset, index in fresh:
            files[index], offsets[index] = file, offset
            record = self._results.record(file, offset, progress.length[index])
            for text in record.o.values():
                seal = read_seal(text)
                if seal.own:
                    place, element = int(seal.place, 16), (name, index)
                    first = self._first.setdefault(place, element)
                    if first != element or place in self._several:
                        self._several.setdefault(place, {first}).add(element)
                        several.add(place)
        return several

    def _authors(
        self, place: int, results: dict[_Element, dict[int, tuple[str, Seal]]]
    ) -> dict[_Element, tuple[str, Seal]]:
        """Return the elements whose results name a file as their own work, each with the path and the seal.

        ``results`` holds what was read before: of an element, the files that its result names as its own work.
        """
        found: dict[_Element, tuple[str, Seal]] = {}
        for element in sorted(self._several[place]):
            if element not in results:
                results[element] = self._named(element)
            if place in results[element]:
                found[element] = results[element][place]
        return found

    def _passed_on(self, name: str, seal: Seal, left: Mapping[str, Iterable[Seal]]) -> bool:
        """Return whether a task has found a file as one that ended before it began had left it, and has not written it.

        ``left`` holds the file's seals by task.
        """
        return any(same_file(one, seal) for task in self._before(name) & left.keys() for one in left[task])

    def _before(self, name: str) -> frozenset[str]:
        """Return the tasks that have ended before a task begins."""
        if name not in self._upstream:
            upstream = self._writer.definition.task(name).upstream
            self._upstream[name] = frozenset(upstream).union(*map(self._before, upstream))
        return self._upstream[name]

    def _wrote(self, seal: Seal) -> bool:
        """Return whether a file may be an element's work; else it was there before the run, as a program or data is."""
        return seal.mark == "=" or not seal.ctime or int(seal.ctime) >= self._writer.definition.created * 1e9

    def _named(self, element: _Element) -> dict[int, tuple[str, Seal]]:
        """Return the files that an element's result, as it is now, names as its own work: path and seal by place."""
        name, index = element
        progress = self._writer.state.tasks[name]
        if progress.status[index] not in SUCCEEDED:
            return {}
        record = self._results.record(progress.file[index], progress.offset[index], progress.length[index])
        seals = [(unescape(path), read_seal(text)) for path, text in record.o.items()]
        return {int(seal.place, 16): (path, seal) for path, seal in seals if seal.own}

    def _title(self, element: _Element) -> str:
        name, index = element
        return f"{name}[{index}]" if self._writer.definition.task(name).array else name

    def _fail(self, reasons: dict[_Element, str]) -> None:
        """Write down which elements fail, those of one task and reason together."""
        groups: dict[tuple[str, int, str], list[int]] = {}
        for (name, index), reason in reasons.items():
            attempt = self._writer.state.tasks[name].attempt[index]
            groups.setdefault((name, attempt, reason), []).append(index)
        for (name, attempt, reason), indices in groups.items():
            self._writer.add(
                Failed(
                    task=name,
                    elements=to_ranges(sorted(indices)),
                    attempt=attempt,
                    f=FailureClass.CONFLICT,
                    at=self._writer.now(),
                    w=reason,
                )
            )
