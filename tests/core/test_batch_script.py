"""Scripts: any value arrives whole; what goes wrong is said; nothing of a scheduler is taken for granted."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reflow.batch.quoting import exports, quote, words
from reflow.batch.script import Body, environment, inherited, outliving, recording, render
from reflow.errors import UsageError
from reflow.worker.mailbox import born

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
names = st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True).map("X_{}".format)
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def bash(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    small = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **env}
    return subprocess.run(["bash", "-c", script], env=small, capture_output=True, text=True, timeout=30, check=False)


def shows(path: Path) -> tuple[str, ...]:
    """A command that writes down what it was given."""
    code = (
        "import json, os, sys; json.dump([sys.argv[2:], dict(os.environb and {k: os.environ[k] for k in os.environ}),"
        " os.getcwd()], open(sys.argv[1], 'w'))"
    )
    return (sys.executable, "-c", code, str(path))


@few
@given(st.lists(text, max_size=5), st.dictionaries(names, text, max_size=4), text, text)
def test_everything_arrives_whole(
    tmp_path: Path, argv: list[str], variables: dict[str, str], name: str, title: str
) -> None:
    safe = name.replace("/", "_").strip(".") or "x"
    cwd = tmp_path / safe.encode()[:60].decode("utf-8", "ignore")
    cwd.mkdir(exist_ok=True)
    out = tmp_path / "out.json"
    secret = tmp_path / "job.env"
    half = dict(list(variables.items())[:2])
    secret.write_text(environment(half), newline="")
    body = Body(
        command=(*shows(out), *argv),
        cwd=str(cwd),
        title=(title,),
        inherited=variables,
        env_file=str(secret),
        log=str(cwd / "a log" / "x.log"),
    )
    script = render(body)
    assert "\r" not in script
    done = bash(script)
    assert done.returncode == 0, (done.stderr, script)
    given_argv, environ, where = json.loads(out.read_text())
    assert given_argv == argv
    assert {key: environ[key] for key in variables} == variables
    assert where == str(cwd)


@few
@given(text)
def test_quoted_text_is_one_word_on_one_line(value: str) -> None:
    quoted = quote(value)
    assert not any(ord(character) < 32 for character in quoted)
    done = subprocess.run(["bash", "-c", f"printf '<%s>' {quoted}"], capture_output=True, check=True)
    assert done.stdout == f"<{value}>".encode()


def test_plain_words_stay_readable() -> None:
    assert words(["python", "-m", "reflow.worker", "/r/.reflow/x-1", "a b", ""]) == (
        "python -m reflow.worker /r/.reflow/x-1 'a b' ''"
    )
    assert quote("it's") == "'it'\\''s'"
    assert quote("a\nb\t'c\\") == "$'a\\012b\\011\\'c\\\\'"


def test_nul_is_refused() -> None:
    with pytest.raises(UsageError, match="NUL"):
        quote("a\0b")


def test_names_that_no_shell_takes_are_left_out() -> None:
    assert exports({"A": "1", "BASH_FUNC_f%%": "() { :; }", "1A": "x", "A-B": "x"}) == ["export A=1"]


def test_bytes_that_are_no_text_pass(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    script = render(Body(command=("printf", "%s", name)))
    path = tmp_path / "x.sh"
    path.write_bytes(script.encode("utf-8", "surrogateescape"))
    assert subprocess.run(["bash", str(path)], capture_output=True, check=True).stdout == b"caf\xe9"


def test_working_directory_is_verified(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = bash(render(Body(command=("touch", str(tmp_path / "ran")), cwd=str(tmp_path / "gone"), log=str(log))))
    assert done.returncode == 78
    assert not (tmp_path / "ran").exists()
    assert f"reflow: cannot enter the working directory {tmp_path / 'gone'}" in log.read_text()


def test_environment_file_is_needed(tmp_path: Path) -> None:
    done = bash(render(Body(command=("true",), env_file=str(tmp_path / "gone.env"))))
    assert done.returncode == 78
    assert "cannot read" in done.stderr


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = bash(render(Body(command=("echo", "ran"), log=str(tmp_path / "file" / "x.log"))))
    assert (done.returncode, done.stdout) == (0, "ran\n")


def test_log_is_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    for word in ("one", "two"):
        assert bash(render(Body(command=("echo", word), log=str(log)))).stdout == ""
    assert log.read_text() == "one\ntwo\n"


def test_modules(tmp_path: Path) -> None:
    made = tmp_path / "modules" / "init"
    made.mkdir(parents=True)
    (made / "bash").write_text('module() { [ "$2" != gone ] && echo "module $*"; }\n')
    body = Body(command=("true",), modules=("python/3.11", "netcdf c"))
    done = bash(render(body), MODULESHOME=str(tmp_path / "modules"))
    assert done.stdout == "module load python/3.11 netcdf c\n"
    done = bash(render(Body(command=("true",), modules=("gone",))), MODULESHOME=str(tmp_path / "modules"))
    assert done.returncode == 78
    assert "cannot load modules: gone" in done.stderr
    # One that is there already is used as it is.
    done = bash("module() { echo mine $*; }\n" + render(body))
    assert done.stdout == "mine load python/3.11 netcdf c\n"


def test_jobs_are_told_where_modules_are() -> None:
    here = {"MODULESHOME": "/opt/lmod", "LMOD_PKG": "/opt/lmod/lmod", "MODULEPATH": "/opt/modules"}
    assert inherited({**here, "LOADEDMODULES": "gcc"}) == here


def test_order_is_inherited_modules_env_setup(tmp_path: Path) -> None:
    file = tmp_path / "job.env"
    file.write_text(environment({"WHO": "env"}))
    setup = 'echo "setup sees $WHO"\r\nexport WHO=setup\n'
    body = Body(
        command=("sh", "-c", 'echo "command sees $WHO"'),
        inherited={"WHO": "inherited"},
        modules=("x",),
        env_file=str(file),
        setup=setup,
    )
    done = bash('module() { echo "module sees $WHO"; }\n' + render(body))
    assert done.stdout == "module sees inherited\nsetup sees env\ncommand sees setup\n"


def test_the_command_reads_nothing() -> None:
    assert bash(render(Body(command=("cat",)))).returncode == 0


def test_the_scheduler_says_whether_the_shell_becomes_the_command() -> None:
    script = render(Body(command=("sh", "-c", "echo $PPID")))
    shell, parent = bash(f"echo $$\n{script}").stdout.split()
    assert shell == parent
    shell, parent = bash(f"REFLOW_EXEC=exec; echo $$\n{script}").stdout.split()
    assert shell != parent


def test_inherited_variables_are_a_recorded_list() -> None:
    environ = {"PATH": "/x", "CONDA_PREFIX": "/c", "SLURM_JOB_ID": "1", "MINE": "2", "LANG": "C", "SECRET": "3"}
    assert inherited(environ) == {"PATH": "/x", "CONDA_PREFIX": "/c", "LANG": "C"}
    assert inherited(environ, ["MINE", "-CONDA_PREFIX", "GONE"]) == {"PATH": "/x", "LANG": "C", "MINE": "2"}


def test_a_title_stays_a_comment() -> None:
    script = render(Body(command=("true",), title=("run x\ntouch /evil", "#SBATCH --no")))
    assert script.splitlines()[1] == "# run x touch /evil"
    assert script.splitlines()[2] == "# #SBATCH --no"


def test_a_shell_that_outlives_the_command(tmp_path: Path) -> None:
    path = tmp_path / "x.sh"

    def runs(body: str, remap: str = "") -> int:
        path.write_text(f"#!/bin/bash\n{outliving(remap)}\n{body}\n")
        return subprocess.run(["bash", str(path)], check=False, stderr=subprocess.DEVNULL).returncode

    assert [runs(body) for body in ("true", "exit 3", "kill -9 $$", "exec sh -c 'kill -9 $$'")] == [0, 3, 137, 137]
    assert runs("exit 99", "case $code in 99) code=98 ;; esac") == 98
    # Signals that reach the whole job are survived, and told from an end of its own.
    assert runs("trap : INT; kill -INT $PPID; exit 0") == 130
    assert runs("kill -TERM $PPID; exit 4") == 4
    assert runs("kill -USR2 $PPID; exit 0") == 0


def test_a_shell_keeps_the_bad_exit_code_of_its_command(tmp_path: Path) -> None:
    path, kept = tmp_path / "x.sh", tmp_path / "a b" / "exits"

    def keeps(body: str, index: str = "", **environ: str) -> dict[str, str]:
        path.write_text(f"#!/bin/bash\n{outliving(recording(str(kept), index, 1))}\n{body}\n")
        subprocess.run(["bash", str(path)], check=False, stderr=subprocess.DEVNULL, env={**os.environ, **environ})
        found = {one.name: one.read_text() for one in kept.iterdir()} if kept.exists() else {}
        for name in found:
            (kept / name).unlink()
        return found

    assert keeps("true") == {}
    assert keeps("kill -TERM $PPID; exit 143") == {}, "a signal to the whole job is an end from outside"
    assert keeps("exec sh -c 'kill -9 $$'") == {"0": "137"}
    assert keeps("exit 3", "INDEX", INDEX="8") == {"7": "3"}
    assert keeps("exit 3", "INDEX") == {"0": "3"}


@pytest.mark.skipif(sys.platform != "linux", reason="told by /proc")
@pytest.mark.parametrize("end", ["exit 7", "kill -9 $$"])
def test_what_a_command_that_ends_badly_has_left_is_killed(tmp_path: Path, end: str) -> None:
    path, other = tmp_path / "x.sh", subprocess.Popen(["sleep", "60"], env={"REFLOW_INNER": "1"})
    path.write_text(f"#!/bin/bash\n{outliving()}\nsetsid sleep 60 >/dev/null 2>&1 & echo $! >{tmp_path}/left\n{end}\n")
    path.chmod(0o700)
    done = subprocess.run([str(path)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7 if end == "exit 7" else 137, "")
    left = int((tmp_path / "left").read_text())
    deadline = time.monotonic() + 10
    while born(left) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not born(left)
    assert other.poll() is None, "what another job has started is left alone"
    other.kill()
    other.wait()


def test_modes(tmp_path: Path) -> None:
    path = tmp_path / "x.sh"
    path.write_text(render(Body(command=("true",))))
    path.chmod(0o700)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert subprocess.run([str(path)], check=False).returncode == 0
