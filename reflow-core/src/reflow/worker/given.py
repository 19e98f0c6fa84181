"""The files that an element is given: whether they are what they were when its inputs were found out."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence

from ..errors import ReflowError
from ..model.names import FailureClass
from ..model.schema import unescape
from .files import SETTLE, Fingerprints, judge, still, youth
from .seal import read_seal, refreshed, small_content

#: files that one element looks at, at most; the rest is left to who publishes its result
MOST = 1000

#: files of one element that are read, where they are small, at most
_READ = 16

CHANGED, LEFT, KNOWN, SINCE = "!", "-", "=", "@"


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
            raise changed(name)


def changed(name: str) -> InputChanged:
    """Return the error of a file, named as records name it, that is not what the task which made it has left."""
    path = unescape(name)
    how = "has changed" if os.path.lexists(path) else "is gone"
    return InputChanged(
        f"the input file {path} {how} since the task that made it ended",
        hint="another run in the same directory may have written it; `reflow retry` makes it anew",
    )


def require_kept(
    made: Iterable[str], digests: Mapping[str, str], looked: Sequence[str], named: Collection[str]
) -> None:
    """Make sure that files which other tasks have made stayed as those left them until the element ended.

    One that is gone or empty may have been cleared away by the element, which may also write those that it returns.

    Parameters
    ----------
    made : iterable of str
        Their paths, as records have them.
    digests : mapping
        The files that were looked at.
    looked : sequence of str
        What was found, see `looked_at`.
    named : collection of str
        The files that the element's result names.

    Raises
    ------
    InputChanged
        One is another one now.
    """
    if CHANGED not in looked:
        return
    ours = {*made}.difference(named)
    for name, word in zip(digests, looked, strict=True):
        if word == CHANGED and name in ours and _holds_something(path := unescape(name)):
            raise InputChanged(
                f"the input file {path} was written while the task used it",
                hint="another run in the same directory may have done so, and `reflow retry` makes it anew; "
                "a task that alters a file which it is given returns its path",
            )


def _holds_something(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except OSError:
        return False


def looked_at(digests: Mapping[str, str], guards: Mapping[str, str], seen: Mapping[str, str]) -> list[str]:
    """Judge an element's input files when it has ended; see `reflow.worker.files.judge`.

    ``seen`` are their seals, as far as there are any.

    Returns
    -------
    list of str
        For each file, in order: the guard to keep with the result, "" for none, or what `what_it_is` says; `CHANGED`;
        or `LEFT` to who publishes it: directories, what is missing, and large files that are still young.
    """
    few = len(digests) <= _READ
    found = []
    for name, digest in digests.items():
        path = unescape(name)
        word = _look(path, digest, guards.get(name))
        found.append(word or (what_it_is(path, digest, seen.get(name, "")) if few else ""))
    return found


def what_it_is(path: str, digest: str, text: str) -> str:
    """Say what tells a file apart from others of its size and time, if it is as it was sealed.

    Returns
    -------
    str
        `SINCE` and its seal's ctime, where that alone is another one, of a small file then `KNOWN` and its content; ""
        where it is large, or was written.
    """
    if not (text and digest.startswith("stat:")):
        return ""
    now = refreshed(path, text)
    content = small_content(path, digest)
    taken = Fingerprints().output(path)
    if taken is None or taken.changed != read_seal(now).changed:
        return ""
    return (f"{SINCE}{taken.changed}" if now != text else "") + (f"{KNOWN}{content}" if content else "")


def _look(path: str, digest: str, guard: str | None) -> str:
    if not digest.startswith(("stat:", "content:")):
        return "" if digest == "name" else LEFT
    _refresh(path)
    if guard == SETTLE and youth(path) > 0:
        return LEFT
    good, keep = judge(path, digest, guard)
    return (keep or "") if good else CHANGED


def _refresh(path: str) -> None:
    """Open a file: what a network file system knows of it is then asked of its server."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except (OSError, ValueError):
        pass
