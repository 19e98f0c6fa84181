"""The scripts that jobs run: readable, and able to run by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from .programs import absolute_entries
from .quoting import exports, quote, words

#: variables of the submission that every job is given, where they are set; ``[executor] inherit_env`` adds to them
INHERITED = (
    "PATH",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "CPATH",
    "MANPATH",
    "PYTHONPATH",
    "PYTHONSAFEPATH",
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
    "MODULESHOME",
    "LMOD_PKG",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
)

#: exit code of a script that stops before its command runs
STOPPED = 78

_STOP = f'reflow_stop() {{ echo "reflow: $1" >&2; exit {STOPPED}; }}'

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
    inherited_file : str
        Absolute path of a file to be sourced: further ones that nobody else may read.
    modules : tuple of str
        Environment modules to be loaded.
    env_file : str
        Absolute path of a file to be sourced; see `environment`.
    setup : str
        Shell commands of the user's.
    """

    command: tuple[str, ...]
    cwd: str = "/"
    title: tuple[str, ...] = ()
    log: str = "/dev/null"
    inherited: Mapping[str, str] = {}
    inherited_file: str = ""
    modules: tuple[str, ...] = ()
    env_file: str = ""
    setup: str = ""


def inherited(environ: Mapping[str, str], further: Sequence[str] = ()) -> dict[str, str]:
    """Return what of the submission's environment jobs are given: recorded once, the same on every scheduler.

    ``PATH`` is without its relative entries, which lead into whatever directory a job runs in.

    Parameters
    ----------
    environ : mapping
        The environment at hand.
    further : sequence of str
        Names of further variables; ``-NAME`` leaves one of the usual ones out.
    """
    out = {name[1:] for name in further if name.startswith("-")}
    names = dict.fromkeys((*INHERITED, *(name for name in further if not name.startswith("-"))))
    found = {name: environ[name] for name in names if name in environ and name not in out}
    path = absolute_entries(found.pop("PATH", ""))
    return {"PATH": path, **found} if path else found  # an empty one would be the working directory


def environment(variables: Mapping[str, str]) -> str:
    """Text of a file that sets variables when it is sourced; to be kept where only its owner can read it."""
    return "".join(f"{line}\n" for line in exports(dict(variables)))


def render(body: Body) -> str:
    """Text of a script, as yet without a word to any scheduler.

    Whatever goes wrong before the command runs is said in the log, and ends the
    script with code 78.
    """
    lines = ["#!/bin/bash", *(f"# {_line(text)}" for text in body.title), ""]
    if body.log != "/dev/null":
        lines.append(redirect(body.log))
    lines += [_STOP, ""]
    if body.inherited:
        lines += ["# as it was at submission", *exports(dict(body.inherited)), ""]
    if body.inherited_file:
        lines += _source(body.inherited_file)
    if body.modules:
        lines += [*_load(body.modules), ""]
    if body.env_file:
        lines += _source(body.env_file)
    if body.setup.strip():
        lines += [*_setup(body.setup), ""]
    cwd = quote(body.cwd)
    lines += [f"cd -- {cwd} || reflow_stop {quote('cannot enter the working directory ' + body.cwd)}"]
    # The scheduler's part of the script says whether the shell may become the command (exec) or has to outlive it.
    lines += [f"${{REFLOW_EXEC-}} {words(body.command)} </dev/null"]
    return "\n".join(lines) + "\n"


def preparation(modules: Sequence[str], setup: str) -> str:
    """Text of a script that prepares for the command in its arguments, and becomes it, on no scheduler.

    Modules are found and loaded as `render` has it. The first line of the setup that
    fails ends the script.

    Parameters
    ----------
    modules : sequence of str
        Environment modules to be loaded.
    setup : str
        Shell commands of the user's.
    """
    lines = ["#!/bin/bash", _STOP]
    if modules:
        lines += _load(modules)
    if setup.strip():
        lines += ["set -e", *_setup(setup)]
    return "\n".join([*lines, 'exec "$@"']) + "\n"


def _load(modules: Sequence[str]) -> list[str]:
    said = quote("cannot load modules: " + " ".join(modules))
    return [_MODULE_COMMAND, f"{words(['module', 'load', *modules])} || reflow_stop {said}"]


def _setup(setup: str) -> list[str]:
    return ["# setup", setup.replace("\r\n", "\n").strip("\n")]


def redirect(path: str) -> str:
    """Shell lines that append all output to a file; where it cannot be written, output goes where it went."""
    log, folder = quote(path), quote(path.rpartition("/")[0] or "/")
    made = f"[ -d {folder} ] || mkdir -p -- {folder} 2>/dev/null"
    return f"{made}\nif {{ : >>{log}; }} 2>/dev/null; then exec >>{log} 2>&1; fi"


def outliving(remap: str = "") -> str:
    """Return shell lines after which a job's commands run in a shell of their own, and another one outlives it.

    Its end is then told from the end of what it runs: a signal to the whole job
    from that of a command to itself. What a command that did not end well has
    left running, it kills: it could keep the job alive, or get in the way of the
    next attempt. On Linux such processes are told by the environment that they
    have inherited.

    Parameters
    ----------
    remap : str
        Shell commands that may change the exit code, ``$code``.
    """
    lines = (
        'if [ -z "${REFLOW_INNER-}" ]; then',
        "  reflow_killed=; trap 'reflow_killed=130' INT TERM; trap : USR1 USR2 XCPU ALRM",
        # Process ids are not unique where containers share a host.
        "  reflow_mark=$$.$RANDOM$RANDOM",
        '  REFLOW_INNER=$reflow_mark /bin/bash "$0"; code=$?',
        '  if [ "$code" != 0 ]; then',
        # Twice, for what is just being started has no environment that could be seen.
        "    for reflow_pause in 0.2 0; do",
        '      grep -lszxF "REFLOW_INNER=$reflow_mark" /proc/[0-9]*/environ | tr -dc "0-9\\n"'
        " | xargs -r kill -9 2>/dev/null",
        "      sleep $reflow_pause",
        "    done",
        "  fi",
        '  if [ "$code" = 0 ]; then code=${reflow_killed:-0}; fi',
        *((f"  {remap}",) if remap else ()),
        "  exit $code",
        "fi",
    )
    return "\n".join(lines)


def recording(directory: str, index: str, base: int) -> str:
    """Shell commands for `outliving` that leave a bad exit code in a file named after the job's slot.

    Not what a signal to the whole job has brought about: that is an end from outside.

    Parameters
    ----------
    directory : str
        Where the file is made.
    index : str
        The variable with the job's index in its array; "" where it is in none.
    base : int
        What indices count from.
    """
    folder = quote(directory)
    slot = f"$((${{{index}:-{base}}} - {base}))" if index else "0"
    return (
        f'if [ "$code" != 0 ] && [ -z "$reflow_killed" ]; then mkdir -p -- {folder}'
        f' && printf %s "$code" >{folder}/{slot}; fi 2>/dev/null'
    )


def _source(file: str) -> list[str]:
    path = quote(file)
    return [
        f"[ -r {path} ] || reflow_stop {quote('cannot read ' + file)}",
        # Whoever may write a directory above may have put another file in its place while the job was queued.
        f"[ -O {path} ] || reflow_stop {quote('somebody else owns ' + file)}",
        f". {path}",
        "",
    ]


def _line(text: str) -> str:
    return " ".join(text.split())
