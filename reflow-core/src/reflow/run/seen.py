"""What of an element's input files, beside their fingerprints, tells that they are the same: ctime and place.

Neither is part of a key: a file that was only moved, linked or given other
permissions would be another one. Where they differ, the content decides, if it
is known; else the result is computed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ..model.digest import sha256
from ..model.schema import escape, unescape
from ..worker.files import Print, content_of
from ..worker.seal import MOVED, REPLACED, Seal, read_seal

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
    changed = _hash(f"{path}\0{found.changed}\n" for path, found in sorted(taken.items(), key=lambda item: item[0]))
    return {name: f"{changed} {_hash(f'{path}{chr(0)}{place(path)}{chr(10)}' for path in sorted(taken))}"}


def _hash(parts: Iterable[str]) -> str:
    state = sha256()
    for part in parts:
        state.update(part.encode("utf-8", "surrogateescape"))
    return state.hexdigest()[:16]


def known(texts: Mapping[str, str], contents: Mapping[str, str]) -> dict[str, str]:
    """Add to seals the digests of what the files hold, as far as they are known."""
    return {path: f"{text} {contents[path]}" if path in contents else text for path, text in texts.items()}


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
        if not moved and (not ctime or one.changed == other.changed):
            continue
        if not one.content or content_of(unescape(name)) != one.content:
            return f"input {name} {MOVED if moved else REPLACED}"
    return ""


_HOW = "were replaced, moved or given other attributes since (ctime, or where links lead)"
