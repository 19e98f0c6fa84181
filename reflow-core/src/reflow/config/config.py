"""A configuration: all layers merged, each value with its origin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ..errors import ConfigError, DataError
from ..model.resources import Resources
from ..model.task import JSON, JobConfig
from .overrides import Override, apply
from .schema import INHERITED, PLUGIN_SECTIONS, RESOURCES, TABLES
from .values import Wrong, expand, removes, resource, show, suggest

#: the layers, lowest first; a task's decorator and overrides come on top (`Config.task`)
LAYERS = ("built-in", "site", "user", "project", "environment", "override")
#: what is shown of a secret
HIDDEN = "(hidden)"


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a value was said.

    Attributes
    ----------
    layer : str
        One of `LAYERS`.
    file : str
        The configuration file; "" for other layers.
    line : int
        The line in it; 0 where unknown.
    variable : str
        The environment variable; "" for other layers.
    """

    layer: str
    file: str = ""
    line: int = 0
    variable: str = ""

    def __str__(self) -> str:
        if self.file:
            return f"{self.file}:{self.line}" if self.line else self.file
        return self.variable or self.layer


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One value, as its key has it (bytes, seconds, ...), with its type, see `Setting`."""

    value: JSON
    origin: Origin
    type: str = "str"
    secret: bool = False


class Row(msgspec.Struct, frozen=True):
    """One line of ``reflow config show``; ``value`` is TOML text, "" where nothing is given, never a secret."""

    key: str
    value: str
    origin: Origin
    secret: bool


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What a task's jobs ask for, all layers merged: what `Task` keeps of it."""

    resources: Resources
    options: Mapping[str, JSON] = {}
    native: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    modules: tuple[str, ...] = ()
    setup: str = ""
    array_parallelism: int | None = None


class Config:
    """The configuration. Made by `load_config`.

    Parameters
    ----------
    items : mapping of str to Item
        Dotted key -> value. An entry of a table (``executor.env.HOME``) is a key of its own.
    warnings : sequence of str
        What was odd but no error, a sentence each.

    Attributes
    ----------
    warnings : tuple of str
        As given.
    """

    def __init__(self, items: Mapping[str, Item], warnings: Sequence[str] = ()) -> None:
        self._items = dict(items)
        self.warnings = tuple(warnings)

    def __repr__(self) -> str:
        said = ", ".join(f"{row.key}={row.value}" for row in self.rows() if row.origin.layer != "built-in")
        return f"Config({said})"

    def get(self, key: str) -> JSON:
        """The value of a key, None where nothing is given; of a table, a mapping.

        Parameters
        ----------
        key : str
            Such as ``"cache.fingerprint"``, ``"executor.env"``, ``"executor.submit_options.queue"``.

        Raises
        ------
        ConfigError
            Where there is no such key.
        """
        item = self._items.get(key)
        if item is None:
            if self._table(key):
                return None
            raise ConfigError(f"there is no configuration key {key!r}", hint=suggest(key, self._items))
        return dict(self._entries(key)) if item.type in TABLES else item.value

    def section(self, name: str) -> dict[str, JSON]:
        """All values of a section, defaults too, nested as in a file.

        Parameters
        ----------
        name : str
            Such as ``"cache"``, ``"executor.slurm"``. A plugin's table of which nothing is known is empty.

        Raises
        ------
        ConfigError
            Where there is no such section.
        """
        if name in self._items and self._items[name].type in TABLES:
            return dict(self._entries(name))
        found: dict[str, JSON] = {}
        for key, _ in self._entries(name):
            head, inner, _ = key.partition(".")
            if head not in found:
                found[head] = self.section(f"{name}.{head}") if inner else self.get(f"{name}.{head}")
        if not found and name.partition(".")[0] not in PLUGIN_SECTIONS:
            hint = suggest(name, self._sections())
            raise ConfigError(f"there is no section {name!r} in the configuration", hint=hint)
        return found

    def _sections(self) -> dict[str, None]:
        return dict.fromkeys(key.partition(".")[0] for key in self._items)

    def origin(self, key: str) -> Origin:
        """Where the value of a key was said.

        Raises
        ------
        ConfigError
            Where there is no such key.
        """
        if key not in self._items:
            known = [*self._sections(), *self._items]
            raise ConfigError(f"there is no configuration key {key!r}", hint=suggest(key, known))
        return self._items[key].origin

    def rows(self) -> list[Row]:
        """All keys in order, as ``reflow config show`` prints them; secrets hidden."""
        rows = []
        for key, item in self._items.items():
            if self._table(key):
                continue
            entries = [f"{key}.{entry}" for entry, _ in self._entries(key)] if item.type in TABLES else []
            rows += [self._row(one) for one in entries or [key]]
        return rows

    def secrets(self) -> dict[str, JSON]:
        """The secret values that were given, by key: to be kept in a file that nobody else can read."""
        return {key: i.value for key, i in self._items.items() if i.secret and i.value not in _NONE}

    def values(self) -> dict[str, JSON]:
        """All values, secrets too, nested by section: what plugins are handed as ``Context.config``."""
        sections = dict.fromkeys(key.partition(".")[0] for key in self._items)
        return {section: self.section(section) for section in sections}

    def to_json(self) -> dict[str, JSON]:
        """Plain data for ``run.json``: `values` without those of secrets, and ``meta``, where each was said."""
        bare: dict[str, Item] = {}
        for key, item in self._items.items():
            if not item.secret or item.value in _NONE:
                bare[key] = item
            elif not self._table(key):  # an entry of a table is not there, rather than there without a value
                bare[key] = msgspec.structs.replace(item, value=None)
        meta = {key: msgspec.to_builtins(msgspec.structs.replace(i, value=None)) for key, i in self._items.items()}
        return {**Config(bare).values(), "meta": {"items": meta, "warnings": list(self.warnings)}}

    @classmethod
    def from_json(cls, data: Mapping[str, JSON], secrets: Mapping[str, JSON] | None = None) -> Config:
        """Make it again from what `to_json` and `secrets` gave.

        Parameters
        ----------
        data : mapping
            From `to_json`.
        secrets : mapping, optional
            From `secrets`; secrets that it does not hold are not given.

        Raises
        ------
        DataError
            Where it is not of that form.
        """
        try:
            found = cls(msgspec.convert(data["meta"]["items"], dict[str, Item]), data["meta"]["warnings"])
        except (LookupError, TypeError, msgspec.ValidationError) as error:
            raise DataError(f"the configuration kept with the run cannot be read: {error}") from None
        for key, item in list(found._items.items()):
            table = found._table(key)
            path = [*table.split("."), key[len(table) + 1 :]] if table else key.split(".")
            place: JSON = data
            for part in path:
                place = place.get(part, _ABSENT) if isinstance(place, Mapping) else _ABSENT
            value = (secrets or {}).get(key, place)
            if value is _ABSENT:
                del found._items[key]
            else:
                found._items[key] = msgspec.structs.replace(item, value={} if item.type in TABLES else value)
        return found

    def task(self, job: JobConfig, *, name: str, overrides: Sequence[Override] = ()) -> Resolved:
        """What a task asks for: configuration, then its decorator, then overrides.

        Resources, options and env are merged by name; ``modules``, ``native`` and ``setup`` of
        the decorator come after those of the configuration; an override replaces.

        Parameters
        ----------
        job : JobConfig
            What the decorator was given.
        name : str
            The task's name.
        overrides : sequence of Override
            From `parse_overrides`.

        Raises
        ------
        ConfigError
            Where a resource among the decorator's options cannot be read.
        """
        base = self._base()
        said = apply(overrides, name)
        asked: dict[str, JSON] = dict(self.section("executor.submit_options"))
        for option, value in job.options.items():
            asked[option] = _resource(name, option, value) if option in RESOURCES else value
        asked |= {key: value for key, value in msgspec.structs.asdict(job.resources).items() if value is not None}
        asked |= {key: value for key, value in said.items() if key not in _OTHER and not key.startswith("env.")}
        env = {**base.env, **job.env, **{key[4:]: value for key, value in said.items() if key.startswith("env.")}}
        parallel = base.array_parallelism if job.array_parallelism is None else job.array_parallelism
        setup = "\n".join(filter(None, (base.setup, job.setup)))
        return Resolved(
            resources=_resources(asked),
            options=_options(asked),
            native=tuple(said.get("native", (*base.native, *job.native)) or ()),
            env={key: value for key, value in env.items() if value is not None},
            modules=tuple(said.get("modules", dict.fromkeys((*base.modules, *job.modules))) or ()),
            setup=said.get("setup", setup) or "",
            array_parallelism=said.get("array_parallelism", parallel),
        )

    def dispatch(self) -> Resolved:
        """What the jobs that wake a run ask for: ``[dispatch]``, with environment and account of ``[executor]``."""
        general = self.section("executor.submit_options")
        own = self.section("dispatch")
        asked = {option: general[option] for option in INHERITED if option in general}
        given = ((key, own[key]) for key in ("cpus", "time", "mem", "queue", "account"))
        asked |= {key: value for key, value in given if value is not None}
        asked |= own["submit_options"]
        return msgspec.structs.replace(
            self._base(), resources=_resources(asked), options=_options(asked), array_parallelism=None
        )

    def notifiers(self) -> tuple[str, ...]:
        """Which notifiers to use: those named, else each whose table says anything, and mail with a mail_user."""
        named = self.get("notifications.notifiers")
        if named:
            return tuple(named)
        found = dict.fromkeys(["mail"] if self.get("notifications.mail_user") else [])
        for key, item in self._items.items():
            section, _, rest = key.partition(".")
            if section == "notifications" and "." in rest and item.origin.layer != "built-in":
                found[rest.partition(".")[0]] = None
        return tuple(found)

    def run_dir(self, *, workflow: str, run_id: str, environ: Mapping[str, str]) -> str | None:
        """``[defaults] run_dir`` for a run, absolute or from the working directory; None where nothing is given.

        Raises
        ------
        ConfigError
            For a placeholder or a variable that is not known.
        """
        text = self.get("defaults.run_dir")
        if text is None:
            return None
        try:
            return expand(text, environ, {"workflow": workflow, "run_id": run_id})
        except Wrong as wrong:
            raise ConfigError(f"{self.origin('defaults.run_dir')}: [defaults] run_dir {wrong.message}") from None

    def _base(self) -> Resolved:
        """What every job gets."""
        own = self.section("executor")
        return Resolved(
            resources=Resources(),
            native=tuple(own["native"]),
            env=own["env"],
            modules=tuple(own["modules"]),
            setup=own["setup"],
            array_parallelism=own["array_parallelism"],
        )

    def _row(self, key: str) -> Row:
        item = self._items[key]
        hide = item.secret and item.value not in _NONE
        return Row(key, HIDDEN if hide else show(item.type, item.value), item.origin, item.secret)

    def _table(self, key: str) -> str | None:
        """The table that this key is an entry of; an entry's name may hold dots."""
        parts = key.split(".")
        names = (".".join(parts[:end]) for end in range(2, len(parts)))
        return next((name for name in names if name in self._items and self._items[name].type in TABLES), None)

    def _entries(self, name: str) -> Iterator[tuple[str, JSON]]:
        prefix = f"{name}."
        return ((key[len(prefix) :], i.value) for key, i in self._items.items() if key.startswith(prefix))


#: keys of overrides that are no options or resources
_OTHER = ("native", "modules", "setup", "array_parallelism")
_ABSENT = object()
#: values of secrets that are none
_NONE: tuple[JSON, ...] = (None, "", [], {})


def _resources(asked: Mapping[str, JSON]) -> Resources:
    return Resources(**{name: asked[name] for name in RESOURCES if not removes(asked.get(name))})


def _options(asked: Mapping[str, JSON]) -> dict[str, JSON]:
    return {k: v for k, v in asked.items() if k not in RESOURCES and not removes(v)}


def _resource(task: str, name: str, value: JSON) -> int | None:
    try:
        return resource(name, value, text=True)
    except Wrong as wrong:
        raise ConfigError(f"task {task!r}: {name} {wrong.message}", hint=wrong.hint) from None
