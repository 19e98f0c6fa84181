"""What a submission would be: the script with the scheduler's part, and the command."""

from __future__ import annotations

import os
import re

import msgspec

from ..errors import UsageError
from ..model.job import Job
from ..model.layout import exits
from .dialect import Call, Dialect, Site
from .quoting import quote, words
from .script import STOPPED, outliving, recording, redirect

#: the line that ends the scheduler's part of a script
MARK = "# ---- what the job does ----"

_SHELLS = ("sh", "bash", "dash", "ksh", "zsh")


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a submission would be.

    Attributes
    ----------
    script : str
        Text of the script, with the scheduler's part.
    call : Call
        The command.
    path : str
        Where the script lies.
    """

    script: str
    call: Call
    path: str

    @property
    def command(self) -> str:
        """The command as one line of a shell: what it reads is the script, or text of the dialect's own."""
        return words(self.call.argv) + self._reads()

    def _reads(self) -> str:
        if self.call.stdin is None:
            return ""
        return f" < {quote(self.path)}" if self.call.stdin == self.script else f" <<< {quote(self.call.stdin)}"


def compose(speaks: Dialect, job: Job, site: Site, body: str | None = None) -> Preview:
    """Return the script and the command of a job; nothing is written or run.

    Parameters
    ----------
    speaks : Dialect
        The scheduler.
    job : Job
        The job.
    site : Site
        Who submits it, and when.
    body : str, optional
        Text of the script as yet without the scheduler's part; read from
        ``job.script`` where None.
    """
    if body is None:
        with open(job.script, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            body = stream.read()
    lines, rest = speaks.split(speaks.flags(job, site))
    rest += job.native
    shebang, body = _parted(job.script, body)
    draft = Preview(script=body, call=speaks.submit(job, body, rest), path=job.script)
    head = [*lines, f"# submitted by: {draft.command}"]
    root, scripts, _ = job.script.rpartition("/scripts/")
    if speaks.outlive:
        head.append(speaks.outlive)
    elif job.spec is not None and scripts and speaks.forgets_ends():
        index = "" if job.slots is None else speaks.index
        head.append(outliving(recording(exits(root, job.tag), index, speaks.limits.array_base)))
    if job.log != "/dev/null" and not any(job.log in line for line in lines) and f">>{quote(job.log)}" not in body:
        head.append(redirect(job.log))
    head.append(f"umask {_umask():04o}")
    stop = quote(f"reflow: cannot enter the working directory {job.cwd}")
    head.append(f"cd -- {quote(job.cwd)} || {{ echo {stop} >&2; exit {STOPPED}; }}")
    base = speaks.limits.array_base
    if job.slots is None:
        head.append("export REFLOW_SLOT=0")
    else:
        head.append(f': "${{{speaks.index}:=$((${{REFLOW_SLOT:-0}} + {base}))}}"')
        head.append(f"export REFLOW_SLOT=$(({speaks.index} - {base}))")
    head.append(f"export REFLOW_JOB_ID={speaks.job_id}")
    # By the shell itself, where it can: a program more is a tenth of a worker's start.
    head.append("printf -v REFLOW_BEGIN '%(%s)T' -1 2>/dev/null || REFLOW_BEGIN=$(date +%s)")
    head.append("export REFLOW_BEGIN")
    if speaks.prelude:
        head.append(speaks.prelude)
    head.append("REFLOW_EXEC=exec")
    script = "\n".join([shebang, *head, MARK, body])
    return Preview(script=script, call=speaks.submit(job, script, rest), path=job.script)


def _umask() -> int:
    """The process's file mode creation mask, read without changing it where that can be."""
    try:
        with open("/proc/self/status") as stream:
            return int(re.search(r"(?m)^Umask:\s*(\d+)", stream.read())[1], 8)  # type: ignore[index]
    except (OSError, TypeError):
        mask = os.umask(0o077)
        os.umask(mask)
        return mask


def _parted(path: str, text: str) -> tuple[str, str]:
    """The first line of a script, and what follows, without a scheduler's part from an earlier submit."""
    shebang, _, body = text.partition("\n") if text.startswith("#!") else ("#!/bin/bash", "", text)
    program = shebang[2:].split()
    shell = os.path.basename(program[-1] if program and program[0].endswith("/env") else (program or [""])[0])
    if shell not in _SHELLS:
        raise UsageError(f"{path} is no shell script: it begins with {shebang!r}")
    _, mark, rest = body.partition(f"{MARK}\n")
    return shebang, rest if mark else body


def complete(path: str, text: str) -> None:
    """Replace a script, at once and whole."""
    data = text.encode("utf-8", "surrogateescape")
    with open(path, "rb") as stream:
        if stream.read() == data:
            return
    draft = f"{path}.{os.urandom(8).hex()}"
    mode = os.stat(path).st_mode | 0o100
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "wb") as stream:
        stream.write(data)
        os.fchmod(stream.fileno(), mode)
    os.replace(draft, path)
