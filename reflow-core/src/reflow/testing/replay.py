"""Recorded outputs of commands, played back to an executor."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ..batch.runner import Completed

Answer: TypeAlias = "str | Mapping[str, Any] | Exception"


class Replay:
    """A runner that starts nothing: it answers each command with what was recorded of it.

    Parameters
    ----------
    answers : mapping of str to answer, or to a list of answers
        Regular expression, searched in the command's line -> its output, or
        the fields of a `Completed`, or an error to be raised. Of a list, each
        call takes the next; the last one stays. The first expression that
        matches counts.

    Attributes
    ----------
    calls : list of tuple of str
        The commands, as they were run.
    inputs : list of str, or None
        What each of them read.
    slept : list of float
        Pauses before further attempts.
    """

    def __init__(self, answers: Mapping[str, Answer | list[Answer]]) -> None:
        self.answers = {pattern: list(said) if isinstance(said, list) else [said] for pattern, said in answers.items()}
        self.calls: list[tuple[str, ...]] = []
        self.inputs: list[str | None] = []
        self.envs: list[Mapping[str, str | None]] = []
        self.slept: list[float] = []
        #: called with each command before it is answered
        self.watch: Callable[[tuple[str, ...]], None] | None = None

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        timeout: float | None = None,
        env: Mapping[str, str | None] | None = None,
        cwd: str | None = None,
    ) -> Completed:
        """Answer a command.

        Raises
        ------
        AssertionError
            Where nothing was recorded of it.
        """
        self.calls.append(tuple(argv))
        self.inputs.append(stdin)
        self.envs.append(env or {})
        if self.watch is not None:
            self.watch(tuple(argv))
        line = " ".join(argv)
        for pattern, answers in self.answers.items():
            if re.search(pattern, line):
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if isinstance(answer, Exception):
                    raise answer
                fields = {"stdout": answer} if isinstance(answer, str) else answer
                return Completed(argv=tuple(argv), **fields)
        raise AssertionError(f"nothing was recorded of: {line}")

    def sleep(self, seconds: float) -> None:
        """Note the pause."""
        self.slept.append(seconds)
