"""Files that results name: they are there, each is one element's work, and they are what was recorded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reflow.errors import UsageError
from reflow.model.codec import own_files, owns_files, schema_of
from reflow.worker import outputs
from reflow.worker.outputs import Outputs
from reflow.worker.seal import MOVED, Seal, differs, read_seal


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Looks for a file again without waiting; what would have been waited is listed."""
    waited: list[float] = []
    monkeypatch.setattr(outputs, "time", SimpleNamespace(sleep=waited.append))
    return waited


# --- what is not there ---------------------------------------------------------------

MISSING = """
@dataclass
class Made:
    number: int
    path: Optional[Path] = None

@wf.job()
def one(run_dir: RunDir) -> Path:
    return run_dir / "none"

@wf.job()
def listed(run_dir: RunDir) -> list[Path]:
    (run_dir / "there").write_text("x")
    return [run_dir / "there", run_dir / "none"]

@wf.job()
def field(run_dir: RunDir) -> dict[str, Made]:
    return {"x": Made(1, run_dir / "none")}

@wf.job()
def dangling(run_dir: RunDir) -> Path:
    (run_dir / "link").symlink_to(run_dir / "none")
    return run_dir / "link"

@wf.job()
def circle(run_dir: RunDir) -> Path:
    (run_dir / "circle").symlink_to(run_dir / "circle")
    return run_dir / "circle"

@wf.job()
def none(run_dir: RunDir) -> Optional[Path]:
    return None

@wf.job()
def text(run_dir: RunDir) -> str:
    return str(run_dir / "none")

@wf.job()
def folder(run_dir: RunDir) -> Path:
    (run_dir / "folder").mkdir()
    return run_dir / "folder"

@wf.job()
def device() -> Path:
    return Path(os.devnull)
"""


def test_a_path_that_does_not_exist_fails_its_element_and_nothing_else_is_waited_for(
    lab: Any, at_once: list[float]
) -> None:
    lab.write(MISSING)
    run = lab.run()
    failed = {name for name, counts in run.status()["summary"].items() if "FAILED" in counts}
    assert failed == {"one", "listed", "field", "dangling", "circle"}
    reasons = {one["task"]: one["reason"] for one in run.status()["failures"]}
    assert all("which does not exist" in reason for reason in reasons.values())
    assert str(lab.run_dir / "none") in reasons["field"]
    assert run.result("none") is None
    assert run.result("folder") == lab.run_dir / "folder"
    assert sum(at_once) == pytest.approx(len(failed) * sum(outputs._PATIENCE))


def test_a_file_that_is_seen_late_is_no_failure(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write("""
    @wf.job()
    def late(run_dir: RunDir) -> Path:
        return run_dir / "late"
    """)
    late = SimpleNamespace(sleep=lambda _: (lab.run_dir / "late").write_text("x"))
    monkeypatch.setattr(outputs, "time", late)
    assert lab.good().result("late") == lab.run_dir / "late"


def test_a_missing_file_is_retried_like_an_error(lab: Any) -> None:
    lab.write("""
    @wf.job(retries=1)
    def second(run_dir: RunDir) -> Path:
        note("second")
        if flag("once"):
            (run_dir / "out").write_text("x")
        (HERE / "once").write_text("")
        return run_dir / "out"
    """)
    lab.good()
    assert lab.ran() == ["second", "second"]


def test_a_relative_path_of_another_directory_is_refused(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here = lab.path / "here"
    here.mkdir()
    (here / "b.txt").write_text("here")
    monkeypatch.chdir(here)
    lab.write("""
    @wf.job()
    def gone(run_dir: RunDir) -> Path:
        os.chdir(run_dir)
        Path("a.txt").write_text("x")
        return Path("a.txt")

    @wf.job()
    def other(run_dir: RunDir) -> list[Path]:
        os.chdir(run_dir)
        Path("b.txt").write_text("there")
        return [Path("b.txt")]

    @wf.job()
    def given(run_dir: RunDir) -> Path:
        os.chdir(HERE)
        return Path("b.txt")
    """)
    run = lab.run()
    reasons = {one["task"]: one["reason"] for one in run.status()["failures"]}
    assert set(reasons) == {"gone", "other"}
    assert "relative path b.txt" in reasons["other"]
    assert run.result("given") == Path("b.txt")


# --- one file, two authors ----------------------------------------------------------------

COLLIDE = """
@wf.job()
def reads() -> list[str]:
    return ["A/reads.fq", "B/reads.fq", "C/other.fq"]

@wf.array_job(retries=3)
def align(fq: Annotated[str, Result(step="reads")], run_dir: RunDir) -> RESULT:
    note("align", fq)
    out = run_dir / f"{Path(fq).stem}.bam"
    out.write_text(fq)
    return out

@wf.job()
def words(bams: Annotated[list[Path], Result(step="align")]) -> list[str]:
    return [bam.read_text() for bam in bams]
"""


def test_elements_that_write_one_file_fail_unretried_and_unkept(lab: Any) -> None:
    lab.write(COLLIDE.replace("RESULT", "Path"))
    for _ in range(2):
        run = lab.run()
        assert run.status()["summary"]["align"] == {"FAILED": 2, "SUCCESS": 1, "total": 3, "cached": run_cached(run)}
        first, second = run.status()["failures"]
        assert first["reason"] == second["reason"]
        assert "align[0], align[1] have written one file" in first["reason"]
        assert first["class"] == "conflict"
        assert "words" in run.status()["summary"]
        assert "SKIPPED" in run.status()["summary"]["words"]
    assert lab.ran().count("align C/other.fq") == 1
    assert lab.ran() == []
    run.retry()
    assert lab.ran() == ["align A/reads.fq", "align B/reads.fq"]


def run_cached(run: Any) -> int:
    return int(run.status()["summary"]["align"]["cached"])


@pytest.mark.parametrize("returns", ["Annotated[Path, reflow.Shared()]", "Annotated[Path, reflow.Shared]"])
def test_a_shared_file_has_many_authors(lab: Any, returns: str) -> None:
    lab.write(COLLIDE.replace("RESULT", returns))
    assert lab.good().result("words") == ["B/reads.fq", "B/reads.fq", "C/other.fq"]
    assert len(lab.ran()) == 3
    assert lab.good().result("words") == ["B/reads.fq", "B/reads.fq", "C/other.fq"]
    assert lab.ran() == []  # as all of its authors have left it


def test_two_tasks_that_write_one_file_fail_at_the_end_of_the_run(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def one(run_dir: RunDir) -> Path:
        (run_dir / "deep").mkdir(exist_ok=True)
        (run_dir / "deep" / "x").write_text("1")
        return run_dir / "deep" / "x"

    @wf.job()
    def two(run_dir: RunDir, one: Annotated[Path, Result(step="one")]) -> dict[str, list[Path]]:
        (run_dir / "way").symlink_to("deep") if not flag("run/way") else None
        (run_dir / "way" / "y").write_text("2")
        return {"x": [run_dir / "way" / "y"]}

    @wf.job(after=["two"])
    def three(run_dir: RunDir) -> Path:
        (run_dir / "deep" / "y").write_text("3")
        return run_dir / "deep" / "y"
    """)
    for _ in range(2):
        run = lab.run()
        failed = {one["task"]: one["reason"] for one in run.status()["failures"]}
        assert set(failed) == {"three", "two"}
        assert "three, two have written one file" in failed["two"]


def test_a_file_that_an_element_was_given_is_not_its_own_work(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make(run_dir: RunDir) -> list[Path]:
        for name in "ab":
            (run_dir / name).write_text(name)
        return [run_dir / "a", run_dir / "b"]

    @wf.array_job()
    def alter(path: Annotated[Path, Result(step="make")]) -> Path:
        path.write_text(path.read_text() + "!")
        return path

    @wf.job(after=["alter"])
    def choose(paths: Annotated[list[Path], Result(step="make")], run_dir: RunDir) -> tuple[Path, Path]:
        return max(paths), run_dir

    @wf.job()
    def also(run_dir: RunDir) -> Path:
        return run_dir

    @wf.array_job()
    def look(path: Annotated[Path, Result(step="alter")]) -> str:
        return path.read_text()
    """)
    for _ in range(2):
        run = lab.good()
        assert run.results("look") == ["a!", "b!"]


PASSED_ON = """
@wf.job()
def names() -> list[str]:
    return ["a", "b", "c"]

@wf.array_job()
def make(name: Annotated[str, Result(step="names")], run_dir: RunDir) -> Path:
    (run_dir / name).write_text(name)
    return run_dir / name

@wf.job(after=["make"], fingerprint=POLICY)
def listed(run_dir: RunDir) -> list[Path]:
    MEDDLE
    return sorted(run_dir.glob("[abc]"))

@wf.job(after=["listed"])
def last(run_dir: RunDir) -> dict[str, Path]:
    return {path.name: path for path in run_dir.glob("[ab]")}
"""


@pytest.mark.parametrize(
    ("meddle", "policy"),
    [("pass", "stat"), ("pass", "content"), ("(run_dir / 'a').chmod(0o600)", "stat")],
)
def test_who_finds_a_file_and_does_not_write_it_is_no_author(lab: Any, meddle: str, policy: str) -> None:
    lab.write(PASSED_ON.replace("MEDDLE", meddle).replace("POLICY", repr(policy)))
    run = lab.good()
    assert len(run.result("listed")) == 3
    assert run.status()["run"]["uncached"] == []
    again = lab.good()
    assert {one["decision"] for one in again.explain("last")} == {"hit"}


@pytest.mark.parametrize(
    "meddle",
    [
        "(run_dir / 'a').write_text('other')",
        "(run_dir / 'x').write_text('X'), (run_dir / 'x').replace(run_dir / 'a')",
        "at = (run_dir / 'a').stat(); (run_dir / 'a').write_text('X'); "
        "os.utime(run_dir / 'a', ns=(at.st_atime_ns, at.st_mtime_ns))",
    ],
)
def test_who_writes_a_file_after_its_author_fails_with_it(lab: Any, meddle: str) -> None:
    lab.write(PASSED_ON.replace("MEDDLE", meddle).replace("POLICY", "'stat'"))
    for _ in range(2):
        failed = {(one["task"], one["index"]) for one in lab.run().status()["failures"]}
        assert {("make", 0), ("listed", None)} <= failed or {("make", 0), ("listed", 0)} <= failed
        assert not any(task == "make" and index != 0 for task, index in failed)


def test_files_below_a_directory_that_was_given_may_be_listed_by_many_and_written_by_one(lab: Any) -> None:
    (lab.path / "data").mkdir()
    (lab.path / "data" / "x").write_text("x")
    lab.write("""
    @wf.job()
    def one(folder: Annotated[Path, Param()]) -> list[Path]:
        return sorted(folder.iterdir())

    @wf.job()
    def two(folder: Annotated[Path, Param()]) -> list[Path]:
        return sorted(folder.iterdir())

    @wf.job()
    def place() -> list[int]:
        return [1, 2]

    @wf.array_job()
    def write(i: Annotated[int, Result(step="place")], to: Annotated[Path, Param()]) -> Path:
        (to / "same").write_text(str(i))
        return to / "same"
    """)
    (lab.path / "to").mkdir()
    run = lab.run(folder=lab.path / "data", to=lab.path / "to")
    assert {one["task"] for one in run.status()["failures"]} == {"write"}


def test_directories_have_one_author_and_hits_are_authors_too(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def one(run_dir: RunDir) -> Path:
        (run_dir / "store").mkdir(exist_ok=True)
        return run_dir / "store"

    @wf.job(after=["one"])
    def two(run_dir: RunDir, late: Annotated[bool, Param()] = False) -> list[Path]:
        if late:
            (run_dir / "store" / "more").touch()
        return [run_dir / "store"] if late else []
    """)
    lab.good()
    run = lab.run(late=True)
    assert {one["task"] for one in run.status()["failures"]} == {"one", "two"}


def test_a_file_that_was_there_before_the_run_is_no_element_s_work(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make() -> list[int]:
        return [1, 2, 3]

    @wf.array_job()
    def program(i: Annotated[int, Result(step="make")]) -> tuple[int, Path]:
        return i, Path("/bin/sh")

    @wf.job()
    def first(programs: Annotated[list[tuple[int, Path]], Result(step="program")]) -> int:
        return len(programs)
    """)
    assert lab.good().result("first") == 3
    assert {one["decision"] for one in lab.good().explain("program")} == {"hit"}


def test_types_say_which_paths_are_shared() -> None:
    from typing import Annotated

    from reflow import Shared

    both = schema_of(dict[str, tuple[Annotated[list[Path], Shared()], Path | None]])
    assert owns_files(both)
    assert own_files(b'{"x":[["/a","/b"],"/c"],"y":[["/c"],null]}', both) == {"/c"}
    assert not owns_files(schema_of(Annotated[list[Path | None], Shared()]))
    assert not owns_files(schema_of(Annotated[Path, Shared()] | None))
    assert not owns_files(schema_of(list[str]))


# --- seals ----------------------------------------------------------------------------------


def sealed(path: Path) -> str:
    looked = Outputs(os.getcwd(), "/", "stat", {})
    (text,) = looked.record([(str(path), True)], [str(path)], {}, 0.0).values()
    return text


def test_a_seal_is_text_that_can_be_read_back(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    text = sealed(tmp_path / "a")
    assert str(read_seal(text)) == text
    assert read_seal(text).own
    assert Seal("stat:1:2", "3", "ab" * 8, "+").own
    assert read_seal("stat:1:2") == Seal("stat:1:2")
    assert str(Seal("content:00", "", "ab" * 8)) == "content:00 - ~" + "ab" * 8
    assert read_seal("x y") == Seal("x")
    assert str(Seal("dir:1:00", "11", "ab" * 8, "+")).startswith("dir:1:00 11 +ab")


def test_equal_size_and_time_do_not_make_a_file_the_same(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_text("one")
    with open(large, "wb") as stream:
        stream.truncate((1 << 20) + 1)
    seals = {path: sealed(path) for path in (small, large)}
    assert [differs(str(path), text) for path, text in seals.items()] == ["", ""]
    for path in seals:
        os.chmod(path, 0o600)
    assert differs(str(small), seals[small]) == ""  # its content is known
    assert "ctime" in differs(str(large), seals[large])
    assert differs(str(large), seals[large], ctime=False) == ""
    before = small.stat()
    small.write_text("two")
    os.utime(small, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "ctime" in differs(str(small), seals[small])
    small.unlink()
    assert differs(str(small), seals[small]) == "is gone"


def test_a_link_that_leads_elsewhere_makes_another_file(tmp_path: Path) -> None:
    for release in ("v1", "v2"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "x").write_text(release)
    shutil.copystat(tmp_path / "v1" / "x", tmp_path / "v2" / "x")
    current = tmp_path / "current"
    current.symlink_to("v1")
    text = sealed(current / "x")
    assert differs(str(current / "x"), text, ctime=False) == ""
    current.unlink()
    current.symlink_to("v2")
    assert differs(str(current / "x"), text, ctime=False) == MOVED
    (tmp_path / "v2" / "x").write_text("v1")
    shutil.copystat(tmp_path / "v1" / "x", tmp_path / "v2" / "x")
    assert differs(str(current / "x"), text) == ""


def test_an_output_that_was_replaced_is_computed_again(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make(run_dir: RunDir) -> Path:
        note("make")
        (run_dir / "x").write_text("one")
        return run_dir / "x"

    @wf.job()
    def read(path: Annotated[Path, Result(step="make")]) -> str:
        note("read")
        return path.read_text()
    """)
    lab.good()
    made = lab.run_dir / "x"
    before = made.stat()
    os.chmod(made, 0o640)
    lab.good()
    assert lab.ran() == ["make", "read"]
    made.write_text("two")
    os.utime(made, ns=(before.st_atime_ns, before.st_mtime_ns))
    run = lab.good()
    assert run.result("read") == "one"
    assert "ctime" in lab.why(run, "make")[None][1]


# --- where a result holds ---------------------------------------------------------------------

FIND = """
@wf.job()
def find() -> RESULT:
    note("find", Path.cwd().name)
    return sorted(FOLDER.glob("*.nc"))

@wf.array_job()
def read(path: Annotated[Path, Result(step="find")]) -> str:
    note("read", path.name)
    return path.read_text()
"""


@pytest.mark.parametrize("folder", ['Path(".")', "Path.cwd()"])
@pytest.mark.parametrize("returns", ["list[Path]", "Annotated[list[Path], reflow.Shared()]"])
def test_a_result_of_one_directory_is_no_hit_in_another(
    lab: Any, monkeypatch: pytest.MonkeyPatch, folder: str, returns: str
) -> None:
    lab.write(FIND.replace("FOLDER", folder).replace("RESULT", returns))
    files = {"E": [], "A": ["1", "2"], "B": ["1", "2", "3"], "F": []}
    for name, numbers in files.items():
        (lab.path / name).mkdir()
        for number in numbers:
            (lab.path / name / f"{number}.nc").write_text(name + number)
    for again in (False, True):
        for name, numbers in files.items():
            monkeypatch.chdir(lab.path / name)
            run = lab.good(run_dir=lab.path / f"run{name}{again}")
            assert run.results("read") == [name + number for number in numbers]
            assert bool(lab.ran()) is not again
    assert lab.why(run, "find")[None][0] == "hit"
    monkeypatch.chdir(lab.path)
    assert lab.why(lab.good(), "find") == {None: ("miss", "directory changed")}


def test_a_result_that_names_what_it_was_given_is_a_hit_everywhere(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write("""
    @wf.job()
    def find(folder: Annotated[Path, Param()]) -> list[Path]:
        note("find")
        return sorted(folder.iterdir())

    @wf.job()
    def make(run_dir: RunDir) -> Path:
        note("make")
        (run_dir / "x").write_text("x")
        return run_dir / "x"

    @wf.job()
    def word() -> str:
        note("word")
        return "x"
    """)
    data = lab.path / "data"
    data.mkdir()
    (data / "x").write_text("x")
    for name in (".", "data"):
        monkeypatch.chdir(lab.path / name)
        lab.good(folder=data)
    assert lab.ran() == ["find", "make", "word"]


def test_other_code_is_found_in_the_same_directory_alone(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_CACHE_POLICY", "ignore")
    lab.write(FIND.replace("FOLDER", 'Path(".")').replace("RESULT", "list[Path]"))
    for name in ("A", "B"):
        (lab.path / name).mkdir()
        (lab.path / name / "1.nc").write_text(name)
        monkeypatch.chdir(lab.path / name)
        assert lab.good().results("read") == [name]
    lab.ran()
    lab.edit("sorted(Path", "list(Path")
    assert lab.good().results("read") == ["B"]
    assert lab.ran() == []


# --- input files are judged by who used them -------------------------------------------------------

TEMPORARY = """
@wf.job()
def names() -> list[int]:
    return [1, 2]

@wf.array_job()
def big(i: Annotated[int, Result(step="names")], run_dir: RunDir) -> Path:
    (run_dir / f"big{i}").write_text("x" * i)
    return run_dir / f"big{i}"

@wf.array_job()
def small(path: Annotated[Path, Result(step="big", fingerprint="content")]) -> int:
    note("small", path.name)
    return path.stat().st_size

@wf.job()
def first(run_dir: RunDir) -> Path:
    (run_dir / "first").write_text("one")
    return run_dir / "first"

@wf.job()
def second(path: Annotated[Path, Result(step="first")]) -> int:
    note("second")
    return len(path.read_text())

@wf.job(cache=False)
def clean(
    paths: Annotated[list[Path], Result(step="big")],
    path: Annotated[Path, Result(step="first")],
    sizes: Annotated[list[int], Result(step="small")],
    more: Annotated[int, Result(step="second")],
) -> int:
    for one in [*paths, path]:
        one.unlink()
    return sum(sizes) + more
"""


def test_an_intermediate_that_is_deleted_after_its_use_costs_nothing(lab: Any) -> None:
    lab.write(TEMPORARY)
    run = lab.good()
    assert run.result("clean") == 6
    assert run.status()["run"]["uncached"] == []
    assert lab.ran() == ["second", "small big1", "small big2"]
    lab.good()
    assert lab.ran() == ["second"]  # by its time stamp; by content, the others are the same


def test_a_file_that_stands_for_others_counts_by_its_time(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def build(run_dir: RunDir, version: Annotated[int, Param()]) -> Path:
        (run_dir / "data").write_text(str(version))
        (run_dir / "done").write_text("")
        return run_dir / "done"

    @wf.job()
    def use(done: Annotated[Path, Result(step="build")]) -> str:
        return (done.parent / "data").read_text()
    """)
    assert [lab.good(version=version).result("use") for version in (1, 2)] == ["1", "2"]


OVERWRITTEN = """
@wf.job()
def make(run_dir: RunDir, word: Annotated[str, Param()] = "ours") -> Path:
    (run_dir / "x").write_text(word)
    return run_dir / "x"

@wf.job(after=["make"])
def meddle() -> None:
    if flag("meddle"):
        (HERE / "run" / "x").write_text("another run's")

@wf.job(after=["meddle"], retries=2)
def read(path: Annotated[Path, Result(step="make")]) -> str:
    note("read")
    return path.read_text()
"""


def test_a_file_of_a_hit_that_is_gone_is_not_taken_for_missing(lab: Any) -> None:
    lab.write(
        OVERWRITTEN.replace('.write_text("another run\'s")', ".unlink()").replace(
            "path.read_text()", "path.read_text() if path.exists() else 'nothing'"
        )
    )
    lab.touch("meddle")
    (failure,) = lab.run().status()["failures"]
    assert "is gone since the task that made it ended" in failure["reason"]


@pytest.mark.parametrize("cached", [False, True])
def test_a_file_that_something_else_has_written_is_not_used(lab: Any, cached: bool) -> None:
    lab.write(OVERWRITTEN)
    if cached:
        lab.good()
        lab.ran()
    lab.touch("meddle")
    run = lab.run(force_tasks=["meddle", "read"])
    (failure,) = run.status()["failures"]
    assert (failure["task"], failure["class"]) == ("read", "changed")
    assert "has changed since the task that made it ended" in failure["reason"]
    assert lab.ran() == []
    (lab.path / "meddle").unlink()
    run.retry()
    assert run.result("read") == "ours"
    assert lab.ran() == ["read"]


def test_a_file_that_tasks_of_the_run_alter_is_used_as_they_leave_it(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def create(run_dir: RunDir) -> Path:
        (run_dir / "store").write_text("0")
        return run_dir / "store"

    @wf.job()
    def numbers() -> list[int]:
        return [1, 2]

    @wf.array_job()
    def fill(i: Annotated[int, Result(step="numbers")],
             store: Annotated[Path, Result(step="create", broadcast=True)]) -> None:
        with store.open("a") as stream:
            stream.write(str(i))

    @wf.job(after=["fill"])
    def read(store: Annotated[Path, Result(step="create")]) -> str:
        return store.read_text()

    @wf.job(after=["read"])
    def again(store: Annotated[Path, Result(step="create")]) -> Path:
        if not flag("once"):
            (HERE / "once").touch()
            store.write_text("half")
            raise ValueError("in between")
        return store
    """)
    lab.edit('@wf.job(after=["read"])', '@wf.job(after=["read"], retries=1)')
    run = lab.good()
    assert run.result("read") == "012"


WHILE_USED = """
@wf.job()
def make(run_dir: RunDir) -> KIND:
    (run_dir / "x").write_text("ours")
    return MADE

@wf.KIND_OF_JOB(cache=CACHE, retries=2)
def read(path: Annotated[Path, Result(step="make")]) -> Optional[Path]:
    note("read")
    MEDDLE
    return RETURNED
"""

OTHERS = "path.write_text(\"another run's\") if flag('meddle') else None"


def while_used(lab: Any, meddle: str, *, array: bool = False, cache: bool = True, returned: str = "None") -> None:
    kind, made = ("list[Path]", '[run_dir / "x"]') if array else ("Path", 'run_dir / "x"')
    text = WHILE_USED.replace("KIND_OF_JOB", "array_job" if array else "job").replace("KIND", kind)
    text = text.replace("MADE", made).replace("CACHE", str(cache)).replace("RETURNED", returned)
    lab.write(text.replace("MEDDLE", meddle))


@pytest.mark.parametrize(("array", "cache"), [(False, True), (True, True), (False, False)])
def test_a_file_that_another_run_writes_while_it_is_used_fails_the_element(lab: Any, array: bool, cache: bool) -> None:
    while_used(lab, OTHERS, array=array, cache=cache)
    lab.good()
    lab.touch("meddle")
    run = lab.run(force_tasks=["read"])
    (failure,) = run.status()["failures"]
    assert (failure["task"], failure["class"]) == ("read", "changed")
    assert "was written while the task used it" in failure["reason"]
    assert lab.ran() == ["read", "read"]  # not tried again
    (lab.path / "meddle").unlink()
    run.retry()
    assert run.state.value == "SUCCESS"
    assert (lab.run_dir / "x").read_text() == "ours"


@pytest.mark.parametrize(
    ("meddle", "returned"),
    [("path.unlink()", "None"), ("path.write_text('')", "None"), ("path.write_text('more')", "path")],
)
def test_a_task_may_clear_away_its_input_and_write_what_it_returns(lab: Any, meddle: str, returned: str) -> None:
    while_used(lab, meddle, returned=returned)
    lab.good()


def test_what_all_elements_of_an_array_are_given_is_looked_at_before_they_begin(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make(run_dir: RunDir) -> Path:
        (run_dir / "x").write_text("ours")
        return run_dir / "x"

    @wf.job(after=["make"], cache=False)
    def numbers() -> list[int]:
        if flag("meddle"):
            (HERE / "run" / "x").write_text("another run's")
        return [1, 2]

    @wf.array_job()
    def read(i: Annotated[int, Result(step="numbers")],
             path: Annotated[Path, Result(step="make", broadcast=True)]) -> str:
        note("read")
        return path.read_text()
    """)
    lab.touch("meddle")
    run = lab.run()
    (failure,) = run.status()["failures"]
    assert (failure["task"], failure["class"]) == ("read", "changed")
    assert lab.ran() == []
    (lab.path / "meddle").unlink()
    run.retry()
    assert run.results("read") == ["ours", "ours"]


# --- inputs of equal size and time --------------------------------------------------------------------

READ = """
@wf.job()
def read(source: Annotated[Path, Param()]) -> str:
    note("read")
    return "".join(one.read_text()[:5] for one in (sorted(source.iterdir()) if source.is_dir() else [source]))

@wf.job()
def many(sources: Annotated[list[Path], Param()]) -> int:
    note("many")
    return len(sources)

@wf.array_job()
def each(source: Annotated[Path, Result(step="name")]) -> str:
    note("each")
    return source.read_text()[:5]

@wf.job(verify=False)
def name(source: Annotated[Path, Param(fingerprint="name")]) -> list[Path]:
    return [source] if source.is_file() else []
"""


def old(*paths: Path) -> None:
    """Make files old enough for their time stamps to be trusted, and equal."""
    for path in paths:
        os.utime(path, (10**9, 10**9))


@pytest.fixture
def sources(lab: Any) -> dict[str, Path]:
    found = {}
    for name, size in (("small", 5), ("large", (1 << 20) + 1)):
        found[name] = lab.path / name
        found[name].write_text("first".ljust(size, "."))
        old(found[name])
    lab.write(READ)
    return found


def replace(path: Path, word: str) -> None:
    """Put a file of equal size and time in the place of another one."""
    other = path.with_name("other")
    other.write_text(word.ljust(path.stat().st_size, "."))
    old(other)
    other.replace(path)


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_replaced_input_of_equal_size_and_time_is_no_hit(lab: Any, sources: dict[str, Path], name: str) -> None:
    given = {"source": sources[name], "sources": [sources[name]]}
    lab.good(**given)
    lab.good(**given)
    assert lab.ran() == ["each", "many", "read"]
    replace(sources[name], "other")
    run = lab.good(**given)
    assert (run.result("read"), run.results("each")) == ("other", ["other"])
    assert lab.ran() == ["each", "many", "read"]
    assert lab.why(run, "read")[None][1].startswith(f"input {sources[name]} has its old size and time stamp")


def test_attributes_change_nothing_where_the_content_is_known_or_the_ctime_does_not_count(
    lab: Any, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, path in sources.items():
        given = {"source": path, "sources": [path]}
        lab.good(**given)
        assert len(lab.ran()) == 3
        os.link(path, path.with_name(f"link {name}"))
        with monkeypatch.context() as patch:
            patch.setenv("REFLOW_CACHE_CTIME", "false")
            lab.good(**given)
        assert lab.ran() == []
        lab.good(**given)
        assert len(lab.ran()) == (0 if name == "small" else 3)


def test_many_inputs_and_directories_are_told_apart_by_one_text(lab: Any, sources: dict[str, Path]) -> None:
    folder = lab.path / "folder"
    folder.mkdir()
    paths = [folder / f"{i:02}" for i in range(20)]
    for path in paths:
        path.write_text("first")
    old(*paths)
    given = {"source": folder, "sources": paths}
    lab.good(**given)
    lab.good(**given)
    assert lab.ran() == ["many", "read"]
    replace(paths[3], "other")
    run = lab.good(**given)
    assert "other" in run.result("read")
    assert lab.ran() == ["many", "read"]
    assert lab.why(run, "many")[None][1].startswith("files of sources have their old sizes")


def test_a_link_of_a_parent_that_leads_to_another_release_is_no_hit(lab: Any, sources: dict[str, Path]) -> None:
    current = lab.path / "current"
    for release, word in (("v1", "first"), ("v2", "other")):
        (lab.path / release).mkdir()
        (lab.path / release / "x").write_text(word)
        old(lab.path / release / "x")
    current.symlink_to("v1")
    given = {"source": current / "x", "sources": [current / "x"]}
    assert lab.good(**given).result("read") == "first"
    current.unlink()
    current.symlink_to("v2")
    assert lab.good(**given).result("read") == "other"


def test_a_large_directory_without_a_policy_is_refused_before_there_is_a_run(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reflow.worker.files.ENTRIES", 3)
    folder = lab.path / "folder"
    folder.mkdir()
    for i in range(5):
        (folder / str(i)).touch()
    source = """
    @wf.job()
    def count(folder: Annotated[list[Path], Param(POLICY)]) -> int:
        return len(list(folder[0].iterdir()))
    """
    lab.write(source.replace("POLICY", ""))
    with pytest.raises(UsageError, match=r"parameter folder: .* holds more than 3 entries"):
        lab.run(folder=[folder])
    assert not lab.run_dir.exists()
    lab.write(source.replace("POLICY", 'fingerprint="stat"'))
    assert lab.good(folder=[folder]).result("count") == 5


def test_links_and_modes_of_large_outputs_that_the_run_itself_makes_cost_nothing(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make(run_dir: RunDir) -> Path:
        note("make")
        with open(run_dir / "large", "wb") as stream:
            stream.truncate((1 << 20) + 1)
        return run_dir / "large"

    @wf.job(cache=False)
    def public(path: Annotated[Path, Result(step="make")]) -> None:
        if flag("public"):
            path.chmod(0o644)
            return
        (HERE / "public").touch()
        path.chmod(0o600)
        os.link(path, path.with_name("link"))
    """)
    lab.good()
    lab.good()
    assert lab.ran() == ["make"]


def test_few_bytes_of_many_small_outputs_are_read(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(outputs, "_READ", 10)
    monkeypatch.setattr(outputs, "small_content", lambda path, digest: read.append(path) or "")
    lab.write("""
    @wf.job()
    def make(run_dir: RunDir) -> list[Path]:
        for i in range(8):
            (run_dir / str(i)).write_text("1234")
        return [run_dir / str(i) for i in range(8)]
    """)
    lab.good()
    assert len(read) == 2


def test_links_and_modes_of_large_inputs_that_the_run_itself_makes_cost_nothing(
    lab: Any, sources: dict[str, Path]
) -> None:
    for kind in ("list[Path]", "Path"):
        lab.write(
            """
        @wf.job()
        def name(source: Annotated[Path, Param()]) -> list[Path]:
            return [source]

        @wf.array_job()
        def each(path: Annotated[Path, Result(step="name")], source: Annotated[Path, Param()]) -> None:
            note("each")
            path.chmod(0o600 if path.stat().st_mode & 0o77 else 0o644)

        @wf.job()
        def one(source: Annotated[KIND, Param()]) -> int:
            note("one")
            return 1
        """.replace(
                "Annotated[KIND, Param()]",
                f"Annotated[{kind}, Result(step='name')]" if kind != "Path" else "Annotated[Path, Param()]",
            )
        )
        lab.good(source=sources["large"])
        lab.ran()
        lab.good(source=sources["large"])
        assert lab.ran() == []


@pytest.mark.parametrize("name", ["small", "large"])
def test_an_input_that_is_replaced_while_it_is_used_is_no_hit_afterwards(
    lab: Any, sources: dict[str, Path], name: str
) -> None:
    lab.write("""
    @wf.job()
    def read(source: Annotated[Path, Param()]) -> str:
        note("read")
        word = source.read_text()[:5]
        if flag("replace"):
            before = source.stat()
            source.write_text("other".ljust(before.st_size, "."))
            os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
        return word
    """)
    lab.touch("replace")
    assert lab.good(source=sources[name]).result("read") == "first"
    (lab.path / "replace").unlink()
    assert lab.good(source=sources[name]).result("read") == "other"
    assert lab.ran() == ["read", "read"]


def test_a_run_that_is_retried_from_elsewhere_works_where_it_was_submitted(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (lab.path / name).mkdir()
        (lab.path / name / "x").write_text(name)
    lab.write("""
    @wf.job()
    def find() -> Path:
        if not flag("go"):
            raise ValueError("not yet")
        return Path("x")

    @wf.job()
    def read(path: Annotated[Path, Result(step="find")]) -> str:
        return path.read_text()
    """)
    monkeypatch.chdir(lab.path / "here")
    run = lab.run()
    lab.touch("go")
    monkeypatch.chdir(lab.path / "there")
    run.retry()
    assert run.result("read") == "here"
    assert Path.cwd() == lab.path / "there"
