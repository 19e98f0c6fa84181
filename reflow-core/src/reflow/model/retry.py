"""How often, and how, a failed element is tried again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from reflow.errors import UsageError

from .names import FINAL, FailureClass
from .resources import parse_resource

if TYPE_CHECKING:
    from datetime import timedelta


#: new attempts that an element may ask for by `Requeue` where nothing else is said
REQUEUES = 100


class Scale(msgspec.Struct, frozen=True):
    """Ask for more at the next attempt.

    Parameters
    ----------
    mem, time : float
        Factors on the memory and the walltime of the attempt that failed, at least 1.
    """

    mem: float = 1.0
    time: float = 1.0


class Retry(msgspec.Struct, frozen=True):
    """How a task's failures are answered.

    Parameters
    ----------
    max : int
        Further attempts after error, exit, oom or timeout.
    on : mapping of failure class to Scale
        What the next attempt asks for after a failure of that class: "error",
        "exit", "oom", "timeout", "preempted", "node_fail", "launch", "lost", "requeued".
    delay : float, or a time such as "5m"
        Seconds before the next attempt.
    backoff : float
        Factor on the delay from one attempt to the next, at least 1.
    max_mem, max_time : optional
        Ceilings for scaled memory ("64G", or bytes) and walltime
        ("1-00:00:00", or seconds).
    infrastructure : int, optional
        Budget for preempted, node_fail and lost (3 where None) and launch
        (1 where None); it can be lowered, not raised.
    requeues : int
        How often the task may end with ``raise reflow.Requeue()``, which counts
        as no failure; bounded, so that one that never comes to an end is found.

    Notes
    -----
    What cannot be read is kept as given and told by `problems`, so that a
    workflow's mistakes are reported together.
    """

    max: int = 0
    on: Mapping[FailureClass, Scale] = {}
    delay: float = 0.0
    backoff: float = 1.0
    max_mem: int | None = None
    max_time: int | None = None
    infrastructure: int | None = None
    requeues: int = REQUEUES

    if TYPE_CHECKING:  # what a person may write; the fields hold what was meant

        def __init__(
            self,
            max: int = 0,  # noqa: A002  # the name users know
            on: Mapping[str, Scale] | Mapping[FailureClass, Scale] = ...,
            delay: float | str | timedelta = 0.0,
            backoff: float = 1.0,
            max_mem: int | str | None = None,
            max_time: float | str | timedelta | None = None,
            infrastructure: int | None = None,
            requeues: int = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        put = msgspec.structs.force_setattr
        for name, kind in (("max_mem", "mem"), ("max_time", "time"), ("delay", "time")):
            value = getattr(self, name)
            if value is not None and not (name == "delay" and isinstance(value, (int, float))):
                try:
                    put(self, name, parse_resource(kind, value))
                except UsageError:
                    continue
        on: object = self.on
        if isinstance(on, Mapping):
            put(self, "on", {_CLASSES.get(name, name): scale for name, scale in on.items()})

    def problems(self) -> list[str]:
        """What is wrong with it, a sentence each; empty where it can be used."""
        found = []
        for name in ("max", "infrastructure", "requeues"):
            value = getattr(self, name)
            if not (_is_number(value, int) and value >= 0) and not (value is None and name == "infrastructure"):
                found.append(f"{name}={value!r} is not a whole number of at least 0")
        for name, kind in (("max_mem", "mem"), ("max_time", "time")):
            if getattr(self, name) is not None:
                try:
                    parse_resource(kind, getattr(self, name))
                except UsageError as error:
                    found.append(f"{name}{error.message.removeprefix(kind)}; {error.hint}")
        if not (_is_number(self.delay) and self.delay >= 0):
            found.append(f"delay={self.delay!r} is not a duration; write seconds, or a time such as '5m'")
        if not (_is_number(self.backoff) and self.backoff >= 1):
            found.append(f"backoff={self.backoff!r} is not a number of at least 1")
        on: object = self.on  # whatever was written
        if not isinstance(on, Mapping):
            return [*found, f"on={on!r} is not a mapping; write on={{'oom': Scale(mem=2)}}"]
        for name, scale in on.items():
            shown = name.value if isinstance(name, FailureClass) else name
            if not isinstance(name, FailureClass) or name in FINAL:
                found.append(f"on= names no failure class that is tried again: {name!r}; there are {_RETRIED}")
            if not isinstance(scale, Scale):
                found.append(f"on[{shown!r}] is {scale!r}; write Scale(mem=2.0) or Scale(time=1.5)")
            elif not all(_is_number(factor) and factor >= 1 for factor in (scale.mem, scale.time)):
                found.append(f"on[{shown!r}] is {scale!r}; factors are numbers of at least 1")
        return found


_CLASSES: dict[object, FailureClass] = {**{kind.value: kind for kind in FailureClass}, **{k: k for k in FailureClass}}
_RETRIED = ", ".join(kind.value for kind in FailureClass if kind not in FINAL)


def _is_number(value: Any, kind: Any = (int, float)) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and abs(value) < float("inf")  # nor NaN
