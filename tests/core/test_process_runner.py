"""Running commands: their environment, their time-outs, their output, their end."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reflow.errors import ExecutorError
from reflow.process.environment import scrub
from reflow.process.runner import Runner


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def python(code: str, *argv: str) -> list[str]:
    return [sys.executable, "-c", code, *argv]


def test_a_variable_that_is_not_to_be_set() -> None:
    runner = Runner({"PATH": "/usr/bin:/bin", "SLURM_CLUSTERS": "b", "HOME": "/x"})
    done = runner.run(["env"], env={"SLURM_CLUSTERS": None, "HOME": "/y"})
    assert "SLURM_CLUSTERS" not in done.stdout
    assert "HOME=/y" in done.stdout


def test_output_and_code() -> None:
    done = Runner().run(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"))
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert done.argv[0] == sys.executable


def test_killed_by_a_signal() -> None:
    assert Runner().run(python("import os; os.kill(os.getpid(), 9)")).returncode == -9


def test_arguments_pass_whole_and_no_shell_reads_them() -> None:
    argv = ["a b", "$HOME", "*", "'", '"', "", "\n", "back\\slash", "ü", "`id`"]
    done = Runner().run(python("import sys; print(ascii(sys.argv[1:]))", *argv))
    assert done.stdout.strip() == ascii(argv)


def test_stdin() -> None:
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    assert Runner().run(python(code), stdin="line\nü\n").stdout == "line\nü\n"
    assert Runner().run(python(code)).stdout == ""


def test_a_program_that_does_not_read_its_input() -> None:
    assert Runner().run(["true"], stdin="x" * 1_000_000).returncode == 0


def test_any_bytes_are_text() -> None:
    done = Runner().run(python(r"import sys; sys.stdout.buffer.write(b'a\xff\xfeb\n\xc3')"))
    assert done.stdout == "a\ufffd\ufffdb\n\ufffd"


def test_working_directory(tmp_path: Path) -> None:
    code = "import os; print(os.getcwd())"
    assert Runner().run(python(code)).stdout == "/\n"
    assert Runner().run(python(code), cwd=str(tmp_path)).stdout == f"{tmp_path}\n"
    assert Runner().run(python(code), cwd=str(tmp_path / "gone")).stdout == "/\n"


def test_environment_is_small() -> None:
    environ = {
        "HOME": "/home/x",
        "PATH": os.environ["PATH"],
        "LC_TIME": "C",
        "SLURM_CONF": "/etc/slurm.conf",
        "SITE": "1",
        "SLURM_JOB_ID": "7",
        "SLURM_NTASKS": "4",
        "PBS_JOBID": "7",
        "LSB_JOBID": "7",
        "SBATCH_PARTITION": "gpu",
        "REFLOW_SLOT": "3",
        "PYTHONPATH": "/x",
        "SECRET": "x",
    }
    runner = Runner(environ, keep=("SITE",))
    code = "import os; print(sorted(n for n in os.environ if n != 'LC_CTYPE'))"
    assert runner.run(python(code)).stdout.strip() == "['HOME', 'LC_TIME', 'PATH', 'SITE', 'SLURM_CONF']"
    added = runner.run(python("import os; print(os.environ['X'])"), env={"X": "a,b"})
    assert added.stdout == "a,b\n"


def test_its_own_environment_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_URI", "local:///x")
    monkeypatch.setenv("FLUX_JOB_ID", "f1")
    code = "import os; print(os.environ.get('FLUX_URI'), os.environ.get('FLUX_JOB_ID'))"
    assert Runner().run(python(code)).stdout == "local:///x None\n"


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_EXPORT_ENV", "SBATCH_ACCOUNT"])
@pytest.mark.parametrize("prefix", ["", "X"])
def test_no_variable_of_a_job_passes(name: str, prefix: str) -> None:
    assert scrub({prefix + name: "1"}) == {}


def test_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print(child.pid, flush=True); time.sleep(60)"
    )
    begin = time.monotonic()
    done = Runner().run(python(code), timeout=0.7)
    assert done.returncode is None
    assert time.monotonic() - begin < 5
    child = int(done.stdout)
    while alive(child) and time.monotonic() - begin < 5:
        time.sleep(0.02)
    assert not alive(child)


def test_timeout_where_term_is_ignored() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    done = Runner().run(python(code), timeout=0.7)
    assert done.returncode is None
    assert done.stdout == "on\n"


def test_timeout_where_something_in_another_session_holds_the_pipes() -> None:
    begin = time.monotonic()
    done = Runner().run(["sh", "-c", "setsid sleep 120 & echo $!; sleep 120"], timeout=3)
    assert done.returncode is None
    assert time.monotonic() - begin < 60
    os.kill(int(done.stdout), signal.SIGKILL)


def test_who_waits_long_is_told_what_for(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("reflow.process.runner._SLOW", 0.3)
    code = "import sys, time; print(sys.stdin.read(), end='', flush=True); time.sleep(%s); print('end')"
    monkeypatch.setattr(
        "logging.Logger.callHandlers", lambda logger, record: print(record.getMessage(), file=sys.stderr)
    )
    assert Runner().run(python(code % 1), stdin="word\n", timeout=60).stdout == "word\nend\n"
    assert capfd.readouterr().err == f"{Path(sys.executable).name} has not answered for 0.3 s; it has 60 s\n"
    over = Runner().run(python(code % 60), stdin="word\n", timeout=1.0)
    assert (over.returncode, over.stdout) == (None, "word\n")
    assert capfd.readouterr().err.count("has not answered") == 1
    assert Runner().run(["true"], timeout=60).returncode == 0
    assert capfd.readouterr().err == ""


def test_interrupted_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = subprocess.Popen.communicate

    def interrupt(self: subprocess.Popen[bytes], *args: object, **named: object) -> object:
        if not seen:
            seen.append(self.pid)
            raise KeyboardInterrupt
        return real(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Runner().run(["sleep", "60"])
    assert not alive(seen[0])


def test_no_such_program() -> None:
    with pytest.raises(ExecutorError, match="no program 'no-such-sbatch'") as caught:
        Runner().run(["no-such-sbatch", "-x"])
    assert caught.value.argv == ("no-such-sbatch", "-x")
    assert not caught.value.transient


def test_not_executable(tmp_path: Path) -> None:
    script = tmp_path / "sbatch"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(ExecutorError, match="Permission denied"):
        Runner().run([str(script)])


def test_nul_in_an_argument() -> None:
    with pytest.raises(ExecutorError, match="null byte"):
        Runner().run(["true", "a\0b"])


class Flaky:
    """Fails to start so many times, then starts."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.real = subprocess.Popen

    def __call__(self, *args: object, **named: object) -> object:
        if self.left:
            self.left -= 1
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return self.real(*args, **named)  # type: ignore[call-overload]


def test_fork_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(Runner, "sleep", lambda self, seconds: slept.append(seconds))
    monkeypatch.setattr(subprocess, "Popen", Flaky(2))
    assert Runner().run(["true"]).returncode == 0
    assert slept == [0.2, 1.0]


def test_fork_fails_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "sleep", lambda self, seconds: None)
    monkeypatch.setattr(subprocess, "Popen", Flaky(99))
    with pytest.raises(ExecutorError, match="temporarily unavailable") as caught:
        Runner().run(["true"])
    assert caught.value.transient


def test_sleep() -> None:
    begin = time.monotonic()
    Runner().sleep(0.02)
    assert time.monotonic() - begin >= 0.02
