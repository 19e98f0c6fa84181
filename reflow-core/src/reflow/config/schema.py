"""Every key of the configuration, each once: what files may say, what the example and the manual show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ..hookspecs import Setting
from ..model.names import Fingerprint
from ..model.options import ALIASES, PORTABLE, canonical
from ..model.resources import Resources
from ..model.task import JSON

#: names that are resources, wherever options are written
RESOURCES: tuple[str, ...] = Resources.__struct_fields__
#: types whose value is a table that is merged entry by entry
TABLES = ("options", "dict[str, str]")
#: sections in which each plugin has a table of its own
PLUGIN_SECTIONS = ("executor", "cache", "notifications")
#: what a dispatch job takes over from ``[executor.submit_options]``: who pays and where, not how much
INHERITED = ("queue", "account", "project", "qos", "reservation")


class Key(Setting, frozen=True, kw_only=True):
    """One key of one of reflow's own sections.

    Attributes
    ----------
    type : str
        One of `Setting`'s types, or ``directory`` (a path that is made absolute),
        ``options`` (a table of scheduler options), ``occasions`` (a list of words, see
        `reflow.model.notice.occasions`).
    example : JSON
        What the example file shows where there is no default.
    aliases : tuple of str
        Other spellings.
    minimum : int, optional
        The least value allowed.
    unset : str
        What holds where there is no default, in words.
    variable : str
        The environment variable that sets it, where it is not named after the key.
    """

    example: JSON = None
    aliases: tuple[str, ...] = ()
    minimum: int | None = None
    unset: str = "not given"
    variable: str = ""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the configuration file."""

    name: str
    help: str
    keys: tuple[Key, ...]


SECTIONS: tuple[Section, ...] = (
    Section(
        name="executor",
        help="What runs jobs, and what every job gets.",
        keys=(
            Key(
                name="name",
                example="slurm",
                aliases=("mode",),
                variable="REFLOW_EXECUTOR",
                unset="the single scheduler found",
                help="Executor: slurm, pbs, torque, lsf, sge, flux, local, inline, or a plugin's;"
                " dry-run sets dry_run and leaves the executor as it is.",
            ),
            Key(
                name="dry_run",
                type="bool",
                default=False,
                help="Whether runs are only shown: scripts and commands, in order; nothing is written or submitted.",
            ),
            Key(
                name="python",
                type="path",
                example="/sw/python/bin/python3",
                unset="the interpreter that submits",
                help="Interpreter of workers and wake-ups; the same path must exist on compute nodes.",
            ),
            Key(
                name="inherit_env",
                type="list[str]",
                default=[],
                example=["MY_DATA_ROOT"],
                help="Further variables that jobs take along from where the run was submitted, besides PATH,"
                " LD_LIBRARY_PATH, PYTHONPATH, VIRTUAL_ENV, those of conda, MODULEPATH, LANG and the like;"
                " -NAME leaves one of these out.",
            ),
            Key(
                name="submit_env",
                type="list[str]",
                default=[],
                example=["MYSITE_SCHEDULER_CONF"],
                help="Further variables that the scheduler's own commands need.",
            ),
            Key(
                name="modules",
                type="list[str]",
                default=[],
                example=["python/3.11"],
                help="Environment modules that every job loads, before those of its task.",
            ),
            Key(
                name="setup",
                default="",
                example="ulimit -s unlimited",
                help="Shell lines that every job runs before the worker, before those of its task.",
            ),
            Key(
                name="native",
                type="list[str]",
                default=[],
                help="Arguments passed to the submit command as they stand, before those of the task.",
            ),
            Key(
                name="array_parallelism",
                type="int",
                minimum=1,
                example=50,
                unset="no bound",
                help="How many elements of an array run at once, where the task does not say.",
            ),
            Key(
                name="max_submitted",
                type="int",
                minimum=1,
                example=1000,
                unset="asked of the scheduler",
                help="Most jobs of one run (array elements counted) queued and running at once; the rest is held back.",
            ),
            Key(
                name="max_array",
                type="int",
                minimum=1,
                example=1001,
                unset="asked of the scheduler",
                help="Most elements of one array; larger ones are split.",
            ),
            Key(
                name="max_workers",
                type="int",
                minimum=1,
                example=4,
                unset="the machine's cpus",
                help="Worker processes of the local executor.",
            ),
            Key(
                name="command_timeout",
                type="time",
                default="60s",
                help="How long a scheduler's command may take before it is given up.",
            ),
            Key(
                name="submit_timeout",
                type="time",
                default="2m",
                help="The same for the submit command, which must not be given up lightly.",
            ),
            Key(
                name="command_attempts",
                type="int",
                default=4,
                minimum=1,
                help="How often a command is tried when its scheduler is busy or away for a moment.",
            ),
            Key(
                name="submit_options",
                type="options",
                default={},
                example={"queue": "compute", "account": "ab0123", "time": "01:00:00", "mem": "4G"},
                help="Resources and scheduler options that every task begins with; false removes one.",
            ),
            Key(
                name="env",
                type="dict[str, str]",
                default={},
                secret=True,
                example={"OMP_PROC_BIND": "true"},
                help="Variables set in every job; values are never shown.",
            ),
        ),
    ),
    Section(
        name="dispatch",
        help="How a run drives itself: the small jobs that wake it.",
        keys=(
            Key(
                name="chain",
                type="bool",
                default=True,
                help="Whether the run wakes itself by jobs; false where compute nodes may not submit (`reflow drive`).",
            ),
            Key(
                name="fast_advance",
                type="bool",
                default=True,
                help="Whether the last worker of a group starts the next advance, without waiting for the wake-up.",
            ),
            Key(
                name="interval",
                type="time",
                default="2m",
                help="Time between two wake-ups where jobs cannot wait for others (HTCondor, for instance).",
            ),
            Key(name="cpus", type="int", default=1, minimum=1, help="CPU cores of a wake-up."),
            Key(name="time", type="time", default="30m", help="Walltime of a wake-up."),
            Key(name="mem", type="mem", example="2G", unset="the site's default", help="Memory of a wake-up."),
            Key(
                name="queue",
                example="serial",
                aliases=("partition",),
                unset="that of [executor.submit_options]",
                help="Queue of wake-ups.",
            ),
            Key(
                name="account",
                example="ab0123",
                unset="that of [executor.submit_options]",
                help="Account that wake-ups are charged to.",
            ),
            Key(
                name="submit_options",
                type="options",
                default={},
                example={"qos": "short"},
                help=f"Further options of wake-ups; {', '.join(INHERITED)} come from [executor.submit_options]"
                " unless set (or removed by false) here.",
            ),
        ),
    ),
    Section(
        name="notifications",
        help="What is told to people: at most one message for each event of a run.",
        keys=(
            Key(
                name="notifiers",
                type="list[str]",
                default=[],
                example=["mail", "webhook"],
                help="Which notifiers to use; where empty, those that are configured.",
            ),
            Key(
                name="mail_user",
                type="list[str]",
                default=[],
                example=["me@example.org"],
                help="Addresses that get mail about a run.",
            ),
            Key(
                name="mail_type",
                type="occasions",
                default=["END"],
                help="Events to tell of, by any notifier: BEGIN, END, SUCCESS, FAIL, CANCELLED, ALL, NONE.",
            ),
        ),
    ),
    Section(
        name="cache",
        help="Results kept from run to run.",
        keys=(
            Key(name="enabled", type="bool", default=True, help="Whether results are reused and kept."),
            Key(
                name="own",
                type="list[str]",
                default=[],
                help="Modules, with all below them, whose code counts as a task's own, wherever they lie.",
            ),
            Key(
                name="foreign",
                type="list[str]",
                default=[],
                help="Modules, with all below them, whose code does not count, though they lie beside the script.",
            ),
            Key(
                name="packages",
                type="list[str]",
                default=[],
                help="Installed packages whose versions count: results of another version are not reused.",
            ),
            Key(name="backend", default="segments", help="Where results are kept: segments, sqlite, or a plugin's."),
            Key(
                name="path",
                type="directory",
                example="~/reflow-cache",
                unset="in the user's store",
                help="Directory of the cache.",
            ),
            Key(
                name="fingerprint",
                default="stat",
                choices=tuple(member.value for member in Fingerprint),
                help="What tells that a file has changed: its size and time, its content, or its name alone.",
            ),
            Key(
                name="policy",
                default="track",
                choices=("track", "warn", "ignore"),
                help="A task's changed code: recompute, reuse but say so, or reuse.",
            ),
            Key(
                name="verify",
                type="bool",
                default=True,
                help="Whether files named by a result must exist unchanged before it is reused.",
            ),
            Key(
                name="ctime",
                type="bool",
                default=True,
                help="Whether ctime tells files of equal size and time apart; false where backups change it.",
            ),
        ),
    ),
    Section(
        name="run",
        help="How a run is watched.",
        keys=(
            Key(
                name="trusted_owners",
                type="list[str]",
                default=[],
                example=["alice"],
                help="Other users whose run and cache directories are read and written: their code runs as yours.",
            ),
            Key(
                name="trusted_groups",
                type="list[str]",
                default=[],
                example=["proj"],
                help="Groups that may write your run and cache directories: their members run code as you.",
            ),
            Key(
                name="grace",
                type="time",
                default="90s",
                help="How long after a job has gone its record is waited for, before the element counts as failed.",
            ),
            Key(
                name="lost_after",
                type="time",
                default="1h",
                help="How long the end of a job that was cancelled as lost is waited for, before its element is tried"
                " again all the same; its node may be dead.",
            ),
            Key(
                name="on_error",
                default="continue",
                choices=("continue", "stop"),
                help="What a failure that is final does to the run, where a task does not say: what does not depend on"
                " it goes on, or the run ends.",
            ),
            Key(
                name="max_failures",
                type="float",
                minimum=0,
                example=0.1,
                unset="any number, or with on_error = stop none",
                help="How many elements of an array may fail (5), or what share of them (0.1), before the rest of it is"
                " cancelled, where a task does not say.",
            ),
            Key(
                name="quiet",
                type="time",
                default="2m",
                help="After how long without news `status` asks the scheduler by itself.",
            ),
            Key(
                name="poll",
                type="time",
                default="10s",
                help="How often, at first, a run driven from the foreground asks the scheduler.",
            ),
            Key(name="max_poll", type="time", default="2m", help="What this grows to while nothing happens."),
        ),
    ),
    Section(
        name="defaults",
        help="What commands take where nothing is said.",
        keys=(
            Key(
                name="run_dir",
                example="~/runs/{workflow}/{run_id}",
                unset="must be given",
                help="Run directory; may hold $USER (any variable), ~, {workflow} and {run_id}.",
            ),
        ),
    ),
    Section(
        name="plugins",
        help="What is loaded.",
        keys=(
            Key(
                name="disabled",
                type="list[str]",
                default=[],
                example=["flux"],
                help="Plugins, or their distributions, that are never loaded.",
            ),
        ),
    ),
)

#: as a mode, in place of an executor's name: everything is checked and shown, and nothing submitted
DRY_RUN = "dry-run"


class Tables(dict[str, tuple[Setting, ...]]):
    """Plugins' tables, ``"executor.slurm"`` -> settings, and in `warnings` what people should hear of the plugins."""

    warnings: tuple[str, ...] = ()


class Schema:
    """All keys that are known: reflow's own, and those of plugins.

    Parameters
    ----------
    tables : mapping of str to sequence of Setting, optional
        Plugins' tables, ``"executor.slurm"`` and so on. None: not known, so
        that such tables are kept as they stand.
    """

    def __init__(self, tables: Mapping[str, Sequence[Setting]] | None = None) -> None:
        self.complete = tables is not None
        self.warnings = tables.warnings if isinstance(tables, Tables) else ()
        self.sections: dict[str, dict[str, Key]] = dict(_OWN)
        for name, settings in (tables or {}).items():
            self.sections[name] = {s.name: s if isinstance(s, Key) else _key(s) for s in settings}

    def key(self, section: str, name: str) -> Key | None:
        """The key that `name`, in any spelling, stands for in a section."""
        keys = self.sections[section]
        name = normal(name)
        if name in keys:
            return keys[name]
        return next((key for key in keys.values() if name in (normal(key.name), *key.aliases)), None)

    def find(self, dotted: str) -> tuple[str, Key, str] | None:
        """Section, key and entry (of a key that is a table; else "") of ``cache.policy`` or ``executor.env.HOME``."""
        parts = dotted.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            section = ".".join(parts[:cut])
            if section not in self.sections:
                continue
            key = self.key(section, parts[cut])
            entry = ".".join(parts[cut + 1 :])
            if key is not None and bool(entry) <= (key.type in TABLES):
                return section, key, entry
        return None

    def spellings(self, section: str) -> list[str]:
        """All names of a section's keys, other ones too."""
        return [name for key in self.sections[section].values() for name in (key.name, *key.aliases)]

    def names(self) -> list[str]:
        """All names of all keys, dotted."""
        return [f"{section}.{name}" for section in self.sections for name in self.spellings(section)]

    def variables(self) -> dict[str, list[tuple[int, str, Key, str]]]:
        """What each environment variable sets: rank (the highest wins), section, key and entry."""
        found: dict[str, list[tuple[int, str, Key, str]]] = {}
        for section, keys in self.sections.items():
            for key in keys.values():
                for name in (key.name, *key.aliases):
                    found.setdefault(variable(section, name), []).append((2, section, key, ""))
                if key.variable:
                    found.setdefault(key.variable, []).append((2, section, key, ""))
        own = self.sections["executor"]
        short = {name: (key, "") for key in own.values() for name in (key.name, *key.aliases)}
        for name in (*RESOURCES, *PORTABLE, *ALIASES):
            short.setdefault(name, (own["submit_options"], canonical(name)))
        for name, (key, entry) in short.items():
            found.setdefault(variable("", name), []).append((1, "executor", key, entry))
        # REFLOW_SBATCH is short for REFLOW_EXECUTOR_SLURM_SBATCH; REFLOW_QSTAT sets it for all who have one.
        for section, keys in self.sections.items():
            if section.startswith("executor."):
                for name, key in keys.items():
                    if name not in short:
                        found.setdefault(variable("", name), []).append((0, section, key, ""))
        return found


def normal(name: str) -> str:
    """The one spelling of a key."""
    return name.strip().lower().replace("-", "_")


def variable(section: str, name: str) -> str:
    """The environment variable of a key."""
    return "_".join(filter(None, ("REFLOW", section, name))).upper().replace(".", "_").replace("-", "_")


def _key(setting: Setting) -> Key:
    return Key(**msgspec.structs.asdict(setting))


_OWN = {section.name: {key.name: key for key in section.keys} for section in SECTIONS}
