"""What can go wrong, said to a person: a message, where, and what to do next."""

from __future__ import annotations


class ReflowError(Exception):
    """Base of every error that reflow raises on purpose.

    Parameters
    ----------
    message : str
        What was wrong, and where; one sentence.
    hint : str, optional
        What to do next.

    Attributes
    ----------
    exit_code : int
        What the command line exits with: 2 for wrong usage, 1 for a failure.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    @property
    def line(self) -> str:
        """Message and hint on one line, as records and lists hold them."""
        return " ".join((f"{self.message} ({self.hint})" if self.hint else self.message).split())


class UsageError(ReflowError):
    """The call itself is wrong: an option, an argument, a name."""

    exit_code = 2


class WorkflowError(UsageError):
    """A workflow's definition is wrong; `problems` holds every mistake found.

    Parameters
    ----------
    problems : sequence of str
        One finished sentence a mistake, each beginning with ``file:line``.
    """

    def __init__(self, workflow: str, problems: list[str] | tuple[str, ...]) -> None:
        self.problems = tuple(problems)
        count = "1 mistake" if len(self.problems) == 1 else f"{len(self.problems)} mistakes"
        super().__init__("\n".join([f"workflow {workflow!r} has {count}:", *(f"  {p}" for p in self.problems)]))


class ConfigError(UsageError):
    """A configuration file, variable or override is wrong."""


class CodecError(ReflowError):
    """A value or a type cannot be written as plain data, or read back."""


class PluginError(ReflowError):
    """A plugin is broken, missing or in conflict with another."""


class ExecutorError(ReflowError):
    """A scheduler, or the program that speaks to it, refused or failed.

    Parameters
    ----------
    message : str
        What was asked and what came back.
    argv : sequence of str, optional
        The command, as run.
    returncode : int, optional
        Its exit code; None where it did not end by itself.
    stderr : str, optional
        What it said.
    transient : bool
        Whether the same call may succeed later.
    maybe_done : bool
        Whether the scheduler may have done what was asked all the same (a
        submit command that timed out or was killed).
    elsewhere : bool
        Whether the same call may succeed on another machine: this one may not submit.
    full : bool
        Whether too many jobs are queued already: the same call may succeed when some of them have ended.
    large : bool
        Whether the array has too many elements: a smaller one may be taken.
    definite : bool
        Whether the request can never be met: nothing is gained by asking again, here or on another machine.
    obscure : bool
        Whether nothing is known of the words in which a submission was refused.
    """

    def __init__(
        self,
        message: str,
        *,
        argv: tuple[str, ...] = (),
        returncode: int | None = None,
        stderr: str = "",
        transient: bool = False,
        maybe_done: bool = False,
        elsewhere: bool = False,
        full: bool = False,
        large: bool = False,
        definite: bool = False,
        obscure: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.argv = argv
        self.returncode = returncode
        self.stderr = stderr
        self.transient = transient
        self.maybe_done = maybe_done
        self.elsewhere = elsewhere
        self.full = full
        self.large = large
        self.definite = definite
        self.obscure = obscure


class RunNotFound(UsageError):
    """No run, or more than one, answers to a run id, prefix or directory."""


class Untrusted(UsageError):
    """A directory is world-writable, or another user's who is not trusted."""


class DataError(ReflowError):
    """A file of ours is corrupt, or newer than this version of reflow reads."""


class NotReady(ReflowError):
    """A result was asked for that is not there."""


class Stalled(ReflowError):
    """A run is waited for that nobody drives and nothing will wake."""


class LeaseLost(ReflowError):
    """Another process writes this run now; this one has stopped writing."""
