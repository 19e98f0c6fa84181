"""Daemons that stop in the middle of a run: nothing is lost, nothing runs twice, nothing is stuck.

These stop and start the scheduler's daemons by the commands of the ``--control`` file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Control = Callable[[str], None]


def several(live: Any, elements: int) -> None:
    """The right answer, and every element computed once."""
    assert live.run.result("total") == sum(value * value for value in range(elements))
    assert live.ledger() == {"make." + str(elements): 1, "total." + str(elements): 1} | {
        f"square.{value}": 1 for value in range(elements)
    }


@pytest.fixture
def controller_back(control: Control) -> Iterator[None]:
    yield
    control("start-controller")


@pytest.fixture
def accounting_back(control: Control) -> Iterator[None]:
    yield
    control("start-accounting")


@pytest.mark.control("stop-controller", "start-controller")
@pytest.mark.usefixtures("controller_back")
def test_controller_restarted(site: Any, control: Control) -> None:
    """It is gone while elements end, and comes back."""
    mishaps = ",".join(f"{value}=6" for value in range(8))
    live = site.submit("shaken.py", "--n", "8", "--mishaps", mishaps)
    live.until("elements run", lambda told: told["summary"]["square"].get("RUNNING", 0) >= 4)
    control("stop-controller")
    time.sleep(12)
    control("start-controller")
    live.wait("SUCCESS")
    several(live, 8)


@pytest.mark.control("stop-controller", "start-controller")
@pytest.mark.usefixtures("controller_back")
def test_controller_gone_while_a_wake_up_works(site: Any, control: Control) -> None:
    """A wake-up that cannot submit says so, and loses nothing: `drive` goes on."""
    live = site.submit("shaken.py", "--n", "3", "--pause", "5")
    live.until("the first stage runs", lambda told: told["summary"]["make"].get("RUNNING", 0) == 1)
    control("stop-controller")
    time.sleep(10)
    control("start-controller")
    began = time.monotonic()
    while not live.run.state.ended and not site.late(began, 60):
        time.sleep(1)
    if not live.run.state.ended:
        live.reflow("drive", str(live.run_dir))
    live.wait("SUCCESS")
    several(live, 3)


@pytest.mark.control("stop-controller", "start-controller")
@pytest.mark.usefixtures("controller_back")
def test_submit_while_the_controller_is_away(site: Any, control: Control) -> None:
    """What may or may not have been submitted is looked for before it is submitted again."""
    control("stop-controller")
    brief = {"REFLOW_COMMAND_ATTEMPTS": "2", "REFLOW_COMMAND_TIMEOUT": "10s", "REFLOW_SUBMIT_TIMEOUT": "20s"}
    live = site.submit("shaken.py", "--n", "3", environ=brief, check=False)
    control("start-controller")
    for _ in range(3):
        if not live.run.state.ended:
            break
        live.reflow("retry", str(live.run_dir))
        live.run.wait(60)
    if not live.run.state.ended:
        live.reflow("drive", str(live.run_dir))
    live.wait("SUCCESS")
    several(live, 3)


@pytest.mark.control("stop-accounting", "start-accounting")
@pytest.mark.usefixtures("accounting_back")
def test_accounting_down(site: Any, control: Control) -> None:
    """An outage of accounting is no evidence of anything."""
    control("stop-accounting")
    live = site.submit("shaken.py", "--n", "6", "--mishaps", "1=exit,2=kill")
    told = live.wait("FAILED")
    assert {one["index"]: one["class"] for one in told["failures"]} == {1: "exit", 2: "exit"}
    assert told["summary"]["square"]["SUCCESS"] == 4
    (live.run_dir / "mended").touch()
    live.reflow("retry", str(live.run_dir))
    live.wait("SUCCESS")


@pytest.mark.only("slurm", "pbs", "torque", "flux")  # Grid Engine waits for a lost node for ever
@pytest.mark.control("stop-node", "start-node")
def test_node_goes_away(site: Any, control: Control) -> None:
    """Elements of a node that died are tried again, by themselves."""
    mishaps = ",".join(f"{value}=20" for value in range(4))
    live = site.submit("shaken.py", "--n", "4", "--mishaps", mishaps, settings={"square.constraint": ""})
    live.until("elements run", lambda told: told["summary"]["square"].get("RUNNING", 0) == 4)
    control("stop-node")
    began = time.monotonic()
    try:
        while not live.run.state.ended and not site.late(began, 90):
            time.sleep(1)
    finally:  # it may have been the only one
        control("start-node")
    live.wait("SUCCESS", timeout=300)
    assert live.run.result("total") == 14
