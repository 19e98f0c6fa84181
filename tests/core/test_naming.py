"""Runs, paths and choices are named so that what is typed means one thing: the run where it lies, one's own latest."""

from __future__ import annotations

import os
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reflow import Run
from reflow.errors import CodecError, RunNotFound, UsageError
from reflow.model.codec import codec_of
from reflow.model.notice import Notice
from reflow.notify.mail import Mail
from reflow.store.registry import Registry, RunRecord

if TYPE_CHECKING:
    from conftest import Lab

TASK = """
import enum

class Colour(enum.Enum):
    RED = 1
    BLUE = 2

@wf.job()
def one(source: Annotated[Optional[Path], Param()] = None, colour: Annotated[Colour, Param()] = Colour.RED) -> str:
    return str(source)

@wf.job(gpus=1)
def fails() -> int:
    raise ValueError("no")
"""


def command(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(lab.file), *words], cwd=lab.path, check=False, capture_output=True, text=True, timeout=60
    )


def test_an_empty_path_is_refused(lab: Lab, tmp_path: Path) -> None:
    flow = lab.write(TASK)
    for given, said in (
        ({"run_dir": ""}, "the run directory is an empty path"),
        ({"run_dir": tmp_path / "r", "store_path": ""}, "the store path is an empty path"),
    ):
        with pytest.raises(UsageError, match=said):
            flow.run_local(executor="inline", **given)
    with pytest.raises(UsageError, match="the run's name is empty"):
        Run.open("")
    for words in (["--run-dir", ""], ["--run-dir", "r", "--source", ""], ["--run-dir", "r", "--param", "source="]):
        done = command(lab, "run", "--executor", "inline", *words)
        assert done.returncode == 2, done
        assert "empty" in done.stderr
    assert not (tmp_path / ".reflow").exists()
    assert not (tmp_path / "r").exists()


def test_a_tilde_is_the_home_directory_everywhere(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    lab.write(TASK)
    run = lab.run(run_dir="~/r", store_path="~/store", source=Path("~/data"))
    assert run.run_dir == tmp_path / "r"
    assert run.result("one") == str(tmp_path / "data")
    assert (tmp_path / "store" / "runs").is_dir()
    assert Run.open("~/r").run_id == run.run_id
    assert Run.open(run.run_id, store_path="~/store").root == run.root
    lab.run(run_dir="~", source=Path("~nobody-of-that-name/data"))
    assert Run.open("~").result("one").endswith("~nobody-of-that-name/data")


def test_a_wrong_choice_lists_the_right_ones(lab: Lab) -> None:
    flow = lab.write(TASK)
    with pytest.raises(UsageError, match="one of RED, BLUE"):
        flow.run_local(lab.run_dir, executor="inline", colour="green")

    class Many(Enum):
        A = 1
        B = 2

    with pytest.raises(CodecError, match="one of A, B"):
        codec_of(Many).decode(b'"C"')


def test_gpus_are_no_claim_here(lab: Lab) -> None:
    lab.write(TASK)
    said: list[str] = []
    lab.flow.run_local(lab.run_dir, executor="inline", on_progress=lambda event: said.append(event.message))
    assert [one for one in said if "gpus of fails is no claim on the inline executor" in one]


def test_a_moved_run_tells_where_it_is(lab: Lab, tmp_path: Path) -> None:
    lab.write(TASK)
    run = lab.run()
    assert run.status()["run"]["moved_from"] is None
    os.rename(lab.run_dir, tmp_path / "elsewhere")
    found = Run.open(tmp_path / "elsewhere")
    assert found.run_dir == tmp_path / "elsewhere"
    told = found.status()
    assert (told["run"]["run_dir"], told["run"]["moved_from"]) == (str(tmp_path / "elsewhere"), str(lab.run_dir))
    assert all(failure["log"].startswith(str(tmp_path / "elsewhere")) for failure in told["failures"])
    with pytest.raises(RunNotFound, match="reflow repair --registry NEW_DIR"):
        Run.open(run.run_id)
    found.retry()
    assert Run.open(run.run_id).run_dir == tmp_path / "elsewhere", "who went on with it has entered it anew"


def test_the_latest_run_is_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(tmp_path)
    registry.add(RunRecord(run_id="w-1", workflow="w", run_dir="/a", created=1.0))
    registry.add(RunRecord(run_id="w-2", workflow="w", run_dir="/b", created=2.0))
    assert registry.find("latest").run_id == "w-2"
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    with pytest.raises(RunNotFound, match="there is no run of yours") as said:
        registry.find("latest")
    assert "2 of others are there" in str(said.value)
    assert registry.find("w-1").run_id == "w-1", "somebody else's is found by its id"


def test_what_cannot_be_registered_is_said_and_named_by_its_place(lab: Lab, tmp_path: Path) -> None:
    lab.write(TASK)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "runs").write_text("in the way")
    done = command(lab, "run", "--executor", "inline", "--run-dir", "r", "--store-path", "store")
    assert f"reflow repair --registry {tmp_path / 'r'}" in done.stderr
    run = Run.open(tmp_path / "r")
    assert f"next: python {lab.file} logs {run.root} fails" in done.stderr


def test_notices_name_a_run_so_that_it_is_found(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Notice] = []
    monkeypatch.setattr(Mail, "notify", lambda _, notice: sent.append(notice))
    monkeypatch.setenv("REFLOW_NOTIFICATIONS_MAIL_TYPE", "END")
    monkeypatch.setenv("REFLOW_NOTIFICATIONS_MAIL_USER", "ada")
    lab.write(TASK)
    run = lab.run()
    assert sent[-1].commands == (f"reflow status {run.run_id}", f"reflow retry {run.run_id}")
    os.rename(lab.run_dir, tmp_path / "elsewhere")
    Run.open(tmp_path / "elsewhere").retry()
    assert sent[-1].run_dir == str(tmp_path / "elsewhere")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "runs").write_text("in the way")
    monkeypatch.setenv("REFLOW_STORE_PATH", str(tmp_path / "store"))
    run = lab.run()
    assert sent[-1].commands == (f"reflow status {run.root}", f"reflow retry {run.root}")


def test_what_a_command_answers_is_printed_once_in_one_place(lab: Lab) -> None:
    lab.write(TASK)
    run = lab.run()
    done = subprocess.run(
        [sys.executable, str(lab.file), "retry", run.run_id],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.count("retrying 1 element of fails") == 1
