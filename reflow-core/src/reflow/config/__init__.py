"""Configuration: a schema, layers of files and variables, and where each value was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .config import Config, Item, Origin, Resolved, Row
from .load import config_path, load_config
from .overrides import Override, parse_override, parse_overrides

if TYPE_CHECKING:
    from .example import ensure_config_exists, write_example_config

__all__ = [
    "Config",
    "Item",
    "Origin",
    "Override",
    "Resolved",
    "Row",
    "config_path",
    "ensure_config_exists",
    "load_config",
    "parse_override",
    "parse_overrides",
    "write_example_config",
]


def __getattr__(name: str) -> Any:
    # Writing the example is rare: its module waits until it is asked for.
    if name in ("ensure_config_exists", "write_example_config"):
        from . import example

        return getattr(example, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
