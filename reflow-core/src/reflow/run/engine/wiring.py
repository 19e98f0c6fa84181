"""From upstream results to a task's values: the wiring table at work, on encoded data."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...errors import ReflowError
from ...model.codec import convert, convert_each, join, split
from ...model.definition import Definition
from ...model.failed import marker, takes_failed
from ...model.names import Mode, Source
from ...model.schema import Schema, item_of
from ...model.state import State
from ...model.task import Input, Task
from ..journal.log import Results
from ..views.words import fate_of


class Unequal(ReflowError):
    """Sources that are zipped do not have one length."""


class Wired(msgspec.Struct):
    """A task's values, encoded.

    ``common`` are shared by all elements; ``own`` holds one value for each
    element and parameter, None where the upstream element did not succeed.
    ``size`` is 1 for a single task.
    """

    common: dict[str, bytes]
    own: dict[str, list[bytes | None]]
    size: int


def values(definition: Definition, task: Task, state: State, results: Results) -> Wired:
    """Find all values of a task whose upstream tasks have ended.

    Raises
    ------
    Unequal
        Fan-out or chain sources differ in length.
    """
    wired = Wired(common={}, own={}, size=1)
    lengths: dict[str, int] = {}
    for one in task.inputs:
        if one.source is Source.RESULT and one.mode is not None and one.mode.spreads:
            found = _spread(definition, one, state, results)
            wired.own[one.name] = found
            lengths[f"{one.name} (from {', '.join(one.steps)})"] = len(found)
        else:
            wired.common[one.name] = _shared(definition, one, state, results)
    if task.array:
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{what} has {length}" for what, length in lengths.items())
            raise Unequal(
                f"{task.name} takes one item of each of its sources, but they differ in length: {told}",
                hint="make the upstream tasks return lists of equal length, or pass one of them with broadcast=True",
            )
        wired.size = next(iter(lengths.values()), 1)
    return wired


def _shared(definition: Definition, wired: Input, state: State, results: Results) -> bytes:
    if wired.source is Source.PARAM:
        given = definition.parameters.get(wired.key)
        if given is not None:
            return bytes(given)
        assert wired.default is not None
        return wired.default.encode("utf-8", "surrogatepass")
    if wired.source is Source.PLAIN:
        return b"null" if wired.default is None else wired.default.encode("utf-8", "surrogatepass")
    if wired.source is Source.RUN_DIR:
        return msgspec.json.encode(definition.run_dir)
    if wired.mode in (Mode.GATHER, Mode.FLATTEN) or len(wired.steps) > 1:
        items: list[bytes] = []
        item = item_of(wired.schema)
        for step in wired.steps:
            upstream = definition.task(step)
            if wired.allow_failed and takes_failed(item):
                items.extend(_marked(upstream, item, state, results, wired.mode))
            else:
                items.extend(_items(upstream, item, state, results, wired.mode))
        return convert(join(items), Schema("list", (item,)), wired.schema)
    upstream = definition.task(wired.steps[0])
    return convert(results.outputs(state.tasks[upstream.name])[0] or b"null", upstream.returns, wired.schema)


def _items(upstream: Task, item: Schema, state: State, results: Results, mode: Mode | None) -> list[bytes]:
    """What a step contributes to a list: elements, their items, a list's items, or one item."""
    outputs = [raw for raw in results.outputs(state.tasks[upstream.name]) if raw is not None]
    return _parts(upstream, outputs, item, mode)


def _marked(upstream: Task, item: Schema, state: State, results: Results, mode: Mode | None) -> list[bytes]:
    """The same of an array, with a marker in the place of each element that did not succeed."""
    progress = state.tasks[upstream.name]
    found: list[bytes] = []
    cancelled = progress.cancel_reasons()
    for index, raw in enumerate(results.outputs(progress)):
        if raw is not None:
            found.extend(_parts(upstream, [raw], item, mode))
        else:
            found.append(marker(fate_of(progress, index, cancelled), item))
    return found


def _parts(upstream: Task, outputs: Sequence[bytes], item: Schema, mode: Mode | None) -> list[bytes]:
    """What results contribute: their items, or themselves."""
    flat = mode in (Mode.FLATTEN, Mode.CHAIN_FLATTEN) if upstream.array else upstream.returns.kind == "list"
    if not flat:
        return convert_each(outputs, upstream.returns, item)
    return convert_each((part for raw in outputs for part in split(raw)), item_of(upstream.returns), item)


def _spread(definition: Definition, wired: Input, state: State, results: Results) -> list[bytes | None]:
    found: list[bytes | None] = []
    for step in wired.steps:
        upstream = definition.task(step)
        if wired.mode is Mode.CHAIN and upstream.array:
            outputs = results.outputs(state.tasks[step])
            found.extend(None if raw is None else convert(raw, upstream.returns, wired.schema) for raw in outputs)
        else:
            found.extend(_items(upstream, wired.schema, state, results, wired.mode))
    return found
