"""Starting the processes that the local executor keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from errno import ENOENT
from typing import TYPE_CHECKING

from ..batch.programs import find_program

if TYPE_CHECKING:
    import subprocess


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    output: int,
    keep: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, so that a terminal's Ctrl-C does not reach it.

    Parameters
    ----------
    argv : sequence of str
        The program and its arguments; no shell is involved.
    env, cwd : mapping, str
        Its whole environment, and its working directory.
    output : int
        Descriptor for its standard output and error.
    keep : sequence of int
        Descriptors that it inherits under their own numbers.
    """
    import subprocess  # where all is cached, nothing is started

    executable = argv[0] if os.sep in argv[0] else find_program(argv[0], env.get("PATH", os.defpath))
    if executable is None:
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), argv[0])
    return subprocess.Popen(
        list(argv),
        executable=executable,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=tuple(keep),
        start_new_session=True,
    )
