"""Asking a program that answers on its standard output, in the environment of this process."""

from __future__ import annotations

import os
from collections.abc import Sequence


def answer(argv: Sequence[str], question: bytes, *, cwd: str | None = None) -> tuple[int, bytes, str]:
    """Run a program to its end, however long it takes; it ends with this process's wait.

    Parameters
    ----------
    argv : sequence of str
        The program and its arguments.
    question : bytes
        What it reads on its standard input.
    cwd : str, optional
        Its working directory; this process's own where None.

    Returns
    -------
    returncode, answer, said
        Its exit code, what it wrote on standard output, and what it wrote on standard error.

    Raises
    ------
    OSError
        It cannot be started.
    """
    import subprocess

    with subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
        cwd=cwd,
    ) as process:
        try:
            out, err = process.communicate(question)
        except BaseException:
            process.kill()
            raise
    return process.returncode, out, err.decode("utf-8", "backslashreplace")
