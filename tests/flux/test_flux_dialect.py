"""Flux: what was recorded of 0.88, read back; its traps."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

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
from reflow_flux.dialect import FluxExecutor

RECORDED = Path(__file__).parent / "transcripts"
ONE, MANY, IDS, NAMES = (
    (RECORDED / name).read_text() for name in ("jobs-one.json", "jobs-many.json", "submit-cc.txt", "jobs-names.txt")
)


class TestFlux(DialectConformance):
    executor = FluxExecutor
    live = (ONE, MANY)
    recorded = RECORDED / "more"

    def seconds(self, words: Sequence[str]) -> int:
        return int(words[words.index("-t") + 1].removesuffix("s"))

    def memory(self, words: Sequence[str], resources: Resources) -> None:
        assert not any("mem" in word for word in words)


def executor(answers: dict[str, object]) -> tuple[FluxExecutor, Replay]:
    replay = Replay(answers)  # type: ignore[arg-type]
    return FluxExecutor(runner=replay), replay


def one(id: str, text: object = MANY) -> JobStatus:
    return executor({"jobs": text})[0].query([JobRef(id)])[JobRef(id)]


@pytest.mark.parametrize(
    ("id", "state", "code", "signal", "cls"),
    [
        ("f2RQbfcKH", JobState.SUCCESS, 0, None, None),
        ("f2RacpknT", JobState.FAILED, 7, None, FailureClass.EXIT),
        ("f2RhPhUTq", JobState.FAILED, 137, 9, FailureClass.EXIT),
        ("f2Rp96Crs", JobState.FAILED, 139, 11, FailureClass.EXIT),
        ("f2Rvdf4ST", JobState.FAILED, None, None, FailureClass.LAUNCH),
        ("f2S3ZRhou", JobState.CANCELLED, None, None, FailureClass.CANCELLED),
        ("f2SAVCMBM", JobState.CANCELLED, None, None, FailureClass.CANCELLED),
        ("f2SGU7T83", JobState.FAILED, None, None, FailureClass.TIMEOUT),
        ("f2SYAPr9m", JobState.FAILED, None, None, FailureClass.LAUNCH),
        ("f2Sm6ZakF", JobState.FAILED, None, None, FailureClass.LAUNCH),
        ("fU2mRXNf", JobState.FAILED, None, None, FailureClass.LAUNCH),
        ("f25FiMrYf", JobState.FAILED, None, None, FailureClass.LAUNCH),
        ("fJcUUAb", JobState.FAILED, None, None, FailureClass.NODE_FAIL),
        ("f6V4FxZ8K", JobState.RUNNING, None, None, None),
        ("f6WaUDpeK", JobState.PENDING, None, None, None),
    ],
)
def test_states(id: str, state: JobState, code: int | None, signal: int | None, cls: FailureClass | None) -> None:
    status = one(id)
    assert (status.state, status.exit_code, status.signal, status.failure_class) == (state, code, signal, cls)


def test_reasons() -> None:
    assert one("fU2mRXNf").reason.startswith("can never run: unsatisfiable request: need 1 slot(s) of 9 core(s)")
    assert one("f6Wfp5EYP").reason == "held"
    assert one("f6WmHLarB").reason == "waiting for its begin time"
    assert one("f2SGU7T83").reason == "resource allocation expired"


def test_one_job_comes_without_a_list() -> None:
    assert one("f2RacpknT", ONE).exit_code == 7


def test_ids_in_either_writing() -> None:
    assert one("ƒ2RacpknT", ONE).exit_code == 7


def test_unknown() -> None:
    gone = {"returncode": 1, "stderr": "JobID fZZZ unknown\n"}
    assert one("fZZZ", gone) == JobStatus(state=JobState.UNKNOWN, reason="not known to Flux")
    assert one("f1", ONE.replace('"FAILED"', '"SOMETHING"').replace("\\u01922RacpknT", "f1")).state is JobState.UNKNOWN
    assert one("f1", json.dumps({"jobid": "f1", "status": "FAILED"}) + "\n").failure_class is FailureClass.EXIT
    for text in ('{"jobs": 3}', "[1, 2]"):
        with pytest.raises(ExecutorError, match="not whole"):
            one("f1", text)


def test_down() -> None:
    down = {"returncode": 1, "stderr": "flux-jobs: ERROR: Unable to connect to Flux: Connection refused\n"}
    made, replay = executor({"jobs": down})
    with pytest.raises(ExecutorError, match="Unable to connect to Flux") as caught:
        made.query([JobRef("f1")])
    assert caught.value.transient
    assert len(replay.slept) == 3


# -- submit ------------------------------------------------------------------------------


@pytest.mark.parametrize("printed", ["ƒEj2RP3d\n", "fEj2RP3d\n"])
def test_single_job(tmp_path: Path, printed: str) -> None:
    made, replay = executor({"flux submit": printed})
    script = a_script(tmp_path)
    job = a_job(script=script, after=(JobRef("fA"), JobRef("fB,fC")), begin=60.0, resources=Resources(time=90))
    assert made.submit(job).ref == JobRef("fEj2RP3d")
    assert replay.calls == [
        (
            "flux", "submit", "--job-name=k3f9x2abqd.compute", "-n", "1", "-t", "90s", "--dependency=afterany:fA",
            "--dependency=afterany:fB", "--dependency=afterany:fC", "--begin-time=+60s", "--output=/dev/null", script,
        )
    ]  # fmt: skip
    assert "# submitted by: flux submit --job-name=k3f9x2abqd.compute" in Path(script).read_text()


def test_array_is_told_apart_by_name(tmp_path: Path) -> None:
    ids = [line.replace("ƒ", "f") for line in IDS.split()]
    named = "".join(f"{id} k3f9x2abqd.compute+{9 - slot}\n" for slot, id in enumerate(ids))
    made, replay = executor({"flux submit": IDS, "flux jobs": named})
    assert made.submit(a_job(script=a_script(tmp_path), slots=10)).ref == JobRef(",".join(ids[::-1]))
    assert "--cc=0-9" in replay.calls[0]
    assert "--job-name=k3f9x2abqd.compute+{cc}" in replay.calls[0]
    assert len(replay.calls) == 2


def test_array_of_one_needs_no_names(tmp_path: Path) -> None:
    made, replay = executor({"flux submit": "ƒEj2RP3d\n"})
    assert made.submit(a_job(script=a_script(tmp_path), slots=1)).ref == JobRef("fEj2RP3d,")
    assert len(replay.calls) == 1


@pytest.mark.parametrize("told", [NAMES, {"returncode": 1, "stderr": "flux-jobs: ERROR: boom\n"}])
def test_names_that_are_missing_leave_the_jobs_to_be_found(tmp_path: Path, told: object) -> None:
    made, replay = executor({"flux submit": IDS, "flux jobs": told})
    with pytest.raises(ExecutorError, match="did not tell its jobs apart") as caught:
        made.submit(a_job(script=a_script(tmp_path), slots=10))
    assert caught.value.maybe_done
    assert not any("cancel" in call for call in replay.calls)


def test_an_array_that_was_cut_short_is_looked_for(tmp_path: Path) -> None:
    made, replay = executor({"flux submit": {"returncode": None, "stdout": "ƒA1\nƒB2\n"}, "flux cancel": ""})
    with pytest.raises(ExecutorError, match="did not end in time") as caught:
        made.submit(a_job(script=a_script(tmp_path), slots=10))
    assert caught.value.maybe_done
    assert all(call[1] != "cancel" for call in replay.calls)


@pytest.mark.parametrize(
    ("said", "code", "hint"),
    [
        ("[Errno 1] Invalid queue 'nosuch' specified\n", 1, "flux queue list"),
        ("[Errno 22] requested duration (2h) exceeds policy limit of 30m for queue debug\n", 1, "unlimited"),
        ("[Errno 22] urgency range is [0:31]\n", 1, ""),
    ],
)
def test_refused(tmp_path: Path, said: str, code: int, hint: str) -> None:
    made, _ = executor({"flux": {"returncode": code, "stderr": said}})
    with pytest.raises(ExecutorError, match=re.escape(said.strip())) as caught:
        made.submit(a_job(script=a_script(tmp_path)))
    assert hint in (caught.value.hint or "")
    assert not made.vanished(caught.value)


def test_an_upstream_that_was_purged(tmp_path: Path) -> None:
    said = "[Errno 22] dependency: afterany: id ƒ6nATuu3V: job not found\n"
    made, _ = executor({"flux": {"returncode": 1, "stderr": said}})
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path), after=(JobRef("f6nATuu3V"),)))
    assert made.vanished(caught.value)


def test_braces_in_a_path_are_not_for_flux(tmp_path: Path) -> None:
    folder = tmp_path / "a{cc}b{{id}}"
    folder.mkdir()
    made, replay = executor({"flux submit": "f1a\n"})
    script = a_script(folder)
    made.submit(a_job(script=script, slots=1))
    assert replay.calls[0][-3:] == ("/bin/sh", "-c", 'exec "$REFLOW_SCRIPT"')
    assert replay.envs[0] == {"REFLOW_SCRIPT": script}
    assert not any("{" in word for word in replay.calls[0] if not word.startswith("--job-name"))
    env = {"PATH": os.environ["PATH"], "REFLOW_SCRIPT": script}
    assert subprocess.run(replay.calls[0][-3:], env=env, check=False).returncode == 0


def words(**fields: object) -> str:
    made = FluxExecutor()
    return " ".join(made.preview(a_job(**fields), body="true\n").call.argv)


def test_a_script_runs_once() -> None:
    assert "flux batch --job-name=k3f9x2abqd.compute -N 2 -n 8 -c 2 -g 1" in words(
        resources=Resources(nodes=2, tasks=8, cpus=2, gpus=4)
    )
    assert "flux batch --job-name=k3f9x2abqd.compute -N 1 -n 8 " in words(resources=Resources(tasks=8))
    assert "flux batch --job-name=k3f9x2abqd.compute -N 3 -n 3 -c 4" in words(resources=Resources(nodes=3, cpus=4))
    assert "-n 1 -c 16 " in words(slots=2, resources=Resources(tasks=8, cpus=2))
    assert "-n 1 -c 8 " in words(slots=2, resources=Resources(tasks=8))
    with pytest.raises(UsageError, match="several nodes each"):
        words(slots=2, resources=Resources(nodes=2))


def test_flags() -> None:
    got = words(
        resources=Resources(gpus=2),
        options={
            "queue": "q",
            "account": "b",
            "constraint": "host:n0",
            "priority": 20,
            "exclusive": True,
            "setattr": ["a=1", "b=2"],
            "unbuffered": True,
            "requeue": True,
        },
    )
    for text in (
        "--queue=q", "--bank=b", "--requires=host:n0", "--urgency=20", "-N 1 -n 1 --exclusive", "-g 2", "--setattr=a=1",
        "--setattr=b=2", "--unbuffered",
    ):  # fmt: skip
        assert f" {text}" in got
    assert "--output=/x/{{id}}" in words(options={"output": "/x/{{id}}"})


SHAPES = st.builds(
    Resources,
    nodes=st.none() | st.integers(1, 40),
    tasks=st.none() | st.integers(1, 300),
    cpus=st.none() | st.integers(1, 64),
    gpus=st.none() | st.integers(1, 8),
)


@given(asked=SHAPES, slots=st.none() | st.integers(1, 9))
def test_no_fewer_cores_nodes_and_gpus_than_asked_for(asked: Resources, slots: int | None) -> None:
    nodes, tasks, cpus = asked.nodes or 1, asked.tasks or 1, asked.cpus or 1
    if slots is not None and nodes > 1:
        with pytest.raises(UsageError):
            words(resources=asked, slots=slots)
        return
    got = words(resources=asked, slots=slots)

    def number(option: str, default: int) -> int:
        return int((re.findall(rf" -{option} (\d+)", got) or [str(default)])[0])

    assert number("n", 1) * number("c", 1) >= tasks * cpus
    assert number("N", 1) == nodes
    assert number("n", 1) * number("g", 0) >= (asked.gpus or 0) * nodes
    # A script runs once for each task of `submit`, and once in all in a `batch`.
    assert number("n", 1) == 1 or got.startswith("flux batch")


def test_memory_is_said_once() -> None:
    made = FluxExecutor()
    assert made.notes(a_job(resources=Resources(mem=1))) == ["Flux takes no request for memory: mem is left out"]
    assert made.notes(a_job()) == []


def test_job_id_in_the_script(tmp_path: Path) -> None:
    path = tmp_path / "x.sh"
    path.write_text('#!/bin/sh\necho "$REFLOW_SLOT $REFLOW_JOB_ID"\n')
    text = FluxExecutor().preview(a_job(script=str(path), slots=6)).script
    for shell in ("sh", "bash"):
        for name, id in (
            ("FLUX_JOB_ID", "ƒ4xDa4gYw"),
            ("FLUX_JOB_ID", "f4xDa4gYw"),
            ("FLUX_ENCLOSING_ID", "ƒ4xDa4gYw"),
        ):
            env = {"PATH": "/usr/bin:/bin", name: id, "REFLOW_INNER": "1", "FLUX_JOB_CC": "5", "LC_ALL": "C.UTF-8"}
            done = subprocess.run([shell, "-c", text], env=env, capture_output=True, check=True)
            assert done.stdout == b"5 f4xDa4gYw\n"


# -- find and cancel -------------------------------------------------------------------------


def test_find() -> None:
    listed = (
        "JOBID NAME\n"
        "fA k3f9x2abqd.one-3\nƒB zzzzzzzzzz.arr+2\nfC zzzzzzzzzz.arr+0\nfD yyyyyyyyyy.arr+0\nfE other\nfF xxxxxxxxxx\n"
    )
    made, replay = executor({"flux jobs": listed})
    assert made.find(["k3f9x2abqd", "zzzzzzzzzz", "yyyyyyyyyy", "wwwwwwwwww"]) == {
        "k3f9x2abqd": JobRef("fA"),
        "zzzzzzzzzz": JobRef("fC,,fB"),
        "yyyyyyyyyy": JobRef("fD,"),
    }
    assert replay.calls == [("flux", "jobs", "-a", "-c0", "-o", "{id.f58plain} {name}")]
    answer = executor({"flux jobs": ONE.replace("2RacpknT", "D")})[0].query([JobRef("fD,")])
    assert {ref.slot: status.exit_code for ref, status in answer.items()} == {0: 7}


def test_cancel() -> None:
    said = "flux-cancel: ERROR: ƒ3GtgHFVZ: job is inactive\nflux-cancel: ERROR: ƒZZZ: unknown job id\n"
    none = {
        "returncode": 1,
        "stderr": "".join(f"JobID {id} unknown\n" for id in ("f3GtgHFVZ", "fZZZ", "fA", "fB", "fD")),
    }
    made, replay = executor({"flux jobs": none, "flux cancel": {"returncode": 1, "stderr": said}})
    made.cancel([JobRef("f3GtgHFVZ"), JobRef("fZZZ"), JobRef("fA,,fB"), JobRef("fC,fD", 1)])
    assert replay.calls[1:] == [("flux", "cancel", "f3GtgHFVZ", "fZZZ", "fA", "fB", "fD")]
    denied = {"returncode": 1, "stderr": "flux-cancel: ERROR: Operation not permitted\n"}
    with pytest.raises(ExecutorError, match="not permitted"):
        executor({"flux jobs": none, "flux cancel": denied})[0].cancel([JobRef("fA")])


def test_limits() -> None:
    limits = FluxExecutor().limits
    assert (limits.throttle, limits.max_after, limits.max_array) == (False, 300, 250)


# -- instances -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("[Errno 22] job submission to debug is disabled: maintenance at 18:00", "transient"),
        ("[Errno 1] invalid jobspec: host constraint contains invalid hosts: host 'nosuch' not found", "definite"),
        ("[Errno 22] requested duration (10m) exceeds policy limit of 2m for queue debug", "definite"),
    ],
)
def test_what_a_refusal_means(tmp_path: Path, said: str, kind: str) -> None:
    made, replay = executor({"flux": {"returncode": 1, "stderr": f"{said}\n"}})
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path)))
    assert " ".join(name for name in ("transient", "definite") if getattr(caught.value, name)) == kind
    assert not replay.slept


def test_a_priority_is_of_the_range_that_flux_takes() -> None:
    with pytest.raises(UsageError, match="priority=99: Flux takes 0 to 31"):
        FluxExecutor().speaks.flags(a_job(options={"priority": 99}), FluxExecutor()._site())


def test_a_job_keeps_its_name() -> None:
    for word in ("--job-name=x", "--job-name", "--job"):
        with pytest.raises(UsageError, match="found by their names"):
            FluxExecutor().speaks.flags(a_job(native=(word, "x")), FluxExecutor()._site())


def test_the_instance_is_kept_with_its_ids() -> None:
    """Ids of two instances may be the same: the run's own is named in every command, from wherever it is given."""
    replay = Replay({"--json": '{"jobid": "f1a", "status": "RUN"}', "-a": "JOBID NAME\n", "flux": "f1a\n"})
    made = FluxExecutor.create({}, Context(environ={"FLUX_URI": "local:///one"}, runner=replay))
    assert made.settings["uri"] == "local:///one"
    elsewhere = Context(environ={"FLUX_URI": "local:///two"}, runner=replay)
    again = FluxExecutor.create(made.settings, elsewhere)
    job = a_job(script="/x.sh")
    again.query([JobRef("f1a")])
    again.find(["k3f9x2abqd"])
    again.cancel([JobRef("f1a")])
    assert [env["FLUX_URI"] for env in replay.envs] == ["local:///one"] * 4
    assert again.speaks.submit(job, "", []).env == {"FLUX_URI": "local:///one"}
    assert again.settings == made.settings
    # In a job of the run its script says how to get there.
    inside = FluxExecutor.create(made.settings, Context(environ={"REFLOW_FLUX_URI": "local:///three"}, runner=replay))
    assert inside.speaks.live(["f1a"], inside._site()).env == {"FLUX_URI": "local:///three"}
    assert inside.settings == made.settings
    assert "uri" not in FluxExecutor.create({}, Context(runner=replay)).settings


def test_an_executor_given_as_it_is_keeps_its_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_URI", "local:///one")
    assert FluxExecutor().bind(Replay({})).settings["uri"] == "local:///one"
    assert FluxExecutor(uri="local:///two").bind(Replay({})).settings["uri"] == "local:///two"


def test_the_way_to_the_instance_from_a_job(tmp_path: Path) -> None:
    """A job of `flux batch` has an instance of its own, and asks it for its parent."""
    path, flux = tmp_path / "x.sh", tmp_path / "flux"
    path.write_text('#!/bin/sh\necho "$REFLOW_FLUX_URI"\n')
    flux.write_text('#!/bin/sh\n[ "$*" = "getattr parent-uri" ] && echo local:///parent\n')
    flux.chmod(0o755)
    text = FluxExecutor().preview(a_job(script=str(path))).script
    env = {"REFLOW_INNER": "1", "PATH": f"{tmp_path}:/usr/bin:/bin", "FLUX_URI": "local:///here"}
    for variable, way in (("FLUX_JOB_ID", "local:///here"), ("FLUX_ENCLOSING_ID", "local:///parent")):
        done = subprocess.run(["sh", "-c", text], env=env | {variable: "f1a"}, capture_output=True, check=True)
        assert done.stdout.decode().strip() == way


@pytest.mark.parametrize(
    "said",
    [
        "flux-submit: ERROR: Unable to connect to Flux: broker socket /run/local was not found",
        "flux-submit: ERROR: Unable to connect to Flux: Connection refused",
        "[Errno 38] No service matching job-ingest.submit is registered",
        "flux-submit: ERROR: EPIPE: Broken pipe",
    ],
)
def test_words_of_an_instance_that_starts_or_stops_pass(said: str, tmp_path: Path) -> None:
    """As recorded in the first and last seconds of one; what may have been taken is looked for by its tag."""
    replay = Replay({"flux": {"returncode": 1, "stderr": f"{said}\n"}})  # type: ignore[dict-item]
    made = FluxExecutor(runner=replay, attempts=1)
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path)))
    assert caught.value.transient
    assert caught.value.maybe_done is ("EPIPE" in said)
