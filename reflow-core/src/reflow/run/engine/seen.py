"""What of an element's input files, beside their fingerprints, tells that they are the same: ctime and place.

Neither is part of a key: a file that was only moved, linked or given other
permissions would be another one. Where they differ, the content decides, if it
is known; else the result is computed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from ...model.digest import sha256
from ...model.schema import escape, unescape
from ...worker.files import Print, content_of
from ...worker.given import KNOWN, SINCE
from ...worker.seal import MOVED, REPLACED, Seal, read_seal

#: files of one value that are recorded each; of more, one text tells of all
_EACH = 16


def seen(name: str, prints: Mapping[str, Print], place: Callable[[str], str]) -> dict[str, str]:
    """Record the files that one value names.

    Parameters
    ----------
    name : str
        The parameter.
    prints : mapping
        Path -> fingerprint, as taken now.
    place : callable
        Gives the place of a path.

    Returns
    -------
    dict of str to str
        Path -> seal; where they are many, the parameter -> one hash of their ctimes and one of their places. Files
        whose fingerprint is of the content, or of the name, are left out.
    """
    taken = {path: found for path, found in prints.items() if found.changed}
    if len(taken) <= _EACH:
        return {escape(path): str(Seal(found.digest, found.changed, place(path))) for path, found in taken.items()}
    paths = sorted(taken)
    changed = _hash((path, taken[path].changed.partition(".")[0]) for path in paths)
    return {name: f"{changed} {_hash((path, place(path)) for path in paths)}"}


def _hash(pairs: Iterable[tuple[str, str]]) -> str:
    state = sha256()
    for path, what in pairs:
        state.update(f"{path}\0{what}\n".encode("utf-8", "surrogateescape"))
    return state.hexdigest()[:16]


def known(texts: Mapping[str, str], words: Mapping[str, str]) -> dict[str, str]:
    """Add to seals what was found out of their files when they had been used; see `reflow.worker.given.what_it_is`."""
    found = dict(texts)
    for path, word in words.items():
        if path in texts:
            since, _, content = word.partition(KNOWN)
            seal = msgspec.structs.replace(read_seal(texts[path]), content=content)
            found[path] = str(msgspec.structs.replace(seal, changed=since.removeprefix(SINCE)) if since else seal)
    return found


def replaced(then: Mapping[str, str], now: Mapping[str, str], *, ctime: bool) -> str:
    """Say which input file is not the one that a result was computed with; "" where all are.

    Parameters
    ----------
    then : mapping
        What was recorded with the result.
    now : mapping
        The same of the files as they are.
    ctime : bool
        Whether the ctime counts.
    """
    for name, text in then.items():
        today = now.get(name)
        if today is None or text == today or text.startswith(f"{today} "):
            continue
        if name[:1] not in ("/", "\0"):
            changed, place = zip(text.split(" "), today.split(" "), strict=True)
            if place[0] != place[1] or (ctime and changed[0] != changed[1]):
                return f"files of {name} have their old sizes and time stamps, but {_HOW}"
            continue
        one, other = read_seal(text), read_seal(today)
        moved = one.place != other.place
        if not moved and (not ctime or one.ctime == other.ctime):
            continue
        if not one.content or content_of(unescape(name)) != one.content:
            return f"input {name} {MOVED if moved else REPLACED}"
    return ""


_HOW = "were replaced, moved or given other attributes since (ctime, or where links lead)"
