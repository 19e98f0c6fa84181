"""``plugins``: what is installed, and what is wrong with it."""

from __future__ import annotations

import typer

from ...plugins import registry
from .. import render
from ..options import JsonOption
from ..session import Session

_KINDS = {"executors": "executors", "cache_backends": "caches", "notifiers": "notifiers", "commands": "commands"}


def command(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """List plugins: what each provides, and why one that is broken or disabled is left out."""
    found = registry(Session.of(ctx).disabled)
    for warning in found.warnings:
        render.complain("warning", warning)
    rows = found.describe()
    if as_json:
        render.put_json(rows)
        return
    for row in rows:
        version = f" {row['version']}" if row.get("version") else ""
        render.put(f"{row['name']}{version} ({row['distribution']}): {row['status']}")
        for problem in row.get("problems", ()):
            render.put(f"  {problem['stage']}: {problem['error']}")
        if row.get("disabled_by"):
            render.put(f"  disabled by {row['disabled_by']}")
        if row.get("install"):
            render.put(f"  {row['install']}")
        for key, noun in _KINDS.items():
            provided = row.get(key, ())
            if provided:
                render.put(f"  {noun}: {', '.join(_entry(entry) for entry in provided)}")
            for entry in provided:
                if entry.get("conflicts"):
                    render.put(f"  conflict: {entry['name']!r} is also in {', '.join(entry['conflicts'])}")


def _entry(entry: dict[str, object]) -> str:
    aliases = entry.get("aliases") or ()
    assert isinstance(aliases, list | tuple)
    return f"{entry['name']} ({', '.join(aliases)})" if aliases else str(entry["name"])
