"""Commands, each with a time-out, in a small environment, with everything they started ended with them."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..batch.programs import find_program
from ..batch.runner import Completed
from ..errors import ExecutorError
from ..model.trace import debug
from .environment import scrub

if TYPE_CHECKING:
    import subprocess  # each that runs something imports it then: most runs on one machine run nothing

#: errors of starting a program that go away: no process or memory left just now, the file still being written
_PASSING = (errno.EAGAIN, errno.ENOMEM, errno.ETXTBSY, errno.EMFILE, errno.ENFILE)

#: seconds before a program that could not be started is tried again
_PAUSES = (0.2, 1.0, 3.0)

#: seconds between the request to end and the kill, and for what still holds the pipes after it
_GRACE = 2.0

#: seconds after which somebody who waits is told what for
_SLOW = 5.0


class Runner:
    """Runs commands: the implementation of `reflow.batch.runner.Runner`.

    Parameters
    ----------
    environ : mapping, optional
        The environment from which the small one is taken; the process's own where None.
    keep : collection of str
        Names of further variables that commands are given.
    timeout : float
        Seconds for a command that is run without a time-out of its own.
    """

    def __init__(
        self, environ: Mapping[str, str] | None = None, *, keep: Collection[str] = (), timeout: float = 60.0
    ) -> None:
        self._environ = environ
        self._keep = frozenset(keep)
        self._timeout = timeout
        #: programs of which was said that they are slow: once is enough
        self._slow: set[str] = set()

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        timeout: float | None = None,
        env: Mapping[str, str | None] | None = None,
        cwd: str | None = None,
    ) -> Completed:
        """Run a command to its end, or until its time is over."""
        import subprocess

        wanted = {**scrub(os.environ if self._environ is None else self._environ, self._keep), **(env or {})}
        environment = {name: value for name, value in wanted.items() if value is not None}
        began = time.monotonic()
        process = self._start(tuple(argv), stdin is not None, environment, cwd)
        data = None if stdin is None else stdin.encode("utf-8", "surrogateescape")
        limit = self._timeout if timeout is None else timeout
        try:
            try:
                out, err = process.communicate(data, timeout=min(limit, _SLOW))
            except subprocess.TimeoutExpired:
                if limit <= _SLOW:
                    raise
                if argv[0] not in self._slow:
                    self._slow.add(argv[0])
                    _say_so(argv[0], limit)
                out, err = process.communicate(timeout=limit - _SLOW)
            returncode: int | None = process.returncode
        except subprocess.TimeoutExpired:
            out, err = _end(process)
            returncode = None
        except BaseException:
            _end(process)
            raise
        ended = "was ended by its time-out" if returncode is None else f"ended with {returncode}"
        debug("%s %s after %.2f s", " ".join(argv), ended, time.monotonic() - began)
        return Completed(argv=tuple(argv), returncode=returncode, stdout=_text(out), stderr=_text(err))

    def sleep(self, seconds: float) -> None:
        """Wait before something is tried again."""
        time.sleep(seconds)

    def _start(
        self, argv: tuple[str, ...], reads: bool, env: Mapping[str, str], cwd: str | None
    ) -> subprocess.Popen[bytes]:
        import subprocess

        path = env.get("PATH", os.defpath)
        for pause in (*_PAUSES, None):
            try:
                executable = argv[0] if os.sep in argv[0] else find_program(argv[0], path)
                if executable is None:
                    raise FileNotFoundError
                return subprocess.Popen(
                    argv,
                    executable=executable,
                    stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=env,
                    cwd=cwd if cwd and os.access(cwd, os.X_OK) else "/",
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise ExecutorError(
                    f"there is no program {argv[0]!r}",
                    argv=argv,
                    elsewhere=True,
                    hint="load what provides it, or configure its path",
                ) from None
            except ValueError as error:  # a NUL in an argument
                raise ExecutorError(f"cannot run {argv[0]!r}: {error}", argv=argv) from error
            except OSError as error:
                passing = error.errno in _PASSING
                if pause is None or not passing:
                    raise ExecutorError(
                        f"cannot run {argv[0]!r}: {error.strerror}", argv=argv, transient=passing
                    ) from error
            self.sleep(pause)
        raise AssertionError  # pragma: no cover - the last round returns or raises


def _say_so(program: str, limit: float) -> None:
    """Tell who waits, by `logging`: on standard error, unless the program that uses reflow decides otherwise."""
    import logging

    name = os.path.basename(program)
    logging.getLogger("reflow").warning("%s has not answered for %g s; it has %g s", name, _SLOW, limit)


def _end(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """End a command and all that it started in its session; what they had written."""
    import subprocess

    written = (b"", b"")
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        try:
            return process.communicate(timeout=_GRACE)
        except subprocess.TimeoutExpired as error:
            written = (error.stdout or b"", error.stderr or b"")
    # Something in another session still holds the pipes: nobody waits for it.
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):  # its reader is gone, while something waits to be written
                pipe.close()
    process.wait()
    return written


def _text(data: bytes | None) -> str:
    """Decode what a program wrote: any bytes at all are text, if not always the text that was meant."""
    return (data or b"").decode("utf-8", "replace")
