"""Every command, on made-up runs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reflow.authoring import Flow
from reflow.cli import render
from reflow.cli.commands import logs
from reflow.cli.main import main
from reflow.errors import NotReady, ReflowError, Stalled

ID = "demo-20250301-a1b2"

Call = Callable[..., Any]


def status(**run: Any) -> dict[str, Any]:
    return {
        "run": {
            "run_id": ID,
            "workflow": "demo",
            "status": "FAILED",
            "run_dir": "/runs/demo",
            "uncached": [],
            "created": 1.7e9,
            "started": 1.7e9,
            "ended": 1.7e9 + 65,
            "duration": 65.0,
            "idle": 0.5,
            "executor": "local",
            "reason": None,
            **run,
        },
        "summary": {
            "make": {"SUCCESS": 1, "total": 1, "cached": 1},
            "compute": {"SUCCESS": 9, "FAILED": 1, "total": 10, "cached": 0},
        },
        "tasks": [
            {
                "name": "make",
                "array": False,
                "state": "SUCCESS",
                "size": 1,
                "depends": [],
                "duration": 0.5,
                "reason": "",
            },
            {
                "name": "compute",
                "array": True,
                "state": "FAILED",
                "size": 10,
                "depends": ["make"],
                "duration": None,
                "reason": "on\nhold",
            },
        ],
        "failures": [
            {
                "task": "compute",
                "index": 3,
                "class": "error",
                "reason": "ValueError: bad",
                "exit_code": None,
                "signal": None,
                "attempt": 1,
                "log": "/runs/demo/logs/compute/3.log",
                "traceback": "",
            }
        ],
        "elements": [
            element("make", None, cached=True),
            *(element("compute", index, "FAILED" if index == 3 else "SUCCESS") for index in range(10)),
        ],
    }


def element(task: str, index: int | None, state: str = "SUCCESS", **more: Any) -> dict[str, Any]:
    return {
        "task": task,
        "index": index,
        "state": state,
        "attempt": 1,
        "cached": False,
        "class": "error" if state == "FAILED" else None,
        "reason": None,
        "host": "n1",
        "started": 1.0,
        "ended": 3.0,
        **more,
    }


GOOD = {**status(status="SUCCESS"), "failures": [], "summary": {"make": {"SUCCESS": 1, "total": 1}}, "tasks": []}


# Which run


def test_the_latest_is_meant_where_none_is_named(reflow: Call, shelf: Any) -> None:
    shelf.add("demo-1", status=status(run_id="demo-1"))
    shelf.add("demo-2", status=status(run_id="demo-2"))
    assert "run        demo-2" in reflow("status").out
    assert "run        demo-1" in reflow("status", "demo-1").out
    assert "run        demo-1" in reflow("status", "--run-id", "demo-1").out
    assert "run        demo-1" in reflow("status", "demo-1", "--run-id", "demo-1").out


@pytest.mark.parametrize("command", ["cancel", "retry"])
def test_what_changes_a_run_wants_it_named(command: str, reflow: Call, shelf: Any) -> None:
    run = shelf.add()
    said = reflow(command)
    assert said.code == 2
    assert "which run?" in said.err
    assert "runs` lists them" in said.err
    assert run.asked == []


def test_two_different_runs_are_refused(reflow: Call, shelf: Any) -> None:
    said = reflow("status", "a", "--run-id", "b")
    assert said.code == 2
    assert "two runs are named: 'a' and --run-id 'b'" in said.err


def test_an_unknown_run(reflow: Call, shelf: Any) -> None:
    said = reflow("status", "nope")
    assert (said.code, said.out) == (2, "")
    assert said.err == "error: no run 'nope'\nhint: see `reflow runs`\n"


def test_a_workflow_sees_its_own_runs(reflow: Call, shelf: Any) -> None:
    flow = Flow("demo")
    said = reflow("status", flow=flow)
    assert said.code == 2
    assert "no run of 'demo'" in said.err
    shelf.add("demo-1", status=status(run_id="demo-1"))
    shelf.add("other-1", "other", status=status(run_id="other-1"))
    assert "demo-1" in reflow("status", flow=flow).out
    assert "demo-1" in reflow("status", "latest", flow=flow).out
    said = reflow("status", "other-1", flow=flow)
    assert said.code == 2
    assert "run other-1 is of workflow 'other', not of 'demo'" in said.err
    assert "other-1" not in reflow("runs", flow=flow).out


def test_the_store_is_passed_on(reflow: Call, shelf: Any) -> None:
    shelf.add(status=GOOD)
    reflow("status", "--store-path", "/store")
    reflow("runs", "--store-path", "/store")
    assert shelf.store_paths == ["/store", "/store"]


# status


def test_status(reflow: Call, shelf: Any) -> None:
    run = shelf.add(status=status(reason="compute[3] failed"))
    said = reflow("status", ID)
    assert said.code == 0
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[:4] == [
        f"run        {ID}",
        "state      FAILED",
        "reason     compute[3] failed",
        "workflow   demo",
    ]
    assert "worked     1 min 05 s" in lines
    assert not any(line.startswith("idle") for line in lines)
    table = [line.split() for line in lines[lines.index("") + 1 :]]
    assert table[0] == ["TASK", "STATE", "TOTAL", "SUCCESS", "FAILED", "cached", "TIME"]
    assert table[1] == ["make", "SUCCESS", "1", "1", "1", "0.50", "s"]
    assert table[2] == ["compute", "FAILED", "10", "9", "1"]
    assert "compute FAILED: on\\nhold" in lines
    assert "FAILED compute[3] (error)" in lines
    assert "  ValueError: bad" in lines
    assert "  log: /runs/demo/logs/compute/3.log" in lines
    assert any(line.endswith(f"logs {ID} 'compute[3]'") for line in lines)
    assert any(line.endswith(f"retry {ID}") for line in lines)
    assert run.asked == [("status", (), {"elements": False, "refresh": False})]


def test_status_of_what_runs(reflow: Call, shelf: Any) -> None:
    found = {**GOOD, "run": {**GOOD["run"], "status": "RUNNING", "ended": None}, "summary": {}, "tasks": []}
    shelf.add(status=found)
    assert "retry" not in reflow("status").out


def test_status_of_what_was_retried(reflow: Call, shelf: Any) -> None:
    told = {**GOOD["run"], "duration": 38.0, "idle": 492.0}
    shelf.add(status={**GOOD, "run": told}, retry={"run_id": ID, "said": "1 again"})
    lines = reflow("status").out.splitlines()
    assert {"worked     38.0 s", "idle       8 min 12 s"} <= set(lines)
    assert reflow("retry", ID).err == f"run {ID} SUCCESS after 38.0 s, idle 8 min 12 s\n"


def test_status_of_an_array_of_unknown_size(reflow: Call, shelf: Any) -> None:
    found = {**status(), "summary": {"make": {"FAILED": 1, "total": 1}, "compute": {"total": None, "cached": 0}}}
    shelf.add(status=found)
    assert ["compute", "FAILED", "?"] in [line.split() for line in reflow("status").out.splitlines()]


def test_the_reason_of_a_single_task_is_said_once(reflow: Call, shelf: Any) -> None:
    found = status()
    found["tasks"][0] |= {"state": "FAILED", "reason": "error: ValueError: bad"}
    shelf.add(status=found)
    assert reflow("status").out.count("ValueError: bad") == 1


def test_status_with_elements(reflow: Call, shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = shelf.add(status=status())
    out = reflow("status", "--elements", "--refresh").out
    lines = [line.split() for line in out.splitlines()]
    assert ["make", "SUCCESS", "1", "n1", "2.00", "s", "cached"] in lines
    assert ["compute[3]", "FAILED", "1", "n1", "2.00", "s", "error"] in lines
    assert max(map(len, out.splitlines())) <= 80
    assert run.asked[0][2] == {"elements": True, "refresh": True}


def test_status_as_json(reflow: Call, shelf: Any) -> None:
    shelf.add(status=status())
    assert json.loads(reflow("status", "--json").out) == status()


# runs


def test_runs(reflow: Call, shelf: Any) -> None:
    assert reflow("runs").err == "no runs yet\n"
    assert reflow("runs", "--json").out == "[]\n"
    shelf.add("a-1", "a")
    shelf.add("b-1", "b")
    shelf.add("climate-1", "climate")
    assert reflow("runs", "--workflow", "climat").err == "no run of workflow 'climat'; did you mean 'climate'?\n"
    assert reflow("runs", "--workflow", "qq").err == "no run of workflow 'qq'\n"
    shelf.runs.pop(0)
    lines = reflow("runs").out.splitlines()
    assert [line.split()[0] for line in lines] == ["RUN_ID", "b-1", "a-1"]
    assert lines[1].endswith("/runs/b-1")
    assert [run["run_id"] for run in json.loads(reflow("runs", "--json", "--workflow", "a").out)] == ["a-1"]
    said = reflow("runs", "-n", "1")
    assert "a-1" not in said.out
    assert said.err == "older runs are not shown; --limit 2 shows more\n"


# cancel, retry


def test_cancel(reflow: Call, shelf: Any) -> None:
    run = shelf.add(cancel={"run_id": ID, "said": "cancelled 3 elements"})
    assert reflow("cancel", ID).out == "cancelled 3 elements\n"
    assert (
        json.loads(reflow("cancel", ID, "--task", "a", "--task", "b[3,7-9]", "--json").out)
        == [{"run_id": ID, "said": "cancelled 3 elements"}] * 2
    )
    asked = [{key: value for key, value in named.items() if key != "on_progress"} for _, _, named in run.asked]
    assert asked == [
        {"task": None, "elements": None},
        {"task": "a", "elements": None},
        {"task": "b", "elements": [3, 7, 8, 9]},
    ]


def test_retry(reflow: Call, shelf: Any) -> None:
    run = shelf.add(retry={"run_id": ID, "said": "3 again"}, status=GOOD)
    said = reflow("retry", ID, "--task", "compute[ 3, 5 ]")
    assert (said.code, said.out) == (0, "3 again\n")
    assert said.err == f"run {ID} SUCCESS after 1 min 05 s\n"
    name, args, named = run.asked[0]
    assert (name, args, named["overrides"]) == ("retry", ("compute", [3, 5]), [])
    reflow("retry", ID, "--set", "compute.mem=64G", "--queue", "long")
    assert run.asked[2][2]["overrides"] == ["*.queue=long", "compute.mem=64G"]


def test_a_retry_that_fails_again(reflow: Call, shelf: Any) -> None:
    shelf.add(retry={"run_id": ID, "said": "3 again"}, status=status())
    said = reflow("retry", ID, "--json")
    assert said.code == 1
    assert json.loads(said.out) == [{"run_id": ID, "said": "3 again"}]
    assert "FAILED compute[3] (error)" in said.err


@pytest.mark.parametrize("text", ["a[x]", "a[]", "a[3-1]", "a[1,,2]"])
def test_elements_that_are_none(text: str, reflow: Call, shelf: Any) -> None:
    run = shelf.add()
    said = reflow("retry", ID, "--task", text)
    assert said.code == 2
    assert f"{text!r} does not name elements of a task" in said.err
    assert run.asked == []


def test_a_retry_that_is_cancelled(reflow: Call, shelf: Any) -> None:
    shelf.add(retry={"run_id": ID, "said": "3 again"}, status={**GOOD, "run": {**GOOD["run"], "status": "CANCELLED"}})
    said = reflow("retry", ID)
    assert said.code == 130
    assert said.err.endswith(f"retry {ID}\nrun {ID} CANCELLED after 1 min 05 s\n")


def test_a_retry_that_goes_on(reflow: Call, shelf: Any) -> None:
    run = {**GOOD["run"], "status": "RUNNING", "ended": None, "reason": "held"}
    shelf.add(retry={"run_id": ID, "said": "3 again"}, status={**GOOD, "run": run})
    said = reflow("retry", ID)
    assert (said.code, said.err) == (0, f"run {ID} RUNNING: held\n")


# events

STORY = [
    {"at": 1.7e9, "epoch": 1, "event": "run", "task": None, "elements": None, "text": "The run is RUNNING"},
    {"at": 1.7e9, "epoch": 1, "event": "settled", "task": "work", "elements": "0-9", "text": "no\x1b[31m more"},
    {"at": None, "epoch": 1, "event": "kept", "task": "make", "elements": None, "text": "kept"},
]


def test_events_are_a_line_each_in_which_nothing_acts_on_a_terminal(reflow: Call, shelf: Any) -> None:
    run = shelf.add(events=lambda *args, **named: iter(STORY))
    lines = reflow("events", ID).out.splitlines()
    assert [line[19:].split(maxsplit=1) for line in lines] == [
        ["The", "run is RUNNING"],
        ["work[0-9]", "no\\x1b[31m more"],
        ["make", "kept"],
    ]
    assert [json.loads(line) for line in reflow("events", ID, "--json").out.splitlines()] == STORY
    assert run.asked[0] == ("events", (None, None), {"follow": False})


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["latest", "work[3,7-9]", "-f"], (("work", [3, 7, 8, 9]), True)),
        (["--run-id", ID, "work"], (("work", None), False)),
        ([ID, "work", "--run-id", ID], (("work", None), False)),
        ([], ((None, None), False)),
    ],
)
def test_events_of_some_elements(words: list[str], asked: Any, reflow: Call, shelf: Any) -> None:
    run = shelf.add(events=lambda *args, **named: iter(()))
    said = reflow("events", *words)
    assert (said.code, said.out, said.err) == (0, "", "")
    assert run.asked == [("events", asked[0], {"follow": asked[1]})]


# logs


def test_logs(reflow: Call, shelf: Any, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("line\n")
    (tmp_path / "odd").write_bytes(b'bad \xff "\xc3\xa9\n')
    run = shelf.add(log_path=lambda task, index: tmp_path / ("odd" if task == "odd" else "log"))
    assert reflow("logs", ID, "compute[3]").out == "line\n"
    assert reflow("logs", "compute[3]", ID).code == 0, "the other way round"
    assert reflow("logs", "make").code == 0
    assert reflow("logs", "make", "--run-id", ID).code == 0
    assert [asked[1] for asked in run.asked] == [("compute", 3), ("compute", 3), ("make", None), ("make", None)]
    said = json.loads(reflow("logs", "odd[3]", "--json").out)
    assert said == {"run_id": ID, "task": "odd", "index": 3, "log": 'bad \udcff "é\n'}


def test_logs_that_are_not_there(reflow: Call, shelf: Any, tmp_path: Path) -> None:
    shelf.add(log_path=tmp_path / "none", logs="")
    said = reflow("logs", "compute[3]")
    assert (said.code, said.out) == (0, "")
    assert json.loads(reflow("logs", "compute[3]", "--json").out)["log"] == ""


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("block", [1, 3, 1 << 18])
def test_the_last_lines_of_a_log(
    end: str, block: int, reflow: Call, shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_BLOCK", block)
    text = "one\n\nthree\nfour" + end
    (tmp_path / "log").write_text(text)
    shelf.add(log_path=tmp_path / "log", status=lambda **_: {"run": {"status": "SUCCESS"}, "elements": [], "tasks": []})
    lines = text.splitlines(keepends=True)
    for count in range(6):
        wanted = "".join(lines[max(0, len(lines) - count) :])
        assert reflow("logs", "make", "--tail", str(count)).out == wanted
        assert reflow("logs", "make", "-f", "-n", str(count)).out == wanted


def test_a_large_log_is_held_a_block_at_a_time(reflow: Call, shelf: Any, tmp_path: Path) -> None:
    import tracemalloc

    with open(tmp_path / "log", "wb") as log:
        log.truncate(24 << 20)
    shelf.add(log_path=tmp_path / "log")
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "stdout", nowhere)
        tracemalloc.start()
        try:
            for words in (["--tail", "5"], [], ["--json"]):
                assert main(["logs", "make", *words]) == 0
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert most < 12 << 20


@pytest.mark.parametrize("command", ["logs", "script"])
def test_no_control_sequence_reaches_a_terminal_unless_asked_for(
    reflow: Call, shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    evil = "\x1b]0;owned\x07 \x1b[2J\u202e\tline\r\nnext \x9b1m\n"
    (tmp_path / "log").write_bytes(evil.encode())
    shelf.add(log_path=tmp_path / "log", script={"script": evil, "path": "/s", "task": "compute"})
    assert reflow(command, ID, "compute").out == evil
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    said = reflow(command, ID, "compute").out
    assert said == "\\x1b]0;owned\\x07 \\x1b[2J\\u202e\tline\nnext \\x9b1m\n"
    assert "\x1b[2J" in reflow(command, ID, "compute", "--raw").out


def test_a_character_cut_by_two_reads_is_printed_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    printed = render.Verbatim()
    for piece in ("é".encode()[:1], "é".encode()[1:], b"\xff\n"):
        printed.put(piece)
    assert capsys.readouterr().out == "é\\xff\n"


@pytest.mark.parametrize("words", [[], ["--follow"]])
def test_what_stands_for_a_log_holds_up_nobody(reflow: Call, shelf: Any, tmp_path: Path, words: list[str]) -> None:
    os.mkfifo(tmp_path / "log")
    os.symlink("/dev/zero", tmp_path / "link")
    for name in ("log", "link"):
        shelf.add(log_path=tmp_path / name, status=lambda **_: status())
        said = reflow("logs", ID, "compute[3]", *words)
        assert said.code == 1
        assert name in said.err


def test_the_path_of_a_log(reflow: Call, shelf: Any) -> None:
    shelf.add(log_path=Path("/l/3.log"))
    assert reflow("logs", "compute[3]", "--path").out == "/l/3.log\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name one task"),
        (["a", "b", "c"], "name one task"),
        (["compute[1,2]"], "'compute[1,2]' names 2 elements"),
        (["nope", "make"], "no run 'nope'"),
        (["make", "--run-id", "nope"], "no run 'nope'"),
    ],
)
def test_wrong_logs(words: list[str], said: str, reflow: Call, shelf: Any) -> None:
    shelf.add()
    found = reflow("logs", *words)
    assert found.code == 2
    assert said in found.err


def test_following_a_log_to_its_end(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    log = tmp_path / "3.log"
    rounds = iter(["", "one\n", "two \udcff\n", "three\n"])
    state = {"compute": "RUNNING"}

    def sleep(_: float) -> None:
        with open(log, "ab") as file:
            file.write(next(rounds).encode("utf-8", "surrogateescape"))
        if log.stat().st_size >= 10:
            state["compute"] = "SUCCESS"

    monkeypatch.setattr(logs.time, "sleep", sleep)
    monkeypatch.setattr(logs, "_STATE", 0.0)
    run = shelf.add(
        log_path=log,
        status=lambda **_: {
            "run": {"status": "RUNNING"},
            "elements": [element("compute", 3, state["compute"]), element("other", 3, "RUNNING")],
        },
    )
    logs._follow(run, "compute", 3, render.Verbatim())
    assert capfdbinary.readouterr().out == b"one\ntwo \xff\n"


def test_following_what_nobody_drives(shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_STATE", 0.0)
    monkeypatch.setattr(logs, "_GROWS", 0.0)
    told = {
        "run": {"status": "STALLED", "reason": "its driver is gone"},
        "elements": [element("compute", 3, "RUNNING")],
    }
    run = shelf.add(log_path=tmp_path / "3.log", status=lambda **_: told)
    with pytest.raises(Stalled, match="its driver is gone"):
        logs._follow(run, "compute", 3, render.Verbatim())


def test_following_what_has_ended(reflow: Call, shelf: Any, tmp_path: Path) -> None:
    shelf.add(log_path=tmp_path / "none.log", status=lambda **_: status())
    assert reflow("logs", "compute", "--follow").code == 0


def test_following_what_never_wrote(reflow: Call, shelf: Any, tmp_path: Path) -> None:
    def none(task: str, index: int | None) -> str:
        raise NotReady("there is no log of compute[3]: its result was taken from the cache")

    shelf.add(log_path=tmp_path / "none.log", status=lambda **_: status(), logs=none)
    said = reflow("logs", "compute[3]", "--follow")
    assert said.code == 1
    assert "taken from the cache" in said.err


@pytest.mark.parametrize(
    ("state", "size", "ended"), [("PENDING", None, False), ("SKIPPED", None, True), ("RUNNING", 10, True)]
)
def test_an_element_that_is_not_there(state: str, size: int | None, ended: bool) -> None:
    tasks = [{"name": "other", "state": "RUNNING", "size": None}, {"name": "work", "state": state, "size": size}]
    assert logs._ended({"elements": [], "tasks": tasks}, "work", 99) is ended


# results


def test_results(reflow: Call, shelf: Any) -> None:
    rows = [
        {"task": "compute", "index": 0, "state": "SUCCESS", "reason": "", "result": {"a": [1, "\x1b"]}},
        {"task": "compute", "index": 1, "state": "FAILED", "reason": "ValueError: bad"},
        {"task": "compute", "index": 2, "state": "PENDING", "reason": ""},
    ]
    run = shelf.add(plain_results=rows)
    said = reflow("results", ID, "compute")
    assert (said.code, said.out.splitlines()) == (
        0,
        ['compute[0]  {"a": [1, "\\u001b"]}', "compute[1]  FAILED: ValueError: bad", "compute[2]  PENDING"],
    )
    assert json.loads(reflow("results", ID, "compute", "--json").out) == rows
    reflow("results", ID, "compute[1]")
    assert [asked[1] for asked in run.asked] == [("compute", None), ("compute", None), ("compute", 1)]


def test_a_result_that_is_not_there(reflow: Call, shelf: Any) -> None:
    row = {"task": "compute", "index": 1, "state": "FAILED", "reason": "ValueError: bad"}
    shelf.add(plain_results=[row])
    said = reflow("results", ID, "compute[1]")
    assert (said.code, said.out) == (1, "")
    assert said.err == "error: there is no result of compute[1]: it is FAILED: ValueError: bad\n"
    shelf.add(plain_results=[{**row, "index": None, "state": "PENDING", "reason": ""}])
    assert reflow("results", "make").err == "error: there is no result of make: it is PENDING\n"


# explain


def test_explain_joins_what_is_alike(reflow: Call, shelf: Any) -> None:
    rows = [{"task": "make", "index": None, "decision": "hit", "reason": "same inputs"}]
    rows += [
        {"task": "compute", "index": i, "decision": "miss" if i == 3 else "hit", "reason": "x" if i == 3 else "y"}
        for i in range(10)
    ]
    run = shelf.add(explain=rows)
    lines = [line.split() for line in reflow("explain").out.splitlines()]
    assert lines == [
        ["ELEMENT", "DECISION", "REASON"],
        ["make", "hit", "same", "inputs"],
        ["compute[0-2,4-9]", "hit", "y"],
        ["compute[3]", "miss", "x"],
    ]
    assert json.loads(reflow("explain", ID, "--task", "compute", "--json").out) == rows
    assert run.asked[-1] == ("explain", ("compute",), {})
    assert json.loads(reflow("explain", ID, "--task", "compute[3]", "--json").out) == [rows[4]]


# dag, describe

GRAPH = {
    "workflow": "demo",
    "tasks": [
        {"name": "make", "array": False, "depends": []},
        {"name": "compute", "array": True, "depends": [{"task": "make", "mode": "fan-out"}]},
    ],
}


def test_dag_of_a_run(reflow: Call, shelf: Any) -> None:
    shelf.add(dag=GRAPH)
    assert reflow("dag", ID).out.splitlines()[-1].endswith("compute[]  ← fan-out make")
    assert reflow("dag", ID, "--format", "mermaid").out.startswith("flowchart TD\n")
    assert json.loads(reflow("dag", ID, "--json").out) == GRAPH
    assert json.loads(reflow("dag", ID, "--format", "json").out) == GRAPH
    assert reflow("dag", ID, "--format", "svg").code == 2


def test_describe_a_run(reflow: Call, shelf: Any) -> None:
    shelf.add(describe={"workflow": "demo"})
    assert json.loads(reflow("describe", ID).out) == {"workflow": "demo"}
    assert json.loads(reflow("describe", ID, "--json").out) == {"workflow": "demo"}


# plugins, config


def test_plugins(reflow: Call) -> None:
    out = reflow("plugins").out
    assert "reflow" in out.splitlines()[0]
    assert "  executors: local, inline" in out
    assert any(row["name"] == "reflow" for row in json.loads(reflow("plugins", "--json").out))


def test_plugins_that_are_broken_disabled_missing_or_in_conflict(reflow: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {
            "name": "bad",
            "version": "1.0",
            "distribution": "reflow-bad",
            "status": "broken",
            "problems": [{"stage": "import", "error": "ImportError: x\x1b"}],
        },
        {
            "name": "off",
            "version": "1",
            "distribution": "off",
            "status": "disabled",
            "disabled_by": "the configuration",
        },
        {"name": "slurm", "distribution": "reflow-slurm", "status": "missing", "install": "pip install reflow-slurm"},
        {
            "name": "twin",
            "version": "2",
            "distribution": "twin",
            "status": "ok",
            "executors": [{"name": "local", "aliases": ["here"], "conflicts": ["reflow-core"]}],
        },
    ]

    class Registry:
        warnings = ()

        def describe(self) -> list[dict[str, Any]]:
            return rows

    from reflow.cli.commands import plugins

    monkeypatch.setattr(plugins, "registry", lambda disabled: Registry())
    assert reflow("plugins").out.splitlines() == [
        "bad 1.0 (reflow-bad): broken",
        "  import: ImportError: x\\x1b",
        "off 1 (off): disabled",
        "  disabled by the configuration",
        "slurm (reflow-slurm): missing",
        "  pip install reflow-slurm",
        "twin 2 (twin): ok",
        "  executors: local (here)",
        "  conflict: 'local' is also in reflow-core",
    ]


def test_config_path_and_init(reflow: Call) -> None:
    said = reflow("config", "path")
    path = Path(said.out.strip())
    assert "config init` writes an example" in said.err
    assert json.loads(reflow("config", "path", "--json").out) == {"path": str(path), "exists": False}
    assert reflow("config", "init").out == f"{path}\n"
    assert path.read_text().startswith("#")
    assert reflow("config", "path").err == ""
    said = reflow("config", "init")
    assert said.code == 2
    assert "exists already" in said.err
    assert json.loads(reflow("config", "init", "--force", "--json").out) == {"path": str(path)}


def test_config_init_elsewhere(reflow: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert reflow("config", "init", "mine.toml").out == f"{tmp_path}/mine.toml\n"


def test_config_show(reflow: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reflow.toml").write_text('[cache]\npolicy = "warn"\n')
    monkeypatch.chdir(tmp_path)
    assert "cache.policy" in reflow("config", "show").out
    lines = [line.split() for line in reflow("config", "show", "cache.policy", "--origin").out.splitlines()]
    assert lines == [["KEY", "VALUE", "ORIGIN"], ["cache.policy", '"warn"', f"{tmp_path}/reflow.toml:2"]]
    (row,) = json.loads(reflow("config", "show", "cache.policy", "--json").out)
    assert row == {
        "key": "cache.policy",
        "value": "warn",
        "secret": False,
        "layer": "project",
        "origin": f"{tmp_path}/reflow.toml:2",
    }
    assert len(reflow("config", "show", "cache").out.splitlines()) > 3
    said = reflow("config", "show", "cache.polic")
    assert said.code == 2
    assert "policy" in said.err
    assert "hint: Did you mean 'executor'?" in reflow("config", "show", "executorr").err
    assert "hint: Did you mean 'cache.policy'?" in reflow("config", "show", "policy").err


def test_a_key_of_a_project_elsewhere(reflow: Call, tmp_path: Path) -> None:
    (tmp_path / "reflow.toml").write_text('[cache]\npolicy = "ignore"\n')
    out = reflow("config", "show", "cache.policy", "--project", str(tmp_path / "pipeline.py")).out
    assert '"ignore"' in out


def test_odd_variables_are_warned_of(reflow: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_EXECUTOR_NAM", "x")
    said = reflow("config", "show")
    assert said.code == 0
    assert said.err.startswith("warning: REFLOW_EXECUTOR_NAM")


def test_a_config_with_a_mistake(reflow: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reflow.toml").write_text("[cache\n")
    monkeypatch.chdir(tmp_path)
    said = reflow("config", "show")
    assert said.code == 2
    assert "reflow.toml" in said.err
    assert reflow("--help").code == 0, "help does not need it"


def test_an_error_of_a_run_is_a_message(reflow: Call, shelf: Any) -> None:
    def broken(**_: Any) -> None:
        raise ReflowError("damaged", hint="repair it")

    shelf.add(status=broken)
    said = reflow("status")
    assert (said.code, said.err) == (1, "error: damaged\nhint: repair it\n")
    assert "Traceback" in reflow("status", "--debug").err
    assert "Traceback" in reflow("--debug", "status").err
