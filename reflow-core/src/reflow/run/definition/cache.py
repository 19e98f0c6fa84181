"""A cache that no run fails for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ...errors import ReflowError
from ...model.cache import CacheBackend, CacheEntry


class Forgiving:
    """A cache backend of which only `publish` may fail, and only with OSError.

    A backend may be damaged, full, locked, or somebody else's plugin: then
    nothing is found in it, and that is said. So is what the backend notes in a list ``problems``, if it has one.

    Parameters
    ----------
    backend : CacheBackend
        The one that is asked.
    warn : callable
        Told what went wrong, in a sentence.
    note : callable, optional
        Told what the backend has met and passed over, in a sentence; may be told it again.
    """

    def __init__(
        self, backend: CacheBackend, warn: Callable[[str], None], note: Callable[[str], None] | None = None
    ) -> None:
        self._backend = backend
        self._warn = warn
        self._note = note

    def lookup(self, keys: Sequence[str]) -> Mapping[str, CacheEntry]:
        """See `CacheBackend.lookup`."""
        try:
            return self._backend.lookup(keys)
        except Exception as error:
            self._unread(error)
            return {}
        finally:
            self._tell()

    def history(self, workflow: str, task: str) -> Iterator[CacheEntry]:
        """See `CacheBackend.history`; ends where it cannot be read on."""
        try:
            yield from self._backend.history(workflow, task)
        except Exception as error:
            self._unread(error)
        finally:
            self._tell()

    def publish(self, entries: Sequence[CacheEntry]) -> None:
        """See `CacheBackend.publish`.

        Raises
        ------
        OSError
            They cannot be kept, whatever the reason.
        """
        try:
            self._backend.publish(entries)
        except OSError:
            raise
        except Exception as error:
            raise OSError(_said(error)) from error

    def close(self) -> None:
        """See `CacheBackend.close`."""
        try:
            self._backend.close()
        except Exception as error:
            self._unread(error)

    def _tell(self) -> None:
        problems = getattr(self._backend, "problems", None)
        if self._note is not None and isinstance(problems, list):
            for problem in problems:
                self._note(str(problem))

    def _unread(self, error: Exception) -> None:
        self._warn(f"the cache cannot be used now, and nothing is taken from it: {_said(error)}")


class Refused:
    """A cache backend that is not to be used: each call says why."""

    def __init__(self, error: ReflowError) -> None:
        self._error = error

    def lookup(self, keys: Sequence[str]) -> Mapping[str, CacheEntry]:
        """See `CacheBackend.lookup`."""
        raise self._error

    def history(self, workflow: str, task: str) -> Iterator[CacheEntry]:
        """See `CacheBackend.history`."""
        raise self._error

    def publish(self, entries: Sequence[CacheEntry]) -> None:
        """See `CacheBackend.publish`."""
        raise self._error

    def close(self) -> None:
        """See `CacheBackend.close`."""


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
