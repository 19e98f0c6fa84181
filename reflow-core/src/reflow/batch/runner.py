"""Running a command, as a contract: this package starts no program itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """A command that has ended, or was ended.

    Attributes
    ----------
    argv : tuple of str
        The command, as run.
    returncode : int, optional
        Its exit code, negative for the signal that killed it; None where it
        was killed because its time was over.
    stdout, stderr : str
        What it wrote, as far as it got.
    """

    argv: tuple[str, ...]
    returncode: int | None = 0
    stdout: str = ""
    stderr: str = ""


class Runner(Protocol):
    """Runs commands in a small environment. The one that does is ``reflow.process.runner.Runner``."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        timeout: float | None = None,
        env: Mapping[str, str | None] | None = None,
        cwd: str | None = None,
    ) -> Completed:
        """Run a command to its end.

        Parameters
        ----------
        argv : sequence of str
            The program and its arguments; no shell is involved.
        stdin : str, optional
            What it reads; nothing where None.
        timeout : float, optional
            Seconds after which it and all it started are killed.
        env : mapping, optional
            Variables to be set in addition to the small environment; None: not to be set.
        cwd : str, optional
            Its working directory; ``/`` where None, or where it cannot be entered.

        Raises
        ------
        ExecutorError
            Where it cannot be started at all.
        """
        ...

    def sleep(self, seconds: float) -> None:
        """Wait before something is tried again."""
        ...
