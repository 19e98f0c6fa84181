"""The scheduler packages as plugins: what they are called, how they are told apart, and what they take."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

import reflow
from reflow.batch.command import CommandExecutor
from reflow.batch.options import VOCABULARY, table
from reflow.plugin import Context
from reflow.plugins import registry
from reflow.testing.replay import Replay

MODES = {
    "slurm": "slurm",
    "sbatch": "slurm",
    "pbs": "pbs",
    "qsub-pbs": "pbs",
    "torque": "torque",
    "lsf": "lsf",
    "bsub": "lsf",
    "sge": "sge",
    "uge": "sge",
    "qsub-sge": "sge",
    "flux": "flux",
}
EXPORTS = ("SlurmExecutor", "PBSExecutor", "LSFExecutor", "SGEExecutor", "FluxExecutor")
OURS = sorted(set(MODES.values()))


@pytest.mark.parametrize(("mode", "name"), MODES.items())
def test_modes(mode: str, name: str) -> None:
    made = registry().create_executor(mode, {}, Context(runner=Replay({})))
    assert made.name == name
    assert isinstance(made, CommandExecutor)


@pytest.mark.parametrize("name", EXPORTS)
def test_public_classes(name: str) -> None:
    kind = getattr(reflow, name)
    assert issubclass(kind, CommandExecutor)
    assert kind().settings


@pytest.mark.parametrize("name", OURS)
def test_settings_are_the_arguments(name: str) -> None:
    entry = next(entry for entry in registry().executors() if entry.name == name)
    kind = registry().executor(name)
    taken = {*kind.dialect.programs, *kind.own_settings}
    assert {setting.name for setting in entry.settings} <= taken
    assert {*kind.dialect.programs} <= {setting.name for setting in entry.settings}
    paths = {setting.name: f"/opt/{setting.name}" for setting in entry.settings if setting.type == "path"}
    made = registry().create_executor(name, {**dict.fromkeys(taken), **paths}, Context(runner=Replay({})))
    assert {key: value for key, value in made.settings.items() if key in paths} == paths
    assert all(setting.help for setting in entry.settings)
    assert entry.summary


@pytest.mark.parametrize(
    ("programs", "found"),
    [
        (("sbatch", "squeue", "sacct"), ["slurm"]),
        (("qsub", "qstat", "qdel", "pbsnodes"), ["pbs"]),
        (("qsub", "qstat", "qdel", "qconf"), ["sge"]),
        (("bsub", "bjobs"), ["lsf"]),
        (("flux",), ["flux"]),
        (("qsub", "qstat"), []),
        (("sbatch", "squeue", "qsub", "qconf"), ["sge", "slurm"]),
    ],
)
def test_detected_by_what_tells_them_apart(tmp_path: Path, programs: tuple[str, ...], found: list[str]) -> None:
    for name in programs:
        path = tmp_path / name
        path.write_text("#!/bin/sh\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    detected = [entry.name for entry in registry().detect({"PATH": str(tmp_path)})]
    assert sorted(set(detected) & set(OURS)) == found


def test_the_table_of_options() -> None:
    kinds = [registry().executor(name).dialect for name in OURS]
    text = table({kind.title: kind.cells for kind in kinds})
    lines = text.splitlines()
    assert len(lines) == 2 + len(VOCABULARY)
    assert {line.replace("\\|", "").count("|") for line in lines} == {3 + len(OURS)}
    assert "| `queue` | queue or partition | " in text
    assert "refused: " in text
    assert "emulated: by the worker's own clock" in text


def test_the_page_shows_that_table() -> None:
    from reflow_flux.dialect import Flux
    from reflow_lsf.dialect import LSF, OpenLava
    from reflow_pbs.dialect import PBS, Torque
    from reflow_sge.dialect import GridEngine
    from reflow_slurm.dialect import Slurm

    page = (Path(__file__).parents[2] / "docs" / "schedulers.md").read_text()
    kinds = (Slurm, PBS, Torque, LSF, OpenLava, GridEngine, Flux)
    assert table({kind.title: kind.cells for kind in kinds}) in page
