"""LSF and OpenLava: what was recorded of OpenLava 2.2, read back; the traps of both."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
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
from reflow_lsf.dialect import LSFExecutor, _in_fields

RECORDED = Path(__file__).parent / "transcripts"
LISTED, WAITING, CANCELLED, LONG, VERSION = (
    (RECORDED / f"{name}.txt").read_text()
    for name in ("bjobs-w", "bjobs-w-pending", "bjobs-w-cancelled", "bjobs-l", "bsub-V")
)
MISREAD = {"returncode": 255, "stderr": "bparams: invalid option -- 'a'\n"}
LAVA = {"bsub -V": {"stderr": VERSION}, "bparams": MISREAD}
IBM = {
    "bsub -V": {"stderr": "IBM Spectrum LSF Standard 10.1.0.0\n"},
    "bparams": "Maximum size of a job array: MAX_JOB_ARRAY_SIZE = 5000\n",
    "bjobs -o": {"returncode": 255, "stderr": "bjobs: illegal option -- o\n"},
    "lsid": "IBM Spectrum LSF Standard 10.1.0.0\n\nMy cluster name is cluster1\nMy master name is h0\n",
}
NO_LIVE = {
    "returncode": 255,
    "stderr": "".join(f"Job <{id}> is not found\n" for id in (164, 102, 5)),
}
#: as IBM documents it; nothing of it was recorded
JSON = {**IBM, "bjobs -o": '{"COMMAND":"bjobs","JOBS":0,"RECORDS":[]}\n'}


def record(id: str, end: str, status: str = "EXIT", more: str = "") -> str:
    """The long form of a job, after that of job 130."""
    text = (
        LONG[: LONG.index("\nJob <139>")]
        .replace("Job <130>", f"Job <{id}>")
        .replace("Status <DONE>", f"Status <{status}>")
    )
    return text.replace("Done successfully. The CPU time used is 0.0 seconds.", f"{end}{more}")


class Both(DialectConformance):
    executor = LSFExecutor
    live = (LISTED, WAITING, CANCELLED)
    follow_up = (LONG, record("165", "Exited with exit code 130. The CPU time used is 0.0 seconds."))

    def seconds(self, words: Sequence[str]) -> int:
        return int(words[words.index("-W") + 1]) * 60

    def memory(self, words: Sequence[str], resources: Resources) -> int:
        reserved = int(re.search(r"rusage\[mem=(\d+)\]", " ".join(words))[1])  # type: ignore[index]
        assert reserved * 2**20 >= (resources.mem or 0)
        return int(words[words.index("-M") + 1]) * 1024


class TestLSF(Both):
    """IBM's."""


class TestOpenLava(Both):
    recorded = RECORDED / "more"
    settings: ClassVar[dict[str, Any]] = {"facts": {"variant": "openlava", "asked": True, "since": 0.0}}

    def test_settings_make_the_same_executor(self) -> None:
        made = LSFExecutor(**self.settings)
        assert LSFExecutor(**made.settings).speaks.title == "OpenLava"  # type: ignore[arg-type]


def executor(answers: dict[str, object], site: dict[str, Any] = LAVA, **settings: Any) -> tuple[LSFExecutor, Replay]:
    replay = Replay({**site, **answers})  # type: ignore[dict-item]
    made = LSFExecutor(runner=replay, **settings)
    assert made.limits
    replay.calls.clear()
    return made, replay


def asked(text: object, *refs: JobRef, long: object = "") -> dict[JobRef, JobStatus]:
    made, replay = executor({"bjobs -a": text, "bjobs -l": long})
    answer = dict(made.query(refs))
    assert len(replay.calls) <= 2
    return answer


def test_states() -> None:
    found = asked(LISTED, *(JobRef(str(number)) for number in (117, 119, 121, 122, 125)))
    assert found[JobRef("117", 6)].state is JobState.SUCCESS
    assert {ref.slot: status.state for ref, status in found.items() if ref.id == "119"} == dict.fromkeys(
        range(3), JobState.CANCELLED
    )
    assert found[JobRef("121")].state is JobState.FAILED
    assert found[JobRef("122")].state is JobState.SUCCESS


def test_waiting_says_why() -> None:
    found = asked(WAITING, JobRef("139"), JobRef("137"), JobRef("133"), JobRef("149", 1), long=LONG)
    assert found[JobRef("139")].reason == "waiting: Dependency condition invalid or never satisfied: 1 host"
    assert found[JobRef("137", 2)].state is JobState.RUNNING
    assert found[JobRef("133")].reason == "held"
    assert found[JobRef("149", 1)].state is JobState.PENDING


def test_names_that_look_like_columns() -> None:
    # Job 124 is called `echo $HOME $$; echo 1 > "q4 file"; exit 7`, job 121 `printf %s| "a b" "c  d"`.
    assert asked(LISTED, JobRef("124"))[JobRef("124")].state is JobState.FAILED
    odd = LISTED.replace("nodir      Nov", "x EXIT [7] Nov 23 y[3] Nov")
    assert asked(odd, JobRef("130"))[JobRef("130", 2)].state is JobState.SUCCESS


@pytest.mark.parametrize(
    ("end", "code", "signal", "cls", "state"),
    [
        ("Exited with exit code 7. The CPU time", 7, None, FailureClass.EXIT, JobState.FAILED),
        ("Exited with exit code 139. The CPU time", 139, 11, FailureClass.EXIT, JobState.FAILED),
        ("Exited with exit code 137. The CPU time", 137, 9, FailureClass.EXIT, JobState.FAILED),
        ("Exited by signal 9. The CPU time", None, None, FailureClass.CANCELLED, JobState.CANCELLED),
        ("Exited with exit code 130. The CPU time", None, None, FailureClass.CANCELLED, JobState.CANCELLED),
        ("Exited with exit code 140. The CPU time", 140, 12, FailureClass.TIMEOUT, JobState.FAILED),
        ("Exited. The CPU time used is unknown", None, None, FailureClass.EXIT, JobState.FAILED),
        ("Exited with exit code 137.\n TERM_MEMLIMIT: job killed", 137, None, FailureClass.OOM, JobState.FAILED),
        ("Exited with exit code 140.\n TERM_RUNLIMIT: job killed", 140, None, FailureClass.TIMEOUT, JobState.FAILED),
        ("Exited.\n TERM_PREEMPT: x", None, None, FailureClass.PREEMPTED, JobState.FAILED),
        ("Exited with exit code 130.\n TERM_OWNER: killed", None, None, FailureClass.CANCELLED, JobState.CANCELLED),
        # Users' own text in the record, which is no termination reason.
        ("Exited with exit code 7.\n LONG_TERM_MEANS: x", 7, None, FailureClass.EXIT, JobState.FAILED),
        ("Exited with exit code 7.\n no TERM_OWNER: x", 7, None, FailureClass.EXIT, JobState.FAILED),
        ("Exited with exit code 7.\n TERM_NEW_REASON: x", 7, None, FailureClass.EXIT, JobState.FAILED),
        ("Exited with exit code 1.\n TERM_CWD_NOTEXIST: x", 1, None, FailureClass.LAUNCH, JobState.FAILED),
        ("Exited with exit code 1.\n TERM_PRE_EXEC_FAIL: x", 1, None, FailureClass.LAUNCH, JobState.FAILED),
        ("Exited with exit code 130.\n TERM_RC: x", 130, None, FailureClass.PREEMPTED, JobState.FAILED),
        ("Exited by signal 9.\n TERM_EXTERNAL_SIGNAL: x", None, 9, FailureClass.EXIT, JobState.FAILED),
    ],
)
def test_ends(end: str, code: int | None, signal: int | None, cls: FailureClass, state: JobState) -> None:
    status = asked(CANCELLED, JobRef("165"), long=record("165", end))[JobRef("165")]
    assert (status.state, status.exit_code, status.signal, status.failure_class) == (state, code, signal, cls)


def test_the_command_in_the_record_is_no_reason() -> None:
    own = "Command <export TERM_OWNER=1; TERM_MEMLIMIT: x; Exited with exit code 9."
    long = record("165", "Exited with exit code 7. The CPU time").replace("Command <", own)
    assert asked(CANCELLED, JobRef("165"), long=long)[JobRef("165")].exit_code == 7


def test_a_reason_behind_the_time_at_which_the_job_ended() -> None:
    done = "Exited with exit code 140. The CPU time used is 0.0 seconds.\n"
    done += "Mon Nov 23 03:08:32: Completed <exit>; TERM_RUNLIMIT: job killed after reaching LSF run time limit."
    status = asked(CANCELLED, JobRef("165"), long=record("165", done))[JobRef("165")]
    assert (status.failure_class, status.native) == (FailureClass.TIMEOUT, "EXIT TERM_RUNLIMIT exit code 140")


#: IBM's table of termination reasons for LSF 10.1
REASONS = {
    FailureClass.TIMEOUT: "RUNLIMIT DEADLINE CPULIMIT",
    FailureClass.OOM: "MEMLIMIT SWAP",
    FailureClass.PREEMPTED: "PREEMPT WINDOW LOAD OTHER RC REQUEUE_RC MC_RECALL KUBE",
    FailureClass.NODE_FAIL: "ZOMBIE RMS CSM_ALLOC REMOVE_HUNG_JOB",
    FailureClass.LAUNCH: "CWD_NOTEXIST PRE_EXEC_FAIL DATA",
    FailureClass.CANCELLED: "OWNER ADMIN FORCE_OWNER FORCE_ADMIN BUCKET_KILL REQUEUE_OWNER REQUEUE_ADMIN CHKPNT"
    " ORPHAN_SYSTEM",
    FailureClass.EXIT: "PROCESSLIMIT THREADLIMIT EXTERNAL_SIGNAL",
}


def in_json(*records: dict[str, str]) -> str:
    whole = {"JOBINDEX": "0", "JOB_NAME": "k3f9x2abqd.compute", "EXEC_HOST": "h1", "PEND_REASON": ""}
    rows = [{**whole, "EXIT_CODE": "", "EXIT_REASON": "", **one} for one in records]
    return json.dumps({"COMMAND": "bjobs", "JOBS": len(rows), "RECORDS": rows}) + "\n"


def test_the_records_own_reason_decides() -> None:
    """One call, in which ids of any length and text of users' cannot be taken for anything else."""
    lines = [(cls, reason) for cls, reasons in REASONS.items() for reason in reasons.split()]
    ids = [str(123456789 + number) for number in range(len(lines))]
    text = in_json(
        *(
            {"JOBID": id, "STAT": "EXIT", "EXIT_CODE": "130", "EXIT_REASON": f"TERM_{reason}: job killed"}
            for id, (_, reason) in zip(ids, lines, strict=True)
        ),
        {"JOBID": "7", "JOBINDEX": "3", "STAT": "EXIT", "EXIT_CODE": "7", "JOB_NAME": "x TERM_OWNER: y"},
        {"JOBID": "8", "STAT": "EXIT", "EXEC_HOST": ""},
        {"JOBID": "9", "STAT": "PEND", "EXEC_HOST": "", "PEND_REASON": "Job slot limit reached;"},
        {"JOBID": "10", "STAT": "EXIT", "EXIT_CODE": "5", "EXIT_REASON": "LONG_TERM_MEANS: no word of LSF"},
        {"JOBID": "11", "ERROR": "Job <11> is not found"},
    )
    made, replay = executor({"bjobs -a -o": text}, JSON)
    found = made.query([JobRef(id) for id in (*ids, "7", "8", "9", "10", "11")])
    assert len(replay.calls) == 1
    assert [found[JobRef(id)].failure_class for id in ids] == [cls for cls, _ in lines]
    assert found[JobRef("7", 2)].exit_code == 7
    assert found[JobRef("8")].reason == "cancelled before it ran"
    assert found[JobRef("9")].reason == "waiting: Job slot limit reached"
    assert (found[JobRef("10")].exit_code, found[JobRef("10")].failure_class) == (5, FailureClass.EXIT)
    assert found[JobRef("11")].state is JobState.UNKNOWN


def test_without_json_the_columns_are_read() -> None:
    made, replay = executor({"bjobs -a": LISTED}, IBM)
    assert made.query([JobRef("130")])[JobRef("130")].state is JobState.SUCCESS
    assert replay.calls[0] == ("bjobs", "-a", "-w", "130")


def test_openlava_is_asked_nothing_that_it_misreads() -> None:
    replay = Replay(LAVA)  # type: ignore[arg-type]
    assert LSFExecutor(runner=replay).limits
    assert [call[0] for call in replay.calls] == ["bsub", "bparams"]


def test_elements_are_asked_for_by_name() -> None:
    made, replay = executor(
        {
            "bjobs -a": CANCELLED.replace("EXIT  normal     vm             - ", "EXIT  normal     vm          vm "),
            "bjobs -l": "",
        }
    )
    made.query([JobRef("164"), JobRef("165")])
    assert replay.calls == [("bjobs", "-a", "-w", "164", "165"), ("bjobs", "-l", "164[4-5]", "165")]


def test_all_that_failed_are_asked_for() -> None:
    line = "{}     alice     EXIT  normal     vm          vm          n{} Nov 23 03:10\n"

    def follow_up(ids: range, indices: Sequence[str]) -> tuple[str, ...]:
        text = "".join(line.format(id, index) for id in ids for index in indices)
        made, replay = executor({"bjobs -a": text, "bjobs -l": ""})
        made.query([JobRef(str(id)) for id in ids])
        return replay.calls[-1]

    assert follow_up(range(7, 8), [f"[{index}]" for index in range(1, 1001)]) == ("bjobs", "-l", "7[1-1000]")
    # A list that is too long for its parser: the whole array.
    assert follow_up(range(7, 8), [f"[{index}]" for index in range(1, 1001, 2)]) == ("bjobs", "-l", "7")
    assert follow_up(range(1000, 3000), [""]) == ("bjobs", "-l", *map(str, range(1000, 3000)))
    assert follow_up(range(100000, 120000), [""]) == ("bjobs", "-l", "-a")


def test_long_form_of_elements() -> None:
    text = record("102[3]", "Exited with exit code 3. The CPU time") + record("102[5]", "Done successfully.", "DONE")
    rows = TestLSF().rows(text, follow_up=True)
    assert [(row.id, row.index, row.status.state) for row in rows] == [
        ("102", 3, JobState.FAILED),
        ("102", 5, JobState.SUCCESS),
    ]


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("UNKWN", JobState.RUNNING),
        ("ZOMBI", JobState.RUNNING),
        ("USUSP", JobState.RUNNING),
        ("PSUSP", JobState.PENDING),
        ("NEWST", JobState.UNKNOWN),
    ],
)
def test_states_that_are_no_end(word: str, state: JobState) -> None:
    text = f"104     alice     {word} normal     vm          vm          rl2        Nov 23 03:08\n"
    assert asked(text, JobRef("104"))[JobRef("104")].state is state


def test_the_index_beside_the_id() -> None:
    head = "JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME\n"
    text = head + "164[2]  alice     RUN   normal     vm          vm          k[2]       Nov 23 03:10\n"
    assert list(asked(text, JobRef("164"))) == [JobRef("164", 1)]


def test_unknown_job() -> None:
    gone = {"returncode": 255, "stderr": "Job <99999> is not found\n"}
    status = asked(gone, JobRef("99999"))[JobRef("99999")]
    assert (status.state, status.native) == (JobState.UNKNOWN, "")
    partly = {"returncode": 255, "stdout": LISTED, "stderr": "Job <99999> is not found\n"}
    assert asked(partly, JobRef("130"), JobRef("99999"))[JobRef("130")].state is JobState.SUCCESS


def test_daemons_down_is_a_time_out() -> None:
    down = {"returncode": None, "stderr": "LSF daemon (LIM) not responding ... still trying\n" * 3}
    made, replay = executor({"bjobs": down})
    with pytest.raises(ExecutorError, match="did not answer: bjobs did not end in time; LSF daemon") as caught:
        made.query([JobRef("1")])
    assert caught.value.transient
    assert replay.slept == []


# -- submit ----------------------------------------------------------------------------


@pytest.mark.parametrize("queue", ["default queue <normal>", "queue <short>"])
def test_submitted(tmp_path: Path, queue: str) -> None:
    made, replay = executor({"bsub": f"Job <102> is submitted to {queue}.\n"})
    script = a_script(tmp_path)
    job = a_job(script=script, slots=10, throttle=3, after=(JobRef("1"), JobRef("2")), resources=Resources(time=61))
    assert made.submit(job).ref == JobRef("102")
    assert replay.calls[-1] == ("bsub", "-J", "k3f9x2abqd.compute[1-10]%3", "-w", "ended(1) && ended(2)")
    assert replay.inputs[-1] == Path(script).read_text()
    text = Path(script).read_text()
    assert "#BSUB -W 2\n" in text
    assert "#BSUB -o /dev/null\n" in text
    assert f" < {script}\n" in text
    assert "REFLOW_INNER=$reflow_mark" in text


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("nosuch: No such queue. Job not submitted.", "bqueues"),
        ("RUNLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.", "limits"),
        ("Job array index too large. Job not submitted.", "max_array"),
        ("Bad job name. Job not submitted.", ""),
    ],
)
def test_refused(tmp_path: Path, said: str, hint: str) -> None:
    made, _ = executor({"bsub$|bsub -": {"returncode": 255, "stderr": said + "\n"}})
    with pytest.raises(ExecutorError, match=re.escape(said)) as caught:
        made.submit(a_job(script=a_script(tmp_path)))
    assert hint in (caught.value.hint or "")
    assert not made.vanished(caught.value)


def test_an_upstream_that_is_forgotten(tmp_path: Path) -> None:
    said = "688[1]: No matching job found. Job not submitted.\n"
    made, _ = executor({"bsub -": {"returncode": 255, "stderr": said}})
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path), after=(JobRef("688"),)))
    assert made.vanished(caught.value)


def words(variant: str = "", settings: dict[str, Any] | None = None, **fields: Any) -> str:
    made = LSFExecutor(facts={"variant": variant}, **(settings or {}))
    groups = made.speaks.flags(a_job(**fields), made._site())
    return " ".join(word for group in groups for word in group)


def test_resources() -> None:
    got = words(resources=Resources(cpus=4, mem=2**30, gpus=2, time=5400), options={"constraint": "ib"})
    assert "-M 1048576 -n 4 -R select[ib] rusage[mem=1024] span[hosts=1] -gpu num=2 -W 90" in got
    assert "-n 8 -R span[ptile=4]" in words(resources=Resources(nodes=2, tasks=8))
    assert "-n 8 -R span[ptile=4]" in words(resources=Resources(nodes=2, cpus=4))
    assert "-n 7 -R span[ptile=4]" in words(resources=Resources(nodes=2, tasks=7))
    assert "-n 1" in words(resources=Resources(cpus=1))
    assert words(options={"constraint": ["a", "b"]}).endswith("-R select[a && b] -o /dev/null")
    assert "-R" not in words()


SHAPES = st.builds(
    Resources,
    nodes=st.none() | st.integers(1, 40),
    tasks=st.none() | st.integers(1, 300),
    cpus=st.none() | st.integers(1, 64),
)


@given(asked=SHAPES)
def test_no_fewer_cores_and_nodes_than_asked_for(asked: Resources) -> None:
    nodes, tasks, cpus = asked.nodes or 1, asked.tasks or 1, asked.cpus or 1
    try:
        got = words(resources=asked)
    except UsageError as error:
        # Hosts are filled one by one: seven tasks, three on each, are on three hosts and not on five.
        assert tasks % nodes != 0
        assert error.hint is not None
        assert words(resources=Resources(nodes=nodes, tasks=int(error.hint.split()[-1]), cpus=cpus))
        return
    slots = int((re.findall(r"-n (\d+)", got) or ["1"])[0])
    assert slots == max(tasks, nodes) * cpus
    if slots > 1 and nodes == 1:
        assert "span[hosts=1]" in got
    elif slots > 1:
        each = int(re.findall(r"span\[ptile=(\d+)\]", got)[0])
        assert each % cpus == 0
        assert -(-slots // each) == nodes


@pytest.mark.parametrize(
    ("unit", "limit", "reserved"), [("MB", 1537, 1537), ("GB", 2, 2), ("EB", 1, 1), (None, 1572865, 1537)]
)
def test_units_of_the_site(unit: str | None, limit: int, reserved: int) -> None:
    got = words(settings={"unit": unit}, resources=Resources(mem=1536 * 2**20 + 1))
    assert f"-M {limit} -R rusage[mem={reserved}]" in got
    lava = words("openlava", {"unit": unit}, resources=Resources(mem=1536 * 2**20 + 1))
    assert "-M 1572865 -R rusage[mem=1537]" in lava


def test_memory_as_the_site_counts_it() -> None:
    """Where it is reserved for each task, the host that has the fewest has enough; a limit of a process is a share."""
    seven = Resources(nodes=2, tasks=7, cpus=2, mem=6 * 2**30)
    assert "-M 6291456" in words(resources=seven)
    assert "rusage[mem=6144]" in words(resources=seven)
    assert "-M 6291456 -n 14 -R rusage[mem=1024] " in words(settings={"mem_per": "task"}, resources=seven)
    assert "-M 2097152 -n 14 -R rusage[mem=6144] " in words(settings={"limit_per": "process"}, resources=seven)
    assert "rusage[mem=6144/host]" in words(settings={"mem_per": "host"}, resources=seven)
    made, _ = executor({}, {**IBM, "bparams": "Resource reservation: RESOURCE_RESERVE_PER_TASK = Y\n"})
    groups = made.speaks.flags(a_job(resources=seven), made._site())
    assert any("rusage[mem=1024]" in word for group in groups for word in group)


def test_unit_out_of_the_configuration_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lsf.conf").write_text("# x\nLSF_UNIT_FOR_LIMITS=mb\nLSF_OTHER=GB\n")
    context = Context(environ={"LSF_ENVDIR": str(tmp_path)})
    assert LSFExecutor.create({}, context).settings["unit"] == "MB"
    assert LSFExecutor.create({"unit": "GB"}, context).settings["unit"] == "GB"
    monkeypatch.setattr("reflow_lsf.dialect._CONFIGURATION", str(tmp_path))
    assert LSFExecutor.create({}, Context()).settings["unit"] == "MB"
    (tmp_path / "lsf.conf").write_text("")
    assert "unit" not in LSFExecutor.create({}, context).settings
    assert "unit" not in LSFExecutor.create({}, Context(environ={"LSF_ENVDIR": "/no/such"})).settings
    assert "unit" not in LSFExecutor.create({}, Context()).settings


def test_flags() -> None:
    got = words(
        begin=10.0,
        options={
            "queue": "q",
            "account": "p",
            "exclusive": True,
            "reservation": "r1",
            "priority": 5,
            "app": "x",
            "H": True,
            "requeue": True,
            "mail_user": "a@b",
            "mail_type": ["BEGIN", "END"],
        },
    )
    for text in ("-q q", "-P p", "-x", "-U r1", "-sp 5", "-app x", "-H", "-r", "-u a@b", "-B", "-N"):
        assert f" {text}" in got
    assert re.search(r"-b \d\d:\d\d:\d\d:\d\d", got)
    assert "-N" in words(options={"mail_type": "FAIL"})
    assert words(options={"mail_type": "none"}) == words()
    for wrong in ("abe", True, "TIME_LIMIT_80", ["END", "abe"]):
        with pytest.raises(UsageError, match="one or more of BEGIN, END, FAIL, ALL, NONE"):
            words(options={"mail_type": wrong})
    assert "-o /x/%J" in words(options={"output": "/x/%J"})


def test_a_begin_time_lies_ahead() -> None:
    """In whole minutes: one that has passed would be next year's."""
    made = LSFExecutor()
    for second, seconds, begin in ((58, 0.1, "03:38"), (2, 0.1, "03:37"), (0, 60.0, "03:37"), (0, 61.0, "03:38")):
        now = time.mktime(time.strptime(f"2026-11-24 03:36:{second:02}", "%Y-%m-%d %H:%M:%S"))
        site = msgspec.structs.replace(made._site(), now=now)
        assert list(made.speaks.begin(seconds, site)) == [("-b", f"11:24:{begin}")]


def test_what_openlava_would_misread_is_refused() -> None:
    for name in ("app", "gpu_", "sla", "Ep", "g"):
        with pytest.raises(UsageError, match="OpenLava has no option"):
            words("openlava", options={name: "x"})
    with pytest.raises(UsageError, match="OpenLava knows no GPUs"):
        words("openlava", resources=Resources(gpus=1))
    with pytest.raises(UsageError, match="has no 'reservation'"):
        words("openlava", options={"reservation": "x"})


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Job array index too large. Job not submitted.", "large"),
        ("Too many processors requested. Job not submitted.", "definite"),
        ("RUNLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.", "definite"),
        ("LSF is down. Please wait ...", "transient"),
        ("Cannot connect to LSF. Please wait ...", "transient"),
    ],
)
def test_what_a_refusal_means(tmp_path: Path, said: str, kind: str) -> None:
    made, _ = executor({"bsub -": {"returncode": 255, "stderr": f"{said}\n"}})
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path), slots=4))
    assert " ".join(name for name in ("transient", "large", "definite") if getattr(caught.value, name)) == kind


@pytest.mark.parametrize("code", [130, 140])
def test_a_reason_that_nobody_knows_is_no_guess(code: int) -> None:
    record = {
        "STAT": "EXIT",
        "EXEC_HOST": "h1",
        "EXIT_CODE": str(code),
        "EXIT_REASON": "TERM_LATER: of another version",
    }
    status = _in_fields(record)
    assert (status.state, status.failure_class, status.exit_code) == (JobState.FAILED, FailureClass.EXIT, code)
    assert "TERM_LATER" in status.reason


def test_a_submission_that_waits_for_room_was_not_taken(tmp_path: Path) -> None:
    """It waits for ever where the array alone is larger than the threshold, so it is no outage."""
    said = "User <ada>: Pending job threshold reached. Retrying in 60 seconds...\n"
    made, replay = executor({"bsub -": {"returncode": None, "stderr": said}})
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path), slots=4))
    assert caught.value.full
    assert not caught.value.maybe_done
    assert sum("-J" in " ".join(call) for call in replay.calls) <= 1, "it is not repeated"


def test_openlava_says_how_large_an_array_may_be() -> None:
    told = "The maximum number of jobs in a job array.\n    MAX_JOB_ARRAY_SIZE = 400\n"
    made, _ = executor({}, {**LAVA, "bparams -l": told, "bparams": told})
    assert made.limits.max_array == 400


def test_limits() -> None:
    assert executor({})[0].limits.max_array == 1000
    assert executor({})[0].speaks.title == "OpenLava"
    made, _ = executor({}, IBM)
    assert (made.limits.max_array, made.speaks.title) == (5000, "LSF")
    assert made.limits.array_base == 1


# -- find and cancel ----------------------------------------------------------------------


def test_find() -> None:
    listed = LISTED.replace("s[7]       ", "aaaaaaaaaa.compute[7] ").replace("nodir      ", "bbbbbbbbbb.x ")
    made, replay = executor({"bjobs -a -w": listed})
    assert made.find(["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"]) == {
        "aaaaaaaaaa": JobRef("117"),
        "bbbbbbbbbb": JobRef("130"),
    }
    assert replay.calls == [("bjobs", "-a", "-w")]
    none = {"returncode": 255, "stderr": "No job found\n"}
    assert executor({"bjobs": none})[0].find(["aaaaaaaaaa"]) == {}


@pytest.mark.parametrize("native", [("-J", "x"), ("-Jx",), ("-r",), ("-Q", "99")])
def test_native_words_that_take_a_job_out_of_reach(native: tuple[str, ...]) -> None:
    speaks = LSFExecutor().speaks
    with pytest.raises(UsageError, match=r"native='-"):
        speaks.flags(a_job(native=native), LSFExecutor()._site())
    assert speaks.flags(a_job(native=("-Jd", "what it is", "-rn")), LSFExecutor()._site())


def test_the_cluster_is_kept_with_its_ids() -> None:
    made, _ = executor({}, IBM)
    assert made.instance == "cluster1"
    at = Context(environ={"LSF_ENVDIR": "/two"}, runner=Replay(IBM))  # type: ignore[arg-type]
    kept = LSFExecutor.create({}, at)
    assert kept.limits.max_array == 5000
    other = Replay({"lsid": "My cluster name is cluster2\n"})
    again = LSFExecutor.create(kept.settings, Context(environ={"LSF_ENVDIR": "/one"}, runner=other))
    with pytest.raises(UsageError, match=r"on LSF 'cluster1', and 'cluster2' answers"):
        again.query([JobRef("5")])
    assert other.envs == [{"LSF_ENVDIR": "/two"}]


@pytest.mark.parametrize(
    "said",
    [
        "Job <164>: Operation is in progress\n",
        "Job <310>: Job has already finished\nJob <99999>: No matching job found\n",
        "Job <149>: Operation is in progress\nJob <139> is being terminated\n",
    ],
)
def test_cancel(said: str) -> None:
    made, replay = executor({"bjobs": NO_LIVE, "bkill": {"returncode": 255, "stderr": said}})
    made.cancel([JobRef("164"), JobRef("102", 2), JobRef("102", 0), JobRef("102", 1)])
    assert replay.calls[1:] == [("bkill", "164", "102[1-3]")]
    denied = {"returncode": 255, "stderr": "Job <5>: User permission denied\n"}
    with pytest.raises(ExecutorError, match="permission denied"):
        executor({"bjobs": NO_LIVE, "bkill": denied})[0].cancel([JobRef("5")])


@pytest.mark.parametrize(("name", "ended"), [("mine", False), ("a123456789.work", True)])
def test_a_job_of_another_name_is_never_cancelled(name: str, ended: bool) -> None:
    """The number may be another job's of the same user by now."""
    head = "JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME\n"
    row = f"121     alice     RUN   normal     vm          vm          {name}       Nov 23 03:08\n"
    for expected in ({}, {"121": "a123456789"}):
        made, replay = executor({"bjobs": head + row, "bkill": ""})
        made.expect(expected)
        made.cancel([JobRef("121")])
        assert (("bkill", "121") in replay.calls) is ended
