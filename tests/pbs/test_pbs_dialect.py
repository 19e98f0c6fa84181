"""OpenPBS and Torque: what was recorded of 23.06.06 and 6.1.3, read back; their traps."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import ExecutorError, UsageError
from reflow.model.job import Job, JobRef, JobState, JobStatus
from reflow.model.layout import FANOUT
from reflow.model.names import FailureClass
from reflow.model.record import JobSpec
from reflow.model.resources import Resources
from reflow.plugin import Context
from reflow.testing.dialects import DialectConformance, a_job, a_script
from reflow.testing.replay import Replay
from reflow_pbs.dialect import PBSExecutor, TorqueExecutor

RECORDED = Path(__file__).parent / "transcripts"
JOBS, ARRAYS, ENDS, SHORT, SERVER, TORQUE, TORQUE_SHORT = (
    (RECORDED / f"{name}.txt").read_text()
    for name in ("qstat-f", "qstat-array", "qstat-ends", "qstat", "qmgr-server", "torque-qstat-f", "torque-qstat")
)
#: as Torque's was recorded, and OpenPBS documents its own
NAMED = {"qstat -B": "Server: pbs1\n    server_state = Active\n    scheduling = True\n"}
OPEN = {"qstat --version": "pbs_version = 23.06.06\n", "qmgr": SERVER, **NAMED}
OTHER = {
    "qstat --version": {"stderr": "Version: 6.1.3\nCommit: 4decc71\n"},
    "qmgr": "set server max_job_array_size = 1000\n",
    **NAMED,
}


def clock(words: Sequence[str]) -> int:
    hours, minutes, seconds = map(int, next(word[9:] for word in words if word.startswith("walltime=")).split(":"))
    return (hours * 60 + minutes) * 60 + seconds


class TestPBS(DialectConformance):
    executor = PBSExecutor
    live = (JOBS, ARRAYS, ENDS)
    recorded = RECORDED / "more"
    follow_up = (JOBS,)

    def seconds(self, words: Sequence[str]) -> int:
        return clock(words)

    def memory(self, words: Sequence[str], resources: Resources) -> int:
        return int(re.search(r"mem=(\d+)kb", " ".join(words))[1]) * 1024  # type: ignore[index]


class TestTorque(DialectConformance):
    executor = PBSExecutor
    settings: ClassVar[dict[str, Any]] = {"array_flag": "-t"}
    live = (TORQUE,)
    follow_up = (TORQUE,)

    def seconds(self, words: Sequence[str]) -> int:
        return clock(words)

    def memory(self, words: Sequence[str], resources: Resources) -> int:
        return int(re.search(r"mem=(\d+)kb", " ".join(words))[1]) * 1024  # type: ignore[index]


def executor(
    answers: dict[str, object], site: dict[str, object] = OPEN, **settings: object
) -> tuple[PBSExecutor, Replay]:  # type: ignore[assignment]
    replay = Replay({**site, **answers})  # type: ignore[dict-item]
    made = PBSExecutor(runner=replay, **settings)  # type: ignore[arg-type]
    assert made.limits
    replay.calls.clear()
    return made, replay


def asked(text: object, *refs: JobRef, site: dict[str, object] = OPEN) -> dict[JobRef, JobStatus]:  # type: ignore[assignment]
    made, replay = executor({"qstat": text}, site)
    answer = dict(made.query(refs))
    assert len(replay.calls) == 1
    return answer


def one(text: object, id: str, slot: int | None = None, site: dict[str, object] = OPEN) -> JobStatus:  # type: ignore[assignment]
    return asked(text, JobRef(id, slot), site=site)[JobRef(id, slot)]


def test_waiting() -> None:
    assert one(JOBS, "26.pbs1").reason == "can never run: Insufficient amount of resource: ncpus (R: 17 A: 1"
    assert one(JOBS, "32.pbs1").state is JobState.RUNNING
    assert one(JOBS, "27.pbs1").state is JobState.RUNNING


@pytest.mark.parametrize(
    ("id", "state", "code", "signal", "cls"),
    [
        ("170", JobState.SUCCESS, 0, None, None),
        ("171", JobState.FAILED, 3, None, FailureClass.EXIT),
        ("172", JobState.FAILED, 255, None, FailureClass.EXIT),
        ("173", JobState.FAILED, None, 9, FailureClass.EXIT),
        ("174", JobState.FAILED, None, 15, FailureClass.EXIT),
        ("175", JobState.FAILED, None, 11, FailureClass.EXIT),
        ("176", JobState.FAILED, 137, 9, FailureClass.EXIT),
        ("177", JobState.FAILED, 3, None, FailureClass.EXIT),
        ("178", JobState.FAILED, 254, None, FailureClass.EXIT),
        ("180", JobState.FAILED, 127, None, FailureClass.EXIT),
        ("181", JobState.RUNNING, None, None, None),
        ("184", JobState.CANCELLED, None, None, FailureClass.CANCELLED),
        ("185", JobState.CANCELLED, None, None, FailureClass.CANCELLED),
        ("186", JobState.CANCELLED, None, None, FailureClass.CANCELLED),
        ("1181", JobState.FAILED, None, None, FailureClass.TIMEOUT),
    ],
)
def test_ends(id: str, state: JobState, code: int | None, signal: int | None, cls: FailureClass | None) -> None:
    status = one(ENDS, f"{id}.pbs1")
    assert (status.state, status.exit_code, status.signal, status.failure_class) == (state, code, signal, cls)


def test_dependents_that_were_deleted_never_ran() -> None:
    for id in ("101", "105", "108", "109", "113"):
        status = one(JOBS, f"{id}.pbs1")
        assert status.state is JobState.CANCELLED, id
        assert status.reason == "deleted before it ran"


def test_elements_of_a_cancelled_array() -> None:
    found = asked(ARRAYS, JobRef("337[].pbs1"))
    assert len(found) == 20
    assert {status.state for status in found.values()} == {JobState.CANCELLED}
    # What ended before, or never ran, shows the exit status of the array: nobody knows which of them it was.
    reasons = {ref.slot: status.reason for ref, status in found.items()}
    assert [slot for slot, reason in reasons.items() if reason == "its array was deleted"] == [0, 1, 2, 19]
    assert all(status.exit_code is None for status in found.values())


def test_elements_of_an_array_in_its_midst() -> None:
    found = asked(ARRAYS, JobRef("338[].pbs1"))
    states = [found[JobRef("338[].pbs1", slot)].state for slot in range(8)]
    wait, run = JobState.PENDING, JobState.RUNNING
    assert states == [JobState.CANCELLED, run, run, wait, wait, JobState.CANCELLED, wait, wait]
    assert found[JobRef("338[].pbs1", 5)].reason == "deleted before it ran"
    found = asked(ARRAYS, JobRef("2104[].pbs1"), JobRef("2104[].pbs1", 2))
    assert [found[JobRef("2104[].pbs1", slot)].exit_code for slot in range(3)] == [0, 1, 2]
    assert found[JobRef("2104[].pbs1", 5)].state is JobState.RUNNING


def test_an_array_as_a_whole_says_nothing_of_its_end() -> None:
    # Its exit status is that of the last element to end.
    assert one(JOBS, "110[].pbs1").state is JobState.UNKNOWN


def test_lines_that_go_on() -> None:
    text = (
        "Job Id: 26.pbs1\n    job_state = Q\n"
        "    comment = Can Never Run: Insufficient amount of resource: ncpus (R: 17 A: 1\n"
        "\t6 T: 16)\n    Submit_arguments = -N d -- /bin/tru\n\te\n\n"
    )
    assert one(text, "26.pbs1").reason.endswith("(R: 17 A: 16 T: 16)")


@pytest.mark.parametrize(
    ("fields", "state", "reason"),
    [
        ("job_state = H\n    depend = afterany:1.pbs1@pbs1", JobState.PENDING, "waiting for other jobs"),
        ("job_state = H\n    Hold_Types = u", JobState.PENDING, "held"),
        ("job_state = W", JobState.PENDING, "waiting for its begin time"),
        ("job_state = S", JobState.RUNNING, "suspended"),
        ("job_state = M", JobState.UNKNOWN, ""),
        ("job_state = zz", JobState.UNKNOWN, ""),
        ("job_state = F\n    Exit_status = -27", JobState.FAILED, "more memory than it asked for"),
        ("job_state = F\n    Exit_status = -1", JobState.FAILED, "could not be started (exit status -1)"),
        ("job_state = F\n    Exit_status = -24", JobState.FAILED, "killed: used more cores than it asked for"),
    ],
)
def test_states(fields: str, state: JobState, reason: str) -> None:
    status = one(f"Job Id: 9.pbs1\n    {fields}\n\n", "9.pbs1")
    assert (status.state, status.reason) == (state, reason)


@pytest.mark.parametrize(("code", "end"), [(-20, ""), (-4, " and failed"), (-14, ""), (-5, ""), (-6, "")])
def test_a_node_that_fails_is_no_fault_of_the_job(code: int, end: str) -> None:
    """-20 and -4 as they were recorded; the others are of their family."""
    text = (
        "Job Id: 961.pbs1\n    job_state = F\n    exec_host = node2/0\n    Rerunable = False\n    substate = 93\n"
        f"    comment = Job run at Mon Nov 30 at 21:06 on (node2:ncpus=1){end}\n"
        f"    run_count = 1\n    Exit_status = {code}\n\n"
    )
    status = one(text, "961.pbs1")
    assert (status.state, status.failure_class) == (JobState.FAILED, FailureClass.NODE_FAIL)
    assert status.native == f"F {code}"
    again = one(text.replace(f"= {code}\n", "= -11\n"), "961.pbs1")
    assert again.failure_class is FailureClass.PREEMPTED


def test_held_for_good() -> None:
    text = (
        "Job Id: 52.pbs1\n    job_state = H\n    Hold_Types = s\n    substate = 20\n"
        "    comment = job held, too many failed attempts to run\n    run_count = 21\n    Exit_status = -3\n\n"
    )
    status = one(text, "52.pbs1")
    assert (status.state, status.failure_class) == (JobState.PENDING, FailureClass.LAUNCH)


def test_unknown_beside_known() -> None:
    partly = {"returncode": 153, "stdout": ENDS, "stderr": "qstat: Unknown Job Id 9999.pbs1\n"}
    found = asked(partly, JobRef("171.pbs1"), JobRef("9999.pbs1"))
    assert found[JobRef("171.pbs1")].exit_code == 3
    assert found[JobRef("9999.pbs1")].state is JobState.UNKNOWN


def test_the_server_is_one_by_any_name() -> None:
    # An id out of a column that is too narrow, and the full one.
    assert one(ENDS.replace("pbs1", "pbs1.site.example.org"), "171").exit_code == 3


def test_history() -> None:
    made, replay = executor({"qstat": ENDS})
    made.query([JobRef("171.pbs1"), JobRef("170.pbs1")])
    assert replay.calls == [("qstat", "-x", "-t", "-f", "171.pbs1", "170.pbs1")]
    assert made.settings["facts"]["history"] is True
    off = {**OPEN, "qmgr": SERVER.replace("set server job_history_enable = True\n", "")}
    made, replay = executor({"qstat": ENDS}, off)  # type: ignore[arg-type]
    made.query([JobRef("171.pbs1")])
    assert replay.calls == [("qstat", "-t", "-f", "171.pbs1")]
    silent = {**OPEN, "qmgr": {"returncode": 1, "stderr": "qmgr: Unauthorized Request\n"}}
    none = {"stderr": "qstat: PBS is not configured to maintain job history 171.pbs1\n"}
    made, replay = executor({"qstat -x": none, "qstat -t": ENDS}, silent)  # type: ignore[arg-type]
    assert made.query([JobRef("171.pbs1")])[JobRef("171.pbs1")].exit_code == 3
    assert len(replay.calls) == 2
    assert made.limits.max_array == 10000


@pytest.mark.parametrize(
    ("line", "most"),
    [
        ("set server max_queued = [u:PBS_GENERIC=500]", 500),
        ('set server max_queued = "[o:PBS_ALL=2000]"', 2000),
        ("set server max_queued_res.ncpus = [u:PBS_GENERIC=7]", None),
    ],
)
def test_a_cap_on_what_is_queued(line: str, most: int | None) -> None:
    made, _ = executor({}, {**OPEN, "qmgr": f"{SERVER}{line}\n"})
    assert made.limits.max_submitted == most


@pytest.mark.parametrize(
    ("lines", "most", "array"),
    [
        (["workq max_queued = [u:PBS_GENERIC=6]"], 6, 10000),
        (["workq max_queued = [o:PBS_ALL=6]", "workq max_array_size = 50"], 6, 50),
        (["workq max_user_queuable = 3", "workq max_queuable = 30"], 3, 10000),
        (["workq max_queued = [u:PBS_GENERIC=6]", "long max_queued = [u:PBS_GENERIC=20]"], 26, 10000),
        (["workq max_queued = [u:PBS_GENERIC=6]", "long enabled = True"], None, 10000),
        (["workq max_queued = [g:PBS_GENERIC=6]"], None, 10000),
    ],
)
def test_what_every_queue_bounds_is_planned_for(lines: list[str], most: int | None, array: int) -> None:
    """Which queue a job will be in is not known, so a queue without a bound leaves all without."""
    queues = "".join(f"create queue {name}\n" for name in ["long"] if any(line.startswith(name) for line in lines))
    told = SERVER + queues + "".join(f"set queue {line}\n" for line in lines)
    made, _ = executor({}, {**OPEN, "qmgr": told})
    assert (made.limits.max_submitted, made.limits.max_array) == (most, array)


def test_server_down() -> None:
    down = {"returncode": 255, "stderr": "Connection refused\nqstat: cannot connect to server pbs1 (errno=15010)\n"}
    made, replay = executor({"qstat": down})
    with pytest.raises(ExecutorError, match="PBS did not answer: Connection refused; qstat: cannot connect") as caught:
        made.query([JobRef("1.pbs1")])
    assert caught.value.transient
    assert len(replay.slept) == 3


# -- submit --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "id"), [("12.pbs1\n", "12.pbs1"), ("13[].pbs1\n", "13[].pbs1"), ("hello\n7.a-b.c\n", "7.a-b.c")]
)
def test_submitted(tmp_path: Path, printed: str, id: str) -> None:
    made, replay = executor({"qsub": printed})
    script = a_script(tmp_path)
    log = str(tmp_path / "x.log")
    assert made.submit(a_job(script=script, slots=10, throttle=3, log=log, after=(JobRef("4[].pbs1"),))).ref == JobRef(
        id
    )
    assert replay.calls[-1] == ("qsub", "-W", "depend=afterany:4[].pbs1", script)
    text = Path(script).read_text()
    for line in ("-N k3f9x2abqd.compute", "-J 0-9%3", "-o /dev/null", "-j oe"):
        assert f"#PBS {line}\n" in text
    assert "-r n" not in text
    assert "\r" not in text


USAGE = "usage: qsub [-a date_time] [-A account_string] [-c interval]\n\t[-C directive_prefix] [-e path] [-f ] [-h ]\n"
REFUSALS = [
    (f"qsub: illegal -J value\n{USAGE}", 2, "qsub: illegal -J value"),
    ("qsub: Unknown queue\n", 170, "qstat -Q"),
    ("qsub: Unknown resource: ngpus\n", 1, "qmgr"),
    ("qsub: Array job exceeds server or queue size limit\n", 1, "qstat -Qf"),
    ("qsub: Job name is too long \n", 1, ""),
    ("qsub: illegal -N value\n" + USAGE, 2, "illegal -N value"),
    ("qsub: illegal -o value\n" + USAGE, 2, "illegal -o value"),
    ("qsub: illegal -W value\n" + USAGE, 2, "illegal -W value"),
    ("qsub: invalid option -- 't'\n" + USAGE, 2, "invalid option"),
    ("qsub:  cannot submit non-rerunable Array Job\n" + USAGE, 2, "non-rerunable"),
    ("qsub: Illegal attribute or resource value select.mem\n", 166, "select.mem"),
    ('qsub: Resource invalid in "select" specification: walltime\n', 4, "walltime"),
    ("qsub: script contains cr, lf\n", 1, "cr, lf"),
    ("qsub: script file:: No such file or directory\n", 1, "No such file"),
    ("qsub: cannot send environment with the job\n", 1, "environment"),
    ('qsub: "-lresource=" cannot be used with "select" or "place", resource is: ncpus\n', 5, ""),
]


@pytest.mark.parametrize(("said", "code", "hint"), REFUSALS)
def test_refused(tmp_path: Path, said: str, code: int, hint: str) -> None:
    made, _ = executor({"qsub": {"returncode": code, "stderr": said}})
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path)))
    assert said.splitlines()[0].strip() in caught.value.message
    assert "usage" not in caught.value.message
    assert hint in f"{caught.value.hint} {caught.value.message}"
    assert not caught.value.maybe_done


@pytest.mark.parametrize(
    "said",
    [
        "qsub: would exceed queue generic's per-user limit of jobs in 'Q' state\n",
        "qsub: would exceed complex's per-user limit of jobs in 'Q' state\n",
        "qsub: would exceed per-user limit on resource ncpus in queue workq\n",
        "qsub: Maximum number of jobs already in queue workq\n",
        "qsub: submit error (Maximum number of jobs already in queue for user MSG=total number of jobs)\n",
    ],
)
def test_too_many_jobs_queued_is_no_fault_of_the_job(tmp_path: Path, said: str) -> None:
    made, _ = executor({"qsub": {"returncode": 38, "stderr": said}})
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path)))
    assert (caught.value.full, caught.value.maybe_done) == (True, False)


def words(kind: type[PBSExecutor] = PBSExecutor, **fields: object) -> str:
    made = kind()
    groups = made.speaks.flags(a_job(**fields), made._site())
    return " ".join(word for group in groups for word in group)


@pytest.mark.parametrize(
    ("asked", "options", "select"),
    [
        (Resources(cpus=4, mem=2**30, gpus=1), {}, "1:ncpus=4:ompthreads=4:mem=1048576kb:ngpus=1"),
        (Resources(nodes=2, tasks=8, cpus=2), {}, "2:ncpus=8:mpiprocs=4:ompthreads=2"),
        (Resources(nodes=2, tasks=7), {}, "1:ncpus=4:mpiprocs=4+1:ncpus=3:mpiprocs=3"),
        (Resources(tasks=8), {}, "1:ncpus=8:mpiprocs=8"),
        (Resources(nodes=3), {}, "3:ncpus=1"),
        (Resources(), {"constraint": "big&cpu=milan"}, "1:ncpus=1:big=True:cpu=milan"),
        (Resources(), {"constraint": ["big", "cpu=milan"]}, "1:ncpus=1:big=True:cpu=milan"),
    ],
)
def test_chunks(asked: Resources, options: dict[str, object], select: str) -> None:
    assert f"-l select={select} " in words(resources=asked, options=options) + " "


SHAPES = st.builds(
    Resources,
    nodes=st.none() | st.integers(1, 40),
    tasks=st.none() | st.integers(1, 300),
    cpus=st.none() | st.integers(1, 64),
    gpus=st.none() | st.integers(1, 8),
)


@given(asked=SHAPES)
def test_no_fewer_cores_nodes_and_gpus_than_asked_for(asked: Resources) -> None:
    nodes, tasks, cpus = asked.nodes or 1, asked.tasks or 1, asked.cpus or 1
    for kind, cores, gpu in (
        (PBSExecutor, r"ncpus=(\d+)", r"ngpus=(\d+)"),
        (TorqueExecutor, r"ppn=(\d+)", r"gpus=(\d+)"),
    ):
        found = re.findall(r"-l (?:select|nodes)=(\S+)", words(kind, resources=asked))
        if not (asked.nodes or asked.tasks or asked.cpus or asked.gpus):
            assert found == []
            continue
        chunks = [(int(chunk.split(":")[0]), chunk) for chunk in found[0].split("+")]
        assert sum(count for count, _ in chunks) == nodes
        each = [int(re.findall(cores, chunk)[0]) for _, chunk in chunks]
        assert sum(count * share for (count, _), share in zip(chunks, each, strict=True)) == max(tasks, nodes) * cpus
        assert all(share % cpus == 0 for share in each)
        assert all(re.findall(gpu, chunk) == ([str(asked.gpus)] if asked.gpus else []) for _, chunk in chunks)


def test_whole_nodes() -> None:
    assert "-l place=scatter:excl" in words(resources=Resources(nodes=2), options={"exclusive": True})
    assert "-l place=excl" in words(options={"exclusive": True})
    assert "select" not in words(options={"exclusive": True})
    assert "-l" not in words()


def test_flags() -> None:
    got = words(
        slots=1,
        begin=10.0,
        options={
            "queue": "q",
            "account": "a",
            "project": "p",
            "priority": 5,
            "W": "umask=022",
            "h": True,
            "requeue": True,
        },
    )
    for text in ("-q q", "-A a", "-P p", "-p 5", "-W umask=022", "-h", "-r y", "-J 0-1:2"):
        assert text in got
    assert re.search(r"-a \d{12}\.\d\d", got)
    assert "-m abe" in words(options={"mail_type": "ALL"})
    with pytest.raises(UsageError, match="one and the same"):
        words(options={"queue": "q", "reservation": "R12"})
    assert "-j oe -J 0-1 -o /x/^array_index^" in words(slots=2, options={"output": "/x/^array_index^"})


def test_a_begin_time_lies_ahead() -> None:
    made = PBSExecutor()
    now = time.mktime(time.strptime("2026-11-24 03:36:58", "%Y-%m-%d %H:%M:%S"))
    site = msgspec.structs.replace(made._site(), now=now)
    assert [list(made.speaks.begin(seconds, site)) for seconds in (0.1, 61.5)] == [
        [("-a", "202611240337.08")],
        [("-a", "202611240338.00")],
    ]


def test_a_directory_that_no_list_of_variables_can_hold() -> None:
    """`qsub` sends where it runs, and fails with quotes and backslashes in it: the script goes there by itself."""
    speaks = PBSExecutor().speaks
    assert speaks.submit(a_job(cwd="/a b/ü"), "", []).cwd == "/a b/ü"
    assert speaks.submit(a_job(cwd='/a"b'), "", []).cwd is None
    assert speaks.submit(a_job(cwd="/a\\b"), "", []).cwd is None


# -- find and cancel --------------------------------------------------------------------

#: what the recorded jobs are called
CALLED = {
    f"{id}.pbs1": name for id, name in re.findall(r"(?m)^Job Id: (\S+)\.pbs1\n    Job_Name = (\S+)", ENDS + ARRAYS)
}


def test_find() -> None:
    listed = SHORT.replace("okQdel           ", "aaaaaaaaaa.compu ").replace(
        "190.pbs1          wait ", "19000000[].pbs-se bbbbbbbbbb "
    )
    made, replay = executor({"qstat -x": listed})
    assert made.find(["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"]) == {
        "aaaaaaaaaa": JobRef("167.pbs1"),
        "bbbbbbbbbb": JobRef("19000000[]"),
    }
    assert replay.calls == [("qstat", "-x")]
    silent = {**OPEN, "qmgr": {"returncode": 1, "stderr": "qmgr: Unauthorized Request\n"}}
    made, replay = executor({"qstat -x": {"stderr": "not configured"}, "qstat$": listed}, silent)  # type: ignore[arg-type]
    assert made.find(["aaaaaaaaaa"]) == {"aaaaaaaaaa": JobRef("167.pbs1")}
    assert len(replay.calls) == 2


def test_a_job_of_another_name_is_not_deleted() -> None:
    """A server that was set up anew counts from 1 again."""
    made, replay = executor({"qstat": ENDS, "qdel": ""})
    made.expect({"181.pbs1": "k3f9x2abqd"})
    made.cancel([JobRef("181.pbs1")])
    assert [call[0] for call in replay.calls] == ["qstat"]
    assert made.query([JobRef("181.pbs1")])[JobRef("181.pbs1")].state is JobState.UNKNOWN


@pytest.mark.parametrize("native", [("-N", "x"), ("-q", "batch@pbs2"), ("-q@pbs2",), ("-r", "y")])
def test_native_words_that_take_a_job_out_of_reach(native: tuple[str, ...]) -> None:
    for kind in (PBSExecutor, TorqueExecutor):
        with pytest.raises(UsageError, match=r"native='-"):
            kind().speaks.flags(a_job(native=native), PBSExecutor()._site())
    with pytest.raises(UsageError, match="one server"):
        PBSExecutor().speaks.flags(a_job(options={"queue": "batch@pbs2"}), PBSExecutor()._site())
    wake = a_job(native=("-r", "y"), options={"requeue": True})
    assert PBSExecutor().speaks.flags(wake, PBSExecutor()._site())


def test_another_server_is_refused() -> None:
    made, _ = executor({"qdel": ""})
    assert made.instance == "pbs1"
    other = Replay({"qstat -B": "Server: pbs2\n    server_state = Active\n"})
    again = PBSExecutor.create(made.settings, Context(environ={"PBS_DEFAULT": "pbs2"}, runner=other))
    with pytest.raises(UsageError, match=r"on PBS 'pbs1', and 'pbs2' answers"):
        again.cancel([JobRef("181.pbs1")])
    assert len(other.calls) == 1


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("qsub: would exceed queue generic's per-user limit", "full"),
        ("qsub: would exceed complex's per-user limit", "full"),
        ("qsub: Maximum number of jobs for user hpc already in queue capq", "full"),
        ("qsub: would exceed queue capq's per-group limit", "full"),
        ("qsub: would exceed queue capq's per-project limit", "full"),
        ("qsub: Maximum number of jobs already in queue capq", "full"),
        ("qsub: would exceed per-user limit on resource ncpus in queue capq", "full"),
        ("qsub: would exceed limit on resource ncpus in queue capq", "full"),
        ("qsub: would exceed queue generic's per-user limit of jobs in 'Q' state", "full"),
        ("qsub: Maximum number of jobs in 'Q' state already in queue capq", "full"),
        ("qsub: Array job exceeds server or queue size limit", "large"),
        ("qsub: Queue is not enabled", "transient"),
        ("qsub: Unknown queue", "definite"),
        # Torque's
        (
            "qsub: submit error (Maximum number of jobs already in queue for user MSG=total number of current user's"
            " jobs exceeds the queue limit: user user@node1, queue lim)",
            "full",
        ),
        (
            "qsub: submit error (Maximum number of jobs already in queue MSG=Job 279.node1 violates the global server"
            " limit of 3 jobs queued per user)",
            "full",
        ),
        ("qsub: submit error (Bad Job Array Request MSG=Requested array size too large, limit is 10)", "large"),
        ("qsub: submit error (Queue is not enabled MSG=queue is disabled: user user@node1, queue lim)", "transient"),
        (
            "qsub: submit error (Job exceeds queue resource limits MSG=cannot satisfy queue max walltime requirement)",
            "definite",
        ),
        ("qsub: submit error (Unauthorized Request  MSG=user ACL rejected the submitting user: user u@n)", "definite"),
    ],
)
def test_what_a_refusal_means(tmp_path: Path, said: str, kind: str) -> None:
    made, replay = executor({"qsub": {"returncode": 38, "stderr": f"{said}\n"}})
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path), slots=10))
    kinds = ("transient", "full", "large", "definite")
    assert " ".join(name for name in kinds if getattr(caught.value, name)) == kind
    assert not replay.slept


def test_bounds_of_a_torque_server() -> None:
    told = "set server max_user_queuable = 30\nset server max_queuable = 500\nset server max_slot_limit = 2\n"
    made, _ = executor({}, {**OTHER, "qmgr": told})
    assert made.limits.max_submitted == 30
    assert list(made.speaks.array(6, 4)) == [("-t", "0-5%2")]
    assert list(made.speaks.array(6, None)) == [("-t", "0-5")]


def test_priorities_that_pbs_takes() -> None:
    for value, taken in ((1023, True), (-1024, True), (1024, False), (-2000, False)):
        job = a_job(options={"priority": value})
        if taken:
            assert ("-p", str(value)) in PBSExecutor().speaks.flags(job, PBSExecutor()._site())
            continue
        with pytest.raises(UsageError, match="PBS takes -1024 to 1023"):
            PBSExecutor().speaks.flags(job, PBSExecutor()._site())


def test_only_what_the_server_knows_is_deleted() -> None:
    partly = {"returncode": 153, "stdout": ENDS + ARRAYS, "stderr": "qstat: Unknown Job Id 9999999.pbs1\n"}
    made, replay = executor({"qstat": partly, "qdel": ""})
    made.expect(CALLED)
    made.cancel([JobRef("181.pbs1"), JobRef("9999999.pbs1"), JobRef("170.pbs1"), JobRef("338[].pbs1")])
    assert replay.calls[-1] == ("qdel", "181.pbs1", "338[].pbs1")
    made.cancel([JobRef("338[].pbs1", slot) for slot in (3, 4, 6)])
    assert replay.calls[-1] == ("qdel", "338[3-4].pbs1", "338[6].pbs1")
    late = {"returncode": 35, "stderr": "qdel: Job has finished 181.pbs1\n"}
    made, replay = executor({"qstat": partly, "qdel": late})
    made.expect(CALLED)
    made.cancel([JobRef("181.pbs1")])
    assert replay.calls[-1] == ("qdel", "181.pbs1")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("qdel: Job has finished 342.pbs1\nqdel: Job has finished 343.pbs1\n", 35),
        ("qdel: Request invalid for state of job 56.pbs1\n", 168),
        ("qdel: Unknown Job Id 9999[].pbs1\n", 153),
    ],
)
def test_what_has_gone_is_no_error_to_delete(said: str, code: int) -> None:
    made, replay = executor({"qstat": ENDS, "qdel": {"returncode": code, "stderr": said}})
    made.expect(CALLED)
    made.cancel([JobRef("181.pbs1")])
    assert replay.calls[-1] == ("qdel", "181.pbs1")


def test_deleting_while_the_server_is_away() -> None:
    away = {"returncode": 162, "stderr": "Connection refused\nCouldn't connect to cluster: pbs1\n"}
    made, _ = executor({"qstat": ENDS, "qdel": away})
    made.expect(CALLED)
    with pytest.raises(ExecutorError, match="Couldn't connect") as caught:
        made.cancel([JobRef("181.pbs1")])
    assert caught.value.transient


def test_one_by_one_where_the_server_forgets() -> None:
    """A job that ends between being asked for and being deleted is an id that is not known: beside others, a crash."""
    off = {**OPEN, "qmgr": SERVER.replace("set server job_history_enable = True\n", "")}
    made, replay = executor({"qstat": ENDS.replace("job_state = F", "job_state = R"), "qdel": ""}, off)
    made.expect(CALLED)
    made.cancel([JobRef("181.pbs1"), JobRef("170.pbs1")])
    assert replay.calls[1:] == [("qdel", "181.pbs1"), ("qdel", "170.pbs1")]


@pytest.mark.parametrize(
    ("site", "forgets"),
    [
        (OPEN, False),
        ({**OPEN, "qmgr": SERVER.replace("set server job_history_enable = True\n", "")}, True),
        ({**OTHER, "qmgr": "set server keep_completed = 300\n"}, False),
        ({**OTHER, "qmgr": "set server keep_completed = 0\n"}, True),
        ({**OTHER, "qmgr": "set server scheduling = True\n"}, True),
        ({**OPEN, "qmgr": {"returncode": 1, "stderr": "qmgr: Unauthorized Request\n"}}, False),
    ],
)
def test_the_shell_keeps_exit_codes_where_the_server_does_not(
    tmp_path: Path, site: dict[str, Any], forgets: bool
) -> None:
    """Elsewhere it becomes the worker, which signals need."""
    script = tmp_path / "scripts" / "t.sh"
    script.parent.mkdir()
    script.write_text("#!/bin/bash\ntrue\n")
    spec = JobSpec(
        tag="a123456789",
        run_id="r",
        task="t",
        array=True,
        elements="0-2",
        attempt=1,
        inputs="",
        generation=1,
        resources=Resources(),
    )
    made, _ = executor({}, site)
    job = Job(tag="a123456789", name="a123456789.t", script=str(script), slots=3, spec=spec)
    written = f"{tmp_path}/exits/a1/a123456789" in made.preview(job).script
    assert (written, "REFLOW_INNER" in made.preview(job).script) == (forgets, forgets)
    assert "REFLOW_INNER" not in made.preview(msgspec.structs.replace(job, spec=None)).script


def test_what_is_deleted_is_asked_for_without_history() -> None:
    """An executor that has asked for nothing yet does not know whether the server keeps any."""
    none = {"stderr": "qstat: PBS is not configured to maintain job history 181.pbs1\n"}
    said = {
        "returncode": 35,
        "stdout": ENDS,
        "stderr": "qstat: 170.pbs1 Job has finished, use -x or -H to obtain ...\n",
    }
    replay = Replay({"qstat -x": none, "qstat -t": said, "qdel": ""})  # type: ignore[dict-item]
    made = PBSExecutor(runner=replay)
    made.expect(CALLED)
    made.cancel([JobRef("170.pbs1"), JobRef("181.pbs1")])
    assert replay.calls == [("qstat", "-t", "-f", "170.pbs1", "181.pbs1"), ("qdel", "181.pbs1")]


def test_every_list_that_was_recorded_is_read() -> None:
    listed = (RECORDED / "qstat-lists.txt").read_text()
    rows = [(line.split()[0], line.split()[1]) for line in listed.splitlines()[2:]]
    named = {name: id for id, name in rows if "[" not in id or "[]" in id}
    found = executor({"qstat": listed})[0].find([name for name in named if name.isalnum()])
    assert len(found) > 20
    for name, ref in found.items():
        assert ref.id in [id for id, other in rows if other == name]


# -- Torque ------------------------------------------------------------------------------


def test_a_limit_that_is_no_number() -> None:
    for name in ("max_array_size", "max_job_array_size"):
        site = {**OPEN, "qmgr": f"set server {name} = ²\n"}
        assert executor({}, site)[0].limits.max_array == 10000


def test_which_of_the_family() -> None:
    assert executor({})[0].speaks.title == "PBS"
    made, _ = executor({}, OTHER)
    assert made.speaks.title == "Torque"
    assert (made.name, made.limits.max_array) == ("pbs", 900)
    assert PBSExecutor(**made.settings).speaks.title == "Torque"  # type: ignore[arg-type]
    assert executor({}, OTHER, array_flag="-J")[0].speaks.title == "PBS"
    assert executor({}, OPEN, array_flag="-t")[0].speaks.title == "Torque"  # type: ignore[arg-type]
    assert TorqueExecutor().speaks.title == "Torque"
    assert TorqueExecutor().name == "torque"
    with pytest.raises(TypeError, match="array_flag"):
        PBSExecutor(array_flag="-T")


def test_arrays_that_torque_takes_long_to_make_are_split() -> None:
    """Its elements appear some 300 a second: what is not there yet is not gone. Each leaves a file."""
    assert TorqueExecutor().limits.max_array == 900
    large = {**OTHER, "qmgr": "set server max_job_array_size = 200000\n"}
    limits = executor({}, large)[0].limits
    assert limits.max_array == 900
    assert limits.max_array < FANOUT
    assert limits.max_array <= 300 * limits.visibility_lag


@pytest.mark.parametrize(
    ("id", "state", "detail"),
    [
        ("23.vm", JobState.FAILED, 3),
        ("24.vm", JobState.SUCCESS, 0),
        ("35.vm", JobState.FAILED, FailureClass.TIMEOUT),
        ("40.vm", JobState.CANCELLED, "deleted before it ran"),
        ("27.vm", JobState.CANCELLED, "Job deleted as result of dependency on job 23.vm"),
        ("29.vm", JobState.CANCELLED, None),
        ("31.vm", JobState.PENDING, "waiting for other jobs"),
        ("36.vm", JobState.SUCCESS, 0),
    ],
)
def test_torque_states(id: str, state: JobState, detail: object) -> None:
    status = one(TORQUE, id, site=OTHER)
    assert status.state is state
    assert detail in (None, status.exit_code, status.failure_class, status.reason)


def test_torque_elements() -> None:
    assert one(TORQUE, "39[].vm", 1, site=OTHER).state is JobState.CANCELLED


def test_torque_flags(tmp_path: Path) -> None:
    got = words(TorqueExecutor, slots=6, throttle=2, resources=Resources(nodes=2, tasks=7, mem=2**20, gpus=1, time=20))
    for text in ("-t 0-5%2", "-l nodes=1:ppn=4:gpus=1+1:ppn=3:gpus=1", "-l mem=2048kb", "-l walltime=0:00:20"):
        assert text in got
    assert "-t 0 " in words(TorqueExecutor, slots=1, throttle=3) + " "
    for both in ("big&ib", ["big", "ib"]):
        assert "-l nodes=1:ppn=1:big:ib" in words(TorqueExecutor, options={"constraint": both})
    assert "depend=afteranyarray:21[].vm:22[].vm,afterany:23.vm" in words(
        TorqueExecutor, after=(JobRef("21[].vm"), JobRef("23.vm"), JobRef("22[].vm"))
    )
    assert "depend=afterany:23.vm" in words(TorqueExecutor, after=(JobRef("23.vm"),))
    for name in ("qos", "exclusive", "reservation", "nice"):
        with pytest.raises(UsageError, match=r"native=|priority"):
            words(TorqueExecutor, options={name: "x"})
    made, _ = executor({"qsub": {"returncode": 208, "stderr": "qsub: submit error (Invalid Job Dependency)\n"}}, OTHER)
    with pytest.raises(ExecutorError, match="Invalid Job Dependency"):
        made.submit(a_job(script=a_script(tmp_path), after=(JobRef("99999.vm"),)))


def test_output_of_torque_arrays_can_be_delivered() -> None:
    """The index is added to whatever the path is: ``/dev/null-0`` would be mailed about, for each element."""
    log = "/run/logs/.jobs/k3/k3f9x2abqd.log"
    assert "-j oe -t 0-1 -o /run/logs/.jobs/k3/spool.k3f9x2abqd.log" in words(TorqueExecutor, slots=2, log=log)
    for folder in ("/a run", "/ü", "/$HOME", "/it's"):
        assert "-j oe -t 0-1 -o localhost:/tmp/spool.x.log" in words(TorqueExecutor, slots=2, log=f"{folder}/x.log")
    assert "-j oe -r n -o /dev/null" in words(TorqueExecutor, log=log)
    assert "-j oe -t 0-1 -o /x" in words(TorqueExecutor, slots=2, log=log, options={"output": "/x"})
    assert "-o /dev/null" in words(PBSExecutor, slots=2, log=log)


def test_torque_names_are_short_enough_to_be_listed_whole() -> None:
    dialect = TorqueExecutor().speaks
    assert dialect.label(a_job()) == "k3f9x2abqd.comp"
    listed = TORQUE_SHORT.replace("1abc            ", "k3f9x2abqd.comp ").replace(
        "arr             ", "zzzzzzzzzz.comp "
    )
    made, _ = executor({"qstat$": listed}, OTHER)
    assert made.find(["k3f9x2abqd", "zzzzzzzzzz"]) == {"k3f9x2abqd": JobRef("8.vm"), "zzzzzzzzzz": JobRef("1[].vm")}


def test_torque_cancel() -> None:
    answers = {
        "returncode": 170,
        "stderr": "qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE 24.vm\n",
    }
    said = "".join(f"qstat: Unknown Job Id Error {id}\n" for id in ("24.vm", "39[].vm", "40.vm"))
    none = {"returncode": 153, "stderr": said}
    made, replay = executor({"qstat": none, "qdel": [answers, ""]}, OTHER)
    made.cancel([JobRef("24.vm"), JobRef("39[].vm", 2), JobRef("39[].vm", 1), JobRef("40.vm")])
    assert replay.calls[1:] == [("qdel", "24.vm", "40.vm"), ("qdel", "-t", "1-2", "39[].vm")]
    gone = {"returncode": 153, "stderr": "qdel: nonexistent job id: 999\n"}
    executor({"qstat": {"returncode": 153, "stderr": "qstat: Unknown Job Id Error 999\n"}, "qdel": gone}, OTHER)[
        0
    ].cancel([JobRef("999")])


def test_torque_job_id_in_the_script(tmp_path: Path) -> None:
    path = tmp_path / "x.sh"
    path.write_text('#!/bin/bash\necho "$REFLOW_SLOT $REFLOW_JOB_ID"\n')
    text = TorqueExecutor().preview(a_job(script=str(path), slots=6)).script
    env = {"PATH": "/usr/bin:/bin", "PBS_JOBID": "1[2].vm", "PBS_ARRAYID": "2"}
    assert subprocess.run(["bash", "-c", text], env=env, capture_output=True, check=True).stdout == b"2 1[].vm\n"
