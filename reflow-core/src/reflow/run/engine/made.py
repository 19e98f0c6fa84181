"""The files that tasks of a run have made, as those left them: what a consumer is to find."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ...model import layout
from ...model.codec import names_files
from ...model.definition import Definition
from ...model.lifecycle.states import SUCCEEDED
from ...model.schema import unescape
from ...model.state import State
from ...model.task import Task
from ...worker.files import fingerprint
from ...worker.given import changed
from ...worker.inputs import Inputs
from ...worker.seal import read_seal
from ...worker.trust import Trust
from ..journal.log import Results

#: kinds of fingerprints of one file that tell nothing of each other
_UNLIKE = {"stat", "content"}


class Made:
    """Compares the files that a task is given with what the tasks that made them have recorded.

    Parameters
    ----------
    root : str
        The run's root directory.
    definition, state, results : Definition, State, Results
        The run.
    task : Task
        The task that is given files.
    trusted : Trust, optional
        Whose records are believed; None: whoever's.
    """

    def __init__(
        self,
        root: str,
        definition: Definition,
        state: State,
        results: Results,
        task: Task,
        trusted: Trust | None = None,
    ) -> None:
        self._root = root
        self._trusted = trusted
        self._definition = definition
        self._state = state
        self._results = results
        self._name = task.name
        upstream = map(definition.task, task.upstream)
        #: what is not verified may be altered by whoever wants to
        self._upstream = [one.name for one in upstream if names_files(one.returns) and one.verify and definition.verify]
        self._left: dict[str, str] | None = None
        self._given: frozenset[str] | None = None

    def correct(self, marks: dict[str, str], *, strict: bool = False) -> Iterator[str]:
        """Put the recorded fingerprints of files in the place of those that they have now.

        A file that another task of the run was given may have been altered by
        that: it counts as it is now. Where the two differ otherwise, something
        else has written the file since, and whoever is to use it finds out.

        Parameters
        ----------
        marks : dict
            Path -> fingerprint, as taken now; changed in place.
        strict : bool
            Whether nobody finds it out later: no element of an array looks at what all of them are given.

        Yields
        ------
        str
            Each path whose file a task of the run has made.

        Raises
        ------
        InputChanged
            Something else has written a file, and that is to be found out now.
        """
        if self._left is None:
            self._left = dict(self._recorded())
        for path, now in marks.items():
            left = self._left.get(path)
            if left is None or now == "name" or {now.partition(":")[0], left.partition(":")[0]} == _UNLIKE:
                continue
            if now != left:
                now = _fresh(path, left.partition(":")[0])
                if now != left and path in self._altered():
                    left = now
                if now != left and strict:
                    raise changed(path)
                marks[path] = left
            yield path

    def _recorded(self) -> Iterator[tuple[str, str]]:
        """Regular files that results of upstream tasks name, and that those have written, with their fingerprints."""
        for name in self._upstream:
            progress = self._state.tasks[name]
            for index, status in enumerate(progress.status):
                if status in SUCCEEDED:
                    record = self._results.record(progress.file[index], progress.offset[index], progress.length[index])
                    for path, text in record.o.items():
                        seal = read_seal(text)
                        if seal.mark == "=" and seal.digest.startswith(("stat:", "content:")):
                            yield path, seal.digest

    def _altered(self) -> frozenset[str]:
        """Files that other tasks of the run were given, and may have altered."""
        if self._given is None:
            self._given = frozenset(self._given_to_any())
        return self._given

    def _given_to_any(self) -> Iterator[str]:
        for task in self._definition.tasks:
            progress = self._state.tasks[task.name]
            if task.name == self._name or not progress.ran or not any(names_files(one.schema) for one in task.inputs):
                continue
            for part in sorted(set(progress.part)):
                path = layout.inputs(self._root, task.name, part)
                if not os.path.exists(path):
                    continue
                inputs = Inputs(path, self._trusted)
                try:
                    yield from inputs.header.files
                    for index, own in enumerate(progress.part):
                        if own == part and inputs.has(index):
                            yield from inputs.element(index).f
                finally:
                    inputs.close()


def _fresh(path: str, kind: str) -> str:
    """A regular file's fingerprint, asked of its server: what is known of it here may be old."""
    try:
        os.close(os.open(unescape(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except (OSError, ValueError):
        pass
    return fingerprint(unescape(path), kind)
