"""Where programs are: on ``PATH``, and never in the working directory."""

from __future__ import annotations

import os

#: what was found, by name and ``PATH``
_found: dict[tuple[str, str], str] = {}


def find_program(name: str, path: str) -> str | None:
    """Return the absolute path of a program; None where there is none.

    Parameters
    ----------
    name : str
        Its name, or a path, which is returned as it is.
    path : str
        Where it is looked for: ``PATH``. Entries that are relative lead into the working directory, and are left out.
    """
    if os.sep in name:
        return name if os.access(name, os.X_OK) and os.path.isfile(name) else None
    if (name, path) in _found and os.access(_found[name, path], os.X_OK):
        return _found[name, path]
    for directory in filter(os.path.isabs, path.split(os.pathsep)):
        file = os.path.join(directory, name)
        if os.path.isfile(file) and os.access(file, os.X_OK):
            _found[name, path] = file
            return file
    return None


def absolute_entries(path: str) -> str:
    """Return a ``PATH`` without the entries, empty or relative, that lead into the working directory."""
    return os.pathsep.join(filter(os.path.isabs, path.split(os.pathsep)))
