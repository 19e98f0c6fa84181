"""Whatever elements an array holds, a scheduler gets dense slots; what it is asked to cancel are those of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reflow.batch.command import CommandExecutor
from reflow.model.job import JobRef
from reflow.plugin import Context
from reflow.plugins import registry
from reflow.testing.dialects import a_job, a_script
from reflow.testing.replay import Replay

#: what a job of the sparse elements {1, 5, 9, 1200} asks for, of a single one, and of a whole Slurm array
ARRAYS = {
    "slurm": ("--array=0-3", "--array=0-0", "--array=0-1000"),
    "pbs": ("-J 0-3", "-J 0-1:2", "-J 0-1000"),
    "torque": ("-t 0-3", "-t 0", "-t 0-1000"),
    "lsf": ("[1-4]", "[1-1]", "[1-1001]"),
    "sge": ("-t 1-4", "-t 1-1", "-t 1-1001"),
    "flux": ("--cc=0-3", "--cc=0", "--cc=0-1000"),
}
#: how slots 0 and 3 of array 12 are named when they are cancelled, and how many commands take them and a whole job
ELEMENTS = {
    "slurm": ("12_[0,3]", 1),
    "pbs": ("12[0].h 12[3].h", 1),
    "torque": ("0,3 12[].h", 2),
    "lsf": ("12[1,4]", 1),
    "sge": ("12.1 12.4", 1),
}


def executor(name: str) -> CommandExecutor:
    made = registry().create_executor(name, {}, Context(runner=Replay({})))
    assert isinstance(made, CommandExecutor)
    return made


@pytest.mark.parametrize("slots", [4, 1, 1001])
@pytest.mark.parametrize("name", ARRAYS)
def test_slots_are_dense(tmp_path: Path, name: str, slots: int) -> None:
    wanted = ARRAYS[name][{4: 0, 1: 1, 1001: 2}[slots]]
    made = executor(name)
    made._facts["asked"] = True
    preview = made.preview(a_job(script=a_script(tmp_path), slots=slots))
    assert re.search(re.escape(wanted) + r"(?![0-9])", f"{preview.script}\n{preview.command}".replace("'", ""))
    assert "REFLOW_SLOT" in preview.script


@pytest.mark.parametrize("name", ELEMENTS)
def test_some_slots_are_cancelled_by_their_indices(name: str) -> None:
    wanted, _ = ELEMENTS[name]
    id = "12[].h" if name in ("pbs", "torque") else "12"
    speaks = executor(name).speaks
    base = speaks.limits.array_base
    assert " ".join(speaks.element(id, [base, 3 + base])) == wanted


@pytest.mark.parametrize("name", ELEMENTS)
def test_many_are_cancelled_by_as_few_commands_as_it_takes(name: str) -> None:
    _, calls = ELEMENTS[name]
    id = "12[].h" if name in ("pbs", "torque") else "12"
    speaks = executor(name).speaks
    base = speaks.limits.array_base
    names = [*speaks.element(id, [base, 3 + base]), *(str(number) for number in range(100, 300))]
    assert len(speaks.cancel(names)) == calls


def test_flux_names_each_job_of_an_array() -> None:
    replay = Replay({"flux jobs": {"returncode": 1, "stderr": "JobID fB unknown\n"}, "flux cancel": ""})
    made = registry().create_executor("flux", {}, Context(runner=replay))
    made.cancel([JobRef("fA,fB,fC", 1)])
    assert replay.calls[-1][-1] == "fB"
