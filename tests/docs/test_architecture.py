"""docs/architecture.md says what is: every layer, module, file, record, field and dependency, and nothing else."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Union, get_args

import msgspec
import pytest

from reflow.model import layout, record
from reflow.model.cache import CacheEntry
from reflow.model.definition import Definition, Entry, Module
from reflow.model.lifecycle.transitions import diagram
from reflow.model.task import Input, Task
from reflow.planning.identity import SCHEME
from reflow.run.definition.load import Secrets
from reflow.run.journal.lease import Owner
from reflow.store.registry import RunRecord
from reflow.worker.inputs import Element, Header

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

OTHERS: dict[str, type[msgspec.Struct]] = {
    "`run.json`": Definition,
    "`entry` in it": Entry,
    "a module in it": Module,
    "a task in it": Task,
    "an input of a task": Input,
    "`secrets.json`": Secrets,
    "`jobs/TAG.json`": record.JobSpec,
    "each item of `jobs/TAG.wakes`": record.Awaited,
    "`lease/S/EPOCH`": Owner,
    "`mailbox/commands/ID.json`": record.Command,
    "first frame of `inputs/TASK.PART`": Header,
    "its further frames, one for each element": Element,
    "a cache entry": CacheEntry,
    "`runs/RUN_ID.json` of the store": RunRecord,
}


def section(title: str) -> str:
    """Return the text of one section of the page."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, f"architecture.md has no section {title!r}"
    return found[1]


def rows(text: str) -> dict[str, list[str]]:
    """Return the rows of the tables in a text, by their first cell; heads are left out."""
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return {first.strip("| "): rest for first, *rest in cells if not set(first) <= set("-|")}


def table(name: str) -> dict[str, list[str]]:
    """Return the fields of each row between two comments of the page."""
    found = re.search(rf"<!-- {name}: begin -->(.*?)<!-- {name}: end -->", PAGE, re.S)
    assert found
    told = {first: re.findall(r"`(\w+)`", rest[0]) for first, rest in rows(found[1]).items()}
    return {first: fields for first, fields in told.items() if fields}


def fields_of(kind: type[msgspec.Struct]) -> list[str]:
    return list(kind.__struct_encode_fields__)


@pytest.mark.parametrize(("name", "union"), [("mailbox", record.Mail), ("events", record.Event)])
def test_records(name: str, union: Any) -> None:
    kinds: Iterable[Any] = get_args(union)
    assert table(name) == {f"`{kind.__struct_config__.tag}`": fields_of(kind) for kind in kinds}


def test_every_record_is_in_a_union() -> None:
    kinds = {kind for kind in vars(record).values() if isinstance(kind, type) and issubclass(kind, record._Record)}
    assert kinds - {record._Record} == set(get_args(Union[record.Mail, record.Event]))


def test_other_files() -> None:
    assert table("others") == {file: fields_of(kind) for file, kind in OTHERS.items()}


def patterns() -> list[re.Pattern[str]]:
    """Return what the page says of the files of a run, each as a pattern of relative paths."""
    block = re.search(r"```text\n(.*?)```", section("A run's directory"), re.S)
    assert block
    paths = [line.split()[0].rstrip("/") for line in block[1].splitlines()]
    # A word in capitals stands for something; the rest for itself.
    return [
        re.compile("".join("[^/]+" if part.isupper() else re.escape(part) for part in re.split(r"([A-Z]+)", path)))
        for path in paths
    ]


def test_every_place_in_a_run_is_named() -> None:
    places = [
        layout.definition("", 1),
        layout.definition("", 2),
        layout.definition_copy("", 1),
        layout.unpublished(""),
        layout.secrets(""),
        layout.frozen("", 1, "pipeline.py"),
        layout.frozen_module("", 1, "package.module"),
        layout.compiled("", 1, "package.module", "cpython-311"),
        layout.events("", 1),
        layout.lease("", 1),
        layout.announcements("", "tag"),
        layout.box("", "tag", 0),
        f"{layout.commands('')}/1.json",
        layout.job("", "tag"),
        layout.script("", "task", "tag"),
        layout.job_log("", "tag"),
        layout.tag("", "tag"),
        layout.wakes("", "tag"),
        f"{layout.relay('', 'tag')}/0/0/1",
        layout.inputs("", "task", 0),
        layout.log("", "task", False, 0),
        layout.log("", "task", True, 0),
        layout.scratch("", "task", 0),
        layout.checkpoint("", "task", 0, "0123456789ab"),
    ]
    functions = {name for name, value in vars(layout).items() if callable(value) and not name.startswith("_")}
    assert functions == {
        *(
            "root",
            "run_dir",
            "definition",
            "secrets",
            "code",
            "frozen",
            "frozen_module",
            "compiled",
            "events",
            "lease",
            "mailbox",
            "announcements",
            "box",
            "commands",
        ),
        *("job", "script", "job_log", "definition_copy", "unpublished"),
        *("tag", "wakes", "relay", "exits", "inputs", "log", "log_dirs", "scratch", "checkpoint"),
    }, "a place is new: name it on the page, and here"
    known = patterns()
    for place in places:
        assert any(one.fullmatch(place.lstrip("/")) for one in known), f"the page does not name {place}"


def test_a_run_holds_what_the_page_says(tmp_path: Path) -> None:
    script = tmp_path / "steps.py"
    script.write_text(
        "import reflow\nfrom typing import Annotated\nwf = reflow.Workflow('steps')\n"
        "@wf.job(env={'A': 'b'}, setup='true')\ndef numbers() -> list[int]:\n    return [1, 2]\n"
        "@wf.array_job()\ndef double(n: Annotated[int, reflow.Result(step='numbers')]) -> int:\n"
        "    return reflow.context().scratch.exists() * 2 * n\n"
    )
    names: dict[str, Any] = {"__name__": "steps", "__file__": str(script)}
    module = sys.modules["steps"] = type(sys)("steps")
    module.__dict__.update(names)
    try:
        exec(compile(script.read_text(), script, "exec", dont_inherit=True), module.__dict__)
        run = module.wf.run_local(tmp_path / "run", max_workers=1)
    finally:
        del sys.modules["steps"]
    assert run.results("double") == [2, 4]
    known = patterns()
    root = Path(run.root)
    ends = [path for path in root.rglob("*") if path.is_file() or not any(path.iterdir())]
    places = [str(path.relative_to(root)) for path in ends]
    empty = {"events", "lease", "inputs", "mailbox", "scripts", "jobs", "logs", "tags"}  # made beforehand
    unnamed = [one for one in places if one not in empty and not any(known_.fullmatch(one) for known_ in known)]
    assert not unnamed


@pytest.mark.parametrize(("title", "container"), [("The house", "reflow"), ("The parts of a run", "reflow.run")])
def test_layers(title: str, container: str) -> None:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        contracts = tomllib.load(stream)["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one.get("containers") == [container])
    block = re.search(r"```text\n(.*?)```", section(title), re.S)
    assert block
    assert block[1].split("\n")[:-1] == layers
    told = {name for first in rows(section(title)) for name in re.findall(r"`(\w+)`", first)}
    assert told == {name for line in layers for name in line.split(" | ")}


def test_the_state_diagram_is_that_of_the_table() -> None:
    block = re.search(r"```mermaid\n(.*?)\n```", section("States"), re.S)
    assert block
    assert block[1] == diagram()


def test_dependencies() -> None:
    with (ROOT / "reflow-core" / "pyproject.toml").open("rb") as stream:
        needed = tomllib.load(stream)["project"]["dependencies"]
    told = {first.strip("`") for first in rows(section("Dependencies")) if first.startswith("`")}
    assert told == {match[0] for line in needed if (match := re.match(r"[\w-]+", line))}


def test_identity() -> None:
    assert f"`{SCHEME.decode()}`" in section("Identity and cache")
    assert f"`schema` (now {record.SCHEMA})" in section("Records")


def test_a_missing_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    line = next(line for line in PAGE.splitlines() if line.startswith("| `closed`"))
    monkeypatch.setattr(sys.modules[__name__], "PAGE", PAGE.replace(line + "\n", ""))
    with pytest.raises(AssertionError):
        test_records("mailbox", record.Mail)
