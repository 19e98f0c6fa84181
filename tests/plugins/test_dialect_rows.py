"""A dialect that is not complete is refused when its class is made; the kit fits schedulers with less than others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from reflow.batch.options import VOCABULARY
from reflow.plugin import (
    SCRIPT,
    Call,
    Cell,
    CommandExecutor,
    Completed,
    Dialect,
    Job,
    Resources,
    Row,
    Site,
    UsageError,
    Words,
    built,
    flag,
    refused,
    succeeded,
)
from reflow.testing.dialects import DialectConformance, a_job

ROWS: Mapping[str, Cell] = {
    **dict.fromkeys(VOCABULARY, refused("it has none")),
    "name": flag("-n {}"),
    "array": built("-a {}"),
    "requeue": SCRIPT,
    "env": SCRIPT,
    "cwd": SCRIPT,
    "output": flag("-o {}"),
}


class Plain(Dialect):
    """A scheduler that has names and arrays, and nothing else: no queues, no limits, no options of its own."""

    name, title, prefix = "plain", "Plain", "#PLAIN"
    programs = ("psub", "pstat", "pdel")
    index, job_id, ends = "PLAIN_INDEX", '"${PLAIN_ID-}"', "pdel"
    accepted = r"job (\d+)"
    whole = r"(?m)^end$"
    cells: ClassVar[Mapping[str, Cell]] = ROWS

    def resources(self, job: Job) -> Iterable[Words]:
        asked = job.resources
        if asked != Resources() and asked != Resources(nodes=1, cpus=asked.cpus):
            raise UsageError("Plain takes no resources")
        return ()

    def array(self, slots: int, throttle: int | None) -> Iterable[Words]:
        return [("-a", str(slots))]

    def live(self, ids: Sequence[str], site: Site) -> Call:
        return Call(argv=("pstat", *ids))

    def read_live(self, done: Completed) -> Iterable[Row]:
        return [Row(id=id, status=succeeded()) for id in re.findall(r"(?m)^job (\d+) done$", done.stdout)]

    def search(self, site: Site) -> Sequence[Call]:
        return [Call(argv=("pstat",))]


class PlainExecutor(CommandExecutor):
    dialect = Plain


class TestPlain(DialectConformance):
    executor = PlainExecutor
    live = ("job 12 done\nend\n",)

    def memory(self, words: Sequence[str], resources: Resources) -> None:
        return None


def made(**changes: Any) -> type[Dialect]:
    return type("Made", (Plain,), changes)


def test_a_row_that_is_missing_is_named() -> None:
    rows = {name: cell for name, cell in ROWS.items() if name not in ("output", "begin")}
    with pytest.raises(TypeError, match=r"^dialect Made: it lacks the rows 'begin', 'output'$"):
        made(cells=rows)


def test_a_row_of_an_unknown_name_is_named_with_the_one_that_is_meant() -> None:
    with pytest.raises(TypeError, match=r"its row 'ouput' is no option: did you mean 'output'\?$"):
        made(cells={**ROWS, "ouput": flag("-o {}")})
    with pytest.raises(TypeError, match=r"its row 'zzz' is no option$"):
        made(cells={**ROWS, "zzz": flag("-z {}")})


def test_an_attribute_without_a_default_is_named() -> None:
    with pytest.raises(TypeError, match=r"^dialect Bare: it sets no title, programs, cells, index, job_id$"):
        type("Bare", (Dialect,), {"name": "bare"})


@pytest.mark.parametrize("name", ["output", "begin", "queue"])
def test_an_option_that_the_table_refuses_is_an_error(name: str) -> None:
    dialect = made(cells={**ROWS, "output": refused("no files")})()
    with pytest.raises(UsageError, match=f"Plain has no '{name}'"):
        dialect.flags(a_job(options={name: "2h"}), Site(user="alice", now=0.0, since=0.0))


class Described(Plain):
    """Reads a description of the job, not its script."""

    def submit(self, job: Job, script: str, words: Sequence[str]) -> Call:
        return Call(argv=("psub", *words), stdin=f"run {job.script}\n")


class Fed(Plain):
    """Reads the script."""

    def submit(self, job: Job, script: str, words: Sequence[str]) -> Call:
        return Call(argv=("psub", *words), stdin=script)


@pytest.mark.parametrize(
    ("dialect", "reads"),
    [
        (Plain, "psub /run/scripts/k3f9x2abqd.sh"),
        (Described, r"psub <<< $'run /run/scripts/k3f9x2abqd.sh\012'"),
        (Fed, "psub < /run/scripts/k3f9x2abqd.sh"),
    ],
)
def test_a_preview_shows_what_the_command_reads(dialect: type[Dialect], reads: str) -> None:
    executor = type("Made", (CommandExecutor,), {"dialect": dialect})()
    preview = executor.preview(a_job(), body="#!/bin/bash\ntrue\n")
    assert preview.command == reads
    assert f"# submitted by: {reads}\n" in preview.script
