"""What stands in a gathered list for an element that did not succeed."""

from __future__ import annotations

from dataclasses import dataclass

from .codec import codec_of, convert
from .schema import Schema


@dataclass(frozen=True)
class Failed:
    """Stands in a gathered list for an element that did not succeed.

    A gather with ``Result(step="array", allow_failed=True)`` whose parameter is
    a ``list[T | reflow.Failed]`` has one at the place of each such element; as a
    plain ``list[T]`` it is given what succeeded, and nothing else.

    Parameters
    ----------
    task : str
        The array task.
    index : int
        The element.
    failure : str
        Its class: ``error``, ``exit``, ``oom``, ``timeout``, ``preempted``,
        ``node_fail``, ``lost``, ``launch``, ``requeued``, ``cancelled``, or
        ``skipped`` where it never ran since something before it had failed.
    reason : str
        Why, in one line.
    """

    task: str
    index: int
    failure: str
    reason: str = ""


_CODEC = codec_of(Failed)
_SCHEMA = _CODEC.schema


def takes_failed(item: Schema) -> bool:
    """Whether a list of such items has room for markers: ``T | Failed``."""
    return item.kind == "union" and _SCHEMA in item.args


def marker(failed: Failed, item: Schema) -> bytes:
    """A marker as it is written in a list of such items."""
    return convert(_CODEC.encode(failed), _SCHEMA, item)
