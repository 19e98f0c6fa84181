"""Importing a workflow from its script, under its own name and never as ``__main__``."""

from __future__ import annotations

import os
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

from ..authoring.flow import Flow
from ..errors import UsageError
from ..model.definition import Entry

if TYPE_CHECKING:
    from .frozen import Frozen

_GUARD = "put that under `if __name__ == '__main__':`"

#: scripts that are being imported
_importing: list[str] = []


class Unguarded(UsageError):
    """A script runs its workflow when it is imported; who imported it would never come to an end."""


def refuse_in_import(what: str) -> None:
    """Raise `Unguarded` while a script is being imported; `what` it does is said with its line."""
    if not _importing:
        return
    file = _importing[-1]
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename != file:
        frame = frame.f_back
    where = f"{file}:{frame.f_lineno}" if frame.f_code.co_filename == file else file
    raise Unguarded(f"{where} {what} when it is imported", hint=_GUARD)


def require_guard(file: str) -> None:
    """Raise `Unguarded` where a script that runs now would do what it does whenever it is imported.

    It has no guard where its top level does not even look at ``__name__``; one that does may still have none, which
    the workers then find.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_name == "<module>" and os.path.abspath(code.co_filename) == file:
            if "__name__" not in code.co_names:
                raise Unguarded(f"{file}:{frame.f_lineno} would run the workflow in each worker, too", hint=_GUARD)
            return
        frame = frame.f_back


def module_name(file: str) -> str:
    """The name under which a script is imported."""
    stem = os.path.basename(file).rpartition(".")[0] or os.path.basename(file)
    return stem if stem.isidentifier() else "__reflow_script__"


def load_module(entry: Entry, frozen: Frozen | None = None) -> ModuleType:
    """Import the script of `entry`.

    Parameters
    ----------
    entry : Entry
        What to import, and under which name.
    frozen : Frozen, optional
        What has the code frozen at submit. Everything else, ``__file__`` and
        tracebacks too, speaks of the original.

    Raises
    ------
    OSError
        The file cannot be read.
    DataError
        The frozen copy is not what was frozen.
    UsageError
        The script runs its workflow, or ends the process.
    Exception
        Whatever else it raises.
    """
    for path in reversed(entry.path):
        if path not in sys.path:
            sys.path.insert(0, path)
    package = entry.module.rpartition(".")[0]
    if package:
        __import__(package)
    if frozen is not None:
        loader, code = frozen.loader(entry.module, entry.file), frozen.code()
    else:
        loader = SourceFileLoader(entry.module, entry.file)
        with open(entry.file, "rb") as stream:
            code = compile(stream.read(), entry.file, "exec", dont_inherit=True)
    # Python 3.15 warns of a module without a loader whenever it shows a line of its source.
    spec = spec_from_file_location(entry.module, entry.file, loader=loader)
    assert spec is not None  # a loader is given
    module = module_from_spec(spec)
    sys.modules[entry.module] = module
    _importing.append(entry.file)
    try:
        # What importing is: the user's script, by the user, as `python script.py` would run it.
        exec(code, module.__dict__)  # noqa: S102
    except BaseException as error:
        sys.modules.pop(entry.module, None)
        if isinstance(error, SystemExit):
            raise UsageError(
                f"{entry.file} ended with exit code {error.code} when it was imported",
                hint="keep what runs it, such as wf.cli(), under `if __name__ == '__main__':`",
            ) from error
        raise
    finally:
        _importing.pop()
    return module


def flows_of(module: ModuleType) -> dict[str, Flow]:
    """Root workflows of a module, by variable name, each once."""
    found: dict[str, Flow] = {}
    seen: set[int] = set()
    for name, value in vars(module).items():
        if isinstance(value, Flow) and value.root and id(value) not in seen:
            found[name] = value
            seen.add(id(value))
    return found


def load_flow(entry: Entry, frozen: Frozen | None = None) -> Flow:
    """Import the workflow of `entry`, of frozen code where given.

    Raises
    ------
    UsageError
        The script does not hold that workflow any more.
    """
    return flow_of(load_module(entry, frozen), entry)


def flow_of(module: ModuleType, entry: Entry) -> Flow:
    """The workflow of `entry` in its module; errors as for `load_flow`."""
    flow = getattr(module, entry.variable, None)
    if not isinstance(flow, Flow):
        raise UsageError(
            f"{entry.file} holds no workflow named {entry.variable!r}",
            hint="the workflow must be a variable of the module, made when the module is imported",
        )
    return flow
