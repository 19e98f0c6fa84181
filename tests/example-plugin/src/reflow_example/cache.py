"""A cache backend: one line of JSON for each result, newest last."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from reflow.plugin import JSON, CacheEntry, Context


class TextFileCache:
    """Keeps results in one file.

    Parameters
    ----------
    file : str
        Absolute path; made by the first `publish`.
    """

    def __init__(self, file: str) -> None:
        self.file = file

    @classmethod
    def create(cls, settings: Mapping[str, JSON], context: Context) -> TextFileCache:
        """Build it from ``[cache.textfile]``."""
        return cls(settings.get("file") or os.path.join(context.store, "cache.jsonl"))

    def lookup(self, keys: Sequence[str]) -> Mapping[str, CacheEntry]:
        """Read the file once; of two entries with one key the later counts."""
        wanted = set(keys)
        return {entry.key: entry for entry in self._entries() if entry.key in wanted}

    def history(self, workflow: str, task: str) -> Iterable[CacheEntry]:
        """All entries of a task, newest first."""
        return [entry for entry in self._entries() if (entry.workflow, entry.task) == (workflow, task)][::-1]

    def publish(self, entries: Sequence[CacheEntry]) -> None:
        """Append, and wait until it is on disk."""
        os.makedirs(os.path.dirname(self.file), exist_ok=True)
        lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
        with open(self.file, "ab") as stream:
            stream.write(lines)
            stream.flush()
            os.fsync(stream.fileno())

    def close(self) -> None:
        """Nothing is held open."""

    def _entries(self) -> Iterator[CacheEntry]:
        try:
            with open(self.file, "rb") as stream:
                for line in stream:
                    # The last line of a writer that died is not whole: it is no result.
                    if line.endswith(b"\n"):
                        yield msgspec.json.decode(line, type=CacheEntry)
        except FileNotFoundError:
            return
