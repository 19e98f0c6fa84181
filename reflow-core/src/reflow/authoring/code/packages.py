"""Versions of installed packages."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

#: what stands for the version of a package that is not installed
MISSING = "none"


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages that are installed, by the names under which they are imported or installed.

    What an imported module says of itself is taken first: to look at what is installed takes much longer.
    """
    found: dict[str, str] = {}
    for name in sorted(set(names)):
        version = getattr(sys.modules.get(name), "__version__", None)
        found[name] = version if isinstance(version, str) else _installed(name)
    return found


def listed(found: Mapping[str, str]) -> str:
    """Return versions as text, without packages that are not installed."""
    return ", ".join(f"{name} {version}" for name, version in found.items() if version != MISSING)


def difference(before: str, now: str) -> str:
    """Return how two texts of versions differ, as in "numpy 1.26.4, now 2.1.0"; "" where they do not."""
    if before == now or not before:
        return ""
    old, new = (dict(one.rsplit(" ", 1) for one in text.split(", ") if one) for text in (before, now))
    return ", ".join(f"{name} {old[name]}, now {new[name]}" for name in old if name in new and new[name] != old[name])


def _installed(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except (PackageNotFoundError, ValueError):
        return MISSING
