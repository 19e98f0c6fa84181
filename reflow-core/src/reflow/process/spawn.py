"""Starting the processes that the local executor keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

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

    return subprocess.Popen(
        list(argv),
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=tuple(keep),
        start_new_session=True,
    )
