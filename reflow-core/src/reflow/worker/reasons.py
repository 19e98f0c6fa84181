"""Why an element failed, in words, and where in the user's own code; loaded where one has."""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
from collections.abc import Iterable, Iterator
from traceback import format_exception_only
from types import TracebackType

#: bytes of a log or of a program's error output whose last lines are shown, and how many lines
_TAIL = 2000
_LINES = 5

#: characters of a command that are shown
_MOST_COMMAND = 200

#: causes that are followed
_MOST_CAUSES = 3

#: directories whose files are nobody's own: Python's, and reflow's
_FOREIGN = (
    os.path.dirname(os.path.abspath(os.__file__)) + os.sep,
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep,
)
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

#: a frame in what `faulthandler` writes
_DUMPED = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)$', re.MULTILINE)


def is_own(file: str) -> bool:
    """Tell whether a source file is a user's own: neither Python's, nor reflow's, nor an installed package's."""
    if file.startswith("<"):
        return file.startswith("<ipython")
    return not file.startswith(_FOREIGN) and not any(part in file for part in _INSTALLED)


def place(frames: Iterable[tuple[str, int, str]]) -> str:
    """Return the innermost own frame, of frames given from the outermost on, as ``FILE:LINE, in FUNCTION``."""
    last = own = ""
    for file, line, function in frames:
        last = f"{file}:{line}, in {function}"
        if is_own(file):
            own = last
    return own or last


def place_of(trace: TracebackType | None) -> str:
    """Return where in the user's own code an exception came from; "" where none of it was run."""
    return place(_frames(trace))


def _frames(trace: TracebackType | None) -> Iterator[tuple[str, int, str]]:
    while trace is not None:
        code = trace.tb_frame.f_code
        yield code.co_filename, trace.tb_lineno or code.co_firstlineno, code.co_name
        trace = trace.tb_next


def reason_of(error: BaseException) -> str:
    """Return what an exception says, with what was raised before it and named as its cause."""
    said = [_said(error)]
    seen = {id(error)}
    cause = error.__cause__
    while cause is not None and id(cause) not in seen and len(said) <= _MOST_CAUSES:
        seen.add(id(cause))
        where = place_of(cause.__traceback__)
        said.append(f"caused by {_said(cause)}" + (f"\n  at {where}" if where else ""))
        cause = cause.__cause__
    return "\n".join(said)


def _said(error: BaseException) -> str:
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    program = sys.modules.get("subprocess")  # who has not loaded it has started no program with it
    if program is not None and isinstance(error, program.CalledProcessError):
        code = error.returncode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"{kind}: {_command(error.cmd)} {how}{_stderr(error.stderr)}"
    if program is not None and isinstance(error, program.TimeoutExpired):
        return f"{kind}: {_command(error.cmd)} took longer than {error.timeout} s{_stderr(error.stderr)}"
    return "".join(format_exception_only(type(error), error)).strip()


def _command(cmd: object) -> str:
    """A program with its arguments as a shell takes them, shortened."""
    words = [cmd] if isinstance(cmd, (str, bytes, os.PathLike)) else cmd
    text = shlex.join(os.fsdecode(word) for word in words) if not isinstance(cmd, str) else cmd  # type: ignore[attr-defined]
    if len(text) > _MOST_COMMAND:
        text = f"{text[: _MOST_COMMAND // 2]} [...] {text[-_MOST_COMMAND // 2 :]}"
    return f"`{text}`"


def _stderr(captured: object) -> str:
    """The end of what a program wrote to stderr, or of the element's log where that took it."""
    if isinstance(captured, bytes):
        captured = captured.decode("utf-8", "backslashreplace")
    if captured is None:
        text, where = _end_of_log(), "the log ends"
    else:
        text, where = str(captured), "its stderr ends"
    lines = text[-_TAIL:].strip().splitlines()[-_LINES:]
    return "\n".join([f"; {where}:", *(f"  {line}" for line in lines)]) if lines else ""


def _end_of_log() -> str:
    """The last that this attempt has written to the element's log; "" where standard error goes elsewhere."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        path = os.readlink("/proc/self/fd/2")
        if "/.reflow/" not in path or not stat.S_ISREG(os.fstat(2).st_mode):
            return ""
        with open(path, "rb") as log:
            log.seek(max(0, os.fstat(2).st_size - _TAIL))
            text = log.read().decode("utf-8", "backslashreplace")
    except (OSError, ValueError, AttributeError):
        return ""
    return re.split(r"^--- attempt \d+ ---$", text, flags=re.MULTILINE)[-1]


def dumped(text: str) -> tuple[str, str]:
    """Find the last stack that `faulthandler` has written into a log.

    Returns
    -------
    stack, place : str
        As it is written, and the innermost own frame of its main thread; "" twice where there is none.
    """
    found = re.findall(r"^Timeout \(.*\)!\n(?:.*\n)*?(?=^Timeout \(|\Z)", text, re.MULTILINE)
    if not found:
        return "", ""
    stack = found[-1]
    main = stack[stack.rfind("Thread 0x") :]
    frames = [(match["file"], int(match["line"]), match["function"]) for match in _DUMPED.finditer(main)]
    return stack, place(reversed(frames))
