"""Native options that would take a job out of reflow's hands are refused before anything is submitted."""

from __future__ import annotations

import pytest

from reflow.errors import UsageError
from reflow.model.job import Job
from reflow.model.task import JSON
from reflow.plugin import Dialect, Site
from reflow_flux.dialect import Flux
from reflow_lsf.dialect import LSF, OpenLava
from reflow_pbs.dialect import PBS, Torque
from reflow_sge.dialect import GridEngine
from reflow_slurm.dialect import Slurm

SITE = Site(user="ada", now=1.7e9, since=1.7e9)

RENAMES = {
    Slurm: ("-J x", "-Jx", "-HJx", "--job-name x", "--job-name=x", "--job=x"),
    PBS: ("-N x", "-Nx", "-hN x"),
    Torque: ("-N x", "-Nx", "-hN x"),
    GridEngine: ("-N x",),
    LSF: ("-J x", "-Jx", "-J x[1-3]"),
    OpenLava: ("-J x", "-HJ x"),
    Flux: ("--job-name=x", "--job-name x", "--job=x"),
}

STRAYS = {
    Slurm: ("-M b", "-Mb", "-HMb", "--clusters=b", "--clusters b", "--cluster=b"),
    PBS: ("-q a@b", "-qa@b", "-q @b"),
    Torque: ("-q a@b", "-q @b"),
    LSF: ("-clusters b", "-m h@b"),
}

REQUEUES = {
    Slurm: ("--requeue", "--requ", "-H --requeue"),
    PBS: ("-r y", "-ry", "-hry"),
    Torque: ("-r y", "-ry"),
    GridEngine: ("-r y", "-r yes"),
    LSF: ("-r", "-Q 3"),
    OpenLava: ("-r", "-rH", "-Q 3"),
}

BREAKS = {
    Slurm: ("-a 0-3", "-a0-3", "--array=0-3", "--wrap=x", "-W", "--wait", "--test-only", "-h", "--help", "-Q", "-HV"),
    PBS: ("-J 0-3", "-I", "-z", "-C x", "-W block=true", "-Wblock=true", "-W umask=022,block=true", "--version", "--"),
    Torque: ("-t 0-3", "-I", "-z", "-C x", "--version"),
    GridEngine: ("-clear", "-@ file", "-t 1-3", "-b y", "-sync y", "-verify", "-help", "-C x", "-w v"),
    LSF: ("-K", "-I", "-Is", "-pack f", "-json f", "-h", "-V"),
    OpenLava: ("-K", "-I", "-Ip", "-HK"),
    Flux: ("--cc=0-3", "--bcc 0-3", "--wait", "--wait-event=start", "--watch", "--quiet", "--dry-run", "--help"),
}

HARMLESS = {
    Slurm: ("-H", "--comment=--requeue", "--no-requeue", "--wait-all-nodes=1", "-N 2", "--dependency=singleton"),
    PBS: ("-h", "-q long", "-W umask=022", "-l walltime=3", "-r n"),
    Torque: ("-h", "-c enabled", "-q long", "-l qos=x"),
    GridEngine: ("-q long", "-q x@host", "-R y", "-notify", "-r n", "-w e", "-ckpt x"),
    LSF: ("-Jd x", "-m host", "-rn", "-H", "-jm x"),
    OpenLava: ("-H", "-m host"),
    Flux: ("--urgency=hold", "--queue=x", "--setattr=x=y", "--dependency=singleton"),
}


def cases(table: dict[type[Dialect], tuple[str, ...]]) -> list[tuple[type[Dialect], str]]:
    return [(kind, text) for kind, texts in table.items() for text in texts]


def flags(kind: type[Dialect], text: str = "", **options: JSON) -> list[tuple[str, ...]]:
    job = Job(
        tag="abcdefghij",
        name="abcdefghij.x",
        script="/run/job.sh",
        options=options,
        native=tuple(text.split()),
    )
    return kind().flags(job, SITE)


@pytest.mark.parametrize(("kind", "text"), cases(RENAMES))
def test_a_job_keeps_its_name(kind: type[Dialect], text: str) -> None:
    with pytest.raises(UsageError, match="jobs are found by their names"):
        flags(kind, text)


@pytest.mark.parametrize(("kind", "text"), cases(STRAYS))
def test_a_job_stays_on_its_instance(kind: type[Dialect], text: str) -> None:
    with pytest.raises(UsageError, match="all jobs of a run are on one instance"):
        flags(kind, text)


@pytest.mark.parametrize(("kind", "text"), cases(REQUEUES))
def test_no_scheduler_runs_a_task_again_by_itself(kind: type[Dialect], text: str) -> None:
    with pytest.raises(UsageError, match="'requeue' is not for tasks"):
        flags(kind, text)


@pytest.mark.parametrize(("kind", "text"), cases(BREAKS))
def test_what_is_submitted_is_decided_by_reflow(kind: type[Dialect], text: str) -> None:
    with pytest.raises(UsageError, match="reflow itself decides what is submitted"):
        flags(kind, text)


@pytest.mark.parametrize(("kind", "text"), cases(HARMLESS))
def test_other_native_options_pass(kind: type[Dialect], text: str) -> None:
    assert flags(kind, text) == flags(kind)


@pytest.mark.parametrize(("kind", "name", "value"), [(PBS, "W", "block=true"), (LSF, "m", "host@other")])
def test_a_native_option_by_its_name_is_checked_as_well(kind: type[Dialect], name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{name}='{value}', for"):
        flags(kind, **{name: value})


@pytest.mark.parametrize(
    ("kind", "wrong", "span"),
    [
        (Slurm, -1, "0 to 4294967293, or 'TOP'"),
        (Slurm, "high", "0 to 4294967293, or 'TOP'"),
        (PBS, 5000, "-1024 to 1023"),
        (PBS, 1.5, "-1024 to 1023"),
        (Torque, -1025, "-1024 to 1023"),
        (GridEngine, 1025, "-1023 to 1024"),
        (LSF, 0, "1 to 2147483647"),
        (Flux, 99, "0 to 31, or 'default', or 'expedite', or 'hold'"),
    ],
)
def test_a_priority_is_refused_with_the_range_of_the_scheduler(kind: type[Dialect], wrong: JSON, span: str) -> None:
    with pytest.raises(UsageError) as caught:
        flags(kind, priority=wrong)
    assert caught.value.message.endswith(f"takes {span}")


@pytest.mark.parametrize(("kind", "right"), [(Slurm, "TOP"), (PBS, "-100"), (LSF, 3), (Flux, "hold"), (Flux, 31)])
def test_a_priority_of_the_range_passes(kind: type[Dialect], right: JSON) -> None:
    assert any(str(right) in word for group in flags(kind, priority=right) for word in group)
