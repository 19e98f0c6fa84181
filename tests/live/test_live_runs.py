"""Whole runs on a real scheduler: they drive themselves, and end with the right answer, whatever happens."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reflow.plugin import JobRef

ETL = Path(__file__).resolve().parents[2] / "examples" / "etl.py"
Prepare = Callable[[Path], tuple[dict[str, str], Callable[[], Counter[str]]]]


def once(live: Any, elements: int) -> None:
    """The ledger says that each element's function was called once, and once only."""
    wanted = {"make": 1, "total": 1, "square": elements}
    found = live.ledger()
    assert {name: sum(key.startswith(f"{name}.") for key in found) for name in wanted} == wanted
    assert set(found.values()) == {1}


def failures(told: dict[str, Any]) -> dict[Any, tuple[str, Any, Any]]:
    return {one["index"]: (one["class"], one["exit_code"], one["signal"]) for one in told["failures"]}


def square(told: dict[str, Any], index: int) -> dict[str, Any]:
    return next(row for row in told["elements"] if row["task"] == "square" and row["index"] == index)


# --- what begins early, and is looked at late: it takes its time without us -------------------------------------


@pytest.fixture(scope="module")
def over_time(site: Any) -> Any:
    """A run with an element that outlasts its walltime."""
    return site.submit(
        "shaken.py", "--n", "3", "--mishaps", "1=600", settings={"square.time": "60s"}, folder=site.fresh("walltime")
    )


@pytest.fixture(scope="module")
def over_memory(site: Any) -> Any:
    """A run with an element that uses more memory than it asked for."""
    return site.submit(
        "shaken.py", "--n", "3", "--mishaps", "1=eat", settings={"square.mem": "300M"}, folder=site.fresh("memory")
    )


@pytest.mark.usefixtures("over_memory")
def test_three_stages(site: Any, over_time: Any, counting: Prepare) -> None:
    """The README's example, by as few scheduler calls as there must be."""
    folder = site.fresh("etl")
    environ, calls = counting(folder)
    live = site.submit(ETL, environ=environ, folder=folder)
    told = live.wait("SUCCESS")
    assert {row["task"]: row["state"] for row in told["elements"]} == dict.fromkeys(
        ("extract", "transform", "load"), "SUCCESS"
    )
    assert json.loads((live.run_dir / "totals.json").read_text()).keys() == {"tea", "coffee", "cake"}
    looks = 3 if site.create().limits.holds else 0  # each wake-up is asked about
    # Six jobs, two or three facts of the site, and each wake-up is looked for and taken back where it is needless.
    assert sum(calls().values()) <= 15 + looks, calls()
    again = site.submit(ETL, environ=environ, folder=folder)
    assert again.run.state.value == "SUCCESS", "all of it was in the cache, and yet something was submitted"


def test_the_last_worker_goes_on(site: Any) -> None:
    """No stage waits for its wake-up in the queue, unless jobs may not submit from where they run."""
    if not site.create().limits.dependencies:
        pytest.skip("not run: no wake-up waits for a group of jobs here, in whose place its last worker could go on")
    # No stage ends before the commands that submitted it have: whoever waits for them goes on otherwise.
    pause = str(1 + 2 * site.pace)
    live = site.submit("shaken.py", "--n", "9", "--pause", pause, "--mishaps", f"0={pause}")
    live.wait("SUCCESS")
    once(live, 9)
    events = b"".join(path.read_bytes() for path in sorted(Path(live.run.root, "events").rglob("*.log")))
    if b'"k":"barred"' in events:
        pytest.skip("compute nodes cannot submit here")
    assert events.count(b'"reason":"the last worker went on"') + events.count(b'"state":"SUCCESS"') == 3


def test_roots_are_queued_when_submit_returns(site: Any) -> None:
    live = site.submit("shaken.py", "--n", "2")
    queued = live.ids()
    assert queued["make"]
    assert queued["wake-up"]
    live.wait("SUCCESS")
    assert live.run.result("total") == 1
    once(live, 2)


def test_exit_kill_and_exception(site: Any) -> None:
    """Each end has its class, exit code or signal; `retry` runs again what failed, and nothing else."""
    live = site.submit("shaken.py", "--n", "12", "--mishaps", "1=exit,5=kill,7=leave,9=raise")
    told = live.wait("FAILED")
    assert told["summary"]["square"]["SUCCESS"] == 8
    assert told["summary"]["total"] == {"SKIPPED": 1, "total": 1, "cached": 0}
    found = failures(told)
    assert found.keys() == {1, 5, 7, 9}
    assert found[1] == ("exit", 3, None)
    assert found[7] == ("exit", 4, None), "what it has left running keeps no job"
    assert found[5] in (("exit", None, 9), ("exit", 137, 9), ("exit", 137, None))
    assert found[9][0] == "error"
    assert len(live.ids()["wake-up"]) <= 4, "wake-ups for jobs that had gone already"
    (live.run_dir / "mended").touch()
    live.reflow("retry", str(live.run_dir))
    live.wait("SUCCESS")
    assert live.run.result("total") == sum(value * value for value in range(12))
    assert live.ledger() == Counter(
        {"make.12": 1, "total.12": 1} | {f"square.{value}": 1 + (value in (1, 5, 7, 9)) for value in range(12)}
    )


def test_retries_of_its_own(site: Any) -> None:
    """Further attempts are made without anybody's doing."""
    live = site.submit("shaken.py", "--n", "4", "--mishaps", "2=kill", environ={"SHAKEN_RETRIES": "1"})
    told = live.wait("FAILED")
    assert square(told, 2)["attempt"] == 2
    assert live.ledger()["square.2"] == 2


def test_branches_do_not_wait_for_each_other(site: Any) -> None:
    live = site.submit("branches.py", "--seconds", "25")
    live.wait("SUCCESS")
    late, early = live.run.result("both")
    assert early < late, "the quick branch waited for the slow one"


def test_array_parallelism(site: Any) -> None:
    """No more elements run at once than is allowed."""
    mishaps = ",".join(f"{value}=2" for value in range(6))
    live = site.submit("shaken.py", "--n", "6", "--mishaps", mishaps, settings={"square.array_parallelism": "2"})
    told = live.wait("SUCCESS")
    spans = [(row["started"], row["ended"]) for row in told["elements"] if row["task"] == "square"]
    assert max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans) <= 2
    once(live, 6)


def test_a_task_of_several_processes(site: Any) -> None:
    """Its function runs once, in the allocation of all, and the run goes on from there."""
    live = site.submit("shaken.py", "--n", "2", settings={"make.tasks": "2"})
    live.wait("SUCCESS")
    once(live, 2)


# --- cancelling ---------------------------------------------------------------------------------------------------


def test_cancel_leaves_nothing(site: Any) -> None:
    """Queued and running elements, and the chain, are gone; what was not begun never begins; `retry` goes on."""
    mishaps = ",".join(f"{value}=120" for value in range(3))
    live = site.submit("shaken.py", "--n", "40", "--mishaps", mishaps)
    live.until("three elements run", lambda told: told["summary"]["square"].get("RUNNING", 0) >= 3)
    said = live.reflow("cancel", str(live.run_dir)).stdout
    assert "cancelled" in said
    told = live.wait("CANCELLED", timeout=60)
    assert told["summary"]["square"]["CANCELLED"] >= 3
    (live.run_dir / "mended").touch()
    live.reflow("retry", str(live.run_dir))
    live.wait("SUCCESS")
    assert live.run.result("total") == sum(value * value for value in range(40))


def test_cancel_of_one_task(site: Any) -> None:
    live = site.submit("branches.py", "--seconds", "120")
    live.until("the quick branch ends", lambda told: told["summary"]["quickest"].get("SUCCESS") == 1)
    live.reflow("cancel", str(live.run_dir), "--task", "slow")
    told = live.wait("CANCELLED", timeout=60)
    assert told["summary"]["both"] == {"SKIPPED": 1, "total": 1, "cached": 0}


def test_cancel_behind_our_back(site: Any) -> None:
    """Jobs that somebody else cancels, running or pending, are CANCELLED, not lost, and not tried again."""
    live = site.submit("shaken.py", "--n", "5", "--mishaps", "0=120,1=120", settings={"square.array_parallelism": "2"})
    live.until("two elements run", lambda told: told["summary"]["square"].get("RUNNING", 0) == 2)
    job = live.job("square")
    executor = site.create()
    executor.cancel([JobRef(job)])
    told = live.wait("CANCELLED", timeout=90)
    # Where a throttle is emulated, the others were not submitted yet, and nobody has cancelled them.
    left = {"CANCELLED": 5} if executor.limits.throttle else {"CANCELLED": 2, "SUCCESS": 3}
    assert told["summary"]["square"] == {**left, "total": 5, "cached": 0}
    assert told["summary"]["total"]["SKIPPED"] == 1


def test_one_element_cancelled_behind_our_back(site: Any) -> None:
    live = site.submit("shaken.py", "--n", "4", "--mishaps", "2=120")
    live.until("an element runs", lambda told: told["summary"]["square"].get("RUNNING", 0) >= 1)
    job = live.job("square")
    site.create().cancel([JobRef(job, 2)])
    told = live.wait("CANCELLED", timeout=90)
    assert told["summary"]["square"] == {"SUCCESS": 3, "CANCELLED": 1, "total": 4, "cached": 0}


def test_waiting_element_cancelled_behind_our_back(site: Any) -> None:
    """What is cancelled before it starts is forgotten by most schedulers, and is CANCELLED here all the same."""
    if not site.create().limits.throttle:
        pytest.skip("nothing of an array waits here: it is submitted in waves")
    mishaps = "0=15,1=15,2=15"
    live = site.submit("shaken.py", "--n", "3", "--mishaps", mishaps, settings={"square.array_parallelism": "1"})
    live.until("an element runs", lambda told: told["summary"]["square"].get("RUNNING", 0) >= 1)
    job = live.job("square")
    site.create().cancel([JobRef(job, 2)])
    told = live.wait("CANCELLED", timeout=120)
    assert told["summary"]["square"] == {"SUCCESS": 2, "CANCELLED": 1, "total": 3, "cached": 0}
    assert "square.2" not in live.ledger()


# --- the chain ------------------------------------------------------------------------------------------------------


def test_wake_up_killed(site: Any) -> None:
    """A run whose wake-up is gone says so when asked to, and is driven on by hand."""
    alone = {"REFLOW_DISPATCH_FAST_ADVANCE": "false"}  # the last worker would go on without it
    live = site.submit("shaken.py", "--n", "3", "--pause", "12", environ=alone)
    wakes = live.ids()["wake-up"]
    site.create().cancel([JobRef(id) for id in wakes])
    live.until("the first stage is over", lambda told: told["summary"]["make"].get("SUCCESS") == 1, timeout=120)
    time.sleep(3)
    assert live.run.state.value == "RUNNING", "something else has driven it on"
    live.reflow("drive", str(live.run_dir))
    live.wait("SUCCESS")
    once(live, 3)


def test_driven_without_wake_ups(site: Any) -> None:
    """``[dispatch] chain = false``: the foreground does it all."""
    folder = site.fresh("driven")
    environ = {**site.environ, "REFLOW_DISPATCH_CHAIN": "false", "REFLOW_STORE_PATH": str(folder / "store")}
    live = site.submit("shaken.py", "--n", "3", environ={"REFLOW_DISPATCH_CHAIN": "false"}, folder=folder)
    assert "wake-up" not in live.ids()
    live.reflow("drive", str(live.run_dir))
    assert environ
    live.wait("SUCCESS")
    assert "wake-up" not in live.ids()
    once(live, 3)


def test_run_in_the_foreground(site: Any) -> None:
    """``run`` returns when all is done."""
    live = site.submit("shaken.py", "--n", "3", verb="run")
    assert live.run.state.value == "SUCCESS"
    live.nothing_left()
    once(live, 3)


# --- traps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a|b c", "1st: ünïcode/*@", "-x $(id) `id`", "x" * 300])
def test_job_names(site: Any, name: str) -> None:
    """Whatever name is asked for, the job runs and is found."""
    live = site.submit("shaken.py", "--n", "1", settings={"make.name": name})
    live.wait("SUCCESS")


def test_log_directory_missing(site: Any) -> None:
    """Where the scheduler cannot open a job's log, the run does not hang: somebody can find out, and go on."""
    begin = 2 + 2 * site.pace
    live = site.submit("shaken.py", "--n", "3", settings={"make.begin": f"{begin:.0f}"})
    logs = Path(live.run.root, "logs")
    logs.rename(f"{logs}.away")
    time.sleep(begin + 4)
    if logs.exists():  # newer versions of Slurm make the directory that is missing
        shutil.copytree(f"{logs}.away", logs, dirs_exist_ok=True)
        shutil.rmtree(f"{logs}.away")
    else:
        Path(f"{logs}.away").rename(logs)
    live.reflow("drive", str(live.run_dir), "--once")
    told = live.run.status()
    if told["run"]["status"] not in ("SUCCESS", "RUNNING", "FAILED"):
        live.reflow("drive", str(live.run_dir), "--once")
    live.reflow("cancel", str(live.run_dir))
    live.nothing_left()
    live.reflow("retry", str(live.run_dir))
    live.wait("SUCCESS")
    assert live.run.result("total") == 5


def _never(live: Any) -> str:
    """What is said of a run that can never go on; nothing of it is left behind."""
    began = time.monotonic()
    while True:
        told = live.run.status()
        said = [one["reason"] for one in told["failures"]] or [told["tasks"][0]["reason"]]
        if any(said):
            break
        assert not live.site.late(began, 90), f"nothing is said of why it does not go on\n{live.report(told)}"
        live.reflow("status", "--refresh", str(live.run_dir))
        time.sleep(1)
    if live.run.state.ended:
        assert live.run.state.value == "FAILED"
    else:
        live.reflow("cancel", str(live.run_dir))
        live.wait("CANCELLED", timeout=60)
    live.nothing_left()
    return str(said[0])


def test_a_request_that_can_never_run(site: Any) -> None:
    """It is refused at submit, or shown as what it is; and can be cancelled."""
    live = site.submit("shaken.py", settings={"make.cpus": "9999"}, check=False)
    assert re.search(site.kind.never, said := _never(live)), said


def test_a_queue_that_is_not_there(site: Any) -> None:
    live = site.submit("shaken.py", settings={"make.queue": "no-such-queue"}, check=False)
    if "has no 'queue'" in live.said.stderr:  # refused before anything is written
        assert live.said.returncode
        return
    assert _never(live)


@pytest.mark.only("slurm")
def test_a_walltime_over_the_limit(site: Any) -> None:
    """What the queue does not allow is refused at submit, or shown as what it is."""
    said = subprocess.run(
        ["sinfo", "-h", "-o", "%R %s %l"], capture_output=True, text=True, check=True, env=site.environ
    )
    limited = [line.split() for line in said.stdout.splitlines() if not line.endswith(("infinite", "n/a"))]
    if not limited:
        site.lacks("no partition has a limit of time")
    live = site.submit("shaken.py", settings={"make.queue": limited[0][0], "make.time": "400-00:00:00"}, check=False)
    # In its first second Slurm may say PartitionConfig, before it has looked at the time.
    said_of_it = _never(live).lower()
    assert "time" in said_of_it or "can never run" in said_of_it, said_of_it


# --- what began early ---------------------------------------------------------------------------------------------


def test_walltime(over_time: Any) -> None:
    told = over_time.wait("FAILED", timeout=300)
    assert failures(told)[1][0] == "timeout"
    assert told["summary"]["square"]["SUCCESS"] == 2


def test_memory(site: Any, over_memory: Any) -> None:
    over_memory.run.wait(300)
    told = over_memory.run.status(elements=True)
    if told["run"]["status"] == "SUCCESS":
        site.lacks("jobs may use more memory than they ask for here")
    told = over_memory.wait("FAILED", timeout=60)
    if site.accounts:
        assert failures(told)[1][0] == "oom", told["failures"]
    assert failures(told).keys() == {1}
    assert told["summary"]["square"]["SUCCESS"] == 2


def test_many_elements(site: Any, pytestconfig: pytest.Config) -> None:
    """2,500 elements, more than an array may have; then a retry of some, and of one."""
    many = pytestconfig.getoption("--elements")
    broken = [1, 5, 9, 1200 if many > 1200 else many // 2]
    live = site.submit("shaken.py", "--n", str(many), "--mishaps", ",".join(f"{value}=raise" for value in broken))
    told = live.wait("FAILED", timeout=600)
    assert sorted(failures(told)) == broken, live.report(told)
    (live.run_dir / "mended").touch()
    live.reflow("retry", str(live.run_dir), "--task", "square[5]", check=False)  # by then it may have failed, too
    live.wait("FAILED")
    assert live.run.status()["summary"]["square"] == {"SUCCESS": many - 3, "FAILED": 3, "total": many, "cached": 0}
    live.reflow("retry", str(live.run_dir))
    live.wait("SUCCESS")
    assert live.run.result("total") == sum(value * value for value in range(many))
    assert sum(live.ledger().values()) == many + 4 + 2
