"""One command of a simulated scheduler: ``python program.py KIND DIRECTORY PROGRAM [ARGUMENTS]``.

A verb, an option or a situation of which no transcript tells what the real program does ends with code 99.

``python program.py KIND DIRECTORY --serve [KEY=JSON]...`` makes a cluster in a directory and runs its jobs until it is
killed, its parent ends, or a file ``stop`` appears there; its programs are in ``DIRECTORY/bin``. Keys are the site's
configuration: ``cores``, ``max_array``, ``history`` (PBS), ``keeps`` (seconds for which what has ended is known).
"""

from __future__ import annotations

import importlib
import json
import os
import shlex
import signal
import sys
from pathlib import Path

from engine import Book, Refused, Runner, System, Unrecorded

KINDS = {
    "pbs": "pbs:OpenPBS",
    "torque": "torque:Torque",
    "lsf": "openlava:OpenLava",
    "flux": "flux:Flux",
}


def system(kind: str, root: Path) -> System:
    """The personality of that name, on the cluster in that directory."""
    module, _, name = KINDS[kind].partition(":")
    made: System = getattr(importlib.import_module(module), name)(Book(root))
    return made


def serve(kind: str, root: Path, settings: list[str]) -> int:
    """Be the cluster."""
    (root / "bin").mkdir(parents=True)
    site = dict(setting.split("=", 1) for setting in settings)
    (root / "site.json").write_text(json.dumps({key: json.loads(value) for key, value in site.items()}))
    made = system(kind, root)
    signal.signal(signal.SIGTERM, lambda *_: (root / "stop").touch())
    words = [sys.executable, "-E", "-S", "-B", os.path.abspath(__file__), kind, str(root)]
    for name in made.programs:
        path = root / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} {name} "$@"\n')
        path.chmod(0o755)
    (root / "ready").touch()
    Runner(made, os.getppid()).run()
    return 0


def main(kind: str, folder: str, program: str, argv: list[str]) -> int:
    root = Path(folder).resolve()
    if program == "--serve":
        return serve(kind, root, argv)
    book = system(kind, root)
    try:
        if (root / "down").exists():
            code = book.down(program)
            if code is not None:
                return code
        return book.command(program, argv)
    except Refused as refusal:
        sys.stdout.flush()
        sys.stderr.write(refusal.text if refusal.text.endswith("\n") or not refusal.text else f"{refusal.text}\n")
        return refusal.code
    except Unrecorded as unknown:
        said = f"simulator: not in the transcripts: {unknown}"
        with open(root / "unrecorded", "a") as stream:
            stream.write(f"{program} {' '.join(argv)}: {unknown}\n")
        sys.stderr.write(f"{said}\n")
        return 99


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
