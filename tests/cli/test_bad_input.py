"""Bad input, end to end: one clear message, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PIPELINE = """
from __future__ import annotations
from pathlib import Path
from typing import Annotated, Literal
from reflow import Param, Result, RunDir, Workflow

wf = Workflow("demo")

@wf.job()
def make(
    count: Annotated[int, Param(help="how many")],
    text: Annotated[str, Param()] = "",
    file: Annotated[Path, Param()] = Path("x"),
    numbers: Annotated[list[int], Param()] = [],
    mode: Annotated[Literal["fine", "wrong", "raise"], Param()] = "fine",
) -> list[int]:
    print(len(text), len(numbers))
    return "nonsense" if mode == "wrong" else list(range(count))

@wf.array_job()
def work(
    item: Annotated[int, Result(step="make")], mode: Annotated[Literal["fine", "wrong", "raise"], Param()] = "fine"
) -> int:
    if mode == "raise" and item == 1:
        raise ValueError("bad item")
    return 2 * item

@wf.job()
def echo(text: Annotated[str, Param()] = "", file: Annotated[Path, Param()] = Path("x")) -> tuple[str, str]:
    return text, str(file)

if __name__ == "__main__":
    wf.cli()
"""


class Place:
    """A directory with a pipeline in it, and its command line as a process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_dir = path / "run"
        self.store = Path(os.environ["REFLOW_STORE_PATH"])
        (path / "pipeline.py").write_text(PIPELINE)

    def __call__(
        self, *words: str | bytes, env: dict[str, str] | None = None, within: tuple[str, ...] = (), stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*within, sys.executable, *words],
            cwd=self.path,
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=60,
            check=False,
        )

    def run(self, *words: str | bytes, **more: object) -> subprocess.CompletedProcess[str]:
        return self("pipeline.py", "run", "--executor", "local", "--run-dir", str(self.run_dir), *words, **more)  # type: ignore[arg-type]

    def reflow(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self("-m", "reflow", *words)

    @property
    def untouched(self) -> bool:
        """Whether no run was begun, here or in the registry."""
        return not self.run_dir.exists() and not list(self.store.rglob("*.json"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def refused(found: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    shown = f"{found.stdout}\n{found.stderr}"
    assert found.returncode == code, shown
    assert found.stderr.startswith("error: "), shown
    assert "Traceback" not in found.stderr, shown
    assert not found.stderr.startswith("error: unexpected"), shown
    for words in said:
        assert words in found.stderr, shown


# Options


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "missing --count (int)"),
        (["--count", "many"], "--count: 'many' is not an int"),
        (["--count"], "'--count' requires an argument"),
        (["--count", "1", "--mode", "fin"], "did you mean 'fine'?"),
        (["--count", "1", "--modus", "fine"], "'--mode'"),
        (["--coutn", "1"], "'--count'"),
        (["--count", "1", "--executor", "nowhere"], "there is no executor 'nowhere'"),
        (["--count", "1", "--executor", "loca"], "local"),
        (["--count", "1", "--force-task", "mak"], "did you mean 'make'?"),
        (["--count", "1", "--set", "mak.mem=1G"], "there is no task 'mak'"),
        (["--count", "1", "--set", "make.mem=lots"], "make.mem=lots"),
        (["--count", "1", "--set", "make"], "has no value"),
        (["--count", "1", "--param", "count=2"], "parameter count is given twice"),
        (["--count", "1", "--numbers", "[1, 2"], "--numbers"),
        (["--count", "1", "extra"], "extra"),
    ],
)
def test_wrong_usage(place: Place, words: list[str], said: str) -> None:
    refused(place.run(*words), 2, said)
    assert place.untouched


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_cache_backend_that_is_none(place: Place, more: tuple[str, ...]) -> None:
    found = place.run("--count", "1", *more, env={"REFLOW_CACHE_BACKEND": "sqlit"})
    refused(found, 2, "there is no cache backend 'sqlit'", "Did you mean 'sqlite'?")
    assert place.untouched


def test_a_cache_backend_that_is_gone(place: Place) -> None:
    found = place.run("--count", "2", "--mode", "raise", env={"REFLOW_CACHE_BACKEND": "sqlite"})
    assert found.returncode == 1, found.stderr
    for file in place.run_dir.rglob("*.json"):
        file.write_bytes(file.read_bytes().replace(b'"sqlite"', b'"gone"'))
    found = place.reflow("retry", "latest")
    assert found.returncode == 1, found.stderr
    assert "the cache cannot be used now" in found.stderr
    assert "there is no cache backend 'gone'" in found.stderr
    assert "bad item" in found.stderr


def test_no_run_directory(place: Place) -> None:
    refused(place("pipeline.py", "run", "--executor", "local", "--count", "1"), 2, "--run-dir")
    assert place.untouched


def test_an_executor_whose_plugin_is_disabled(place: Place) -> None:
    found = place.run("--count", "1", "--executor", "slurm", env={"REFLOW_PLUGINS_DISABLED": "slurm"})
    refused(found, 2, "executor 'slurm'", "is disabled by")
    assert place.untouched


# The run directory


def test_a_run_directory_that_is_a_file(place: Place) -> None:
    place.run_dir.write_text("mine")
    refused(place.run("--count", "1"), 2, "is a file")
    assert place.run_dir.read_text() == "mine"


def test_a_run_directory_that_cannot_be_made(place: Place) -> None:
    found = place("pipeline.py", "run", "--executor", "local", "--run-dir", "/proc/run", "--count", "1")
    refused(found, 2, "/proc/run")
    assert place.untouched


def mounted(*options: str) -> tuple[str, ...]:
    """The beginning of a command that runs in a mount namespace of its own, its file system at $MOUNT."""
    return ("unshare", "-rm", "sh", "-c", f'mount {" ".join(options)} && exec "$@"', "sh")


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    found = subprocess.run([*mounted("-t", "tmpfs", "none", "/mnt"), "true"], capture_output=True, check=False)
    return found.returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="no mount namespaces here")


@needs_mount
def test_a_full_disk(place: Place) -> None:
    place.run_dir.mkdir()
    within = mounted("-t", "tmpfs", "-o", "size=4k", "none", str(place.run_dir))
    refused(place.run("--count", "1", within=within), 2, "No space left on device")


@needs_mount
def test_a_disk_that_is_full_while_the_run_is_made(place: Place) -> None:
    place.run_dir.mkdir()
    look = 'status=0; "$@" || status=$?; ls -A run/.reflow >found; exit $status'
    within = mounted("-t", "tmpfs", "-o", "size=1m,nr_inodes=10", "none", str(place.run_dir))
    found = place.run("--count", "1", within=(*within, "sh", "-c", look, "sh"))
    refused(found, 2, "cannot be written: No space left on device")
    assert found.stdout == ""
    assert (place.path / "found").read_text().split() == []
    assert not list(place.store.rglob("*.json"))


@needs_mount
def test_a_disk_that_is_full_later(place: Place) -> None:
    place.run_dir.mkdir()
    within = mounted("-t", "tmpfs", "-o", "size=600k", "none", str(place.run_dir))
    found = place.run("--count", "50000", within=within)
    assert found.stdout.startswith("Created run demo-")
    assert found.returncode == 1
    run_id = found.stdout.split()[2]
    assert f"error: run {run_id} is left as it stands: " in found.stderr
    assert "No space left on device" in found.stderr
    assert f"drive {run_id}` goes on with it" in found.stderr


@needs_mount
def test_a_read_only_run_directory(place: Place) -> None:
    place.run_dir.mkdir()
    within = mounted("-t", "tmpfs", "-o", "ro", "none", str(place.run_dir))
    refused(place.run("--count", "1", within=within), 2, "Read-only file system")


@needs_mount
def test_a_read_only_store(place: Place) -> None:
    store = place.path / "store"
    store.mkdir()
    within = mounted("-t", "tmpfs", "-o", "ro,mode=755", "none", str(store))
    found = place.run("--count", "3", env={"REFLOW_STORE_PATH": str(store)}, within=within)
    assert found.returncode == 0, found.stderr
    found = place("-m", "reflow", "status", str(place.run_dir), env={"REFLOW_STORE_PATH": str(store)}, within=within)
    assert found.returncode == 0, found.stderr
    assert "SUCCESS" in found.stdout


# Which run


def test_unknown_and_ambiguous_runs(place: Place) -> None:
    for _ in range(2):
        assert place.run("--count", "1").returncode == 0
    refused(place.reflow("status", "nothing"), 2, "nothing")
    refused(place.reflow("status", "demo-"), 2, "demo-")
    refused(place.reflow("status", str(place.path / "nowhere")), 2, "nowhere")
    assert place.reflow("status", "latest").returncode == 0


def test_wrong_tasks_of_a_run(place: Place) -> None:
    assert place.run("--count", "3").returncode == 0
    refused(place.reflow("logs", "wrok[0]"), 2, "did you mean 'work'?")
    refused(place.reflow("logs", "work"), 2, "work[0]")
    refused(place.reflow("explain", "--task", "wrok"), 2, "did you mean 'work'?")
    refused(place.reflow("retry", "latest", "--task", "work[7]"), 2, "3 elements")
    refused(place.reflow("cancel", "latest", "--task", "wrok"), 2, "did you mean 'work'?")
    found = place.reflow("logs", "work[7]")
    refused(found, found.returncode, "3 elements")
    assert found.returncode in (1, 2)


# Scripts


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("import nowhere_at_all", 1, "No module named 'nowhere_at_all'"),
        ("x = 1", 2, "has no workflow"),
        ("from reflow import Workflow\na = Workflow('a')\nb = Workflow('b')", 2, "has 2 workflows: a, b"),
        ("def broken(:", 1, "cannot be imported"),
    ],
)
def test_scripts(place: Place, text: str, code: int, said: str) -> None:
    (place.path / "other.py").write_text(text + "\n")
    for words in (
        ["submit", "other.py", "--run-dir", str(place.run_dir)],
        ["dag", "other.py"],
        ["describe", "other.py"],
    ):
        refused(place.reflow(*words), code, said)
    assert place.untouched


def test_no_script(place: Place) -> None:
    refused(place.reflow("submit", "gone.py"), 2, "gone.py")
    refused(place.reflow("submit"), 2, "which workflow?")
    refused(place.reflow("dag"), 2, "name a script or a run")


HEAD = "from typing import Annotated\nfrom reflow import Flow, Param, Result, Workflow\nwf = Workflow('w')\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "@wf.job()\ndef a(x: Annotated[int, Result(step='b')]) -> int: ...\n"
            "@wf.job()\ndef b(x: Annotated[int, Result(step='a')]) -> int: ...\n",
            "a",
        ),
        ("@wf.job()\ndef a(x: Annotated[int, Result(step='a')]) -> int: ...\n", "a"),
        ("@wf.array_job()\ndef a(x: int = 1) -> int: ...\n", "array"),
        (
            "@wf.job()\ndef a(x: Annotated[int, Result(step='bb')]) -> int: ...\n@wf.job()\ndef b() -> int: ...\n",
            "did you mean 'b'?",
        ),
        ("@wf.job()\ndef a() -> object(): ...\n", "a"),
        ("@wf.job()\ndef a(f: Annotated[type, Param()]) -> int: ...\n", "f"),
        (
            "f = Flow('f')\n@f.job()\ndef a() -> int: ...\nwf.include(f, prefix='p')\nwf.include(f, prefix='p')\n",
            "prefix",
        ),
        ("@wf.job()\ndef a(executor: Annotated[str, Param()]) -> int: ...\n", "executor"),
    ],
    ids=["circle", "itself", "array", "unknown", "return", "type", "prefix", "reserved"],
)
def test_definitions(place: Place, text: str, said: str) -> None:
    (place.path / "other.py").write_text(HEAD + text)
    found = place.reflow("submit", "other.py", "--run-dir", str(place.run_dir), "--executor", "local")
    refused(found, 2, "workflow 'w' has 1 mistake", "other.py:", said)
    assert place.untouched


# Values


def test_a_result_that_its_annotation_forbids(place: Place) -> None:
    found = place.run("--count", "1", "--mode", "wrong")
    assert found.returncode == 1
    assert "FAILED make (error)" in found.stderr
    assert "list[int]" in found.stderr
    assert "nonsense" in found.stderr


def test_a_task_that_raises(place: Place) -> None:
    found = place.run("--count", "3", "--mode", "raise")
    assert found.returncode == 1
    run_id, directory = found.stdout.split()[2], found.stdout.split()[4]
    assert found.stdout == f"Created run {run_id} in {directory}\n"
    assert directory == str(place.run_dir)
    lines = found.stderr.splitlines()
    at = lines.index("FAILED work[1] (error)")
    assert lines[at + 1] == "  ValueError: bad item"
    log = Path(lines[at + 3].removeprefix("  log: "))
    assert "ValueError: bad item" in log.read_text()
    assert f"next: python pipeline.py logs {run_id} 'work[1]'" in lines
    assert f"      python pipeline.py retry {run_id}" in lines
    shown = place("pipeline.py", "logs", run_id, "work[1]")
    assert "ValueError: bad item" in shown.stdout
    found = place("pipeline.py", "retry", run_id, "--task", "work[1]")
    assert found.returncode == 1
    assert "attempt 2" in found.stderr


def test_a_megabyte_and_a_hundred_thousand_items(place: Place) -> None:
    (place.path / "params.json").write_text(json.dumps({"text": "x" * 1_000_000, "numbers": list(range(100_000))}))
    found = place.run("--count", "1", "--param", "@params.json")
    assert found.returncode == 0, found.stderr
    assert place.reflow("logs", "make").stdout == "1000000 100000\n"
    assert len(json.loads(place.reflow("describe", "latest").stdout)["parameters"]["text"]) == 1_000_000


@pytest.mark.parametrize("text", ["a b", 'it\'s "x"', "two\nlines", "Zürich 東京 🌡", "$(touch x) `id` ; & |", "--text"])
def test_any_text_is_a_value(place: Place, text: str) -> None:
    found = place.run("--count", "1", f"--text={text}")
    assert found.returncode == 0, found.stderr
    assert json.loads(place.reflow("describe", "latest").stdout)["parameters"]["text"] == text
    assert (
        sorted(item.name for item in place.path.iterdir())
        == ["__pycache__", "pipeline.py", "run"][-len(list(place.path.iterdir())) :]
    )


def test_arguments_that_are_no_utf_8(place: Place) -> None:
    found = place.run("--count", "1", "--text", b"caf\xe9")
    assert found.returncode == 0, found.stderr
    for words in (b"caf\xe9", b"--caf\xe9"):
        refused(place.run("--count", words), 2, "\\udce9")
    refused(place("-m", "reflow", b"caf\xe9"), 2, "\\udce9")
    refused(place("-m", "reflow", "status", b"caf\xe9"), 2, "\\udce9")


def test_a_path_that_is_no_utf_8(place: Place) -> None:
    found = place.run("--count", "1", "--file", b"/data/caf\xe9")
    assert found.returncode == 0, found.stderr


def test_a_run_directory_that_is_no_utf_8(place: Place) -> None:
    found = place("pipeline.py", "run", "--executor", "local", "--count", "1", "--run-dir", b"caf\xe9")
    refused(found, 2, "\\udce9")
    assert os.listdir(place.path) == ["pipeline.py"]


@pytest.mark.parametrize("name", ["REFLOW_STORE_PATH", "REFLOW_CACHE_PATH"])
def test_a_store_that_is_no_utf_8(place: Place, name: str) -> None:
    found = place.run("--count", "1", env={name: os.fsdecode(bytes(place.path) + b"/caf\xe9")})
    refused(found, 2, "\\udce9")
    assert os.listdir(place.path) == ["pipeline.py"]


def test_a_working_directory_that_is_no_utf_8(place: Place) -> None:
    place.path = Path(os.fsdecode(os.fsencode(place.path) + b"/caf\xe9"))
    place.path.mkdir()
    (place.path / "pipeline.py").write_text(PIPELINE)
    refused(place.run("--count", "1"), 2, "\\udce9")
    assert place.untouched


@pytest.mark.parametrize("name", ["my run", "it's", "two\nlines", "東京", "[x] 'y'"])
def test_directories_of_any_name(place: Place, name: str) -> None:
    directory = place.path / name
    found = place("pipeline.py", "run", "--executor", "local", "--run-dir", name, "--count", "2")
    assert found.returncode == 0, found.stderr
    assert len(found.stdout.splitlines()) == 1
    assert (directory / ".reflow").is_dir()
    assert json.loads(place.reflow("status", str(directory), "--json").stdout)["run"]["run_dir"] == str(directory)


def test_a_script_of_an_odd_name(place: Place) -> None:
    (place.path / "pipeline.py").rename(place.path / "my pipe's.py")
    found = place("my pipe's.py", "run", "--executor", "local", "--run-dir", "run", "--count", "2", "--mode", "raise")
    assert found.returncode == 1
    assert "next: python 'my pipe'\"'\"'s.py' logs " in found.stderr
    found = place.reflow("run", "my pipe's.py", "--executor", "local", "--run-dir", "run", "--count", "2")
    assert found.returncode == 0, found.stderr


# What is on disk


def only_run(place: Place) -> Path:
    (root,) = (place.run_dir / ".reflow").iterdir()
    return root


@pytest.mark.parametrize(
    ("text", "said"), [("{", "damaged"), ('{"schema": 99999}', ""), ("", "damaged")], ids=["cut", "newer", "empty"]
)
def test_a_corrupt_or_newer_run(place: Place, text: str, said: str) -> None:
    assert place.run("--count", "1").returncode == 0
    definition = only_run(place) / "run.json"
    if "99999" in text:
        found = json.loads(definition.read_text())
        found["schema"] = 99999
        text = json.dumps(found)
        said = "in schema 99999; this is reflow"
    definition.chmod(0o644)
    definition.write_text(text)
    for words in (["status"], ["retry", "latest"], ["cancel", "latest"], ["explain"], ["logs", "make"]):
        refused(place.reflow(*words), 1, said)
    assert definition.read_text() == text
    assert place.reflow("runs").returncode == 0


def test_a_run_that_was_deleted(place: Place) -> None:
    assert place.run("--count", "1").returncode == 0
    shutil.rmtree(place.run_dir)
    refused(place.reflow("status"), 2, "is gone")
    assert "gone" in place.reflow("runs").stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[cache\n", "reflow.toml"),
        ("[cache]\npolicy = 'wran'\n", "reflow.toml:2"),
        ("[cache]\npolcy = 'warn'\n", "policy"),
        ("[executor]\nname = 3\n", "reflow.toml:2"),
    ],
    ids=["syntax", "value", "key", "type"],
)
def test_a_configuration_with_a_mistake(place: Place, text: str, said: str) -> None:
    (place.path / "reflow.toml").write_text(text)
    refused(place.run("--count", "1"), 2, said)
    assert place.untouched


# Elsewhere the same


def test_by_script_and_by_parameter(place: Place) -> None:
    words = ("submit", "pipeline.py:wf", "--run-dir", "run", "--executor", "local", "--json")
    found = place.reflow(*words, "--param", "count=2", "--param", "numbers=[1, 2]", "--numbers", "3")
    refused(found, 2, "parameter numbers is given twice")
    found = place.reflow(*words, "--param", "count=2", "--param", "numbers=1", "--param", "numbers=2")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["status"] == "SUCCESS"
    found = place.reflow("submit", "--count", "2", "pipeline.py")
    refused(found, 2, "options of the workflow come after the script")
    shown = place.reflow("submit", "pipeline.py", "--help")
    assert "--count INT" in shown.stdout
    assert place.reflow("submit", "--help").returncode == 0


def test_a_broken_pipe_and_json(place: Place) -> None:
    assert place.run("--count", "3").returncode == 0
    found = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m reflow status --elements | head -n 1"],
        cwd=place.path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stderr == ""
    for words in (["status"], ["runs"], ["explain"], ["dag", "latest"], ["describe", "latest"], ["plugins"]):
        json.loads(place.reflow(*words, "--json").stdout)


def test_a_variable_that_sets_nothing(place: Place) -> None:
    found = place.run("--count", "1", env={"REFLOW_QEUE": "fast"})
    assert found.returncode == 0
    assert "warning: REFLOW_QEUE sets nothing. Did you mean 'REFLOW_QUEUE'?" in found.stderr


BARE = PIPELINE.replace('if __name__ == "__main__":\n    wf.cli()', "wf.cli()")


@pytest.mark.parametrize("executor", ["local", "flux"])
def test_a_script_without_its_guard_starts_no_run(place: Place, executor: str) -> None:
    (place.path / "bare.py").write_text(BARE)
    before = sorted(place.path.iterdir())
    found = place("bare.py", "submit", "--executor", executor, "--run-dir", str(place.run_dir), "--count", "1")
    assert found.returncode == 2
    line = BARE[: BARE.index("wf.cli()")].count("\n") + 1
    assert found.stderr.splitlines() == [
        f"error: {place.path / 'bare.py'}:{line} would run the workflow in each worker, too",
        "hint: put that under `if __name__ == '__main__':`",
    ]
    assert sorted(place.path.iterdir()) == before
    assert place("bare.py", "submit", "--dry-run", "--run-dir", str(place.run_dir), "--count", "1").returncode == 0


def test_a_script_that_looks_at_its_name_and_has_no_guard(place: Place) -> None:
    (place.path / "bare.py").write_text(BARE.replace("wf.cli()", "NAME = __name__\nwf.cli()"))
    found = place("bare.py", "run", "--executor", "local", "--run-dir", str(place.run_dir), "--count", "1")
    assert found.returncode == 1
    assert "calls cli() when it is imported" in found.stderr
    assert "under `if __name__ == '__main__':`" in found.stderr
    for words in (["retry", "latest"], ["describe", "bare.py"], ["submit", "bare.py"]):
        again = place.reflow(*words)
        assert again.returncode == 2, again.stderr
        assert again.stderr.startswith(f"error: {place.path / 'bare.py'}:")
        assert len(again.stderr.splitlines()) == 2, again.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(place: Place, closed: str) -> None:
    shell = ("sh", "-c", f'"$@" {closed}', "sh")
    found = place.run("--count", "2", within=shell)
    assert found.returncode == 0, found.stderr
    assert "Traceback" not in found.stderr
    assert ("Created run" in found.stdout) == (">&-" not in closed.replace("2>&-", ""))
    assert place.reflow("status").stdout.count("SUCCESS") >= 3
    assert place("-m", "reflow", "nonsense", within=shell).returncode == 2
