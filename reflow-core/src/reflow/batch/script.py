"""The scripts that jobs run: readable, and able to run by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from .quoting import exports, quote, words

#: variables of the submission that every job is given, where they are set; ``[executor] inherit_env`` adds to them
INHERITED = (
    "PATH",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "CPATH",
    "MANPATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONUSERBASE",
    "VIRTUAL_ENV",
    "CONDA_DEFAULT_ENV",
    "CONDA_EXE",
    "CONDA_PREFIX",
    "CONDA_PYTHON_EXE",
    "CONDA_SHLVL",
    "MAMBA_EXE",
    "MAMBA_ROOT_PREFIX",
    "PROJ_DATA",
    "PROJ_LIB",
    "GDAL_DATA",
    "MODULEPATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
)

_MODULE_COMMAND = """\
if ! command -v module >/dev/null 2>&1; then
  for init in "${MODULESHOME-}/init/bash" "${LMOD_PKG-}/init/bash" /etc/profile.d/modules.sh /etc/profile.d/lmod.sh \\
      /etc/profile.d/z00_lmod.sh /usr/share/Modules/init/bash /usr/share/modules/init/bash \\
      /usr/share/lmod/lmod/init/bash; do
    if [ -r "$init" ]; then . "$init"; break; fi
  done
fi"""


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What a script does, whatever scheduler runs it.

    Attributes
    ----------
    command : tuple of str
        The program that does the work, with its arguments.
    cwd : str
        Absolute path of the directory to run in.
    title : tuple of str
        Lines of comment that tell a person what this is.
    log : str
        Absolute path that takes what the script says.
    inherited : mapping
        Variables of the submission, recorded then; see `inherited`.
    modules : tuple of str
        Environment modules to be loaded.
    env_file : str
        Absolute path of a file to be sourced; see `environment`.
    setup : str
        Shell commands of the user's.
    umask : int, optional
        File mode bits that new files do not get, as at submission: some schedulers set their own.
    """

    command: tuple[str, ...]
    cwd: str = "/"
    title: tuple[str, ...] = ()
    log: str = "/dev/null"
    inherited: Mapping[str, str] = {}
    modules: tuple[str, ...] = ()
    env_file: str = ""
    setup: str = ""
    umask: int | None = None


def inherited(environ: Mapping[str, str], further: Sequence[str] = ()) -> dict[str, str]:
    """What of the submission's environment jobs are given: recorded once, the same on every scheduler.

    Parameters
    ----------
    environ : mapping
        The environment at hand.
    further : sequence of str
        Names of further variables; ``-NAME`` leaves one of the usual ones out.
    """
    out = {name[1:] for name in further if name.startswith("-")}
    names = dict.fromkeys((*INHERITED, *(name for name in further if not name.startswith("-"))))
    return {name: environ[name] for name in names if name in environ and name not in out}


def environment(variables: Mapping[str, str]) -> str:
    """Text of a file that sets variables when it is sourced; to be kept where only its owner can read it."""
    return "".join(f"{line}\n" for line in exports(dict(variables)))


def render(body: Body) -> str:
    """Text of a script, as yet without a word to any scheduler.

    Whatever goes wrong before the command runs is said in the log, and ends the
    script with code 78.
    """
    lines = ["#!/bin/bash", *(f"# {_line(text)}" for text in body.title), ""]
    if body.umask is not None:
        lines.append(f"umask {body.umask:04o}")
    if body.log != "/dev/null":
        log = quote(body.log)
        folder = quote(body.log.rpartition("/")[0] or "/")
        lines += [f"mkdir -p -- {folder} 2>/dev/null", f"if {{ : >>{log}; }} 2>/dev/null; then exec >>{log} 2>&1; fi"]
    lines += ['reflow_stop() { echo "reflow: $1" >&2; exit 78; }', ""]
    if body.inherited:
        lines += ["# as it was at submission", *exports(dict(body.inherited)), ""]
    if body.modules:
        load = words(["module", "load", *body.modules])
        lines += [
            _MODULE_COMMAND,
            f"{load} || reflow_stop {quote('cannot load modules: ' + ' '.join(body.modules))}",
            "",
        ]
    if body.env_file:
        path = quote(body.env_file)
        lines += [f"[ -r {path} ] || reflow_stop {quote('cannot read ' + body.env_file)}", f". {path}", ""]
    if body.setup.strip():
        lines += ["# setup", body.setup.replace("\r\n", "\n").strip("\n"), ""]
    cwd = quote(body.cwd)
    lines += [f"cd -- {cwd} || reflow_stop {quote('cannot enter the working directory ' + body.cwd)}"]
    # The scheduler's part of the script says whether the shell may become the command (exec) or has to outlive it.
    lines += [f"${{REFLOW_EXEC-}} {words(body.command)} </dev/null"]
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    return " ".join(text.split())
