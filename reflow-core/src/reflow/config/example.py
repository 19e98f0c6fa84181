"""What the schema says, as an example file and as the table of the manual."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import wrap

from ..errors import ConfigError
from ..hookspecs import Setting
from ..model.task import JSON
from ..worker.durable import beside, create
from .load import config_path
from .schema import PLUGIN_SECTIONS, SECTIONS, TABLES, Key, variable
from .values import toml, toml_key

_HEAD = """\
# Configuration of reflow. Everything is commented out: what is shown are the defaults, or an example
# where there is none. Remove the # before a section's name and before the keys that you want to set.
# Files: /etc/reflow/config.toml, then this one, then reflow.toml beside a pipeline; later ones win.
# `reflow config show --origin` tells what holds, and where it was said.
"""
_EMPTY: Sequence[JSON] = (None, [], {}, "")
_SAMPLES: Mapping[str, JSON] = {
    "int": 1,
    "float": 1.0,
    "bool": True,
    "mem": "4G",
    "time": "01:00:00",
    "list[str]": [],
    "occasions": [],
}


def example(tables: Mapping[str, Sequence[Setting]] | None = None) -> str:
    """The example file: every key with its meaning, all commented out, valid when it is not.

    Parameters
    ----------
    tables : mapping, optional
        Plugins' tables, to be shown too.
    """
    lines = [_HEAD]
    for section in SECTIONS:
        lines += [f"\n# {section.help}", f"#[{section.name}]", *_keys(section.name, section.keys)]
        if section.name in PLUGIN_SECTIONS:
            for name, settings in (tables or {}).items():
                if name.startswith(f"{section.name}.") and settings:
                    header = ".".join(toml_key(part) for part in name.split("."))
                    lines += ["", f"#[{header}]", *_keys(header, settings)]
    return "\n".join(lines) + "\n"


def _keys(section: str, keys: Sequence[Setting]) -> Iterator[str]:
    # A table's header ends its parent's keys, so tables come last.
    for key in sorted(keys, key=lambda one: one.type in TABLES):
        shown = _sample(key)
        yield from ("", *_meaning(key)) if key.type in TABLES else _meaning(key)
        if key.type in TABLES:
            yield f"#[{section}.{key.name}]"
            yield from (f"#{toml_key(name)} = {toml(value)}" for name, value in shown.items())
        else:
            yield f"#{key.name} = {toml(shown)}"


def _meaning(key: Setting) -> list[str]:
    text = key.help.rstrip(".") + "." if key.help else ""
    if key.choices:
        text += f" One of {', '.join(key.choices)}."
    if key.default in _EMPTY:
        unset = key.unset if isinstance(key, Key) and key.default is None else "none"
        text += f" Default: {unset}."
    return wrap(text, 110, initial_indent="# ", subsequent_indent="# ")


def _sample(key: Setting) -> JSON:
    if key.default not in _EMPTY:
        return key.default
    if isinstance(key, Key) and key.example is not None:
        return key.example
    if key.default is not None:
        return key.default
    return key.choices[0] if key.choices else {} if key.type in TABLES else _SAMPLES.get(key.type, "")


def reference() -> str:
    """The manual's table of keys, in Markdown."""
    lines = []
    for section in SECTIONS:
        lines += [f"### `[{section.name}]`", "", section.help, ""]
        lines += ["| key | type | default | variable | meaning |", "|---|---|---|---|---|"]
        for key in section.keys:
            names = " or ".join(f"`{name}`" for name in (key.name, *key.aliases))
            kind = f"`{key.type}`" if not key.choices else " or ".join(f'`"{choice}"`' for choice in key.choices)
            shown = key.unset if key.default is None else f"`{toml(key.default)}`"
            setter = key.variable or variable("" if section.name == "executor" else section.name, key.name)
            lines.append(f"| {names} | {kind} | {shown} | `{setter}` | {key.help} |")
        lines.append("")
    return "\n".join(lines)


def write_example_config(
    path: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    tables: Mapping[str, Sequence[Setting]] | None = None,
) -> Path:
    """Write the example file, readable by its owner only, since it may come to hold secrets.

    Parameters
    ----------
    path : path, optional
        Where; `config_path` where not given. Its directory is made.
    overwrite : bool
        Whether a file that is there may be replaced.
    tables : mapping, optional
        Plugins' tables, to be shown too.

    Returns
    -------
    Path
        Where it is.

    Raises
    ------
    ConfigError
        Where there is a file already, or it cannot be written; nothing is left half-written.
    """
    target = config_path() if path is None else Path(path)
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} exists already", hint="Edit it, or move it away first.")
    draft = Path(beside(str(target.with_name(f".{target.name}"))))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = create(str(draft), 0o600)
            with open(descriptor, "w", encoding="utf-8") as stream:
                stream.write(example(tables))
            os.replace(draft, target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror or error}") from None
    return target


def ensure_config_exists(tables: Mapping[str, Sequence[Setting]] | None = None) -> Path:
    """The user's file; written as the example where there is none.

    Raises
    ------
    ConfigError
        Where it cannot be written.
    """
    path = config_path()
    return path if path.exists() else write_example_config(path, tables=tables)
