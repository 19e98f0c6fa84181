"""The simulators say what the transcripts say, refuse what the real ones refuse, and spring their traps."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Any]

USAGE = "usage: qsub [-a date_time] [-A account_string] [-c interval]"

#: scheduler, command, return code, what it says on either stream (a pattern)
SAID: list[tuple[str, str, int, str]] = [
    # OpenPBS
    ("pbs", "qsub --version", 0, r"pbs_version = 23\.06\.06\n"),
    ("pbs", "qstat", 0, r""),
    ("pbs", "qsub job.sh", 0, r"\d+\.pbs1\n"),
    ("pbs", "qsub -N arr -J 0-9%3 job.sh", 0, r"\d+\[\]\.pbs1\n"),
    ("pbs", "qsub -J 3-4:9 job.sh", 0, r"\d+\[\]\.pbs1\n"),
    ("pbs", "qsub -J 1,5,9 job.sh", 2, rf"qsub: illegal -J value\n{re.escape(USAGE)}"),
    ("pbs", "qsub -J 3-3 job.sh", 2, "qsub: illegal -J value"),
    ("pbs", "qsub -J 3 job.sh", 2, "qsub: illegal -J value"),
    ("pbs", "qsub -J 3-1 job.sh", 2, "qsub: illegal -J value"),
    ("pbs", "qsub -J 0-10 job.sh", 1, r"qsub: Array job exceeds server or queue size limit\n"),
    ("pbs", "qsub -r n -J 0-1 job.sh", 2, "qsub:  cannot submit non-rerunable Array Job"),
    ("pbs", "qsub -t 0-3 job.sh", 2, "qsub: invalid option -- 't'"),
    ("pbs", "qsub -d /tmp job.sh", 2, "qsub: invalid option -- 'd'"),
    ("pbs", "qsub -w /tmp job.sh", 2, "qsub: invalid option -- 'w'"),
    ("pbs", "qsub -F x job.sh", 2, "qsub: invalid option -- 'F'"),
    ("pbs", "qsub -N a:b job.sh", 2, "qsub: illegal -N value"),
    ("pbs", f"qsub -N {'n' * 230} job.sh", 0, ""),
    ("pbs", f"qsub -N {'n' * 231} job.sh", 2, "qsub: Job name is too long "),
    ("pbs", "qsub -N 1abc job.sh", 0, ""),
    ("pbs", "qsub -o logs/ü.log job.sh", 2, "qsub: illegal -o value"),
    ("pbs", "qsub -q nosuch job.sh", 170, "qsub: Unknown queue"),
    ("pbs", "qsub -p 5000 job.sh", 2, "qsub: illegal -p value"),
    ("pbs", "qsub -m a,b job.sh", 2, "qsub: illegal -m value"),
    ("pbs", "qsub -m aj job.sh", 2, "qsub: mail option 'j' can not be used without array job"),
    ("pbs", "qsub -l select=1:ncpus=2 -l mem=1gb job.sh", 5, '"-lresource=" cannot be used with "select" or "place"'),
    ("pbs", "qsub -l select=1:ncpus=2:mem=1gib job.sh", 166, "Illegal attribute or resource value select.mem"),
    ("pbs", "qsub -l select=1:ncpus=2:mem=1.5gb job.sh", 166, "Illegal attribute or resource value select.mem"),
    ("pbs", "qsub -l select=1:ncpus=1.5 job.sh", 166, "Illegal attribute or resource value select.ncpus"),
    ("pbs", "qsub -l select=1:ncpus=2:walltime=10 job.sh", 4, 'Resource invalid in "select" specification: walltime'),
    ("pbs", "qsub -l select=1:ngpus=1 job.sh", 187, "qsub: Unknown resource: ngpus"),
    ("pbs", "qsub -l walltime=1-00:00:00 job.sh", 166, "Illegal attribute or resource value Resource_List.walltime"),
    ("pbs", "qsub -l walltime=1:00:00:00 job.sh", 166, "Illegal attribute or resource value Resource_List.walltime"),
    ("pbs", "qsub -l walltime=1d job.sh", 166, "Illegal attribute or resource value Resource_List.walltime"),
    ("pbs", "qsub -l walltime=100:00:00 job.sh", 0, ""),
    ("pbs", "qsub -W depend=afterok: job.sh", 2, "qsub: illegal -W value"),
    ("pbs", "qsub -W depend=bogus:1 job.sh", 2, "qsub: illegal -W value"),
    ("pbs", "qsub -W depend=afterok:1[0] job.sh", 2, "qsub: illegal -W value"),
    ("pbs", "qsub -W depend=afterany:999999 job.sh", 0, r"\d+\.pbs1\n"),
    ("pbs", "qsub crlf.sh", 1, "qsub: script contains cr, lf"),
    ("pbs", "qsub nosuch.sh", 1, "qsub: script file:: No such file or directory"),
    ("pbs", "qsub job.sh a b", 2, r"\Ausage: qsub"),
    ("pbs", "qstat 9999", 153, "qstat: Unknown Job Id 9999.pbs1"),
    ("pbs", "qstat bogus", 170, "qstat: Unknown queue destination bogus"),
    ("pbs", "qdel 9999", 153, "qdel: Unknown Job Id 9999.pbs1"),
    ("pbs", "qdel bogus", 2, "qdel: illegally formed job identifier: bogus"),
    ("pbs", "qmgr -c", 99, "not in the transcripts"),
    ("pbs", "qsub -a 202601010000.00 job.sh", 99, "not in the transcripts"),
    ("pbs", "qstat -B", 99, "not in the transcripts"),
    # Torque
    ("torque", "qsub -t 1-6%2 job.sh", 0, r"\d+\[\]\.vm\n"),
    ("torque", "qsub -t 1,5,9 job.sh", 0, r"\d+\[\]\.vm\n"),
    ("torque", "qsub -t 3 job.sh", 0, r"\d+\[\]\.vm\n"),
    ("torque", "qsub -t 1-5:2 job.sh", 235, r"qsub: submit error \(Bad Job Array Request\)"),
    ("torque", "qsub -t 5-1 job.sh", 235, r"qsub: submit error \(Bad Job Array Request\)"),
    ("torque", "qsub -t 0-10 job.sh", 235, "MSG=Requested array size too large, limit is 10"),
    ("torque", "qsub -J 1-3 job.sh", 2, "The -J option can only be used in conjunction with -P"),
    ("torque", "qsub -N 1abc job.sh", 0, ""),
    ("torque", "qsub -q nosuch job.sh", 172, r"submit error \(Unknown queue MSG=requested queue not found\)"),
    (
        "torque",
        "qsub -l nodes=1:ppn=17 job.sh",
        190,
        "Job exceeds queue resource limits MSG=cannot locate feasible nodes",
    ),
    ("torque", "qsub -l select=1:ncpus=2 job.sh", 0, ""),
    ("torque", "qsub -W depend=afterany:99999.vm job.sh", 208, r"submit error \(Invalid Job Dependency\)"),
    ("torque", "qsub -- /bin/echo hi", 1, "qsub: script file 'hi' cannot be loaded - No such file or directory"),
    ("torque", "qstat 99999", 153, "qstat: Unknown Job Id Error 99999.vm"),
    ("torque", "qdel 999", 153, "qdel: nonexistent job id: 999"),
    ("torque", "qstat -x", 99, "not in the transcripts"),
    # OpenLava
    ("lsf", "bsub -V", 0, "openlava project 2.2, Nov 23 2026"),
    ("lsf", "bsub -J s[1,5,9] < job.sh", 0, r"Job <\d+> is submitted to default queue <normal>\.\n"),
    ("lsf", "bsub -q short < job.sh", 0, r"Job <\d+> is submitted to queue <short>\.\n"),
    ("lsf", "bsub -J s[0-3] < job.sh", 255, "Bad job name. Job not submitted."),
    ("lsf", "bsub -J s[3-1] < job.sh", 255, "Bad job name. Job not submitted."),
    ("lsf", "bsub -J s[] < job.sh", 255, "Bad job name. Job not submitted."),
    ("lsf", "bsub -J s[1-2]b < job.sh", 255, "Bad job name. Job not submitted."),
    ("lsf", "bsub -J s[7] < job.sh", 0, ""),
    ("lsf", f"bsub -J {'n' * 250}[1] < job.sh", 0, ""),
    ("lsf", f"bsub -J {'n' * 252}[1] < job.sh", 255, "Bad job name. Job not submitted."),
    ("lsf", "bsub -J s[1-11] < job.sh", 255, "Job array index too large. Job not submitted."),
    ("lsf", "bsub -W 0:00:30 < job.sh", 255, "0:00:30: Bad RUNLIMIT specification. Job not submitted."),
    ("lsf", "bsub -W 1.5 < job.sh", 255, "1.5: Bad RUNLIMIT specification. Job not submitted."),
    (
        "lsf",
        "bsub -q short -W 10 < job.sh",
        255,
        r"RUNLIMIT: Cannot exceed queue's hard limit\(s\). Job not submitted.",
    ),
    ("lsf", "bsub -q nosuch < job.sh", 255, "nosuch: No such queue. Job not submitted."),
    ("lsf", "bsub -M 100MB < job.sh", 255, "100MB: MEMLIMT value should be a positive integer. Job not submitted."),
    ("lsf", "bsub -n 0 < job.sh", 255, "The number of processors must be a positive integer. Job not submitted."),
    ("lsf", "bsub -R span[ptile= < job.sh", 255, "Bad resource requirement syntax. Job not submitted."),
    ("lsf", "bsub -R select[mem>1] -R rusage[mem=1] < job.sh", 255, "the -R option was used more than once"),
    ("lsf", "bsub -g /foo < job.sh", 255, "bsub: illegal option -- g"),
    ("lsf", "bsub -w ended(999999) < job.sh", 255, "999999: No matching job found. Job not submitted."),
    ("lsf", "bsub -w finished(134) < job.sh", 255, "Dependency condition syntax error. Job not submitted."),
    ("lsf", "bsub", 255, "No command is specified. Job not submitted."),
    ("lsf", "bjobs -w", 0, "No unfinished job found"),
    ("lsf", "bjobs -w 99999", 255, "Job <99999> is not found"),
    ("lsf", "bjobs -noheader", 255, "bjobs: invalid option -- 'n'"),
    ("lsf", "bkill 99999", 255, "Job <99999>: No matching job found"),
    ("lsf", "bkill abc", 255, "abc: Illegal job ID."),
    ("lsf", "bparams -a", 99, "not in the transcripts"),
    # Flux
    ("flux", "flux submit -n1 true", 0, r"\Aƒ[1-9A-Za-z]+\n\Z"),
    ("flux", "flux submit -n1 -t 00:10:00 true", 1, "flux-submit: ERROR: invalid Flux standard duration"),
    ("flux", "flux submit -n1 -t -1 true", 1, "flux-submit: ERROR: duration must not be negative"),
    ("flux", "flux submit -n1 -q debug -t 2h true", 1, r"requested duration \(2h\) exceeds policy limit of 30m"),
    ("flux", "flux submit -n1 -q debug true", 1, r"requested duration \(unlimited\) exceeds policy limit of 30m"),
    ("flux", "flux submit -n1 -q nosuch true", 1, r"\[Errno 1\] Invalid queue 'nosuch' specified"),
    ("flux", "flux submit -n1 --mem=1G true", 2, "flux submit: error: unrecognized arguments: --mem=1G"),
    ("flux", "flux submit -n1 --urgency=32 true", 1, r"\[Errno 22\] urgency range is \[0:31\]"),
    ("flux", "flux submit -n1 --requires=host:nosuch true", 1, "host 'nosuch' not found"),
    ("flux", "flux submit -n17 true", 0, "ƒ"),
    ("flux", "flux submit --cc=7,3,5 -n1 true", 1, r"flux-submit: ERROR: IDset\(\): Invalid argument: 7,3,5"),
    ("flux", "flux submit --cc=0-8:2 -n1 true", 1, r"flux-submit: ERROR: IDset\(\): Invalid argument: 0-8:2"),
    ("flux", "flux submit --cc=0-1 -n1 -q nosuch true", 1, r"cc=0: \[Errno 1\] Invalid queue"),
    ("flux", "flux submit --cc=0 -n1 awk {print} x", 1, "flux: ERROR: Invalid replacement string in command"),
    ("flux", "flux submit", 1, "flux-submit: ERROR: job command and arguments are missing"),
    ("flux", "flux submit -n1 --dependency=afterok:f1 true", 1, "dependency: afterok: id f1: job not found"),
    ("flux", "flux submit -n1 --dependency=afterok:nonsense true", 1, '"nonsense" is not a valid jobid'),
    ("flux", "flux submit -n1 --dependency=bogus:1 true", 1, 'dependency scheme "bogus" not supported'),
    ("flux", "flux batch -n1 nosuch.sh", 1, "flux-batch: ERROR: No such file or directory: 'nosuch.sh'"),
    ("flux", "flux batch", 1, "flux-batch: ERROR: Number of slots to allocate must be specified"),
    ("flux", "flux jobs --json fZZZ", 1, "JobID fZZZ unknown"),
    ("flux", "flux cancel fZZZ", 1, "flux-cancel: ERROR: ƒZZZ: unknown job id"),
    ("flux", "flux top", 99, "not in the transcripts"),
]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    """One cluster of each kind, for all commands."""
    from .conftest import Cluster

    made: dict[str, Cluster] = {}

    def get(kind: str) -> Cluster:
        if kind not in made:
            made[kind] = Cluster(kind, tmp_path_factory.mktemp(kind), max_array=10)
            made[kind].script("true")
            Path(made[kind].environ["HOME"], "crlf.sh").write_bytes(b"#!/bin/sh\r\necho\r\n")
        return made[kind]

    yield get
    for cluster in made.values():
        cluster.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "line", "code", "said"), SAID, ids=[f"{kind}: {line[:40]}" for kind, line, *_ in SAID]
)
def test_said(sites: Any, kind: str, line: str, code: int, said: str) -> None:
    command, _, file = line.partition(" < ")
    cluster = sites(kind)
    stdin = Path(cluster.environ["HOME"], file).read_text() if file else None
    done = cluster.run(*command.split(" "), stdin=stdin)
    assert (done.returncode, bool(re.search(said, done.stdout + done.stderr))) == (code, True), done


def fields(text: str) -> dict[str, dict[str, str]]:
    """``qstat -f``: id -> attributes."""
    text = text.replace("\n\t", "")
    blocks = re.findall(r"(?m)^Job Id: (\S+)\n((?:    .*\n)*)", text)
    return {id: dict(re.findall(r"(?m)^    (\S+) = (.*)$", block)) for id, block in blocks}


@pytest.mark.slow
class TestOpenPBS:
    def test_the_crash(self, cluster: Make) -> None:
        """``qdel`` of an id that is not known, beside a good one."""
        pbs = cluster("pbs")
        id = pbs.run("qsub", "-h", pbs.script("true")).stdout.strip()
        done = pbs.run("qdel", "9999999", id)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert pbs.down
        done = pbs.run("qstat", id)
        assert (done.returncode, done.stderr) == (
            255,
            "Connection refused\nqstat: cannot connect to server pbs1 (errno=15010)\n",
        )
        assert pbs.run("qsub", "x").returncode == pbs.run("qdel", id).returncode == 162

    def test_of_several_ids_json_prints_the_first(self, cluster: Make) -> None:
        pbs = cluster("pbs")
        ids = [pbs.run("qsub", "-h", pbs.script("true")).stdout.strip() for _ in range(2)]
        assert list(json.loads(pbs.run("qstat", "-f", "-F", "json", *ids).stdout)["Jobs"]) == ids[:1]
        assert list(fields(pbs.run("qstat", "-f", *ids).stdout)) == ids

    def test_an_array(self, cluster: Make) -> None:
        """Its Exit_status is what its last element says; a bare number does not find it."""
        pbs = cluster("pbs")
        script = pbs.script('sleep $((PBS_ARRAY_INDEX % 2)); [ "$PBS_ARRAY_INDEX" = 1 ]')
        id = pbs.run("qsub", "-J", "0-1", "-o", "/dev/null", "-j", "oe", script).stdout.strip()
        number = id.partition("[")[0]
        ended = lambda: fields(pbs.run("qstat", "-x", "-t", "-f", id).stdout)[id]["job_state"] == "F"  # noqa: E731
        pbs.until(ended)
        told = fields(pbs.run("qstat", "-x", "-t", "-f", id).stdout)
        assert told[id]["Exit_status"] == "0"
        assert told[f"{number}[0].pbs1"]["Exit_status"] == "1"
        assert told[f"{number}[0].pbs1"]["comment"].endswith("and failed")
        assert pbs.run("qstat", "-x", number).stderr == f"qstat: Unknown Job Id {number}.pbs1\n"
        done = pbs.run("qstat", id)
        assert (done.returncode, "use -x or -H" in done.stderr) == (35, True)

    def test_a_deleted_array_forgets(self, cluster: Make) -> None:
        pbs = cluster("pbs")
        script = pbs.script('[ "$PBS_ARRAY_INDEX" = 0 ] || sleep 60')
        id = pbs.run("qsub", "-J", "0-3%2", "-o", "/dev/null", "-j", "oe", script).stdout.strip()
        element = f"{id.partition('[')[0]}[{{}}].pbs1"
        pbs.until(lambda: fields(pbs.run("qstat", "-x", "-t", "-f", id).stdout)[element.format(2)]["job_state"] == "R")
        pbs.run("qdel", element.format(3))
        told = fields(pbs.run("qstat", "-x", "-t", "-f", id).stdout)
        assert told[element.format(0)]["run_count"] == "1"
        assert (told[element.format(3)]["job_state"], told[element.format(3)]["comment"]) == ("X", "Subjob finished")
        pbs.run("qdel", id)
        pbs.until(lambda: fields(pbs.run("qstat", "-x", "-t", "-f", id).stdout)[id]["job_state"] == "F")
        told = fields(pbs.run("qstat", "-x", "-t", "-f", id).stdout)
        assert told[id]["comment"].endswith("and terminated")
        assert told[element.format(0)]["comment"] == "Subjob finished"
        assert "run_count" not in told[element.format(0)]
        assert told[element.format(1)]["Exit_status"] == "271"
        assert "terminated by" in told[element.format(1)]["comment"]

    def test_dependencies(self, cluster: Make) -> None:
        """An unknown upstream removes the job without a word; one that was deleted before it ran is waited for."""
        pbs = cluster("pbs")
        script = pbs.script("exit 3")
        unknown = pbs.run("qsub", "-W", "depend=afterany:999", script).stdout.strip()
        after = pbs.run("qsub", "-W", f"depend=afterany:{unknown}", script).stdout.strip()
        held = pbs.run("qsub", "-h", script).stdout.strip()
        waits = pbs.run("qsub", "-W", f"depend=afterany:{held}", script).stdout.strip()
        pbs.run("qdel", held)
        bad = pbs.run("qsub", script).stdout.strip()
        ok = pbs.run("qsub", "-W", f"depend=afterok:{bad}", script).stdout.strip()
        every = pbs.run("qsub", "-W", f"depend=afterany:{bad}", script).stdout.strip()
        state = lambda id: fields(pbs.run("qstat", "-x", "-f", id).stdout)[id]  # noqa: E731
        pbs.until(lambda: all(state(id)["job_state"] == "F" for id in (unknown, after, bad, ok, every)))
        assert [state(id).get("Exit_status") for id in (unknown, after, bad, ok, every)] == [None, None, "3", None, "3"]
        assert (state(waits)["job_state"], state(waits)["substate"]) == ("H", "22")

    def test_a_job_starts_at_home_and_knows_little(self, cluster: Make, tmp_path: Path) -> None:
        pbs = cluster("pbs")
        script = pbs.script(f"pwd >{tmp_path}/pwd; umask >>{tmp_path}/pwd; env >{tmp_path}/env")
        id = pbs.run("qsub", "-o", "/dev/null", "-j", "oe", script, cwd=tmp_path, SECRET="x").stdout.strip()
        pbs.until(lambda: pbs.run("qstat", id).returncode == 35)
        assert (tmp_path / "pwd").read_text() == f"{pbs.environ['HOME']}\n0077\n"
        env = (tmp_path / "env").read_text()
        assert "SECRET" not in env
        assert f"PBS_O_WORKDIR={tmp_path}\n" in env
        assert "PBS_ARRAY_INDEX" not in env

    def test_without_history(self, cluster: Make) -> None:
        pbs = cluster("pbs", history=False)
        assert "job_history_enable" not in pbs.run("qmgr", "-c", "print server").stdout
        id = pbs.run("qsub", pbs.script("true")).stdout.strip()
        pbs.until(lambda: pbs.run("qstat", id).returncode == 153)
        done = pbs.run("qstat", "-x", id)
        assert (done.returncode, done.stderr) == (0, f"qstat: PBS is not configured to maintain job history {id}\n")


@pytest.mark.slow
class TestTorque:
    def test_words_for_arrays(self, cluster: Make) -> None:
        """An array under the word for jobs is waited for for ever."""
        torque = cluster("torque")
        script = torque.script("true")
        array = torque.run("qsub", "-t", "0-1", script).stdout.strip()
        wrong = torque.run("qsub", "-W", f"depend=afterany:{array}", script).stdout.strip()
        right = torque.run("qsub", "-W", f"depend=afteranyarray:{array}", script).stdout.strip()
        state = lambda id: fields(torque.run("qstat", "-f", id).stdout)[id]  # noqa: E731
        torque.until(lambda: state(right)["job_state"] == "C")
        assert state(right)["exit_status"] == "0"
        assert state(wrong)["job_state"] == "H"

    def test_elements(self, cluster: Make) -> None:
        torque = cluster("torque")
        script = torque.script('[ "$PBS_ARRAYID" = 1 ] || sleep 60')
        id = torque.run("qsub", "-t", "0-3%2", "-N", "arr", script).stdout.strip()
        number = id.partition("[")[0]
        listed = lambda: dict(re.findall(r"(?m)^(\S+) .* (\w) batch *$", torque.run("qstat", "-t").stdout))  # noqa: E731
        torque.until(lambda: listed()[f"{number}[2].vm"] == "R")
        assert listed()[f"{number}[3].vm"] == "H"
        torque.run("qdel", "-t", "2-3", id)
        torque.until(lambda: listed()[f"{number}[2].vm"] == "C")
        told = fields(torque.run("qstat", "-t", "-f", id).stdout)
        ends = [told[f"{number}[{index}].vm"].get("exit_status") for index in range(4)]
        assert ends == [None, "0", "271", None]
        assert told[f"{number}[2].vm"]["Job_Name"] == "arr-2"
        torque.run("qdel", id)
        torque.until(lambda: listed()[f"{number}[0].vm"] == "C")
        done = torque.run("qdel", id)
        assert (done.returncode, "MSG=invalid state for job - COMPLETE" in done.stderr) == (170, True)


@pytest.mark.slow
class TestOpenLava:
    def test_an_array(self, cluster: Make) -> None:
        """Cancelling it as a whole returns 255, and works; the index is in its name, and counts from 1."""
        lava = cluster("lsf")
        id = re.findall(r"<(\d+)>", lava.run("bsub", "-J", "a b[1-3]%1", stdin="#!/bin/sh\nexec sleep 60\n").stdout)[0]
        lava.until(lambda: " RUN " in lava.run("bjobs", "-a", "-w", id).stdout)
        rows = lava.run("bjobs", "-a", "-w", id).stdout.splitlines()
        assert [row.split()[0] for row in rows] == ["JOBID", id, id, id]
        assert [re.findall(r"a b\[(\d)\] +\w{3} +\d+ \d\d:\d\d$", row) for row in rows[1:]] == [["1"], ["2"], ["3"]]
        done = lava.run("bkill", id)
        assert (done.returncode, done.stdout + done.stderr) == (255, f"Job <{id}>: Operation is in progress\n")
        lava.until(lambda: " RUN " not in (said := lava.run("bjobs", "-a", "-w", id).stdout) and "PEND" not in said)
        assert "Exited with exit code 130." in lava.run("bjobs", "-l", f"{id}[1]").stdout.replace("\n" + " " * 21, "")
        done = lava.run("bkill", id, "99999")
        assert done.returncode == 255
        assert done.stderr == f"Job <{id}>: Job has already finished\nJob <99999>: No matching job found\n"

    def test_what_is_waited_for_is_said_as_recorded(self, cluster: Make) -> None:
        lava = cluster("lsf")
        held = re.findall(r"<(\d+)>", lava.run("bsub", "-H", stdin="#!/bin/sh\n").stdout)[0]
        id = re.findall(r"<(\d+)>", lava.run("bsub", "-w", f"ended({held})", stdin="#!/bin/sh\n").stdout)[0]
        recorded = Path(__file__).parents[1].joinpath("lsf", "transcripts", "bjobs-l.txt").read_text()
        assert lava.run("bjobs", "-l", id).stdout.endswith(recorded[recorded.index(" PENDING REASONS:") :])

    def test_a_first_shell_that_is_killed_has_ended_well(self, cluster: Make) -> None:
        lava = cluster("lsf")
        for script, state in (("kill -9 $PPID", "DONE"), ("kill -9 $$", "EXIT"), ("exit 7", "EXIT")):
            said = lava.run("bsub", "-o", "/dev/null", stdin=f"#!/bin/sh\n{script}\n").stdout
            id = re.findall(r"<(\d+)>", said)[0]
            lava.until(lambda id=id: re.search(r" (DONE|EXIT) ", lava.run("bjobs", "-a", "-w", id).stdout))
            assert f" {state} " in lava.run("bjobs", "-a", "-w", id).stdout

    def test_what_is_forgotten_can_not_be_waited_for(self, cluster: Make) -> None:
        """As soon as one element of an array is."""
        lava = cluster("lsf", keeps=1)
        said = lava.run("bsub", "-J", "a[1-2]", stdin='#!/bin/sh\n[ "$LSB_JOBINDEX" = 1 ] || sleep 60\n').stdout
        id = re.findall(r"<(\d+)>", said)[0]
        lava.until(lambda: lava.run("bjobs", "-a", "-w", f"{id}[1]").returncode == 255)
        done = lava.run("bsub", "-w", f"ended({id})", stdin="#!/bin/sh\n")
        assert (done.returncode, done.stderr) == (255, f"{id}[1]: No matching job found. Job not submitted.\n")

    def test_the_environment_is_copied(self, cluster: Make, tmp_path: Path) -> None:
        lava, said = cluster("lsf"), tmp_path / "said"
        script = f"#!/bin/sh\necho $SECRET $LSB_JOBINDEX $PWD >{said}.new; mv {said}.new {said}\n"
        lava.run("bsub", "-o", "/no/such/dir/x", stdin=script, cwd=tmp_path, SECRET="x")
        lava.until(said.exists)
        assert said.read_text() == f"x 0 {tmp_path}\n"


@pytest.mark.slow
class TestFlux:
    def test_lines_are_not_in_order(self, cluster: Make) -> None:
        flux = cluster("flux")
        ids = flux.run("flux", "submit", "--cc=0-9", "--job-name=x+{cc}", "-n1", "true").stdout.split()
        named = flux.run("flux", "jobs", "-n", "-o", "{id} {name}", *ids).stdout
        assert sorted(int(slot) for slot in re.findall(r"\+(\d+)", named)) == list(range(10))
        assert [int(slot) for slot in re.findall(r"\+(\d+)", named)] != list(range(10))

    def test_ends(self, cluster: Make) -> None:
        """By status and exception; what is too large is taken, and fails."""
        flux = cluster("flux")
        script = flux.script("exit 7")
        submitted = {
            "exit": flux.run("flux", "submit", "-n1", script),
            "large": flux.run("flux", "submit", "-n99", script),
            "nocmd": flux.run("flux", "submit", "-n1", "/no/such/cmd"),
            "noout": flux.run("flux", "submit", "-n1", "--output=/no/dir/x", script),
            "nocwd": flux.run("flux", "submit", "-n1", "--cwd=/no/such", "pwd"),
            "limit": flux.run("flux", "submit", "-n1", "-t", "1s", "sleep", "60"),
        }
        ids = {name: done.stdout.strip() for name, done in submitted.items()}
        told: dict[str, Any] = {}

        def over() -> bool:
            jobs = json.loads(flux.run("flux", "jobs", "--json", *ids.values()).stdout)["jobs"]
            told.update(zip(ids, jobs, strict=True))
            return all(job["state"] == "INACTIVE" for job in jobs)

        flux.until(over)
        ends = {name: (job["status"], job["returncode"], job["exception"].get("type")) for name, job in told.items()}
        assert ends == {
            "exit": ("FAILED", 7, None),
            "large": ("FAILED", 1, "alloc"),
            "nocmd": ("FAILED", 127, "exec"),
            "noout": ("FAILED", 1, "exec"),
            "nocwd": ("COMPLETED", 0, None),  # in /tmp, without a word
            "limit": ("TIMEOUT", 142, "timeout"),
        }
        refused = flux.run("flux", "submit", "-n1", f"--dependency=afterok:{ids['exit']}", "true")
        assert (refused.returncode, "failed or was canceled" in refused.stderr) == (1, True)
        again = flux.run("flux", "cancel", ids["exit"])
        assert (again.returncode, again.stderr) == (1, f"flux-cancel: ERROR: {ids['exit']}: job is inactive\n")

    def test_what_is_left_running_keeps_a_job(self, cluster: Make, tmp_path: Path) -> None:
        flux = cluster("flux")
        left = f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"
        id = flux.run("flux", "submit", "-n1", "sh", "-c", f"({left}) >/dev/null 2>&1 & exit 7").stdout.strip()

        def look() -> Any:
            return json.loads(flux.run("flux", "jobs", "--json", id).stdout)["status"]

        deadline = time.monotonic() + 60
        while look() == "SCHED" and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)  # the job's own command has ended
        assert look() == "RUN"
        (tmp_path / "go").touch()
        while (state := look()) == "RUN" and time.monotonic() < deadline:
            time.sleep(0.1)
        assert state == "FAILED"

    def test_one_id_alone_comes_bare(self, cluster: Make) -> None:
        flux = cluster("flux")
        ids = [flux.run("flux", "submit", "-n1", "true").stdout.strip() for _ in range(2)]
        assert json.loads(flux.run("flux", "jobs", "--json", ids[0]).stdout)["jobid"] == ids[0]
        assert len(json.loads(flux.run("flux", "jobs", "--json", *ids).stdout)["jobs"]) == 2
        some = flux.run("flux", "jobs", "--json", ids[0], "fZZZ")
        assert (some.returncode, some.stderr) == (0, "JobID fZZZ unknown\n")

    def test_another_instance(self, cluster: Make) -> None:
        flux = cluster("flux")
        done = flux.run("flux", "submit", "-n1", "true", FLUX_URI="local:///nonexistent")
        said = "flux-submit: ERROR: Unable to connect to Flux: broker socket /nonexistent was not found\n"
        assert (done.returncode, done.stderr) == (1, said)
