"""How one task's result reaches another's parameter: the table, as a function.

A task's *shape* is whether it is an array, and the wire form of what one element returns or takes. Several
upstream tasks (``Result(steps=[...])``) are concatenated first. Each contributes

- an array task: its elements, in index order,
- a single task that returns a list: the list's items,
- any other single task: its result, as one item.

Where all of them are arrays, together they count as one array; otherwise as one single task that returns a list.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reflow.model.codec import accepts
from reflow.model.names import Mode
from reflow.model.schema import Schema, describe

from .validate import Mistake


class Shape(msgspec.Struct, frozen=True):
    """Whether a task is an array, and what (an element of) it returns or takes."""

    array: bool
    schema: Schema

    def __str__(self) -> str:
        return f"array of {describe(self.schema)}" if self.array else describe(self.schema)


def connect(upstream: Sequence[Shape], downstream: Shape, *, broadcast: bool = False) -> Mode:
    """Choose how results reach a parameter.

    Parameters
    ----------
    upstream : sequence of Shape
        One, or several that are concatenated.
    downstream : Shape
        The task that receives, and its parameter's type.
    broadcast : bool
        As in ``Result(broadcast=True)``.

    Returns
    -------
    Mode

    Raises
    ------
    Mistake
        Where the table has no row; says what to write instead.
    """
    parts = upstream
    if len(upstream) > 1:
        array = all(shape.array for shape in upstream)
        parts = [_part(shape, array) for shape in upstream]
    # Each step must fit by itself, and in the same way, as part of the whole that they make together.
    modes = {_connect(part, downstream, broadcast) for part in parts}
    if len(modes) > 1:
        shapes = ", ".join(str(shape) for shape in upstream)
        raise Mistake(f"its steps cannot be concatenated: they are {shapes}; let them return the same type")
    (mode,) = modes
    collected = mode in (Mode.GATHER, Mode.FLATTEN) or (len(upstream) > 1 and not mode.spreads)
    lists = [member for member in downstream.schema.args if downstream.schema.kind == "union" and member.kind == "list"]
    if collected and len(lists) > 1:  # the list is made one item at a time: which one must be known beforehand
        raise Mistake(f"it is {describe(downstream.schema)}, but gets one list; write the one that is meant")
    return mode


def _part(shape: Shape, array: bool) -> Shape:
    """What a step contributes, as an array or as a single list."""
    if array:
        return shape
    if not shape.array and shape.schema.kind == "list":
        return shape
    return Shape(False, Schema("list", (shape.schema,)))


def _connect(up: Shape, down: Shape, broadcast: bool) -> Mode:
    if up.array:
        return _from_array(up.schema, down, broadcast)
    if not down.array:
        if accepts(down.schema, up.schema):
            return Mode.DIRECT
        raise Mistake(f"it is {describe(down.schema)}, but gets {describe(up.schema)}; {_annotate(up.schema)}")
    return _to_array(up.schema, down.schema, broadcast)


def _to_array(up: Schema, down: Schema, broadcast: bool) -> Mode:
    """From a single task to an array."""
    item = _item(up)
    if not broadcast and item is not None and accepts(down, item):
        return Mode.FANOUT
    if accepts(down, up):
        return Mode.BROADCAST
    shown = describe(up)
    if broadcast:
        raise Mistake(f"it is {describe(down)}, but each element gets the whole {shown}; {_annotate(up)}")
    if item is not None:
        raise Mistake(
            f"it is {describe(down)}, but gets {shown}; write {describe(item)} to get one item for each element, "
            f"or {shown} to get the whole list in every element"
        )
    if up.kind in ("set", "dict", "tuple"):
        raise Mistake(
            f"it is {describe(down)}, but gets {shown}, whose items have no order or no common type to spread over "
            f"elements; let the upstream task return list[{describe(down)}]"
        )
    raise Mistake(
        f"it is {describe(down)}, but gets {shown}; write {shown} to get it in every element, "
        f"or let the upstream task return list[{describe(down)}] to get one item for each element"
    )


def _from_array(up: Schema, down: Shape, broadcast: bool) -> Mode:
    """From an array's elements."""
    shown, wanted = describe(up), describe(down.schema)
    item = _item(up)
    if down.array:
        if broadcast:
            raise Mistake(
                "broadcast=True needs a single task upstream; gather the array in a single task first, "
                f"taking list[{shown}] and returning it"
            )
        if accepts(down.schema, up):
            return Mode.CHAIN
        if item is not None and accepts(down.schema, item):
            return Mode.CHAIN_FLATTEN
        raise Mistake(f"it is {wanted}, but each element gets {shown}; {_annotate(up)}")
    if accepts(down.schema, Schema("list", (up,))):
        return Mode.GATHER
    if item is not None and accepts(down.schema, up):
        return Mode.FLATTEN
    raise Mistake(f"it is {wanted}, but gets all elements of an array task; write list[{shown}]")


def _item(schema: Schema) -> Schema | None:
    """What a list holds; None where it is no list."""
    return schema.args[0] if schema.kind == "list" else None


def _annotate(schema: Schema) -> str:
    return f"write {describe(schema)}, or change what the upstream task returns"
