"""Grid Engine: what was recorded of 8.1.9, read back; its traps."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import ExecutorError, UsageError
from reflow.model.job import JobRef, JobState, JobStatus
from reflow.model.names import FailureClass
from reflow.model.resources import Resources
from reflow.plugin import Context
from reflow.testing.dialects import DialectConformance, a_job, a_script
from reflow.testing.replay import Replay
from reflow_sge.dialect import SGEExecutor

RECORDED = Path(__file__).parent / "transcripts"
QSTAT = (RECORDED / "qstat.xml").read_text()
QSTAT_J = (RECORDED / "qstat-j.txt").read_text()
QACCT = (RECORDED / "qacct.txt").read_text()
EMPTY = re.sub(r"(?s)<job_list.*</job_list>\s*", "", QSTAT)
SITE = {f"qconf {option}": (RECORDED / f"qconf{option}.txt").read_text() for option in ("-sconf", "-spl", "-sc")}

NO_RECORD = {"returncode": 1, "stderr": "error: job id 99999 not found\n"}


def value(words: Sequence[str], name: str) -> str:
    return next(word.partition("=")[2] for word in words if word.startswith(f"{name}="))


class TestGridEngine(DialectConformance):
    executor = SGEExecutor
    mpi: ClassVar = {"pe": "mpi"}
    live = (QSTAT,)
    follow_up = (QACCT,)
    recorded = RECORDED / "more"

    def seconds(self, words: Sequence[str]) -> int:
        return int(value(words, "h_rt"))

    def memory(self, words: Sequence[str], resources: Resources) -> int:
        slots = int(words[words.index("-pe") + 2]) if "-pe" in words else 1
        assert slots == (resources.cpus or 1)
        return int(value(words, "h_vmem")[:-1]) * 1024 * slots


def executor(answers: dict[str, object], **settings: object) -> tuple[SGEExecutor, Replay]:
    replay = Replay({**SITE, **answers})  # type: ignore[dict-item]
    return SGEExecutor(runner=replay, **settings), replay  # type: ignore[arg-type]


def asked(*refs: JobRef, qstat: str = QSTAT, qacct: object = QACCT) -> dict[JobRef, JobStatus]:
    made, replay = executor({"qstat.* -xml": qstat, "qstat -j": QSTAT_J, "qacct": qacct})
    answer = dict(made.query(refs))
    assert sum(call[0] != "qconf" for call in replay.calls) <= 2
    return answer


def test_states() -> None:
    found = asked(*(JobRef(str(number)) for number in range(10, 23)))
    states = {ref.id: status.state for ref, status in found.items() if ref.slot is None}
    assert states == {
        "10": JobState.SUCCESS,
        "11": JobState.FAILED,
        "12": JobState.RUNNING,
        "13": JobState.PENDING,
        "14": JobState.CANCELLED,
        "15": JobState.RUNNING,
        "16": JobState.RUNNING,
        "17": JobState.PENDING,
        "18": JobState.PENDING,
        "19": JobState.PENDING,
        "22": JobState.PENDING,
    }
    assert found[JobRef("11")].exit_code == 3
    # Not by itself: in reflow's scripts a command that kills itself leaves a shell behind.
    assert found[JobRef("14")].reason == "killed from outside, as by qdel"
    assert asked(JobRef("6", 2), qstat=EMPTY)[JobRef("6", 2)].signal == 9
    assert {ref.slot: status.state for ref, status in found.items() if ref.id == "20"} == {
        0: JobState.FAILED,
        1: JobState.FAILED,
        2: JobState.RUNNING,
        3: JobState.RUNNING,
        4: JobState.PENDING,
    }
    assert {ref.slot for ref in found if ref.id == "21"} == {0, 1}


def test_ended() -> None:
    found = asked(*(JobRef(str(number)) for number in (12, 13, 15, 16, 20)), qstat=EMPTY)
    assert found[JobRef("15")].failure_class is FailureClass.TIMEOUT
    assert found[JobRef("16")].state is JobState.CANCELLED
    assert found[JobRef("13")].exit_code == 100
    # Rescheduled, and gone: none of its records is an end.
    assert found[JobRef("12")].state is JobState.UNKNOWN
    assert [found[JobRef("20", slot)].exit_code for slot in range(5)] == [1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("failed", "cls", "reason"),
    [
        ("26  : opening input/output file", FailureClass.LAUNCH, "log directory missing"),
        ("28  : changing into working directory", FailureClass.LAUNCH, "working directory missing"),
        ("27  : searching requested shell", FailureClass.LAUNCH, "shell missing"),
        ("1   : assumedly before job", FailureClass.LAUNCH, "assumedly before job"),
        ("37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", FailureClass.TIMEOUT, "walltime"),
    ],
)
def test_why_it_did_not_run(failed: str, cls: FailureClass, reason: str) -> None:
    record = (
        f"{'=' * 62}\njobname      x\njobnumber    9 \ntaskid       undefined\nfailed       {failed}\nexit_status  0 \n"
    )
    status = asked(JobRef("9"), qstat=EMPTY, qacct=record)[JobRef("9")]
    assert status.failure_class is cls
    assert reason in status.reason


def test_a_record_whose_numbers_are_none() -> None:
    for field in ("taskid", "failed"):
        text = re.sub(rf"(?m)^({field} +)\S+", r"\1²", QACCT)
        assert {row.index for row in TestGridEngine().rows(text, follow_up=True)} <= {None}


def test_held_for_good_says_why() -> None:
    refs = [JobRef("17"), JobRef("18"), JobRef("21", 0), JobRef("21", 1), JobRef("19"), JobRef("22")]
    made, replay = executor({"qstat.* -xml": QSTAT, "qstat -j": QSTAT_J})
    found = made.query(refs)
    assert [(found[ref].failure_class, found[ref].reason) for ref in refs] == [
        (FailureClass.LAUNCH, "held: log directory missing"),
        (FailureClass.LAUNCH, "held: working directory missing"),
        (FailureClass.LAUNCH, "held: log directory missing"),
        (FailureClass.LAUNCH, "held: log directory missing"),
        (None, 'waiting: cannot run in PE "smp" because it only offers 0 slots'),
        (None, "waiting for other jobs, or held"),
    ]
    assert all(found[ref].state is JobState.PENDING for ref in refs)
    assert len(replay.calls) == 2


def test_held_for_good_is_known_from_accounting_too() -> None:
    record = (
        f"{'=' * 62}\njobname      x\njobnumber    21 \ntaskid       1 \n"
        "failed       26  : opening input/output file\nexit_status  0 \n"
    )
    found = asked(JobRef("21"), JobRef("999"), qacct=record)
    assert found[JobRef("21", 0)] == JobStatus(
        state=JobState.PENDING,
        failure_class=FailureClass.LAUNCH,
        reason="held: log directory missing",
        native="Eqw",
    )


def test_an_unknown_job_never_ran() -> None:
    """Whatever has run has a record, sooner or later: deleted jobs that waited never get one."""
    assert asked(JobRef("99999"), qstat=EMPTY, qacct=NO_RECORD) == {
        JobRef("99999"): JobStatus(
            state=JobState.UNKNOWN, failure_class=FailureClass.CANCELLED, reason="not known to Grid Engine"
        )
    }


def test_an_unknown_state_is_unknown() -> None:
    text = QSTAT.replace("<state>dr</state>", "<state>Z</state>")
    assert asked(JobRef("16"), qstat=text)[JobRef("16")].native == "Z"


def test_accounting_of_many_is_one_call_for_this_run() -> None:
    made, replay = executor({"qstat": EMPTY, "qacct": QACCT}, facts={"since": 1e9, "asked": True})
    made.query([JobRef("10"), JobRef("20"), JobRef("11")])
    assert [call[0] for call in replay.calls] == ["qstat", "qacct"]
    call = replay.calls[1]
    assert call[1] == "-b"
    assert call[3] == "-o"
    assert call[5:] == ("-j", "*")
    made.query([JobRef("10")])
    assert replay.calls[-1] == ("qacct", "-j", "10")


@pytest.mark.parametrize(
    ("printed", "id"), [("6.1-10:1\n", "6"), ("4\n", "4"), ("warning: be kind\n8.5-5:1\n", "8"), ("9.1-9:4\n", "9")]
)
def test_submitted(tmp_path: Path, printed: str, id: str) -> None:
    made, replay = executor({"qsub": printed})
    script = a_script(tmp_path)
    assert made.submit(a_job(script=script, slots=10, log=str(tmp_path / "x.log"))).ref == JobRef(id)
    assert replay.calls[-1] == ("qsub", "-terse", script)
    text = Path(script).read_text()
    for line in ("-N k3f9x2abqd.compute", "-S /bin/bash", "-r n", "-t 1-10", f"-o {tmp_path}/x.log", "-j y"):
        assert f"#$ {line}\n" in text


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ('Unable to run job: job rejected: the requested parallel environment "nosuchpe" does not exist', "qconf -spl"),
        ('Unable to run job: unknown resource "nosuch"', "qconf -sc"),
        ('Unable to run job: Job was rejected because job requests unknown queue "nosuch.q"', "qconf -sql"),
        ("Unable to run job: job rejected: you tried to submit a job with more than 75000 tasks", ""),
        ("Unable to run job: job rejected: 0 is an invalid task id", ""),
    ],
)
def test_refused(tmp_path: Path, said: str, hint: str) -> None:
    made, _ = executor({"qsub": {"returncode": 1, "stderr": f"{said}\nExiting.\n"}})
    with pytest.raises(ExecutorError, match=re.escape(said)) as caught:
        made.submit(a_job(script=a_script(tmp_path)))
    assert hint in (caught.value.hint or "")
    assert not caught.value.maybe_done


@pytest.mark.parametrize("word", ["Only", "only"])
def test_too_many_jobs_queued_is_no_fault_of_the_job(tmp_path: Path, word: str) -> None:
    said = f"Unable to run job: job rejected: {word} 1000 jobs are allowed per user (current job count: 1000)\n"
    made, _ = executor({"qsub": {"returncode": 1, "stderr": f"{said}Exiting.\n"}})
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path)))
    assert caught.value.full


def test_exit_codes_that_grid_engine_takes_for_orders(tmp_path: Path) -> None:
    def runs(text: str) -> int:
        path = tmp_path / "x.sh"
        path.write_text(text)
        path.write_text(executor({})[0].preview(a_job(script=str(path), slots=2)).script)
        env = {"PATH": "/bin:/usr/bin", "SGE_TASK_ID": "2"}
        return subprocess.run(["bash", str(path)], env=env, check=False, stderr=subprocess.DEVNULL).returncode

    for command, code in (("exit 99", 98), ("exit 100", 101), ("exit 3", 3), ("kill -9 $$", 137), ("true", 0)):
        assert runs(f"#!/bin/bash\n$REFLOW_EXEC bash -c '{command}'\n") == code
    assert runs("#!/bin/bash\nexit 99\n") == 98


def words(
    facts: dict[str, object] | None = None, settings: dict[str, object] | None = None, **fields: object
) -> list[str]:
    made = SGEExecutor(facts=facts or {}, **(settings or {}))  # type: ignore[arg-type]
    preview = made.preview(a_job(**fields), body="true\n")
    return [word for line in preview.script.splitlines() if line.startswith("#$ ") for word in line.split()[1:]] + list(
        preview.call.argv[1:]
    )


def test_resources_are_for_each_slot() -> None:
    made, _ = executor({})
    assert made.limits.max_array == 75000
    assert made.settings["facts"]["pes"] == ["smp"]
    assert made.settings["facts"]["mem_resources"] == []
    got = words(resources=Resources(cpus=3, mem=10 * 2**30, gpus=1, time=61))
    assert got[got.index("-pe") : got.index("-pe") + 3] == ["-pe", "smp", "3"]
    assert "h_vmem=3495254K" in got
    assert "gpu=1" in got
    assert "h_rt=61" in got
    got = words(
        {"mem_resources": ["mem"], "per_job": ["mem"]},
        {"gpu_resource": "ngpus"},
        resources=Resources(cpus=3, mem=2**30, gpus=4),
    )
    assert "mem=1048576K" in got
    assert "ngpus=2" in got


def test_memory_resource() -> None:
    one = {"mem_resources": ["s_mem"]}
    assert "s_mem=1024K" in words(one, resources=Resources(mem=2**20))
    two = {"mem_resources": ["a", "b"]}
    with pytest.raises(UsageError, match="several ways here: a, b"):
        words(two, resources=Resources(mem=2**20))
    assert "b=1024K" in words(two, {"mem_resource": "b"}, resources=Resources(mem=2**20))
    assert "h_vmem=1024K" in words({"mem_resources": ["a", "h_vmem"]}, resources=Resources(mem=2**20))
    counted = "h_vmem              h_vmem     MEMORY      <=    YES         YES        0        0\n"
    counted += "gpu                 gpu        INT         <=    YES         JOB        0        0\n"
    made, _ = executor({"-sc": counted})
    made._runner.answers.pop("qconf -sc")  # type: ignore[union-attr]
    assert made.limits
    assert made.settings["facts"]["mem_resources"] == ["h_vmem"]
    assert made.settings["facts"]["per_job"] == ["gpu"]


@given(
    asked=st.builds(
        Resources,
        mem=st.integers(1, 2**44),
        nodes=st.none() | st.integers(1, 40),
        tasks=st.none() | st.integers(1, 300),
        cpus=st.none() | st.integers(1, 64),
        gpus=st.none() | st.integers(1, 8),
    ),
    per_job=st.booleans(),
)
def test_no_node_has_less_than_is_asked_for(asked: Resources, per_job: bool) -> None:
    nodes, cpus = asked.nodes or 1, asked.cpus or 1
    tasks = max(asked.tasks or 1, nodes)
    got = words({"per_job": ["h_vmem", "gpu"] if per_job else []}, {"pe": "mpi"}, resources=asked)
    assert (got[got.index("-pe") + 2] if "-pe" in got else "1") == str(tasks * cpus)
    # By how much a request is multiplied: on the node with the fewest slots, or, for the whole job, not at all.
    least, whole = (1, nodes) if per_job else (tasks // nodes * cpus, 1)
    assert 0 <= int(value(got, "h_vmem")[:-1]) * 1024 * least - (asked.mem or 0) * whole < 1024 * (least + whole)
    if asked.gpus:
        assert 0 <= int(value(got, "gpu")) * least - asked.gpus * whole < least


def test_parallel_environment() -> None:
    two = Resources(cpus=2)
    assert "smp" in words({"pes": ["mpi", "smp"]}, resources=two)
    assert "orte" in words({"pes": ["orte"]}, resources=two)
    with pytest.raises(UsageError, match="not clear") as caught:
        words({"pes": ["mpi", "orte"]}, resources=two)
    assert "mpi, orte" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="not clear"):
        words({"pes": []}, resources=two)
    assert "mine" in words({"pes": ["mpi", "orte"]}, {"pe": "mine"}, resources=two)
    got = words(options={"pe": "mpi"}, resources=Resources(nodes=2, tasks=8, mem=2**30))
    assert got[got.index("-pe") : got.index("-pe") + 3] == ["-pe", "mpi", "8"]
    assert got.count("-pe") == 1
    assert "h_vmem=262144K" in got
    got = words(options={"pe": "mpi 16"}, resources=Resources(tasks=8))
    assert got[got.index("-pe") : got.index("-pe") + 3] == ["-pe", "mpi", "16"]
    assert got.count("-pe") == 1
    with pytest.raises(UsageError, match="spreads over hosts"):
        words(resources=Resources(nodes=2, tasks=8))
    got = words(resources=Resources(nodes=2, cpus=4), options={"pe": "mpi"})
    assert got[got.index("-pe") : got.index("-pe") + 3] == ["-pe", "mpi", "8"]
    # One slot of it, where somebody asks for that; not because the site names one for jobs of several.
    got = words(options={"pe": "smp"})
    assert got[got.index("-pe") : got.index("-pe") + 3] == ["-pe", "smp", "1"]
    assert "-pe" not in words(settings={"pe": "smp"})
    with pytest.raises(UsageError, match="pe=True is no name"):
        words(options={"pe": True}, resources=Resources(cpus=2))


def test_flags() -> None:
    got = " ".join(
        words(
            slots=5,
            throttle=2,
            after=(JobRef("7"), JobRef("9")),
            begin=10.0,
            options={
                "queue": "all.q",
                "account": "a",
                "project": "p",
                "exclusive": True,
                "constraint": "arch=lx-amd64",
                "reservation": 12,
                "priority": -5,
                "requeue": True,
                "l": ["x=1", "y=2"],
                "binding": "linear:1",
                "h": True,
                "ckpt": "blcr",
            },
        )
    )
    for text in (
        "-q all.q", "-A a", "-P p", "-l exclusive=true", "-l arch=lx-amd64", "-ar 12", "-p -5", "-r y", "-l x=1",
        "-l y=2", "-binding linear:1", " -h ", "-ckpt blcr", "-t 1-5", "-tc 2", "-hold_jid 7,9",
    ):  # fmt: skip
        assert text in f"{got} ", text
    assert re.search(r"-a \d{12}\.\d\d ", got)
    assert "-m bea" in " ".join(words(options={"mail_type": "begin,end,fail"}))
    assert "-m as" in " ".join(words(options={"mail_type": "as"}))


def test_log_paths_that_mean_something_else() -> None:
    assert "-o /dev/null" in " ".join(words(log="/r/a:b"))
    assert "-o /dev/null" in " ".join(words(log="/r/$JOB_ID"))
    assert "-o /r/$JOB_ID" in " ".join(words(log="/x", options={"output": "/r/$JOB_ID"}))


def test_find() -> None:
    listed = QSTAT.replace("<JB_name>arr</JB_name>", "<JB_name>aaaaaaaaaa.arr_with_a_long_name</JB_name>")
    recorded = QACCT.replace("jobname      exit3 ", "jobname      bbbbbbbbbb.x ")
    made, _ = executor({"qstat": listed, "qacct": recorded})
    assert made.find(["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"]) == {
        "aaaaaaaaaa": JobRef("20"),
        "bbbbbbbbbb": JobRef("11"),
    }
    made, _ = executor({"qstat": EMPTY, "qacct": {"returncode": 1, "stderr": "error: job name * not found\n"}})
    assert made.find(["aaaaaaaaaa"]) == {}


def test_the_cell_is_kept_with_its_ids() -> None:
    replay = Replay({"qstat": "</job_info>", "qdel": ""})
    here = {"SGE_ROOT": "/sge", "SGE_CELL": "two"}
    made = SGEExecutor.create({}, Context(environ=here, runner=replay))
    for environ in ({}, here, {"SGE_CELL": "default", "SGE_QMASTER_PORT": "6446"}):
        again = SGEExecutor.create(made.settings, Context(environ=environ, runner=replay))
        again.cancel([JobRef("13")])
        for env in replay.envs[-2:]:
            assert {name: value for name, value in env.items() if value is not None} == here
    assert replay.envs[-1]["SGE_QMASTER_PORT"] is None


@pytest.mark.parametrize("native", [("-N", "x"), ("-r", "y")])
def test_native_words_that_take_a_job_out_of_reach(native: tuple[str, ...]) -> None:
    speaks = SGEExecutor().speaks
    with pytest.raises(UsageError, match=r"native='-"):
        speaks.flags(a_job(native=native), SGEExecutor()._site())
    assert speaks.flags(a_job(native=("-notify", "-rdi")), SGEExecutor()._site())


def test_cancel() -> None:
    made, replay = executor(
        {
            "qstat": "</job_info>",
            "qdel": {"returncode": 1, "stdout": 'alice has deleted job 13\ndenied: job "999" does not exist\n'},
        }
    )
    made.cancel([JobRef("13"), JobRef("999"), JobRef("22", 1), JobRef("22", 4)])
    assert replay.calls[1:] == [("qdel", "13", "999", "22.2", "22.5")]


def test_master_down() -> None:
    said = (
        "error: commlib error: got select error (Connection refused)\n"
        'unable to send message to qmaster using port 6444 on host "vm": got send error\n'
    )
    down = {"returncode": 1, "stderr": said}
    made, replay = executor({"qstat": down})
    with pytest.raises(ExecutorError, match="Grid Engine did not answer: error: commlib error") as caught:
        made.query([JobRef("1")])
    assert caught.value.transient
    assert len(replay.slept) == 3


def test_what_runs_on_a_lost_host_says_so() -> None:
    made, _ = executor(
        {"qstat.* -xml": (RECORDED / "qstat-lost-host.xml").read_text(), "qacct": NO_RECORD, "qstat -j": ""}
    )
    answer = made.query([JobRef("1"), JobRef("2"), JobRef("3")])
    told = {(ref.id, ref.slot): (status.state, status.reason) for ref, status in answer.items()}
    silent = (JobState.RUNNING, "its host does not answer")
    waits = (JobState.PENDING, "waiting for resources")
    assert told == {
        ("1", None): silent,
        **{("2", slot): silent if slot < 2 else waits for slot in range(4)},
        ("3", None): (JobState.PENDING, "waiting for other jobs, or held"),
    }


@pytest.mark.parametrize(("name", "ended"), [("alone", False), ("a123456789.work", True)])
def test_a_job_of_another_name_is_never_cancelled(name: str, ended: bool) -> None:
    """The number may be another job's of the same user by now."""
    listed = (RECORDED / "qstat-lost-host.xml").read_text().replace(">alone<", f">{name}<")
    for expected in ({}, {"1": "a123456789"}):
        made, replay = executor({"qstat": listed, "qdel": ""})
        made.expect(expected)
        made.cancel([JobRef("1")])
        assert (("qdel", "1") in replay.calls) is ended
