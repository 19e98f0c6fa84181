"""What befalls a Slurm: preemption, a node that fails, jobs that are requeued, limits of accounts, two clusters.

They need what `tests/live/cluster` sets up: partitions ``low`` (preempted jobs are requeued), ``spare`` (they are
cancelled) and ``high`` on one node of 16 cores; nodes n1 to n4; a second cluster ``other``; limits that are enforced.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.only("slurm")

Control = Callable[[str], None]
#: with the last worker going on, and by wake-ups alone
ADVANCE = [
    pytest.param({}, id="last-worker"),
    pytest.param({"REFLOW_DISPATCH_FAST_ADVANCE": "false"}, id="wake-ups"),
]


def slurm(site: Any, *words: str, check: bool = True, **environ: str) -> list[str]:
    """Return what a command of Slurm's prints, by lines."""
    done = subprocess.run(words, env=site.environ | environ, capture_output=True, text=True, check=False, timeout=60)
    assert not check or done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout.splitlines()


def attempts(told: dict[str, Any]) -> list[int]:
    """Return the attempts that the elements of ``square`` took."""
    return [row["attempt"] for row in told["elements"] if row["task"] == "square"]


def running(count: int) -> Callable[[dict[str, Any]], bool]:
    """Return whether so many elements of ``square`` run."""
    return lambda told: bool(told["summary"]["square"].get("RUNNING", 0) == count)


def test_requeued_by_the_scheduler(site: Any) -> None:
    """``scontrol requeue`` of a running element, whether it is allowed or not, gives the right answer."""
    live = site.submit("shaken.py", "--n", "3", "--mishaps", "1=15")
    live.until("an element runs", running(1))
    job = live.job("square")
    done = subprocess.run(["scontrol", "requeue", f"{job}_1"], check=False, capture_output=True, env=site.environ)
    live.wait("SUCCESS")
    assert live.run.result("total") == 5
    assert live.ledger()["square.1"] == (1 if done.returncode else 2)
    assert live.ledger()["square.0"] == live.ledger()["square.2"] == 1


#: queue, cores of the urgent job (8 preempt one element, 16 both), and how the run goes on
PREEMPTIONS = [
    pytest.param(
        queue,
        cores,
        environ,
        id=f"{queue}-{'one' if cores == 8 else 'all'}-{'wake-ups' if environ else 'last-worker'}",
        # Every value of each in half of the combinations.
        marks=[] if (queue == "low") ^ (cores == 8) ^ bool(environ) else [pytest.mark.full],
    )
    for queue in ("low", "spare")
    for cores in (8, 16)
    for environ in ({}, {"REFLOW_DISPATCH_FAST_ADVANCE": "false"})
]


@pytest.mark.parametrize(("queue", "cores", "environ"), PREEMPTIONS)
def test_preempted_elements_are_run_again(site: Any, queue: str, cores: int, environ: dict[str, str]) -> None:
    """Whether one element or all of them are preempted, and by requeueing or cancelling."""
    if not {queue, "high"} <= set(slurm(site, "sinfo", "-h", "-o", "%R")):
        site.lacks(f"there are no partitions {queue} and high")
    settings = {"square.queue": queue, "square.cpus": "8"}
    live = site.submit("shaken.py", "--n", "2", "--mishaps", "0=hold,1=hold", settings=settings, environ=environ)
    live.until("both elements run", running(2))
    ask = ["-p", "high", "-c", str(cores), "--mem=100", "-o", "/dev/null"]
    (urgent,) = slurm(site, "sbatch", "--parsable", *ask, "--wrap", "sleep 2")
    live.until("the urgent job runs", lambda _: slurm(site, "squeue", "-h", "-j", urgent, "-o", "%T") != ["PENDING"])
    (live.run_dir / "mended").touch()  # the others go on
    told = live.wait("SUCCESS")
    assert live.run.result("total") == 1
    assert sorted(attempts(told)) == ([1, 2] if cores == 8 else [2, 2])


@pytest.fixture
def node_back(control: Control) -> Iterator[None]:
    yield
    control("start-node")


@pytest.mark.parametrize("environ", ADVANCE)
@pytest.mark.control("lose-node", "start-node")
@pytest.mark.usefixtures("node_back")
def test_one_of_two_nodes_fails(site: Any, control: Control, environ: dict[str, str]) -> None:
    """The element on the node that failed is run again; the one on the other goes on."""
    settings = {"square.cpus": "16", "square.exclude": "n[3-4]"}
    live = site.submit("shaken.py", "--n", "2", "--mishaps", "0=hold,1=hold", settings=settings, environ=environ)
    live.until("both elements run", running(2))
    job = live.job("square")
    control("lose-node")

    def lost() -> int:
        return slurm(site, "squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%T").count("NODE_FAIL")

    live.until("its job has failed", lambda _: lost() > 0)
    (live.run_dir / "mended").touch()
    told = live.wait("SUCCESS")
    assert live.run.result("total") == 1
    # A controller that is short of time may miss the other node's answers, too.
    assert sorted(attempts(told)) == sorted([1, 1, 2, 2][lost() : lost() + 2]), live.report(told)


@pytest.mark.parametrize("whose", ["user", "account"])
@pytest.mark.control("limit-user", "limit-account", "limit-nobody")
def test_a_limit_of_an_association(site: Any, control: Control, whose: str) -> None:
    """No more jobs are queued than may be: where the limit can be asked for, and where only a refusal tells of it."""
    control(f"limit-{whose}")
    try:
        live = site.submit("shaken.py", "--n", "30")
        live.wait("SUCCESS")
    finally:
        control("limit-nobody")
    assert live.run.result("total") == sum(value * value for value in range(30))
    assert set(live.ledger().values()) == {1}


def test_a_run_is_on_the_cluster_that_it_was_submitted_to(site: Any) -> None:
    """A shell that names no cluster, or another one, reaches its jobs, and no job of the same number elsewhere."""
    if "other" not in slurm(site, "sacctmgr", "-nP", "list", "cluster", "format=cluster", check=False):
        site.lacks("there is no cluster called other")
    mine = slurm(site, "squeue", "-h", "-o", "%A %j %T")
    live = site.submit("shaken.py", "--n", "2", "--mishaps", "0=hold,1=hold", environ={"SLURM_CLUSTERS": "other"})
    live.environ = site.environ | {"REFLOW_STORE_PATH": live.environ["REFLOW_STORE_PATH"]}  # another shell
    live.until("both elements run", running(2))
    assert slurm(site, "squeue", "-h", "-M", "other", "-t", "R", "-o", "%A")
    live.reflow("cancel", str(live.run_dir))
    live.wait("CANCELLED", timeout=60)
    assert slurm(site, "squeue", "-h", "-M", "other", "-o", "%A") == []
    assert slurm(site, "squeue", "-h", "-o", "%A %j %T") == mine, "jobs of the same numbers elsewhere"
    (live.run_dir / "mended").touch()
    live.reflow("retry", str(live.run_dir))
    live.wait("SUCCESS")
    assert live.run.result("total") == 1
