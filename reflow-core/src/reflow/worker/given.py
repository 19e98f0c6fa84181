"""The files that an element is given: whether they are what they were when its inputs were found out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from ..errors import ReflowError
from ..model.names import FailureClass
from ..model.schema import unescape
from .files import SETTLE, judge, still, youth
from .seal import small_content

#: files that one element looks at, at most; the rest is left to who publishes its result
MOST = 1000

#: files of one element that are read, where they are small, at most
_READ = 16

CHANGED, LEFT, KNOWN = "!", "-", "="


class InputChanged(ReflowError):
    """A file is not what the task that made it has left."""

    failure = FailureClass.CHANGED.value


def require_same(made: Iterable[str], digests: Mapping[str, str]) -> None:
    """Make sure that files which other tasks have made are as those left them.

    Parameters
    ----------
    made : iterable of str
        Their paths, as records have them.
    digests : mapping
        Path -> fingerprint.

    Raises
    ------
    InputChanged
        One is another one now.
    """
    for name in made:
        path = unescape(name)
        _refresh(path)
        if not still(path, digests[name]):
            how = "has changed" if os.path.lexists(path) else "is gone"
            raise InputChanged(
                f"the input file {path} {how} since the task that made it ended",
                hint="another run in the same directory may have written it; `reflow retry` makes it anew",
            )


def looked_at(digests: Mapping[str, str], guards: Mapping[str, str]) -> list[str]:
    """Judge an element's input files when it has ended; see `reflow.worker.files.judge`.

    Returns
    -------
    list of str
        For each file, in order: the guard to keep with the result, "" for none, of a small file `KNOWN` and the digest
        of its bytes; `CHANGED`; or `LEFT` to who publishes it: directories, what is missing, and large files that are
        still young.
    """
    few = len(digests) <= _READ
    return [_look(unescape(name), digest, guards.get(name), read=few) for name, digest in digests.items()]


def _look(path: str, digest: str, guard: str | None, *, read: bool) -> str:
    if not digest.startswith(("stat:", "content:")):
        return "" if digest == "name" else LEFT
    _refresh(path)
    if guard == SETTLE and youth(path) > 0:
        return LEFT
    good, keep = judge(path, digest, guard)
    if not good:
        return CHANGED
    if keep:
        return keep
    content = small_content(path, digest) if read else ""
    return f"{KNOWN}{content}" if content else ""


def _refresh(path: str) -> None:
    """Open a file: what a network file system knows of it is then asked of its server."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except (OSError, ValueError):
        pass
