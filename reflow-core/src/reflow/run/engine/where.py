"""Whether a result depends on the directory in which its run was submitted: it then names files by way of it."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping

from ...model.codec import files
from ...model.codec_wire import names_paths
from ...model.definition import Definition
from ...model.names import Source
from ...model.schema import escape
from ...model.task import Task

#: the part of an identity that names the directory
DIRECTORY = "directory"


def depends(
    raw: bytes, task: Task, definition: Definition, outputs: Mapping[str, str], inputs: tuple[Container[str], ...]
) -> bool:
    """Tell whether a result names files by way of the directory of submission.

    It does where it names one by a relative path, or one below that directory
    which the element was not given: as an input, in a directory that is one,
    or in its run directory. A result that could name paths, and names no
    files, may have found none there.

    Parameters
    ----------
    raw : bytes
        The encoded result.
    task, definition : Task, Definition
        What computed it.
    outputs : mapping
        The files that it names, as they were recorded.
    inputs : tuple of containers of str
        The files in the element's values, as they were recorded.
    """
    named = files(raw, task.returns)
    if not named:
        return names_paths(task.returns)
    takes = any(one.source is Source.RUN_DIR for one in task.inputs)
    given = (*inputs, {escape(definition.run_dir)}) if takes else inputs
    for name, declared in named:
        if not os.path.isabs(name):
            return True
        if (declared or escape(name) in outputs) and _below(name, definition.cwd, given):
            return True
    return False


def _below(path: str, top: str, given: tuple[Container[str], ...]) -> bool:
    """Whether a path lies below a directory, and neither it nor a directory on the way was given."""
    place = os.path.normpath(path)
    if not place.startswith(os.path.join(top, "")):
        return False
    while len(place) > 1:
        if any(escape(place) in one for one in given):
            return False
        place = os.path.dirname(place)
    return True
