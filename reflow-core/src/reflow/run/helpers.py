"""Modules beside the script: only the script itself is frozen, so a change to one of these is told."""

from __future__ import annotations

import os
import sys

from ..model.definition import Definition, Entry
from ..model.digest import sha256
from ..worker.opener import read_regular

#: files that are recorded at most, and the largest of them, in bytes
_MOST = 500
_LARGEST = 4 << 20


def helpers_of(entry: Entry) -> dict[str, tuple[str, str]]:
    """What a script has imported from its own directory and below, with what tells whether that changes.

    Packages that are installed there (a virtual environment in the project) are left out.

    Returns
    -------
    dict
        Absolute path -> size and time of the file, and digest of its content.
    """
    if not entry.path:
        return {}
    top = os.path.join(entry.path[0], "")
    installed = tuple(os.path.join(os.path.abspath(prefix), "") for prefix in {sys.prefix, sys.base_prefix})
    found: dict[str, tuple[str, str]] = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if not isinstance(path, str) or not path.startswith(top) or not path.endswith(".py") or path == entry.file:
            continue
        if "site-packages" in path or (path.startswith(installed) and not top.startswith(installed)):
            continue
        told = _told(path)
        if told is not None:
            found[path] = told
        if len(found) == _MOST:
            break
    return dict(sorted(found.items()))


def changed(definition: Definition) -> list[str]:
    """Recorded helpers that are not what they were, by their paths; one that was only touched is."""
    return [path for path, before in definition.helpers.items() if _changed(path, before)]


def note(paths: list[str]) -> str:
    """A sentence about helpers that have changed."""
    has = "has" if len(paths) == 1 else "have"
    return (
        f"{', '.join(paths)} {has} changed since the run's code was frozen: jobs that start now use the new content;"
        " results of tasks that use it are not told apart (`version=` does)"
    )


def _changed(path: str, before: tuple[str, str]) -> bool:
    stat, digest = before
    if _stat(path) == stat:
        return False
    told = _told(path)
    return told is None or told[1] != digest


def _stat(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"


def _told(path: str) -> tuple[str, str] | None:

    stat = _stat(path)
    try:
        if not stat or int(stat.partition(":")[0]) > _LARGEST:
            return None
        return stat, sha256(read_regular(path, follow=True)).hexdigest()
    except OSError:
        return None
