"""Markers that say where a parameter's value comes from.

They hold what was written and check nothing: `Flow.compile` reports all mistakes together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from reflow.model.names import Fingerprint

FingerprintName = Literal["stat", "content", "name"]


class Param(msgspec.Struct, frozen=True):
    """A value given at submission: ``year: Annotated[int, Param(help="first year")] = 2000``.

    Parameters
    ----------
    help : str
        What the command line's help says.
    short : str, optional
        One letter, with or without its dash: ``"n"`` gives ``-n``.
    namespace : {"global", "local"}
        Global: every task with a parameter of this name shares one value.
        Local: it is this task's own, flag ``--TASK-NAME``, keyword ``task_name``.
    fingerprint : {"stat", "content", "name"}, optional
        What of a file named by the value counts when looking for cached results.
    """

    help: str = ""
    short: str | None = None
    namespace: Literal["global", "local"] = "global"
    fingerprint: Fingerprint | FingerprintName | None = None


class Result(msgspec.Struct, frozen=True):
    """What other tasks returned: ``files: Annotated[list[Path], Result(step="discover")]``.

    Parameters
    ----------
    step : str, optional
        The task whose result this is. Neither `step` nor `steps`: an input
        that a Flow leaves open, named like the parameter, to be bound by
        ``include(..., inputs={"files": "discover"})``.
    steps : sequence of str
        Several tasks, whose results are concatenated in this order: the
        elements of an array task, the items of a single task's list, any
        other result of a single task as one item.
    broadcast : bool
        Each element of an array task gets the whole value of a single task.
    allow_failed : bool
        A gather goes on where some elements failed: a ``list[T]`` takes what
        succeeded, a ``list[T | reflow.Failed]`` has a marker for each of the others.
    fingerprint : {"stat", "content", "name"}, optional
        What of a file named by the value counts when looking for cached results.
    """

    step: str | None = None
    steps: Sequence[str] = ()
    broadcast: bool = False
    allow_failed: bool = False
    fingerprint: Fingerprint | FingerprintName | None = None

    def __post_init__(self) -> None:
        if isinstance(self.steps, list):  # typing hashes what stands in Annotated
            msgspec.structs.force_setattr(self, "steps", tuple(self.steps))


if TYPE_CHECKING:
    from pathlib import Path

    # What the task is given. No subclass of it: a `list[RunDir]` is not a `list[Path]`.
    RunDir = Path

else:

    class RunDir(msgspec.Struct, frozen=True):
        """The run directory: ``run_dir: RunDir``, ``run_dir: Path = RunDir()``, or the bare name ``run_dir``.

        The task receives a `pathlib.Path`; it is never an option of the command line.
        """
