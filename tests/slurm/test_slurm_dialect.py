"""Slurm: what was recorded of 22.05.8, read back; its traps."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reflow.errors import ExecutorError, UsageError
from reflow.model.job import JobRef, JobState, JobStatus
from reflow.model.names import FailureClass
from reflow.model.resources import Resources
from reflow.plugin import Context
from reflow.testing.dialects import DialectConformance, a_job, a_script
from reflow.testing.replay import Replay
from reflow_slurm.dialect import SlurmExecutor, _because, _bytes, _status

RECORDED = Path(__file__).parent / "transcripts"
SQUEUE = (RECORDED / "squeue-live.txt").read_text()
SACCT = (RECORDED / "sacct.txt").read_text()
CONFIG = (RECORDED / "scontrol-config.txt").read_text()

#: what both print first, with or without rows
HEADS = {
    "squeue": "ARRAY_JOB_ID|ARRAY_TASK_ID|STATE|EXIT_CODE|REASON|\n",
    "sacct": "JobID|State|ExitCode|MaxRSS|ReqMem\n",
}
NOT_KNOWN = {"returncode": 1, "stderr": "slurm_load_jobs error: Invalid job id specified\n"}
NO_ACCOUNTING = {"returncode": 1, "stderr": "Slurm accounting storage is disabled\n"}


class TestSlurm(DialectConformance):
    executor = SlurmExecutor
    live = (SQUEUE,)
    follow_up = (SACCT,)
    recorded = RECORDED / "more"

    def seconds(self, words: Sequence[str]) -> int:
        text = next(word.partition("=")[2] for word in words if word.startswith("--time="))
        days, hours, minutes, seconds = map(int, re.fullmatch(r"(\d+)-(\d+):(\d+):(\d+)", text).groups())  # type: ignore[union-attr]
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

    def memory(self, words: Sequence[str], resources: Resources) -> int:
        return int(next(word[6:-1] for word in words if word.startswith("--mem="))) * 1024


def executor(answers: dict[str, object], **settings: object) -> tuple[SlurmExecutor, Replay]:
    headed = {name: f"{HEADS.get(name, '')}{said}" if isinstance(said, str) else said for name, said in answers.items()}
    replay = Replay({"scontrol show config": CONFIG, **headed})  # type: ignore[dict-item]
    return SlurmExecutor(runner=replay, **settings), replay  # type: ignore[arg-type]


def asked(job: int | str, *slots: int, squeue: str = SQUEUE, sacct: object = SACCT) -> dict[int | None, JobStatus]:
    made, replay = executor({"squeue": squeue, "sacct": sacct})
    refs = [JobRef(str(job), slot) for slot in slots] or [JobRef(str(job))]
    answer = made.query(refs)
    assert sum(call[0] != "scontrol" for call in replay.calls) <= 2
    return {ref.slot: status for ref, status in answer.items()}


def test_states_of_an_array() -> None:
    found = asked(1)
    assert [found[slot].state for slot in range(4)] == [
        JobState.SUCCESS,
        JobState.FAILED,
        JobState.FAILED,
        JobState.RUNNING,
    ]
    assert (found[1].exit_code, found[1].signal, found[1].failure_class) == (3, None, FailureClass.EXIT)
    assert (found[2].exit_code, found[2].signal, found[2].failure_class) == (None, 9, FailureClass.EXIT)


def test_memory_kill_without_cgroups_is_told_from_a_plain_kill() -> None:
    (status,) = asked(2).values()
    assert (status.failure_class, status.signal) == (FailureClass.OOM, 9)
    assert "50M" in status.reason


def test_exit_codes_and_signals_of_both_forms() -> None:
    """From 23.02 on the controller writes them as accounting does; the older wait status is read as well."""
    told = (RECORDED / "more" / "squeue-26.live.txt").read_text()
    for squeue in (told, told.replace("|3:0|", "|768|").replace("|0:9|", "|9|").replace("|0:53|", "|53|")):
        (code,) = asked(741, squeue=squeue, sacct="").values()
        (signal,) = asked(743, squeue=squeue, sacct="").values()
        (launch,) = asked(744, squeue=squeue, sacct="").values()
        assert (code.exit_code, code.signal, code.failure_class) == (3, None, FailureClass.EXIT)
        assert (signal.exit_code, signal.signal, signal.failure_class) == (None, 9, FailureClass.EXIT)
        assert launch.failure_class is FailureClass.LAUNCH
        memory = "743|FAILED|0:9||50M\n743.batch|CANCELLED|0:9|419228K|\n"
        assert asked(743, squeue=squeue, sacct=memory)[None].failure_class is FailureClass.OOM


def test_a_reason_names_the_signal_where_the_code_says_nothing() -> None:
    for told in ("N/A", ""):
        (status,) = asked(9, squeue=f"9|N/A|FAILED|{told}|RaisedSignal:9(Killed)|\n", sacct="").values()
        assert (status.exit_code, status.signal) == (None, 9)


def test_limits_of_a_newer_version() -> None:
    made, _ = executor({"scontrol show config": (RECORDED / "scontrol-config-26.txt").read_text()})
    assert (made.limits.max_array, made.limits.max_submitted) == (1001, 9999)


def test_missing_log_directory_is_a_failed_launch() -> None:
    for squeue in (SQUEUE, ""):
        (status,) = asked(3, squeue=squeue).values()
        assert status.failure_class is FailureClass.LAUNCH


def test_what_no_node_can_have_did_not_start() -> None:
    (status,) = asked(62, squeue="62|N/A|FAILED|1|BadConstraints|\n").values()
    assert (status.failure_class, status.reason) == (FailureClass.LAUNCH, "can never run: no node has what it asks for")


def test_accounting_alone() -> None:
    assert asked(5, squeue="")[None].failure_class is FailureClass.TIMEOUT
    assert asked(13, squeue="")[None].state is JobState.CANCELLED
    assert {slot: status.state for slot, status in asked(12, squeue="").items()} == dict.fromkeys(
        range(3), JobState.CANCELLED
    )


def test_accounting_that_lags_decides_nothing() -> None:
    for job in (4, 6):
        for status in asked(job, squeue="").values():
            assert status.state is JobState.UNKNOWN
            assert "accounting still says PENDING" in status.reason


def test_a_row_for_the_whole_array_is_not_its_elements() -> None:
    # Right after its end, accounting knew array 10 as one job that is COMPLETED.
    found = asked(10, sacct="10|COMPLETED|0:0||64M\n")
    assert {slot: status.state for slot, status in found.items()} == {
        0: JobState.SUCCESS,
        1: JobState.FAILED,
        2: JobState.FAILED,
        3: JobState.SUCCESS,
    }


@pytest.mark.parametrize(
    ("line", "cls", "state"),
    [
        ("9|N/A|OUT_OF_MEMORY|9|None|", FailureClass.OOM, JobState.FAILED),
        ("9|N/A|TIMEOUT|0|TimeLimit|", FailureClass.TIMEOUT, JobState.FAILED),
        ("9|N/A|PREEMPTED|0|None|", FailureClass.PREEMPTED, JobState.FAILED),
        ("9|N/A|NODE_FAIL|0|None|", FailureClass.NODE_FAIL, JobState.FAILED),
        ("9|N/A|BOOT_FAIL|0|None|", FailureClass.NODE_FAIL, JobState.FAILED),
        ("9|N/A|DEADLINE|0|None|", FailureClass.TIMEOUT, JobState.FAILED),
        ("9|N/A|CANCELLED|0|DependencyNeverSatisfied|", FailureClass.CANCELLED, JobState.CANCELLED),
        ("9|N/A|COMPLETING|0|None|", None, JobState.RUNNING),
        ("9|N/A|SUSPENDED|0|None|", None, JobState.RUNNING),
        ("9|N/A|REQUEUE_HOLD|0|job requeued in held state|", None, JobState.PENDING),
        ("9|N/A|A_NEW_STATE|0|None|", None, JobState.UNKNOWN),
    ],
)
def test_states(line: str, cls: FailureClass | None, state: JobState) -> None:
    (status,) = asked(9, squeue=line + "\n", sacct="").values()
    assert (status.state, status.failure_class) == (state, cls)
    assert status.native


def test_states_as_accounting_writes_them() -> None:
    for text, cls in (
        ("CANCELLED by 1001", FailureClass.CANCELLED),
        ("CANCELLED", FailureClass.CANCELLED),
        ("CANCELLED+", FailureClass.CANCELLED),
    ):
        assert asked(9, squeue="", sacct=f"9|{text}|0:0||100M\n")[None].failure_class is cls


def test_cancelled_remainder_cut_short() -> None:
    text = "2395_[1-2,5,8-9,12,14,17-18,21-22,24,26,28-31,33,35-36,38,44,48,57...]|CANCELLED by 1001|0:0||100M\n"
    found = asked(2395, squeue="", sacct=text)
    assert found[31].state is JobState.CANCELLED
    assert 57 not in found
    assert 60 not in found


@pytest.mark.parametrize(
    ("told", "cls"),
    [
        ("0|JobLaunchFailure", FailureClass.LAUNCH),
        ("0|NonZeroExitCode", FailureClass.EXIT),
        ("0|None", FailureClass.EXIT),
        ("|None", FailureClass.EXIT),
        ("N/A|None", FailureClass.EXIT),
        ("²|None", FailureClass.EXIT),
    ],
)
def test_a_failure_without_an_exit_code_is_no_success(told: str, cls: FailureClass) -> None:
    (status,) = asked(9, squeue=f"9|N/A|FAILED|{told}|\n", sacct="").values()
    assert (status.state, status.failure_class, status.exit_code) == (JobState.FAILED, cls, None)


@pytest.mark.parametrize("code", ["x", "", "1:0:1", "²:0", "1:", "0:²"])
def test_an_exit_code_that_is_none(code: str) -> None:
    status = asked(9, squeue="²|N/A|COMPLETED|0|None|\n", sacct=f"9|FAILED|{code}||1G\n")[None]
    assert (status.state, status.failure_class, status.exit_code) == (JobState.FAILED, FailureClass.EXIT, None)


def test_a_step_out_of_memory() -> None:
    text = "9|FAILED|1:0||1G\n9.batch|FAILED|1:0|12K|\n9.0|OUT_OF_MEMORY|0:125|900M|\n"
    assert asked(9, squeue="", sacct=text)[None].failure_class is FailureClass.OOM


def test_the_last_of_several_records_counts() -> None:
    text = "76|NODE_FAIL|0:0||1G\n76.batch|CANCELLED|||\n76|COMPLETED|0:0||1G\n76.batch|COMPLETED|0:0||\n"
    assert asked(76, squeue="", sacct=text)[None].state is JobState.SUCCESS


def test_one_call_where_the_controller_knows() -> None:
    told = "".join(line for line in SQUEUE.splitlines(keepends=True) if line[:4] in ("1|0|", "1|3|", "4|N/", "6|5|"))
    made, replay = executor({"squeue": told})
    made.query([JobRef("1", 0), JobRef("1", 3), JobRef("4"), JobRef("6", 5)])
    assert len(replay.calls) == 1
    assert replay.calls[0][replay.calls[0].index("-j") + 1] == "1,4,6"
    assert replay.envs[0] == {"SLURM_BITSTR_LEN": "0"}


def test_a_list_without_its_header_tells_of_nothing_that_it_is_gone() -> None:
    made = SlurmExecutor(runner=Replay({"squeue": {"stdout": ""}, "sacct": HEADS["sacct"], "config": CONFIG}))
    with pytest.raises(ExecutorError, match="Slurm gave an answer that is not whole: it is empty"):
        made.query([JobRef("1")])
    rows = "1|0|RUNNING|0|None|\n"
    made = SlurmExecutor(runner=Replay({"squeue": HEADS["squeue"] + rows, "sacct": "", "config": CONFIG}))
    assert made.query([JobRef("1", 1), JobRef("2")]) == {}, "accounting has not answered"
    for lists in ({"squeue": "", "sacct": HEADS["sacct"]}, {"squeue": HEADS["squeue"], "sacct": ""}):
        with pytest.raises(ExecutorError, match="not whole"):
            SlurmExecutor(runner=Replay({**lists, "config": CONFIG})).find(["k3f9x2abqd"])


def test_two_calls_for_any_number() -> None:
    made, replay = executor({"squeue": SQUEUE, "sacct": SACCT})
    made.query([JobRef(str(number)) for number in range(1, 5000)])
    assert [call[0] for call in replay.calls] == ["squeue", "sacct"]


def test_unknown_job() -> None:
    assert asked(999999, squeue=NOT_KNOWN, sacct="")[None] == JobStatus(  # type: ignore[arg-type]
        state=JobState.UNKNOWN, reason="not known to Slurm"
    )


def test_without_accounting() -> None:
    found = asked(1, sacct=NO_ACCOUNTING)
    assert found[1].exit_code == 3
    assert asked(999999, squeue=NOT_KNOWN, sacct=NO_ACCOUNTING)[None].state is JobState.UNKNOWN  # type: ignore[arg-type]


def test_accounting_outage_is_no_answer() -> None:
    down = {"returncode": 1, "stderr": "sacct: error: Problem talking to the database: Connection refused\n"}
    made, replay = executor({"squeue": SQUEUE, "sacct": down})
    answer = made.query([JobRef("999999"), JobRef("4")])
    assert set(answer) == {JobRef("4")}
    assert len(replay.slept) == 3


def test_controller_down() -> None:
    down = {"returncode": 1, "stderr": "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"}
    made, replay = executor({"squeue": down})
    with pytest.raises(ExecutorError, match="Slurm did not answer: slurm_load_jobs error") as caught:
        made.query([JobRef("1")])
    assert caught.value.transient
    assert replay.slept == [1.0, 3.0, 9.0]


@pytest.mark.parametrize(
    ("printed", "ref"),
    [
        ("2\n", JobRef("2")),
        ("2451;h1\n", JobRef("2451", cluster="h1")),
        ("Welcome to the cluster\nsbatch: lua: checked 3 rules\n77\n", JobRef("77")),
    ],
)
def test_submitted(tmp_path: Path, printed: str, ref: JobRef) -> None:
    made, replay = executor({"sbatch": printed})
    script = a_script(tmp_path)
    job = a_job(script=script, log=str(tmp_path / "logs" / "x.log"), cwd=str(tmp_path))
    assert made.submit(job).ref == ref
    assert (tmp_path / "logs").is_dir()
    assert replay.calls[-1] == ("sbatch", "--parsable", script)
    assert f"#SBATCH --output={tmp_path}/logs/x.log\n" in Path(script).read_text()


FAILED = "sbatch: error: Batch job submission failed: "
REFUSALS = [
    (f"sbatch: error: invalid partition specified: nosuch\n{FAILED}Invalid partition name specified", 1, "sinfo -s"),
    (
        "sbatch: error: Memory specification can not be satisfied\n"
        f"{FAILED}Requested node configuration is not available",
        1,
        "no node",
    ),
    (f"{FAILED}Invalid job array specification", 1, ""),
    ("sbatch: error: Invalid --time specification", 255, ""),
    (f"{FAILED}Pathname of a file, directory or other parameter too long", 1, ""),
]


@pytest.mark.parametrize(("said", "code", "hint"), REFUSALS)
def test_refused(tmp_path: Path, said: str, code: int, hint: str) -> None:
    made, replay = executor({"sbatch": {"returncode": code, "stderr": said + "\n"}})
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path)))
    error = caught.value
    assert said.splitlines()[0] in str(error)
    assert hint in (error.hint or "")
    assert (error.returncode, error.maybe_done, error.transient) == (code, False, False)
    assert error.argv == replay.calls[-1]
    assert not replay.slept


@pytest.mark.parametrize("native", [("-M", "c2"), ("-Mc2",), ("--clusters=c2",), ("--cluster", "c2")])
def test_another_cluster_is_for_the_whole_run(native: tuple[str, ...]) -> None:
    """Its number 12 is not this cluster's: whoever asked for it would be told of somebody else's job."""
    made, _ = executor({})
    with pytest.raises(UsageError, match="one instance of Slurm") as caught:
        made.check(a_job(native=native))
    assert "SLURM_CLUSTERS" in (caught.value.hint or "")
    made.check(a_job(native=("--cluster-constraint=x", "--comment=-M")))


@pytest.mark.parametrize(
    "native",
    [("--job-name=x",), ("--job", "x"), ("-J", "x"), ("-Jx",), ("--requeue",), ("--req",)],
)
def test_native_words_that_take_a_job_out_of_reach(native: tuple[str, ...]) -> None:
    made, _ = executor({})
    with pytest.raises(UsageError, match=r"native='-"):
        made.check(a_job(native=native))
    made.check(a_job(native=("--reboot", "--reservation=r", "--no-requeue")))
    made.check(a_job(native=("--requeue",), options={"requeue": True}))


def config(name: str) -> str:
    return re.sub(r"(?m)^ClusterName .*$", f"ClusterName             = {name}", CONFIG)


def shell(environ: dict[str, str], settings: Any, name: str) -> tuple[Any, Replay]:
    """An executor of these settings in another shell, where a cluster of that name answers."""
    replay = Replay({"scontrol show config": config(name), "squeue": NOT_KNOWN, "sacct": "", "scancel": ""})
    return SlurmExecutor.create(settings, Context(environ=environ, runner=replay)), replay


def submitted_to(environ: dict[str, str], name: str) -> Any:
    """The settings of a run that was submitted there."""
    made, _ = shell(environ, {}, name)
    assert made.limits.max_array == 1001
    assert made.instance == name
    return made.settings


def test_every_command_reaches_the_cluster_of_the_run() -> None:
    made = submitted_to({"SLURM_CLUSTERS": "minec"}, "minec")
    shells: list[dict[str, str]] = [{}, {"SLURM_CLUSTERS": "minea"}, {"SLURM_CLUSTERS": "minec"}]
    for environ in shells:
        again, replay = shell(environ, made, "minec")
        again.cancel([JobRef("1003")])
        assert [call[0] for call in replay.calls] == ["scontrol", "squeue", "scancel"]
        assert all(env["SLURM_CLUSTERS"] == "minec" for env in replay.envs)
    # Where none was named, none is: it would be another one.
    again, replay = shell({"SLURM_CLUSTERS": "minec"}, submitted_to({}, "minea"), "minea")
    again.query([JobRef("1003")])
    assert all(env["SLURM_CLUSTERS"] is None for env in replay.envs)
    # One host's place of the configuration is no other's, unless it was named at submission.
    again, replay = shell({"SLURM_CONF": "/node/slurm.conf"}, submitted_to({}, "minea"), "minea")
    again.query([JobRef("1003")])
    assert all("SLURM_CONF" not in env for env in replay.envs)


def test_another_cluster_that_answers_is_refused(tmp_path: Path) -> None:
    """Its jobs of the same numbers are somebody else's: nothing is asked, cancelled or submitted there."""
    made = submitted_to({"SLURM_CONF": "/b/slurm.conf"}, "minec")
    again, replay = shell({"SLURM_CONF": "/a/slurm.conf"}, made, "minea")
    for ask in (
        lambda: again.query([JobRef("1003")]),
        lambda: again.cancel([JobRef("1003")]),
        lambda: again.find(["k3f9x2abqd"]),
    ):
        with pytest.raises(UsageError, match=r"on Slurm 'minec', and 'minea' answers"):
            ask()
    with pytest.raises(ExecutorError, match=r"'minec', and 'minea' answers") as caught:
        again.submit(a_job(script=a_script(tmp_path)))
    assert caught.value.transient
    assert {call[0] for call in replay.calls} == {"scontrol"}


def test_a_job_of_the_run_knows_where_it_is() -> None:
    made = submitted_to({}, "minec")
    inside = {"REFLOW_JOB_ID": "7", "SLURM_CLUSTER_NAME": "minec", "SLURM_CONF": "/node/slurm.conf"}
    again, replay = shell(inside, made, "minec")
    again.query([JobRef("7")])
    assert [call[0] for call in replay.calls] == ["squeue", "sacct"]
    again, _ = shell({**inside, "SLURM_CLUSTER_NAME": "minea"}, made, "minea")
    with pytest.raises(UsageError, match="'minea' answers"):
        again.query([JobRef("7")])


def test_several_clusters_at_once_are_refused() -> None:
    made, _ = shell({"SLURM_CLUSTERS": "minea,minec"}, {}, "minea")
    with pytest.raises(UsageError, match="on one cluster"):
        made.check(a_job())


def test_a_number_that_was_given_to_another_job() -> None:
    """Numbers begin anew where a controller has lost its state: what has another name is no job of the run."""
    squeue = "1003|N/A|RUNNING|0|None|mywork|\n1004|N/A|RUNNING|0|None|k3f9x2abqd.slow|\n"
    made, replay = executor({"squeue": squeue, "sacct": "1003|FAILED|3:0||1G|mywork\n", "scancel": ""})
    made.expect({"1003": "cu2sobiwpa", "1004": "k3f9x2abqd"})
    found = made.query([JobRef("1003"), JobRef("1004")])
    assert [found[JobRef(id)].state for id in ("1003", "1004")] == [JobState.UNKNOWN, JobState.RUNNING]
    replay.calls.clear()
    made.cancel([JobRef("1003"), JobRef("1004")])
    assert [call[0] for call in replay.calls] == ["squeue", "scancel"]
    assert replay.calls[-1] == ("scancel", "1004")
    # Nor is one that has no name such as reflow gives, though nobody has said what it should be called.
    made, replay = executor({"squeue": squeue, "scancel": ""})
    made.cancel([JobRef("1003")])
    assert [call[0] for call in replay.calls] == ["squeue"]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (f"{FAILED}Required partition not available (inactive or drain)", "transient"),
        (f"{FAILED}Invalid job array specification", "large"),
        (f"sbatch: error: AssocMaxSubmitJobLimit\n{FAILED}Job violates accounting/QOS policy", "full"),
        (f"{FAILED}Requested node configuration is not available", "definite"),
        (f"{FAILED}Invalid feature specification", "definite"),
        ("sbatch: error: Invalid generic resource (gres) specification", "definite"),
        (f"{FAILED}Words of a later version", ""),
    ],
)
def test_what_a_refusal_means(tmp_path: Path, said: str, kind: str) -> None:
    made, replay = executor({"sbatch": {"returncode": 1, "stderr": f"{said}\n"}})
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path), slots=30))
    kinds = ("transient", "full", "large", "definite")
    assert " ".join(name for name in kinds if getattr(caught.value, name)) == kind
    assert not replay.slept, "a queue that is closed does not open in seconds"


@pytest.mark.parametrize(
    ("enforce", "rows", "most"),
    [
        ("associations,limits,qos", "test|acc|hpc|12|4\n", 12),
        ("associations,limits,qos", "other|acc|hpc|3|4\ntest|acc|hpc|12|4\n", 12),
        ("associations,limits,qos", "test|acc|hpc|12|4\ntest|b|hpc|7|\n", 9999),
        ("associations,limits,qos", "test|acc|hpc||\n", 9999),
        ("none", "test|acc|hpc|12|4\n", 9999),
    ],
)
def test_limits_of_an_association(enforce: str, rows: str, most: int) -> None:
    told = re.sub(r"(?m)^AccountingStorageEnforce .*$", f"AccountingStorageEnforce = {enforce}", CONFIG)
    made, replay = executor({"scontrol show config": told, "sacctmgr": rows})
    assert made.limits.max_submitted == most
    asked = [call for call in replay.calls if call[0] == "sacctmgr"]
    assert asked == ([] if enforce == "none" else [asked[0]])
    assert all(call[4] == f"user={made._site().user}" for call in asked)


@pytest.mark.parametrize("reason", ["AssocMaxSubmitJobLimit", "QOSMaxSubmitJobPerUserLimit", "AssocGrpSubmitJobsLimit"])
def test_too_many_jobs_queued_is_no_fault_of_the_job(tmp_path: Path, reason: str) -> None:
    said = f"sbatch: error: {reason}\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy\n"
    made, _ = executor({"sbatch": {"returncode": 1, "stderr": said}})
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path)))
    assert (caught.value.full, caught.value.transient, caught.value.maybe_done) == (True, False, False)
    assert "max_submitted" in (caught.value.hint or "")
    other = {"returncode": 1, "stderr": "sbatch: error: QOSMaxWallDurationPerJobLimit\n"}
    with pytest.raises(ExecutorError) as caught:
        executor({"sbatch": other})[0].submit(a_job(script=a_script(tmp_path)))
    assert not caught.value.full


def test_a_submit_that_may_have_worked_is_not_tried_again(tmp_path: Path) -> None:
    said = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
    for answer in ({"returncode": 1, "stderr": said}, {"returncode": None}):
        made, replay = executor({"sbatch": answer})
        with pytest.raises(ExecutorError) as caught:
            made.submit(a_job(script=a_script(tmp_path)))
        assert caught.value.maybe_done
        assert caught.value.transient
        assert not replay.slept


def test_a_submit_that_cannot_have_worked_is_tried_again(tmp_path: Path) -> None:
    down = {
        "returncode": 1,
        "stderr": "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n",
    }
    made, replay = executor({"sbatch": [down, down, "12\n"]})
    assert made.submit(a_job(script=a_script(tmp_path))).ref == JobRef("12")
    assert replay.slept == [1.0, 3.0]


def test_killed_after_it_had_said_the_id(tmp_path: Path) -> None:
    made, _ = executor({"sbatch": {"returncode": None, "stdout": "12\n"}})
    assert made.submit(a_job(script=a_script(tmp_path))).ref == JobRef("12")


def test_limits() -> None:
    made, replay = executor({})
    assert (made.limits.max_array, made.limits.max_submitted) == (1001, 9999)
    assert made.limits.array_base == 0
    assert len(replay.calls) == 1
    bounded, _ = executor({}, max_submitted=500, max_array=100)
    assert (bounded.limits.max_array, bounded.limits.max_submitted) == (100, 500)
    silent, _ = executor({"scontrol": ExecutorError("there is no program 'scontrol'")})
    silent._runner.answers.pop("scontrol show config")  # type: ignore[union-attr]
    assert silent.limits.max_array == 1001


def test_flags(tmp_path: Path) -> None:
    words = TestSlurm().words(
        resources=Resources(cpus=4, time=90061, mem=3 * 2**30 + 1, gpus=2, nodes=2, tasks=8),
        options={
            "queue": "gpu",
            "account": "ab1",
            "project": "ab1",
            "qos": "high",
            "exclusive": "user",
            "constraint": "skylake&ib",
            "nice": True,
            "gres": "tmp:10G",
            "licenses": ["a:1", "b:2"],
            "begin": "1h",
            "requeue": True,
            "hold": True,
        },
        slots=1001,
        throttle=3,
        after=(JobRef("1"), JobRef("2")),
    )
    expected = (
        "--nodes=2 --ntasks=8 --cpus-per-task=4 --mem=3145729K --gres=gpu:2 --time=1-01:01:01 --array=0-1000%3"
        " --dependency=afterany:1:2 --begin=now+3600 --partition=gpu --account=ab1 --qos=high --exclusive=user"
        " --constraint=skylake&ib --nice --gres=tmp:10G --licenses=a:1 --licenses=b:2 --requeue --hold"
    )
    assert not set(expected.split(" ")) - set(words)
    assert words.count("--account=ab1") == 1
    assert "--no-requeue" not in words
    assert "--no-requeue" in TestSlurm().words()


def test_srun_is_told_how_many_cores_each_of_its_tasks_has(tmp_path: Path) -> None:
    path = tmp_path / "x.sh"
    path.write_text('#!/bin/bash\necho "${SRUN_CPUS_PER_TASK-none}"\n')
    text = SlurmExecutor().preview(a_job(script=str(path))).script
    for environ, said in (({"SLURM_CPUS_PER_TASK": "4"}, b"4\n"), ({}, b"none\n")):
        env = {"PATH": "/usr/bin:/bin", **environ}
        assert subprocess.run(["bash", "-c", text], env=env, capture_output=True, check=True).stdout == said


def test_two_names_of_one_thing() -> None:
    with pytest.raises(UsageError, match="one and the same"):
        TestSlurm().words(options={"account": "a", "project": "b"})


def test_words_that_no_directive_carries_go_on_the_command(tmp_path: Path) -> None:
    made, replay = executor({"sbatch": "1\n"})
    cwd = tmp_path / "with space ☃"
    cwd.mkdir()
    job = a_job(
        script=a_script(tmp_path),
        cwd=str(cwd),
        options={"constraint": "a&b", "comment": 'x "y"'},
        native=("--foo", "-x y"),
    )
    made.submit(job)
    argv = replay.calls[-1]
    assert argv[2:-1] == (f"--chdir={cwd}", "--constraint=a&b", '--comment=x "y"', "--foo", "-x y")


def test_log_path_is_taken_as_it_is() -> None:
    assert "--output=/r/50%%/x" in TestSlurm().words(log="/r/50%/x")
    assert "--output=/dev/null" in TestSlurm().words(log="/r/a\\b")
    assert "--output=/r/%j.out" in TestSlurm().words(log="/x", options={"output": "/r/%j.out"})


def test_find() -> None:
    queue = "2|k3abcdefgh.oom|\n3|wrap|\n6|k3abcdefghi.longer|\n"
    accounting = "9_0|zzzzzzzzzz.array\n9_[1-3]|zzzzzzzzzz.array\n2438|a|b\n2436|nl\nx\n"
    made, replay = executor({"squeue": queue, "sacct": accounting})
    assert made.find(["k3abcdefgh", "zzzzzzzzzz", "yyyyyyyyyy"]) == {
        "k3abcdefgh": JobRef("2"),
        "zzzzzzzzzz": JobRef("9"),
    }
    assert [call[0] for call in replay.calls] == ["squeue", "sacct"]
    made, replay = executor({"squeue": queue})
    assert made.find(["k3abcdefgh"]) == {"k3abcdefgh": JobRef("2")}
    assert len(replay.calls) == 1
    assert executor({"squeue": queue, "sacct": NO_ACCOUNTING})[0].find(["zzzzzzzzzz"]) == {}


def test_cancel() -> None:
    made, replay = executor({"squeue": "", "scancel": ""})
    made.cancel([JobRef("1"), JobRef("2", 3), JobRef("2", 0), JobRef("2", 1), JobRef("4"), JobRef("4", 1)])
    assert replay.calls[1:] == [("scancel", "1", "2_[0-1,3]", "4")]
    made.cancel([])
    assert len(replay.calls) == 2
    gone = {"returncode": 1, "stderr": "scancel: error: Kill job error on job id 999999: Invalid job id specified\n"}
    executor({"squeue": NOT_KNOWN, "scancel": gone})[0].cancel([JobRef("999999")])
    denied = {"returncode": 1, "stderr": "scancel: error: Kill job error on job id 5: Access/permission denied\n"}
    with pytest.raises(ExecutorError, match=r"could not cancel: scancel: error.*denied"):
        executor({"squeue": "", "scancel": denied})[0].cancel([JobRef("5")])


def test_paths_of_programs(tmp_path: Path) -> None:
    made, replay = executor({"/opt/sbatch": "1\n"}, sbatch="/opt/sbatch")
    made.submit(a_job(script=a_script(tmp_path)))
    assert replay.calls[-1][0] == "/opt/sbatch"
    assert made.settings["sbatch"] == "/opt/sbatch"
    with pytest.raises(TypeError, match="no argument 'qsub'"):
        SlurmExecutor(qsub="x")


@pytest.mark.parametrize(
    ("reason", "never"),
    [
        ("PartitionConfig", True),
        ("BadConstraints", True),
        ("PartitionTimeLimit", True),
        ("InvalidQOS", True),
        ("DependencyNeverSatisfied", True),
        ("QOSMaxCpuPerJobLimit", True),
        ("AssocMaxWallDurationPerJobLimit", True),
        ("QOSMaxJobsPerUserLimit", False),
        ("PartitionNodeLimit", False),
        ("ReqNodeNotAvail, UnavailableNodes:n4", False),
        ("Resources", False),
        ("JobHeldAdmin", False),
    ],
)
def test_what_can_never_run_is_told_from_what_waits(reason: str, never: bool) -> None:
    status = _status("PENDING", 0, 0, reason)
    assert status.state is JobState.PENDING
    assert status.failure_class is (FailureClass.LAUNCH if never else None)
    assert status.reason.startswith("can never run" if never else ("waiting", "held"))


def test_reasons() -> None:
    assert _because("None") == ""
    assert "can never run" in _because("PartitionConfig")
    assert _because("ReqNodeNotAvail, UnavailableNodes:n4") == (
        "waiting: nodes that it needs are not available, UnavailableNodes:n4"
    )
    assert _because("AssocGrpCpuLimit") == "waiting (AssocGrpCpuLimit)"
    assert _because("") == ""


def test_memory_as_slurm_writes_it() -> None:
    assert [_bytes(text) for text in ("419228K", "50Mn", "1.5G", "0", "", "16?", "1.2.3", "..M")] == [
        419228 * 1024,
        50 * 2**20,
        1.5 * 2**30,
        *[0] * 5,
    ]
