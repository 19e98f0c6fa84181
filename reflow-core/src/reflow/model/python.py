"""How every interpreter of reflow's own is started: nothing is imported from the working directory."""

from __future__ import annotations

#: runs before the first import: `-c` has put the working directory first, unless the interpreter has a safe path
_SAFE = "import sys; sys.path[0] or sys.path.pop(0); "


#: what workers run, and what goes on with a run
WORKER = "import reflow.worker.__main__"
ADVANCE = "from reflow.run.drive.wakeup_main import main; sys.exit(main(sys.argv[1:]))"


def program(python: str, statement: str, *arguments: str) -> tuple[str, ...]:
    """Return the command by which `python` executes a statement that imports of reflow what it runs.

    ``-P`` would do the same, but Python 3.10 refuses it, and which version a configured interpreter is is not known.

    Parameters
    ----------
    python : str
        The interpreter.
    statement : str
        Such as `WORKER`; `sys` is imported.
    *arguments : str
        What it finds in ``sys.argv[1:]``.
    """
    return (python, "-c", f"{_SAFE}{statement}", *arguments)
