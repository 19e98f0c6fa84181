"""The executor of command-line schedulers, with a scheduler that does not exist."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from reflow.batch.command import CommandExecutor
from reflow.batch.dialect import (
    Call,
    Dialect,
    Row,
    Site,
    Words,
    ceiling,
    clock,
    indices,
    local_time,
    per_node,
    seconds_until,
)
from reflow.batch.ends import exited, pending, running, signalled, succeeded, unknown
from reflow.batch.options import SCRIPT, VOCABULARY, WORKER, Cell, built, emulated, flag, names, refused
from reflow.batch.preview import MARK, _umask
from reflow.batch.runner import Completed
from reflow.errors import ExecutorError, UsageError
from reflow.model.job import Executor, Job, JobRef, JobState, Limits, Submission
from reflow.model.names import FailureClass
from reflow.model.task import JSON
from reflow.plugin import Context
from reflow.testing.dialects import a_job, a_script, a_site
from reflow.testing.replay import Replay

STATES = {
    "P": pending("P"),
    "R": running("R"),
    "D": succeeded("D"),
    "F": exited(3, "F"),
    "K": signalled(15, "K"),
}


class Toy(Dialect):
    """Its lines are ``ID[.INDEX] STATE``; array indices count from 1; two commands ask."""

    name = "toy"
    title = "Toy"
    prefix = "#TOY"
    programs = ("tsub", "tstat", "tacct", "tdel")
    cells: ClassVar[Mapping[str, Cell]] = {
        **dict.fromkeys(VOCABULARY, built("-x")),
        "queue": flag("-q {}"),
        "exclusive": flag("-x {}", "-x"),
        "priority": flag("-p"),
        "mail_user": flag("-M {}"),
        "signal": WORKER,
        "env": SCRIPT,
        "nice": emulated("by hope"),
        "qos": refused("it has queues"),
    }
    native = names("color c")
    own = names("detach")
    limits = Limits(array_base=1, max_array=10)
    index = "TOY_INDEX"
    job_id = '"${TOY_ID-}"'
    longest_name = 20
    forgets = True
    passing = "try later"
    uncertain = "lost the line"
    gone = "no such job"
    off = "no books are kept"
    whole = ""  # whatever it prints: see `Framed`
    hints: ClassVar[Mapping[str, str]] = {"unknown queue": "look at tinfo"}

    def learn(self) -> Mapping[str, Call]:
        return {"size": Call(argv=(self.program("tstat"), "--size")), "gone": Call(argv=("tinfo",))}

    def learned(self, fact: str, done: Completed) -> Mapping[str, JSON]:
        return {"max_array": int(done.stdout)}

    def submit(self, job: Job, script: str, words: Sequence[str]) -> Call:
        return Call(argv=(self.program("tsub"), *words, job.script))

    def submitted(self, job: Job, done: Completed) -> Submission | None:
        ids = re.findall(r"\d+", done.stdout)
        if job.slots is not None and len(ids) > 1:
            return Submission(slots={slot: JobRef(id) for slot, id in enumerate(ids)})
        return Submission(ref=JobRef(ids[0])) if ids else None

    def live(self, ids: Sequence[str], site: Site) -> Call:
        return Call(argv=(self.program("tstat"), *ids))

    def read_live(self, done: Completed) -> Iterable[Row]:
        for id, index, word in re.findall(r"(?m)^(\d+)(?:\.(\d+))? (\w)$", done.stdout):
            yield Row(id=id, index=int(index) if index else None, status=STATES.get(word, unknown(word)))

    def follow_up(self, rows: Sequence[Row], missing: Sequence[str], site: Site) -> Call | None:
        return Call(argv=(self.program("tacct"), *missing)) if missing else None

    def read_follow_up(self, done: Completed, rows: Sequence[Row]) -> Iterable[Row]:
        return self.read_live(done)

    def search(self, site: Site) -> Sequence[Call]:
        return [Call(argv=("tstat", "-n")), Call(argv=("tacct", "-n"))]

    def read_search(self, number: int, done: Completed, tags: Collection[str]) -> Mapping[str, str]:
        return {tag: id for id, tag in re.findall(r"(\d+) (\w+)", done.stdout) if tag in tags}

    def cancel(self, ids: Sequence[str]) -> Sequence[Call]:
        return [Call(argv=(self.program("tdel"), *ids))]

    def element(self, id: str, indices: Sequence[int]) -> Sequence[str]:
        return [f"{id}.{index}" for index in indices]

    def resources(self, job: Job) -> Iterable[Words]:
        return [("-t", clock(job.resources.time))] if job.resources.time else []

    def array(self, slots: int, throttle: int | None) -> Iterable[Words]:
        return [("-a", f"1-{slots}")]

    def after(self, ids: Sequence[str]) -> Iterable[Words]:
        return [("-w", ",".join(ids))]

    def begin(self, seconds: float, site: Site) -> Iterable[Words]:
        return [("-b", str(ceiling(int(seconds), 1)))]

    def named(self, job: Job, name: str) -> Iterable[Words]:
        return [("-n", name)]

    def output(self, path: str, asked: bool) -> Iterable[Words]:
        return [("-o", path)]

    def extra(self, name: str, value: str | None) -> Words:
        return (f"--{name}",) if value is None else (f"--{name}", value)


class ToyExecutor(CommandExecutor):
    dialect = Toy
    own_settings = ("shape",)


def toy(answers: Mapping[str, object], **settings: object) -> tuple[ToyExecutor, Replay]:
    replay = Replay({"--size": "50", "tinfo": ExecutorError("there is no program 'tinfo'"), **answers})  # type: ignore[dict-item]
    return ToyExecutor(runner=replay, **settings), replay  # type: ignore[arg-type]


def flags(**fields: object) -> list[Words]:
    return Toy().flags(a_job(**fields), a_site())


def test_it_is_an_executor() -> None:
    assert isinstance(toy({})[0], Executor)


# -- submit ----------------------------------------------------------------------


def test_script_is_completed_in_place(tmp_path: Path) -> None:
    made, replay = toy({"tsub": "job 12\n"})
    script = a_script(tmp_path)
    os.chmod(script, 0o640)
    job = a_job(script=script, slots=3, options={"queue": "a b", "color": "red"}, native=("--raw", "$x"))
    assert made.submit(job).ref == JobRef("12")
    text = Path(script).read_text()
    assert text.startswith(
        "#!/bin/bash\n#TOY -n k3f9x2abqd.compute\n#TOY -a 1-3\n#TOY -o /dev/null\n#TOY --color red\n"
        f"# submitted by: tsub -q 'a b' --raw '$x' {script}\n"
        f"umask {_umask():04o}\ncd -- / || {{ echo 'reflow: cannot enter the working directory /' >&2; exit 78; }}\n"
    )
    assert text.count(MARK) == 1
    assert replay.calls[-1] == ("tsub", "-q", "a b", "--raw", "$x", script)
    assert stat.S_IMODE(os.stat(script).st_mode) == 0o740
    before = os.stat(script).st_mtime_ns
    made.submit(job)
    assert (Path(script).read_text(), os.stat(script).st_mtime_ns) == (text, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == [Path(script).name]


@pytest.mark.parametrize(
    ("slots", "env", "slot"),
    [(3, {"TOY_INDEX": "3"}, "2"), (3, {}, "0"), (None, {}, "0"), (3, {"REFLOW_SLOT": "1"}, "1")],
)
def test_slot_and_job_in_the_script(tmp_path: Path, slots: int | None, env: dict[str, str], slot: str) -> None:
    import subprocess

    path = tmp_path / "x.sh"
    path.write_text('#!/bin/bash\necho "$REFLOW_SLOT $REFLOW_JOB_ID"\n')
    made, _ = toy({})
    text = made.preview(a_job(script=str(path), slots=slots)).script
    done = subprocess.run(
        ["bash", "-c", text], env={"PATH": "/bin", "TOY_ID": "9", **env}, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{slot} 9\n"


@pytest.mark.parametrize("head", ["#!/bin/sh", "#!/usr/bin/env bash", "#!/bin/bash -l"])
def test_shell_scripts_of_others(tmp_path: Path, head: str) -> None:
    path = tmp_path / "x.sh"
    path.write_text(f"{head}\ntrue\n")
    assert toy({})[0].preview(a_job(script=str(path))).script.startswith(f"{head}\n#TOY")
    path.write_text("true\n")
    assert toy({})[0].preview(a_job(script=str(path))).script.startswith("#!/bin/bash\n#TOY")
    assert toy({})[0].preview(a_job(), body="true\n").script.endswith("true\n")


@pytest.mark.parametrize("head", ["#!/usr/bin/python3", "#!", "#!/usr/bin/env"])
def test_no_shell_script(tmp_path: Path, head: str) -> None:
    path = tmp_path / "x.py"
    path.write_text(f"{head}\n")
    with pytest.raises(UsageError, match="no shell script"):
        toy({})[0].preview(a_job(script=str(path)))


def test_separate_jobs_for_an_array(tmp_path: Path) -> None:
    made, _ = toy({"tsub": "7 8 9"})
    assert made.submit(a_job(script=a_script(tmp_path), slots=3)).slots == {
        0: JobRef("7"),
        1: JobRef("8"),
        2: JobRef("9"),
    }


def test_what_came_half_way_is_left_to_be_looked_for(tmp_path: Path) -> None:
    """It is neither sent again as a whole, though the outage passes, nor cancelled: its jobs may run already."""
    for said in ("full", "try later"):
        made, replay = toy({"tsub": {"returncode": 1, "stdout": "7 8", "stderr": said}})
        with pytest.raises(ExecutorError, match=f"did not take the job: {said}; 7 8") as caught:
            made.submit(a_job(script=a_script(tmp_path), slots=3))
        assert caught.value.maybe_done
        assert [call[0] for call in replay.calls].count("tsub") == 1
        assert replay.calls[-1][0] == "tsub"


def test_it_said_nothing(tmp_path: Path) -> None:
    for answer, said in (
        ({"returncode": 3}, "tsub ended with code 3 and said nothing"),
        ({"returncode": None, "stderr": "still trying\n"}, "tsub did not end in time; still trying"),
        ("thank you\n", "thank you"),
        ({"returncode": 2, "stderr": "bad option\nUsage: tsub [-x]\n  -x  y\n"}, "job: bad option$"),
    ):
        with pytest.raises(ExecutorError, match=said):
            toy({"tsub": answer})[0].submit(a_job(script=a_script(tmp_path)))


def test_hint(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError) as caught:
        toy({"tsub": {"returncode": 1, "stderr": "unknown queue"}})[0].submit(a_job(script=a_script(tmp_path)))
    assert caught.value.hint == "look at tinfo"
    assert caught.value.stderr == "unknown queue"


def test_missing_program_names_its_setting(tmp_path: Path) -> None:
    gone = ExecutorError("there is no program 'tsub'", hint="load what provides it, or configure its path")
    with pytest.raises(ExecutorError) as caught:
        toy({"tsub": gone})[0].submit(a_job(script=a_script(tmp_path)))
    assert caught.value.hint == "load what provides it, or configure its path: [executor.toy] tsub"


def test_lost_line_is_not_tried_again(tmp_path: Path) -> None:
    made, replay = toy({"tsub": {"returncode": 1, "stderr": "lost the line, try later"}})
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path)))
    assert caught.value.maybe_done
    assert replay.slept == []


def test_passing_outage(tmp_path: Path) -> None:
    busy = {"returncode": 1, "stderr": "try later"}
    made, replay = toy({"tsub": [busy, "5"]}, attempts=2)
    assert made.submit(a_job(script=a_script(tmp_path))).ref == JobRef("5")
    made, replay = toy({"tsub": busy}, attempts=2)
    with pytest.raises(ExecutorError) as caught:
        made.submit(a_job(script=a_script(tmp_path)))
    assert (caught.value.transient, caught.value.maybe_done, replay.slept) == (True, False, [1.0])


# -- query -----------------------------------------------------------------------


def test_query_of_all_kinds() -> None:
    made, replay = toy({"tstat": "1 P\n2.1 R\n2.2 D\n3 R\n", "tacct": "2.3 F\n4 D\n"})
    refs = [JobRef("1"), JobRef("2"), JobRef("3"), JobRef("4"), JobRef("5"), JobRef("2", 1), JobRef("2", 7)]
    found = {(ref.id, ref.slot): status.native for ref, status in made.query(refs).items()}
    assert found == {
        ("1", None): "P",
        ("2", 0): "R",
        ("2", 1): "D",
        ("2", 2): "F",
        ("3", None): "R",
        ("4", None): "D",
        ("5", None): "",
        ("2", 7): "",
    }
    assert replay.calls == [("tstat", "1", "2", "3", "4", "5"), ("tacct", "2", "4", "5")]


def test_query_of_nothing() -> None:
    made, replay = toy({})
    assert made.query([]) == {}
    assert replay.calls == []


def test_separate_jobs_under_one_reference() -> None:
    made, replay = toy({"tstat": "7 R\n9 D\n", "tacct": ""})
    whole = JobRef("7,8,,9")
    found = made.query([whole])
    assert {ref.slot: status.state for ref, status in found.items()} == {
        0: JobState.RUNNING,
        1: JobState.UNKNOWN,
        2: JobState.UNKNOWN,  # was not submitted
        3: JobState.SUCCESS,
    }
    assert list(made.query([JobRef("7,8,,9", 3)])) == [JobRef("7,8,,9", 3)]
    made, replay = toy({"tstat": "", "tdel": ""})
    made.cancel([whole])
    made.cancel([JobRef("7,8,,9", 3)])
    assert replay.calls[1::2] == [("tdel", "7", "8", "9"), ("tdel", "9")]
    assert Toy().flags(a_job(after=(whole,)), a_site())[1] == ("-w", "7,8,9")


def test_live_is_believed_before_the_books() -> None:
    made, _ = toy({"tstat": "2.1 R\n2.2 F\n", "tacct": "2.1 D\n2.2 D\n"})
    found = made.query([JobRef("2")])
    assert [found[JobRef("2", slot)].native for slot in (0, 1)] == ["R", "D"]


def test_books_that_are_not_kept_or_not_open() -> None:
    made, _ = toy({"tstat": "", "tacct": {"returncode": 1, "stderr": "no books are kept"}})
    assert made.query([JobRef("4")])[JobRef("4")].state is JobState.UNKNOWN
    for answer in ({"returncode": 1, "stderr": "try later"}, {"returncode": None}):
        made, _ = toy({"tstat": "1 R\n", "tacct": answer})
        assert list(made.query([JobRef("4"), JobRef("1"), JobRef("5,6")])) == [JobRef("1")]
        made, _ = toy({"tstat": "2.3 R\n", "tacct": answer})
        found = made.query([JobRef("2")])
        assert {ref.slot: status.state for ref, status in found.items()} == {
            2: JobState.RUNNING,
            None: JobState.RUNNING,
        }
        assert found[JobRef("2")].reason == "Toy did not tell of all its elements"


def test_scheduler_that_does_not_answer() -> None:
    made, _ = toy({"tstat": {"returncode": None}})
    with pytest.raises(ExecutorError, match="Toy did not answer: tstat did not end in time") as caught:
        made.query([JobRef("1")])
    assert caught.value.transient


def test_many_ids_are_asked_for_in_a_few_commands() -> None:
    made, replay = toy({"tstat": "", "tacct": ""})
    made.query([JobRef(f"{number:08}") for number in range(30_000)])
    assert len(replay.calls) == 6
    assert all(sum(map(len, call)) < 128 * 1024 for call in replay.calls)


class Framed(Toy):
    """Its answers end with END, and name what is not known."""

    whole = followed = r"(?m)^END$"
    absent = r"(?m)^(\d+) is no job$"


class FramedExecutor(CommandExecutor):
    dialect = Framed


def test_what_an_answer_leaves_out_was_not_asked_for() -> None:
    """Absence counts where the scheduler names it, or not at all."""

    def answers(stat: str, acct: str = "") -> dict[JobRef, JobState]:
        replay = Replay({"--size": "5", "tinfo": "6", "tstat": stat, "tacct": acct})
        found = FramedExecutor(runner=replay).query([JobRef("1"), JobRef("2"), JobRef("3,4")])
        return {ref: status.state for ref, status in found.items()}

    running, unknown = JobState.RUNNING, JobState.UNKNOWN
    parts = {JobRef("3,4", 0): running}
    assert answers("1 R\n3 R\n") == {JobRef("1"): running, **parts}
    assert answers("1 R\n3 R\nEND\n") == {JobRef("1"): running, **parts}
    assert answers("2 is no job\n1 R\n3 R\nEND\n", "END\n") == {JobRef("1"): running, **parts}
    named = answers("2 is no job\n4 is no job\n1 R\n3 R\nEND\n", "2 is no job\n4 is no job\nEND\n")
    assert named == {JobRef("1"): running, JobRef("2"): unknown, **parts, JobRef("3,4", 1): unknown}
    with pytest.raises(ExecutorError, match="Toy gave an answer that is not whole: it is empty"):
        answers("")


def test_an_array_that_is_told_of_in_part_is_not_gone_from() -> None:
    replay = Replay({"--size": "5", "tinfo": "6", "tstat": "2.1 D\n2.2 R\n", "tacct": ""})
    found = FramedExecutor(runner=replay).query([JobRef("2")])
    assert found[JobRef("2")].state is JobState.RUNNING, "of slots that are left out nothing is known"
    assert found[JobRef("2", 0)].state is JobState.SUCCESS


def test_a_tag_is_missing_only_from_a_whole_list() -> None:
    replay = Replay({"--size": "5", "tinfo": "6", "tstat": "1 abc\n", "tacct": "END\n"})
    made = FramedExecutor(runner=replay)
    assert made.find(["abc"]) == {"abc": JobRef("1")}
    with pytest.raises(ExecutorError, match="not whole"):
        made.find(["abc", "xyz"])


# -- find, cancel ------------------------------------------------------------------


def test_find() -> None:
    made, replay = toy({"tstat": "1 abc 2 def", "tacct": "3 ghi 9 abc"})
    assert made.find(["abc", "ghi", "xyz"]) == {"abc": JobRef("1"), "ghi": JobRef("3")}
    assert made.find([]) == {}
    assert len(replay.calls) == 2
    off = toy({"tstat": "", "tacct": {"returncode": 1, "stderr": "no books are kept"}})[0]
    assert off.find(["abc"]) == {}
    down = toy({"tstat": {"returncode": 1, "stderr": "boom"}})[0]
    with pytest.raises(ExecutorError, match="boom"):
        down.find(["abc"])


def test_cancel_names_only_what_lives_where_it_must() -> None:
    class Careful(Toy):
        known = True

    class CarefulExecutor(ToyExecutor):
        dialect = Careful

    replay = Replay({"--size": "5", "tinfo": "6", "tstat": "1 R\n2.1 D\n2.2 R\n3 D\n", "tdel": ""})
    CarefulExecutor(runner=replay).cancel([JobRef("1"), JobRef("2", 1), JobRef("3"), JobRef("4")])
    assert replay.calls == [("tstat", "1", "2", "3", "4"), ("tdel", "1", "2.2")]
    CarefulExecutor(runner=replay).cancel([JobRef("3")])
    assert replay.calls[-1] == ("tstat", "3")


def test_what_was_cancelled_here_and_is_forgotten_was_cancelled() -> None:
    made, _ = toy({"tstat": "2.2 R\n", "tacct": "", "tdel": ""})
    refs = [JobRef("1"), JobRef("2", 0), JobRef("2", 1), JobRef("3"), JobRef("5,6")]
    assert {status.state for status in made.query(refs).values()} == {JobState.UNKNOWN, JobState.RUNNING}
    made.cancel([JobRef("1"), JobRef("2", 0), JobRef("2", 1), JobRef("5,6", 1)])
    found = made.query([*refs, JobRef("2")])
    assert {(ref.id, ref.slot): status.state for ref, status in found.items()} == {
        ("1", None): JobState.CANCELLED,
        ("2", 0): JobState.CANCELLED,
        ("2", 1): JobState.RUNNING,
        ("3", None): JobState.UNKNOWN,
        ("5,6", 0): JobState.UNKNOWN,
        ("5,6", 1): JobState.CANCELLED,
    }


def test_a_signal_after_a_cancel_is_the_cancel() -> None:
    made, _ = toy({"tstat": "1 K\n2 F\n3 K\n", "tdel": ""})
    made.cancel([JobRef("1"), JobRef("2")])
    found = made.query([JobRef("1"), JobRef("2"), JobRef("3")])
    states = [found[JobRef(id)].state for id in "123"]
    assert states == [JobState.CANCELLED, JobState.FAILED, JobState.FAILED]


def test_where_and_how_a_job_runs(tmp_path: Path) -> None:
    import subprocess

    path = tmp_path / "x.sh"
    path.write_text("#!/bin/sh\npwd; umask; echo said\n")
    cwd = tmp_path / "a dir, with 'odd' name"
    cwd.mkdir()
    log = tmp_path / "logs" / "l o g"
    before = os.umask(0o027)
    try:
        text = toy({})[0].preview(a_job(script=str(path), cwd=str(cwd), log=str(log))).script
    finally:
        os.umask(before)
    for shell in ("sh", "bash"):
        assert subprocess.run([shell, "-c", text], cwd="/", check=True, capture_output=True).stdout == b""
    assert log.read_text() == f"{cwd}\n0027\nsaid\n" * 2
    cwd.rmdir()
    assert subprocess.run(["sh", "-c", text], cwd="/", check=False).returncode == 78
    assert "cannot enter the working directory" in log.read_text()


def test_log_is_redirected_once(tmp_path: Path) -> None:
    from reflow.batch.script import Body, render

    body = render(Body(command=("true",), log="/r/x.log"))
    assert toy({})[0].preview(a_job(log="/r/x.log"), body=body).script.count(">>/r/x.log 2>&1") == 1


def test_umask_where_the_kernel_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    def refuses(*args: object, **named: object) -> None:
        raise FileNotFoundError

    expected = _umask()
    monkeypatch.setattr(builtins, "open", refuses)
    assert _umask() == expected


# -- construction -------------------------------------------------------------------


def test_create_takes_the_configuration() -> None:
    replay = Replay({})
    general = {
        "command_timeout": 7.0,
        "submit_timeout": 8.0,
        "command_attempts": 1,
        "max_submitted": None,
        "max_array": 5,
    }
    context = Context(runner=replay, config={"executor": general})
    made = ToyExecutor.create({"tsub": "/opt/tsub", "tstat": None, "shape": "round", "max_array": 4}, context)
    settings = dict(made.settings)
    assert isinstance(settings.pop("facts"), dict)
    assert settings == {
        "tsub": "/opt/tsub",
        "shape": "round",
        "timeout": 7.0,
        "submit_timeout": 8.0,
        "attempts": 1,
        "max_array": 4,
    }
    assert made.speaks.settings == {"shape": "round"}
    assert made.speaks.program("tsub") == "/opt/tsub"
    assert ToyExecutor.create(made.settings, Context()).settings == made.settings


def test_what_was_found_out_is_kept() -> None:
    made, replay = toy({})
    assert made.limits.max_array == 50
    again = ToyExecutor(runner=Replay({}), **dict(made.settings))  # type: ignore[arg-type]
    assert again.limits == made.limits
    assert replay.calls == [("tstat", "--size"), ("tinfo",)]


def test_bind(tmp_path: Path) -> None:
    unbound = ToyExecutor(tsub="/opt/tsub")
    assert unbound.limits.max_array == 10
    bound = unbound.bind(Replay({"--size": "3", "tinfo": "4", "/opt/tsub": "1"}))
    assert bound.submit(a_job(script=a_script(tmp_path))).ref == JobRef("1")
    assert bound.name == "toy"


def test_unknown_argument() -> None:
    with pytest.raises(TypeError, match="ToyExecutor\\(\\) has no argument 'qsub'"):
        ToyExecutor(qsub="x")


def test_check() -> None:
    made, replay = toy({})
    made.check(a_job(options={"queue": "x"}))
    with pytest.raises(UsageError, match="Toy has no 'qos': it has queues"):
        made.check(a_job(options={"qos": "high"}))
    assert not any(call[0] == "tsub" for call in replay.calls)


def test_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setenv("USER", "someone")
    assert toy({})[0]._site().user == "someone"


# -- options -------------------------------------------------------------------------


def test_options() -> None:
    assert ("-q", "7") in flags(options={"queue": 7})
    assert ("-q", "a,b") in flags(options={"queue": ["a", "b"]})
    assert ("-x",) in flags(options={"exclusive": True})
    assert ("-x", "user") in flags(options={"exclusive": "user"})
    assert ("--color",) in flags(options={"color": True})
    assert ("--c", "2") in flags(options={"c": [1, 2]})
    assert flags(options={"signal": "INT@60", "nice": 5, "constraint": "x"}) == flags()
    for wrong in ({"queue": True}, {"priority": "5"}):
        with pytest.raises(UsageError, match=r"Toy takes (a|no) value here"):
            flags(options=wrong)


def test_begin() -> None:
    assert ("-b", "90") in flags(begin=90.0)
    assert ("-b", "7200") in flags(options={"begin": "2h"})
    assert ("-b", "7200") in flags(options={"begin": "2h"}, begin=5.0)
    assert seconds_until(60, 0.0) == 60
    assert seconds_until("1990-01-01T00:00", 1e9) == 0
    assert seconds_until("2001-09-09T01:46:41+00:00", 1e9) == 1
    with pytest.raises(UsageError, match="no begin time"):
        seconds_until("tomorrow-ish", 0.0)


def test_name() -> None:
    dialect = Toy()
    assert dialect.label(a_job()) == "k3f9x2abqd.compute"
    assert dialect.label(a_job(name="k3f9x2abqd")) == "k3f9x2abqd"
    assert dialect.label(a_job(options={"name": "my job/☃"})) == "k3f9x2abqd.my_job__"
    assert dialect.label(a_job(name="k3f9x2abqd." + "x" * 99)) == "k3f9x2abqd.xxxxxxxxx"


def test_cells_as_text() -> None:
    assert str(flag("--x={}")) == "--x={}"
    assert str(refused("no")) == "refused: no"
    assert str(WORKER).startswith("emulated: ")


# -- helpers ---------------------------------------------------------------------------


def test_clock_and_ceiling() -> None:
    assert [clock(second) for second in (1, 3599, 3600, 360000)] == ["0:00:01", "0:59:59", "1:00:00", "100:00:00"]
    assert [ceiling(amount, 60) for amount in (1, 60, 61)] == [1, 1, 2]


def test_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert local_time(59.2, "%H:%M:%S") == "00:01:00"
    assert local_time(61, "%H:%M", 60) == "00:02"
    monkeypatch.undo()
    time.tzset()


def test_indices() -> None:
    assert indices("0-9:3,12,15-17%2") == [0, 3, 6, 9, 12, 15, 16, 17]
    assert indices("N/A") == []
    assert indices("1,48,57...") == [1, 48]


def test_tasks_over_nodes() -> None:
    assert per_node(2, 8) == [(2, 4)]
    assert per_node(2, 7) == [(1, 4), (1, 3)]
    assert per_node(3, 2) == [(2, 1)]


def test_ends() -> None:
    assert exited(0).state is JobState.SUCCESS
    assert exited(137).signal is None
    assert (exited(137, shell=True).signal, exited(137, shell=True).exit_code) == (9, 137)
    assert exited(5, shell=True).failure_class is FailureClass.EXIT
    assert exited(78).failure_class is FailureClass.LAUNCH


def test_nothing_was_recorded() -> None:
    with pytest.raises(AssertionError, match="nothing was recorded of: x y"):
        Replay({}).run(["x", "y"])


def test_bounds_of_a_retry_take_the_place_of_configured_ones() -> None:
    executor = ToyExecutor(max_array=2, max_submitted=7)
    executor.rebound({"max_array": 5})
    assert (executor.limits.max_array, executor.limits.max_submitted) == (5, 7)
    executor.rebound({"max_array": 0, "max_submitted": 50})
    assert (executor.limits.max_array, executor.limits.max_submitted) == (10, 50), "the scheduler's own bound is left"
