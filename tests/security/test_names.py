"""Names that try to lead out of where they belong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import reflow
from reflow import Run, Workflow
from reflow.errors import ReflowError, UsageError, WorkflowError
from reflow.planning.tags import job_name
from reflow.store.registry import Registry, RunRecord

OUTSIDE = [
    "../../evil",
    "/evil",
    "..",
    ".",
    ".hidden",
    "a/../../b",
    "-rf",
    "a\nb",
    "a\0b",
    "x" * 300,
    "\x1b[2J",
    "$(id)",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_workflows_name_leads_nowhere(name: str, tmp_path: Path) -> None:
    inside = tmp_path / "a" / "b" / "c"
    inside.mkdir(parents=True)
    flow = Workflow(name)

    @flow.job()
    def one() -> int:
        return 1

    try:
        run = flow.run_local(inside / "run", executor="inline", store_path=inside / "store")
    except ReflowError:
        pass  # it is refused
    else:
        assert run.result("one") == 1
        assert Path(run.root).parent == inside / "run" / ".reflow"
    assert {path.name for path in tmp_path.iterdir()} <= {"a"}
    assert {path.name for path in (tmp_path / "a").iterdir()} <= {"b"}
    assert {path.name for path in inside.iterdir()} <= {"run", "store"}


@pytest.mark.parametrize("name", OUTSIDE)
def test_neither_tasks_nor_prefixes_have_such_names(name: str) -> None:
    inner = reflow.Flow("inner")

    @inner.job()
    def one() -> int:
        return 1

    flow = Workflow("outer")
    flow.include(inner, prefix=name)
    with pytest.raises(WorkflowError):
        flow.compile()
    named = Workflow("named")
    named.job(name=name)(one)
    with pytest.raises(WorkflowError):
        named.compile()


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_jobs_name_is_one_plain_word(name: str) -> None:
    made = job_name("tag", name)
    assert re.fullmatch(r"tag[A-Za-z0-9._-]{0,61}", made)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/b", "", ".hidden", "a\0b"])
def test_a_run_id_is_no_path(name: str, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "store")
    record = RunRecord(run_id=name, workflow="w", run_dir="/r", created=1.0)
    with pytest.raises(UsageError):
        registry.add(record)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_entry_says_which_run_it_is_of(tmp_path: Path) -> None:
    """A file that was moved to another name is nobody's entry."""
    registry = Registry(tmp_path)
    registry.add(RunRecord(run_id="one", workflow="w", run_dir="/r", created=1.0))
    Path(registry.path("one")).rename(registry.path("two"))
    with pytest.raises(ReflowError, match="it holds the run id 'one'"):
        registry.find("two")


def test_a_definition_says_which_run_it_is_of(tmp_path: Path) -> None:
    flow = Workflow("moved")

    @flow.job()
    def one() -> int:
        return 1

    run = flow.run_local(tmp_path / "run", executor="inline", store_path=tmp_path / "store")
    other = Path(run.root).with_name("other")
    Path(run.root).rename(other)
    with pytest.raises(ReflowError, match=f"is of run {run.run_id}"):
        Run.open(other)
