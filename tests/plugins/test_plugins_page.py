"""docs/plugins.md and the hooks, contracts and example plugin that it describes, held against each other."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reflow import hookspecs, plugin
from reflow.plugins.discovery import HOOKS
from reflow.testing import ExecutorConformance, names
from reflow.testing.dialects import DialectConformance

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "example-plugin"
HTCONDOR = ROOT / "examples" / "htcondor"
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")

SPECS: dict[str, Any] = {name: spec for name, spec in vars(hookspecs).items() if hasattr(spec, "reflow_spec")}


def _section(heading: str) -> str:
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", PAGE, re.M | re.S)
    assert found, f"docs/plugins.md has no section {heading}"
    return found[1]


def _rows(text: str) -> list[str]:
    """The words in code style of each row's first cell."""
    cells = re.findall(r"^\| (.+?) \|", text, re.M)
    return [word for cell in cells for word in re.findall(r"`(\w+)", cell)]


def test_the_hooks_are_those_that_are_asked() -> None:
    assert SPECS.keys() == HOOKS.keys()
    assert all(spec() == () for spec in SPECS.values())


def test_the_page_has_these_hooks_with_their_arguments() -> None:
    headings = re.findall(r"^### `(reflow_\w+\(.*?\))`$", PAGE, re.M)
    assert headings == [f"{name}({', '.join(inspect.signature(spec).parameters)})" for name, spec in SPECS.items()]


@pytest.mark.parametrize("hook", SPECS)
def test_the_page_has_each_field_of_what_a_hook_returns(hook: str) -> None:
    section = _section(f"`{hook}()`")
    assert f"Returns `{HOOKS[hook].__name__}` objects" in section
    assert _rows(section) == list(HOOKS[hook].__struct_fields__)


@pytest.mark.parametrize(
    ("heading", "struct"),
    [
        ("`Setting`", plugin.Setting),
        ("The contracts", plugin.Context),
        *((f"`{kind.__name__}`", kind) for kind in (plugin.Job, plugin.JobRef, plugin.Submission)),
        *((f"`{kind.__name__}`", kind) for kind in (plugin.JobStatus, plugin.Limits)),
    ],
    ids=["Setting", "Context", "Job", "JobRef", "Submission", "JobStatus", "Limits"],
)
def test_the_page_has_each_field(heading: str, struct: type[msgspec.Struct]) -> None:
    assert _rows(_section(heading)) == list(struct.__struct_fields__)


@pytest.mark.parametrize(
    ("heading", "protocol"),
    [("Executors", plugin.Executor), ("Cache backends", plugin.CacheBackend), ("Notifiers", plugin.Notifier)],
)
def test_the_page_has_each_member_with_its_arguments(heading: str, protocol: type) -> None:
    members = {name: value for name, value in vars(protocol).items() if not name.startswith("_")}
    section = _section(heading)
    assert _rows(section) == list(members)
    for name, value in members.items():
        if inspect.isfunction(value):
            arguments = ", ".join(list(inspect.signature(value).parameters)[1:])
            assert f"| `{name}({arguments}) -> " in section


def test_the_page_has_all_of_a_dialect() -> None:
    attributes = set(plugin.Dialect.__annotations__)
    methods = {name: value for name, value in vars(plugin.Dialect).items() if callable(value) and name[0] != "_"}
    assert set(_rows(_section("The dialect's attributes"))) == attributes
    section = _section("The dialect's methods")
    assert sorted(_rows(section)) == sorted(methods)
    for name, value in methods.items():
        shown = f"`{name}({', '.join(list(inspect.signature(value).parameters)[1:])})`"
        abstract = getattr(value, "__isabstractmethod__", False)
        assert (f"**{shown}**" if abstract else shown) in section
        assert abstract == (f"**{shown}**" in section), name


def test_the_tables_of_what_a_dialect_may_use_are_made_of_the_code() -> None:
    assert names.written(PAGE) == PAGE, "python -m reflow.testing.names docs/plugins.md"
    with pytest.raises(ValueError, match="no place for the table of fields"):
        names.written("# Plugins\n")


@pytest.mark.parametrize("name", [name for name in plugin.__all__ if not name.endswith("Error")])
def test_the_page_names_everything_that_a_plugin_may_import(name: str) -> None:
    protocols = {"CacheBackend": "### Cache backends\n", "Notifier": "### Notifiers\n", "Occasion": "`Notice`"}
    assert protocols[name] in PAGE if name in protocols else re.search(rf"`[^`\n]*\b{name}\b", PAGE)


def test_the_page_has_what_a_dialects_suite_may_define() -> None:
    section = _section("The dialect's own suite")
    table, helpers = section.partition("\nWhat it may use:")[::2]
    members = {name for name in vars(DialectConformance) if not name.startswith(("_", "test_"))}
    used = set(re.findall(r"`(\w+)", helpers)) & members
    assert {"words", "rows", "told", "refuses"} <= used
    assert set(_rows(table)) == {"executor", "settings", "mpi", "live", "follow_up", "recorded", "seconds", "memory"}
    assert set(_rows(table)) <= members | {"executor"}


def test_the_page_has_what_a_suite_may_define() -> None:
    named = set(_rows(_section("The conformance suite")))
    members = {name for name, value in vars(ExecutorConformance).items() if not name.startswith(("_", "test_"))}
    helpers = {"probe", "job", "submit", "watch", "ends", "running", "counted"}
    assert named == members - helpers


def test_the_page_shows_the_examples_as_they_are() -> None:
    """Join the parts of a file by a blank line; a part that begins a definition brings a second one."""
    shown: dict[str, str] = {}
    for name, text in re.findall(
        r"^```(?:python|toml|bash)\n# (\S+(?:\.py|\.toml|/pool))\n(.*?)^```$", PAGE, re.M | re.S
    ):
        shown[name] = shown[name] + "\n" + text.removeprefix("\n") if name in shown else text
    files = {
        f"{prefix}{path.relative_to(example)}": path.read_text(encoding="utf-8")
        for prefix, example in (("", EXAMPLE), ("htcondor/", HTCONDOR))
        for path in example.rglob("*")
        if (path.suffix in (".py", ".toml") or path.name == "pool") and not {"build", "dist"} & set(path.parts)
    }
    assert shown == files


def test_everything_a_plugin_may_import_is_there() -> None:
    assert sorted(plugin.__all__) == sorted(set(plugin.__all__))
    assert all(hasattr(plugin, name) for name in plugin.__all__)
