"""`reflow repair`, as it is typed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reflow
from reflow.store.registry import Registry

wf = reflow.Workflow("mended")


@wf.job()
def one() -> int:
    return 1


Call = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path) -> reflow.Run:
    return wf.run_local(tmp_path / "run", executor="inline")


def test_a_whole_run(reflow: Call, run: reflow.Run) -> None:
    said = reflow("repair", run.run_id)
    assert (said.code, said.out, said.err) == (0, f"run {run.run_id}: nothing to repair\n", "")
    said = reflow("repair", str(run.run_dir), "--json")
    assert (said.code, said.err) == (0, "")
    assert json.loads(said.out) == [
        {"run_id": run.run_id, "directory": run.root, "done": [], "problems": [], "backups": []}
    ]


def test_a_damaged_run(reflow: Call, run: reflow.Run) -> None:
    path = Path(run.root) / "run.json"
    path.write_bytes(b"{")
    said = reflow("status", run.run_id)
    assert said.code == 1
    assert f"hint: `reflow repair {run.root}`" in said.err
    said = reflow("repair", run.root)
    assert said.code == 0
    assert f"{path} is lost or damaged; it was written anew from its copy" in said.out
    assert f"kept {path}.damaged-1" in said.out
    assert reflow("status", run.run_id).code == 0


def test_what_cannot_be_mended(reflow: Call, run: reflow.Run) -> None:
    path = Path(run.root) / "run.json"
    path.unlink()
    (Path(run.root) / "code/1/copy.json").unlink()
    said = reflow("repair", str(run.run_dir))
    assert said.code == 1
    assert "submit the workflow again" in said.err


def test_one_process_at_a_time(reflow: Call, run: reflow.Run) -> None:
    from reflow.run.journal.lease import Lease

    lease = Lease.acquire(run.root)
    assert lease is not None
    said = reflow("repair", run.run_id)
    assert said.code == 1
    assert "nothing was changed" in said.err
    lease.release()


def test_registry(reflow: Call, run: reflow.Run, tmp_path: Path) -> None:
    said = reflow("repair", "--registry", str(tmp_path), "--store-path", str(tmp_path / "new"))
    assert (said.code, said.err) == (0, "")
    assert "was entered in" in said.out
    assert "1 results of run" in said.out
    said = reflow("runs", "--json", "--store-path", str(tmp_path / "new"))
    assert [one["run_id"] for one in json.loads(said.out)] == [run.run_id]


@pytest.mark.parametrize("text", ["", '{"format": 99}'])
def test_a_damaged_entry_of_the_registry_is_told(reflow: Call, run: reflow.Run, text: str) -> None:
    registry = Registry(os.environ["REFLOW_STORE_PATH"])
    lost = Path(registry.path(f"{run.workflow}-99991231-abcd"))
    lost.write_text(text)
    said = reflow("runs")
    assert f"{lost.stem}  unreadable" in said.out
    assert "reflow repair --registry" in said.err
    assert json.loads(reflow("runs", "--json").out)[0]["run_dir"] == str(lost)
    for own in (None, wf):
        said = reflow("status", flow=own)
        assert (said.code, run.run_id in said.out) == (0, True)
        assert f"{run.run_id} may not be the latest" in said.err
        assert lost.stem in said.err
    os.utime(lost, (1, 1))
    assert reflow("status").err == ""


def test_usage(reflow: Call, tmp_path: Path) -> None:
    for words in (["repair"], ["repair", "--registry"], ["repair", str(tmp_path)], ["repair", "no-such-run"]):
        said = reflow(*words)
        assert said.code == 2, words
        assert not said.out
    assert reflow("repair", "--registry", str(tmp_path / "none")).code == 2
