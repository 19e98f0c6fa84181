"""The cache contract: what is kept of an element that succeeded."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec


class CacheEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One result.

    Attributes
    ----------
    key : str
        The element's identity, hexadecimal.
    workflow, task : str
        What computed it.
    result : msgspec.Raw
        The encoded value.
    parts : mapping
        The identity's components, ``code``, ``version`` and
        the parameters' names, each as a short digest: what `explain` compares.
    outputs : mapping
        Files named by the result, absolute path -> seal; checked before reuse.
    guards : mapping
        Input files that were too young for their time stamp to be trusted,
        absolute path -> content digest; checked before reuse.
    seen : mapping
        What tells other input files apart whose size and time are equal,
        absolute path (or parameter) -> seal; compared before reuse.
    run_id : str
        The run that computed it.
    time : float
        When, in seconds since the epoch.
    packages : str
        Versions of the installed packages that the task's code imports, as text.
    """

    key: str
    workflow: str
    task: str
    result: msgspec.Raw
    parts: Mapping[str, str] = {}
    outputs: Mapping[str, str] = {}
    guards: Mapping[str, str] = {}
    seen: Mapping[str, str] = {}
    run_id: str = ""
    time: float = 0.0
    packages: str = ""


class CacheBackend(Protocol):
    """Where results are kept between runs. Created with ``create(settings, context)``."""

    def lookup(self, keys: Sequence[str]) -> Mapping[str, CacheEntry]:
        """The newest entry for each key that has one; all keys in a fixed number of queries."""
        ...

    def history(self, workflow: str, task: str) -> Iterable[CacheEntry]:
        """All entries of a task, newest first; for `explain`. ``result`` may be left empty (``null``)."""
        ...

    def publish(self, entries: Sequence[CacheEntry]) -> None:
        """Keep these, durably, before returning. May raise OSError (read-only home): the run goes on."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...
