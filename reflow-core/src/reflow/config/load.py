"""Reading the layers: built-in, site, user, project, environment, overrides."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..errors import ConfigError, Untrusted
from ..hookspecs import Setting
from ..model.options import PORTABLE
from ..model.task import JSON
from ..worker.trust import GROUPS, OWNERS, trust, wrong_name
from . import document
from .config import Config, Item, Origin
from .schema import DRY_RUN, PLUGIN_SECTIONS, RESOURCES, TABLES, Key, Schema, normal
from .values import RESOURCE_TYPES, Place, Wrong, parse, parse_entry, scalar, suggest

if TYPE_CHECKING:
    from pathlib import Path

#: the site's file, where ``REFLOW_SITE_CONFIG`` names no other
SITE = "/etc/reflow/config.toml"
#: the project's file, beside the pipeline
PROJECT = "reflow.toml"
#: variables of reflow's own, which set no key
RESERVED = frozenset(
    f"REFLOW_{name}"
    for name in (
        "CONFIG",
        "SITE_CONFIG",
        "STORE_PATH",
        "SLOT",
        "TAG",
        "TASK",
        "INDEX",
        "ATTEMPT",
        "RUN_ID",
        "RUN_DIR",
        "JOB_ID",
        "FLUX_URI",
        "EXEC",
        "INNER",
        "BEGIN",
        "WORKER",
    )
)

#: those of them that people set
_PLACES = ("REFLOW_CONFIG", "REFLOW_SITE_CONFIG", "REFLOW_STORE_PATH")

Tables = Mapping[str, Sequence[Setting]]
_Problem = tuple[str, "str | None"]

#: whom to believe: set by site, user, environment and overrides, never by the files that are to be judged with it
POLICY = {"trusted_owners": OWNERS, "trusted_groups": GROUPS}


def load_config(
    project: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, JSON] | Iterable[str] = (),
    tables: Tables | Callable[[tuple[str, ...]], Tables] | None = None,
) -> Config:
    """Read the configuration.

    Parameters
    ----------
    project : path, optional
        The pipeline's script or its directory, where ``reflow.toml`` is looked for; or a
        configuration file, which must exist. A file that is another user's, or that others may write, is left out
        with a warning, whatever layer it is of.
    environ : mapping, optional
        Environment variables; those of this process where not given.
    overrides : mapping or iterable of str
        Values that win over all others: ``{"executor.name": "slurm"}`` or
        ``["cache.policy=warn"]``.
    tables : mapping, or function from names to mapping, optional
        Plugins' tables, ``"executor.slurm"`` -> settings; a function is called with the
        names that ``[plugins] disabled`` holds. Without it, plugins' tables are kept
        unchecked, and hidden where the configuration is shown.

    Raises
    ------
    ConfigError
        With all that is wrong in the layer where something is: unknown keys, values of the
        wrong type, syntax, unreadable files.
    """
    environ = os.environ if environ is None else environ
    documents, ignored = _read_all(_files(project, environ), environ)
    if callable(tables):
        tables = tables(_disabled(documents, environ))
    loader = _Loader(Schema(tables), environ)
    loader.warnings += ignored
    return loader.load(documents, overrides)


def config_path(environ: Mapping[str, str] | None = None) -> Path:
    """The user's file: ``~/.config/reflow/config.toml``, on macOS too.

    ``REFLOW_CONFIG`` names another; ``XDG_CONFIG_HOME`` replaces ``~/.config``.
    """
    from pathlib import Path

    return Path(_user_file(os.environ if environ is None else environ))


class _Read:
    """A file of one layer."""

    def __init__(self, layer: str, found: document.Document, environ: Mapping[str, str]) -> None:
        self.layer = layer
        self.document = found
        self.place = Place(os.path.dirname(os.path.abspath(found.file)), environ, text=False)

    def origin(self, *path: str) -> Origin:
        return Origin(self.layer, self.document.file, self.document.line(*path))


def _user_file(environ: Mapping[str, str]) -> str:
    home = environ.get("HOME") or os.path.expanduser("~")
    if environ.get("REFLOW_CONFIG"):
        path = environ["REFLOW_CONFIG"]
        return os.path.abspath(home + path[1:] if path.startswith("~/") else path)
    base = environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification has a relative value ignored.
    return os.path.join(base if os.path.isabs(base) else os.path.join(home, ".config"), "reflow", "config.toml")


def _files(project: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> list[tuple[str, str, bool]]:
    """Layer, path, and whether the file was named, so that it must exist."""
    files = [
        ("site", environ.get("REFLOW_SITE_CONFIG") or SITE, bool(environ.get("REFLOW_SITE_CONFIG"))),
        ("user", _user_file(environ), bool(environ.get("REFLOW_CONFIG"))),
    ]
    if project is not None:
        path = os.path.abspath(os.fspath(project))
        if path.endswith(".toml"):
            files.append(("project", path, True))
        else:
            folder = path if os.path.isdir(path) else os.path.dirname(path)
            files.append(("project", os.path.join(folder, PROJECT), False))
    return files


def _read_all(files: Sequence[tuple[str, str, bool]], environ: Mapping[str, str]) -> tuple[list[_Read], list[str]]:
    """Read the files that are believed, each by the policy of the layers below; and say which are not."""
    documents: list[_Read] = []
    ignored: list[str] = []
    said: dict[str, list[str]] = {key: _names(environ.get(name)) for key, name in POLICY.items()}
    for layer, file, required in files:
        try:
            found = document.read(file, trust(said["trusted_owners"], said["trusted_groups"]), required=required)
        except Untrusted as error:
            ignored.append(f"the configuration file {file} is ignored: {error.line}")
            continue
        if found is None:
            continue
        documents.append(_Read(layer, found, environ))
        table = found.data.get("run")
        if layer != "project" and isinstance(table, dict):
            for name, value in table.items():
                key = normal(name)
                if key in POLICY and not environ.get(POLICY[key]):
                    said[key] = _names(value)
    return documents, ignored


def _names(value: object) -> list[str]:
    """Names in a value of the policy; what is wrong with it is told later."""
    words = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return [word.strip() for word in words if isinstance(word, str) and not wrong_name(word.strip())]


def _disabled(documents: Sequence[_Read], environ: Mapping[str, str]) -> tuple[str, ...]:
    """``[plugins] disabled``, before plugins' tables are known; what is wrong with it is told later."""
    schema = Schema()
    key = schema.sections["plugins"]["disabled"]
    said: object = environ.get("REFLOW_PLUGINS_DISABLED") or None
    for read in reversed(documents):
        table = read.document.data.get("plugins")
        if said is None and isinstance(table, dict):
            said = table.get("disabled")
    try:
        return tuple(parse(key, said or [], Place("/", environ, text=True)))
    except Wrong:
        return ()


class _Loader:
    """One reading: collects values, warnings, and what is wrong."""

    def __init__(self, schema: Schema, environ: Mapping[str, str]) -> None:
        self.schema = schema
        self.environ = environ
        self.items: dict[str, Item] = {}
        self.warnings: list[str] = []
        self.problems: list[_Problem] = []
        #: plugin that is not there -> what is said of its table
        self.idle: dict[str, str] = {}

    def load(self, documents: Sequence[_Read], overrides: Mapping[str, JSON] | Iterable[str]) -> Config:
        """All layers, lowest first."""
        self._defaults()
        for read in documents:
            self._file(read)
            self._check()
        self._environment()
        self._check()
        self._overrides(overrides)
        self._check()
        if self.schema.complete:
            self.warnings += self.schema.warnings
            off = self.items["plugins.disabled"].value
            self.warnings += [text for plugin, text in self.idle.items() if plugin not in off]
        return Config(self.items, self.warnings)

    def _check(self) -> None:
        if not self.problems:
            return
        if len(self.problems) == 1:
            message, hint = self.problems[0]
            raise ConfigError(message, hint=hint)
        lines = [f"{message} ({hint})" if hint else message for message, hint in self.problems]
        raise ConfigError("\n  ".join([f"the configuration has {len(lines)} mistakes:", *lines]))

    def _defaults(self) -> None:
        if not _BUILT_IN:
            place = Place("/", {}, text=False)
            for section, keys in Schema().sections.items():
                for key in keys.values():
                    _BUILT_IN.update(_default(section, key, place))
        self.items.update(_BUILT_IN)
        self.items["executor.python"] = Item(sys.executable, _DEFAULT, "path")
        for section, keys in self.schema.sections.items():
            if "." in section:
                for key in keys.values():
                    self.items |= self._plugin_default(section, key)

    def _plugin_default(self, section: str, key: Key) -> dict[str, Item]:
        place = Place(os.getcwd(), self.environ, text=False)
        try:
            return _default(section, key, place)
        except Wrong as wrong:  # a plugin's fault must not keep others from running
            self.warnings.append(f"[{section}] {key.name}: the default that its plugin declares {wrong.message}")
            return _default(section, replace(key, default=None), place)

    def _file(self, read: _Read) -> None:
        for name, table in read.document.data.items():
            section = normal(name)
            where = read.origin(name)
            if section not in self.schema.sections or "." in section:
                self._unknown_section(name, table, where)
            elif not isinstance(table, dict):
                self.problems.append((f"{where}: {name} must be a table", f"Write [{section}]."))
            else:
                self._table(read, section, table, (name,))

    def _unknown_section(self, name: str, value: object, where: Origin) -> None:
        if isinstance(value, dict):
            known = [section for section in self.schema.sections if "." not in section]
            hint = suggest(normal(name), known) or f"The sections are {', '.join(known)}."
            self.problems.append((f"{where}: there is no section [{name}]", hint))
        else:
            homes = [s for s in self.schema.sections if self.schema.key(s, name)]
            self.problems.append((f"{where}: {name} stands in no section", self._home(name, homes)))

    def _table(self, read: _Read, section: str, table: Mapping[str, JSON], path: tuple[str, ...]) -> None:
        seen: dict[str, str] = {}
        for name, value in table.items():
            where = read.origin(*path, name)
            key = self.schema.key(section, name)
            if key is None:
                self._unknown_key(read, section, name, value, path)
            elif key.name in seen:
                message = f"{where}: [{section}] sets {seen[key.name]} and {name}, which are one key"
                self.problems.append((message, f"Keep {key.name}."))
            else:
                seen[key.name] = name
                lines = {}
                if key.type in TABLES and isinstance(value, dict):
                    lines = {entry: read.origin(*path, name, entry) for entry in value}
                self._set(section, key, value, read.place, where, lines)

    def _unknown_key(self, read: _Read, section: str, name: str, value: JSON, path: tuple[str, ...]) -> None:
        where = read.origin(*path, name)
        table = f"{section}.{name}"
        if section in PLUGIN_SECTIONS and isinstance(value, dict):
            if table in self.schema.sections:
                return self._table(read, table, value, (*path, name))
            siblings = [s.partition(".")[2] for s in self.schema.sections if s.startswith(f"{section}.")]
            close = suggest(name, [*siblings, *self.schema.spellings(section)])
            if close and self.schema.complete:
                self.problems.append((f"{where}: there is no table [{table}]", close))
                return None
            self.idle[name] = f"{where}: [{table}] is not used: no plugin of that name is installed"
            for one, said in value.items():
                self.items[f"{table}.{one}"] = Item(said, read.origin(*path, name, one), "unchecked", secret=True)
            return None
        message = f"{where}: [{section}] has no key {name!r}"
        homes = [s for s, keys in self.schema.sections.items() if normal(name) in keys]
        hint = suggest(normal(name), self.schema.spellings(section)) or self._home(name, homes)
        self.problems.append((message, hint))
        return None

    def _home(self, name: str, homes: Sequence[str]) -> str | None:
        """Where a key that stands in the wrong place belongs."""
        from ..model.options import canonical

        if canonical(name) in (*RESOURCES, *PORTABLE):
            homes = ["executor.submit_options", *homes]
        return f"It belongs into {' or '.join(f'[{home}]' for home in homes)}." if homes else None

    def _environment(self) -> None:
        given = {n: v for n, v in self.environ.items() if n.startswith("REFLOW_") and v and n not in RESERVED}
        if not given:
            return
        known = self.schema.variables()
        found: dict[tuple[str, str, str], list[tuple[int, str, Key]]] = {}
        for variable in sorted(given):
            targets = known.get(variable)
            if targets is None:
                if self.schema.complete:
                    hint = suggest(variable, [*known, *_PLACES])
                    self.warnings.append(f"{variable} sets nothing" + (f". {hint}" if hint else ""))
                continue
            best = max(rank for rank, *_ in targets)
            for rank, section, key, entry in targets:
                if rank == best:
                    found.setdefault((section, key.name, entry), []).append((rank, variable, key))
        for (section, _, entry), setters in found.items():
            best = max(rank for rank, _, _ in setters)
            names = [(variable, key) for rank, variable, key in setters if rank == best]
            if len({given[variable] for variable, _ in names}) > 1:
                both = " and ".join(variable for variable, _ in names)
                self.problems.append((f"{both} are one key with different values", "Unset one of them."))
                continue
            variable, key = names[0]
            self._say(section, key, entry, given[variable], Origin("environment", variable=variable))

    def _overrides(self, overrides: Mapping[str, JSON] | Iterable[str]) -> None:
        if isinstance(overrides, Mapping):
            pairs = list(overrides.items())
        else:
            pairs = []
            for text in [overrides] if isinstance(overrides, str) else overrides:
                name, equals, value = text.partition("=")
                if not equals:
                    self.problems.append((f"override {text!r} has no value", "Write SECTION.KEY=VALUE."))
                pairs.append((name.strip(), value))
        for name, value in pairs:
            target = self.schema.find(name)
            if target is None:
                hint = suggest(name, self.schema.names())
                self.problems.append((f"override: there is no configuration key {name!r}", hint))
            elif value is not None:
                section, key, entry = target
                self._say(section, key, entry, value, Origin("override"))

    def _say(self, section: str, key: Key, entry: str, value: JSON, origin: Origin) -> None:
        """Set a key, or one entry of a table, from what is not a file."""
        place = Place(os.getcwd(), self.environ, text=True)
        if entry:
            said = scalar(value) if key.type == "options" and isinstance(value, str) else value
            value = {entry: said}
        self._set(section, key, value, place, origin, {})

    def _set(
        self, section: str, key: Key, value: JSON, place: Place, origin: Origin, lines: Mapping[str, Origin]
    ) -> None:
        where = f"{origin}: [{section}] {key.name}"
        if section == "run" and key.name in POLICY and origin.layer == "project":
            self.warnings.append(
                f"{where} counts in the user's and the site's file only, and is ignored here: who may change a"
                " pipeline does not decide whose code is run"
            )
            return
        try:
            parsed = parse(key, value, place)
            if section == "run" and key.name in POLICY:
                _require_names(parsed)
        except Wrong as wrong:
            # What a secret's value looks like is nobody's business.
            message = f"is not of type {key.type}" if key.secret else wrong.message
            at = next((f"{o}: [{section}] {key.name}" for n, o in lines.items() if wrong.entry == n), where)
            self.problems.append((f"{at} {message}", None if key.secret else wrong.hint))
            return
        name = f"{section}.{key.name}"
        if name == "executor.name" and parsed == DRY_RUN:  # which executor it is that is not used, is said elsewhere
            self.items["executor.dry_run"] = Item(True, origin, "bool")
        elif key.type not in TABLES:
            self.items[name] = Item(parsed, origin, key.type, key.secret)
        else:
            self._entries(name, key, value, parsed, origin, lines)

    def _entries(
        self, name: str, key: Key, value: JSON, parsed: JSON, origin: Origin, lines: Mapping[str, Origin]
    ) -> None:
        """Entries of a table, each with the line where it stands."""
        origins = {parse_entry(key, entry, value[entry])[0]: at for entry, at in lines.items()}
        for entry, one in parsed.items():
            kind = RESOURCE_TYPES.get(entry, "str") if key.type == "options" else "str"
            self.items[f"{name}.{entry}"] = Item(one, origins.get(entry, origin), kind, key.secret)


def _require_names(names: Sequence[str]) -> None:
    """Refuse what can be no user's or group's name or number."""
    for name in names:
        if wrong := wrong_name(name):
            raise Wrong(f"holds {name!r}, which {wrong}", "Write names as `id` prints them, or their numbers.")


_DEFAULT = Origin("built-in")
_BUILT_IN: dict[str, Item] = {}


def _default(section: str, key: Key, place: Place) -> dict[str, Item]:
    name = f"{section}.{key.name}"
    value = None if key.default is None else parse(key, key.default, place)
    if key.type not in TABLES:
        return {name: Item(value, _DEFAULT, key.type, key.secret)}
    entries = {f"{name}.{entry}": Item(one, _DEFAULT, "str", key.secret) for entry, one in (value or {}).items()}
    return {name: Item({}, _DEFAULT, key.type, key.secret), **entries}
