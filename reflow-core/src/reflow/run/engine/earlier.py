"""What earlier runs of a workflow have made of an element of which there is no result: it may have failed."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ...errors import ReflowError
from ...model import layout
from ...model.definition import Definition
from ...model.lifecycle.states import CANCELLED, FAILED, SUCCESS
from ...model.ranges import from_ranges
from ...model.state import State
from ...store.registry import Registry
from ...worker.inputs import Inputs
from ...worker.trust import trust
from ..definition.create import run_id_beginning
from ..definition.load import load_definition
from ..journal.log import replay

#: how many of the newest runs are looked at, and how many elements of a task in all
_RUNS, _ELEMENTS = 4, 20_000


class Earlier:
    """The newest earlier runs of a workflow, each read when it is first asked about.

    Parameters
    ----------
    definition : Definition
        The run that asks.
    """

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._trusted = trust()
        self._states: dict[str, State | None] = {}
        #: task -> key -> run's root, element
        self._keys: dict[str, dict[str, tuple[str, int]]] = {}

    def fate(self, task: str, key: str) -> str:
        """Say what became of the element with a key when it was last to be computed; "" where nobody knows."""
        if task not in self._keys:
            self._keys[task] = self._of(task)
        found = self._keys[task].get(key)
        if found is None:
            return ""
        root, index = found
        if root not in self._states:
            self._states[root] = self._state(root)
        state = self._states[root]
        progress = state.tasks.get(task) if state is not None else None
        if state is None or progress is None or index >= len(progress.status):
            return ""
        code = progress.status[index]
        if code == FAILED and index in progress.failures:
            return f"failed before ({progress.failures[index].cls.value}), no result"
        if code == CANCELLED:
            return "cancelled before, no result"
        if code == SUCCESS:
            reasons = (
                one.reason for one in state.uncached if one.task == task and index in set(from_ranges(one.elements))
            )
            return next((f"computed before, and not kept: {reason}" for reason in reasons), "")
        return "" if state.run.ended else f"run {state.run_id} has no result of it yet"

    def _of(self, task: str) -> dict[str, tuple[str, int]]:
        found: dict[str, tuple[str, int]] = {}
        for root in self._roots():
            try:
                parts = [name for name in os.listdir(f"{root}/inputs") if name.rpartition(".")[0] == task]
            except OSError:
                continue
            # The last part of a run is what it tried last.
            for number in sorted((int(name.rpartition(".")[2]) for name in parts if name[-1].isdigit()), reverse=True):
                if len(found) >= _ELEMENTS:
                    return found
                for key, index in self._keys_in(layout.inputs(root, task, number)):
                    found.setdefault(key, (root, index))
        return found

    def _roots(self) -> Iterator[str]:
        definition = self._definition
        registry = Registry(definition.store, lambda: self._trusted)
        for record in registry.newest(run_id_beginning(definition.workflow), _RUNS):
            if record.workflow == definition.workflow and record.run_id != definition.run_id:
                yield layout.root(record.run_dir, record.run_id)

    def _keys_in(self, path: str) -> Iterator[tuple[str, int]]:
        try:
            inputs = Inputs(path, self._trusted)
        except (ReflowError, OSError):
            return
        try:
            for index in range(min(inputs.header.size, _ELEMENTS)):
                if inputs.has(index) and (key := inputs.element(index).k):
                    yield key, index
        except (ReflowError, OSError):
            return
        finally:
            inputs.close()

    def _state(self, root: str) -> State | None:
        try:
            state = State(load_definition(root, trusted=self._trusted))
            replay(root, state, 0, self._trusted)
        except (ReflowError, OSError, LookupError, ValueError):
            return None
        return state
