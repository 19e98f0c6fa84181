# ruff: noqa: D102
"""What every dialect of a command-line scheduler has to hold, whatever its words are."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..authoring.settings import slip
from ..batch.command import CommandExecutor
from ..batch.dialect import Dialect, Row, Site
from ..batch.options import BUILT, EMULATED, FLAG, REFUSED, VOCABULARY, Cell
from ..batch.preview import MARK
from ..batch.runner import Completed
from ..batch.script import Body, render
from ..errors import ExecutorError, UsageError
from ..model.job import Job, JobRef, JobState
from ..model.resources import Resources
from .replay import Replay

_quiet = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors]
)

NOISE = (
    "",
    "\n",
    "Segmentation fault\n",
    "Erreur : connexion refusée\n",
    "エラー: 接続できません\n",
    "\x00\x01|||\n",
    "<html>\n",
)


class DialectConformance:
    """Subclass it with the executor, and with what its scheduler was recorded to say.

    Attributes
    ----------
    executor : type of CommandExecutor
        What is tested.
    settings : dict
        Its arguments.
    mpi : dict
        Further ones that a job of several nodes needs. Where ``nodes`` or ``tasks`` is refused, such a job has to be.
    live, follow_up : tuple of str
        Recorded outputs of the commands that `Dialect.live` and `Dialect.follow_up` stand for.
    recorded : Path, optional
        A directory of further ones: ``NAME.live.txt`` and ``NAME.follow-up.txt``,
        each with ``NAME.expected.txt`` beside it, a line for each job or element
        that it tells of: `told` writes them.
    """

    executor: ClassVar[type[CommandExecutor]]
    settings: ClassVar[dict[str, Any]] = {}
    mpi: ClassVar[dict[str, Any]] = {}
    live: ClassVar[tuple[str, ...]] = ()
    follow_up: ClassVar[tuple[str, ...]] = ()
    recorded: ClassVar[Path | None] = None

    def seconds(self, words: Sequence[str]) -> int:
        """The walltime that flags ask for, in seconds."""
        raise NotImplementedError

    def memory(self, words: Sequence[str], resources: Resources) -> int | None:
        """The memory of one node that flags ask for, in bytes; None: the scheduler takes no such request."""
        raise NotImplementedError

    def cell(self, name: str) -> Cell:
        """A row of its vocabulary."""
        return self.dialect().cells[name]

    def refuses(self, name: str) -> bool:
        """Whether its own table refuses an option."""
        return self.cell(name).kind == REFUSED

    def native_option(self) -> str:
        """One of the scheduler's own options; skips the test where the dialect takes none."""
        return min(self.dialect().native, default="") or pytest.skip("it takes no options of the scheduler's own")

    def text_option(self) -> str:
        """An option that is a flag with any text; skips the test where there is none."""
        cells = self.dialect().cells
        texts = ("account", "project", "queue", "qos", "constraint", "reservation")
        found = [name for name in texts if cells[name].kind == FLAG and "{}" in cells[name].text]
        return found[0] if found else pytest.skip("it has no flag that takes any text")

    def made(self) -> CommandExecutor:
        """An executor with nothing to run commands with."""
        return self.executor(**self.settings)

    def dialect(self) -> Dialect:
        """Its dialect."""
        return self.made().speaks

    def words(self, **fields: Any) -> list[str]:
        """All words that a job's flags make."""
        job = a_job(**fields)
        return [word for group in self.dialect().flags(job, a_site()) for word in group]

    def rows(self, text: str, *, follow_up: bool = False) -> list[Row]:
        """What is read out of an output."""
        done = Completed(argv=("x",), stdout=text)
        dialect = self.dialect()
        return list(dialect.read_follow_up(done, []) if follow_up else dialect.read_live(done))

    def outputs(self) -> list[tuple[str, bool, str]]:
        """All recorded outputs: name, whether it is of the follow-up, text."""
        named = [("live", False, text) for text in self.live] + [("follow_up", True, text) for text in self.follow_up]
        for path in sorted(self.recorded.glob("*.txt")) if self.recorded is not None else ():
            name, _, kind = path.name.removesuffix(".txt").rpartition(".")
            if kind in ("live", "follow-up"):
                named.append((name, kind == "follow-up", path.read_text(encoding="utf-8")))
        return named

    def told(self, text: str, *, follow_up: bool = False) -> str:
        """What an output tells, as text: id, index, state, exit code, signal, class, reason."""
        lines = []
        for row in self.rows(text, follow_up=follow_up):
            status = row.status
            cls = None if status.failure_class is None else status.failure_class.value
            cells = (row.id, row.index, status.state.value, status.exit_code, status.signal, cls)
            lines.append(" ".join("-" if cell is None else str(cell) for cell in (*cells, status.reason or None)))
        return "".join(f"{line}\n" for line in lines)

    # -- vocabulary -----------------------------------------------------------

    def test_every_option_has_a_cell(self) -> None:
        cells = self.dialect().cells
        assert set(cells) == set(VOCABULARY)
        assert {cell.kind for cell in cells.values()} <= {FLAG, BUILT, EMULATED, REFUSED}
        assert all(cell.text for cell in cells.values())

    def test_an_option_is_a_flag_or_an_error_never_nothing(self) -> None:
        plain = self.words()
        for name, cell in self.dialect().cells.items():
            if cell.kind == FLAG and name not in ("name", "output"):
                value = "7" if "{}" in cell.text else True
                assert self.words(options={name: value}) != plain, name
            elif cell.kind == REFUSED and name not in ("mem", "gpus", "nodes", "tasks", "requeue"):
                with pytest.raises(UsageError):
                    self.words(options={name: "7"})

    def test_an_option_taken_back_is_none(self) -> None:
        for value in (None, False):
            assert self.words(options=dict.fromkeys((*self.dialect().cells, "no_such_option"), value)) == self.words()

    def test_features_of_nodes(self) -> None:
        asked = {"constraint": ["fast", "big"]}
        if self.refuses("constraint"):
            with pytest.raises(UsageError):
                self.words(options=asked)
            return
        both = self.words(options=asked)
        assert any(re.search(rf"fast.*{re.escape(self.dialect().both)}.*big", word) for word in both), both
        # The command gets its words as they are. A directive is read by the scheduler, each in its own way.
        lines, _ = self.dialect().split(self.dialect().flags(a_job(options=asked), a_site()))
        assert not set("'\"") & set("".join(lines)), lines
        with pytest.raises(UsageError, match="takes a value"):
            self.words(options={"constraint": True})

    def test_whole_nodes_or_an_error(self) -> None:
        if self.dialect().cells["exclusive"].kind == BUILT:
            assert self.words(options={"exclusive": True}) != self.words()
            with pytest.raises(UsageError, match=r"exclusive='user'.* whole nodes only"):
                self.words(options={"exclusive": "user"})

    def test_unknown_option(self) -> None:
        near = sorted(self.dialect().native)[:1]
        for wrong in ("que", *(f"{name}x" for name in near)):
            with pytest.raises(UsageError, match="has no option") as caught:
                self.words(options={wrong: "1"})
            assert "did you mean" in (caught.value.hint or "") or len(wrong) < 4
        for wrong, meant in (("partiton", "partition"), ("walltme", "time")):
            with pytest.raises(UsageError) as caught:
                self.words(options={wrong: "1"})
            assert f"did you mean {meant!r}" in (caught.value.hint or "")

    def test_native_options_are_no_slips_of_the_pen(self) -> None:
        assert set(filter(slip, self.dialect().native)) <= {"nnodes"}  # which nodes= asks for

    def test_arguments_are_no_options(self) -> None:
        for name in ("time", "mem", "cpus", "array", "array_parallelism", "after", "env", "cwd"):
            with pytest.raises(UsageError, match=name):
                self.words(options={name: "1"})

    def test_own_options_are_refused(self) -> None:
        for name in self.dialect().own:
            with pytest.raises(UsageError, match="set by reflow"):
                self.words(options={name: "1"})

    def test_native_option(self) -> None:
        name, plain = self.native_option(), len(self.words())
        assert len(self.words(options={name: True})) == plain + 1
        assert len(self.words(options={name: ["1", "2"]})) >= plain + 2

    @pytest.mark.parametrize("value", ["a\nb", "a\0b", {"a": 1}, [["a"]]])
    def test_values_that_are_no_line_of_text(self, value: object) -> None:
        with pytest.raises(UsageError):
            self.words(options={self.native_option(): value})

    @_quiet
    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), max_size=60))
    def test_any_value_arrives_whole(self, value: str) -> None:
        executor = self.made()
        dialect = executor.speaks
        name = self.text_option()
        try:
            preview = executor.preview(a_job(options={name: value}), body="true\n")
        except UsageError:
            # What a scheduler would take for something else may be refused, but no plain value.
            assert not re.fullmatch(r"[\w@%+=:,./-]*", value, re.ASCII)
            return
        head = preview.script.partition(f"{MARK}\n")[0].split("\n")
        lines = [line for line in head if dialect.prefix and line.startswith(f"{dialect.prefix} ")]
        words = [word for line in lines for word in line.split(" ")[1:]] + list(preview.call.argv)
        expected = dialect.cells[name].words(value)
        assert expected is not None
        assert any(tuple(words[start : start + len(expected)]) == expected for start in range(len(words)))
        # Nothing of it is another line of the script.
        plain = executor.preview(a_job(options={name: "q"}), body="true\n").script
        assert preview.script.count("\n") in (plain.count("\n"), plain.count("\n") - 1)

    # -- units ----------------------------------------------------------------

    @_quiet
    @given(seconds=st.integers(1, 40 * 86400))
    def test_walltime_is_never_less(self, seconds: int) -> None:
        if self._refused("time", seconds) or self.cell("time").kind == EMULATED:
            return
        asked = self.seconds(self.words(resources=Resources(time=seconds)))
        assert seconds <= asked < seconds + 60

    @_quiet
    @given(
        mem=st.integers(1, 2**44),
        cpus=st.none() | st.integers(1, 64),
    )
    def test_memory_is_never_less(self, mem: int, cpus: int | None) -> None:
        if self._refused("mem", mem) or self._refused("cpus", cpus):
            return
        resources = Resources(mem=mem, cpus=cpus)
        asked = self.memory(self.words(resources=resources), resources)
        if asked is not None:
            assert mem <= asked < mem + 2**20 * (cpus or 1)

    def test_what_nobody_gave_is_not_asked_for(self) -> None:
        plain = self.words()
        for name, amount in (("time", 60), ("cpus", 2), ("gpus", 1)):
            if not self._refused(name, amount) and self.cell(name).kind != EMULATED:
                assert len(self.words(resources=Resources(**{name: amount}))) > len(plain), name

    def _refused(self, name: str, amount: int | None) -> bool:
        """Whether a resource is refused by the table; a job that asks for it has to be, too."""
        if amount is None or not self.refuses(name):
            return False
        with pytest.raises(UsageError):
            self.words(resources=Resources(**{name: amount}))
        return True

    # -- names, arrays --------------------------------------------------------

    @_quiet
    @given(st.text(max_size=300))
    def test_name_begins_with_the_tag_and_is_plain(self, text: str) -> None:
        dialect = self.dialect()
        for job in (a_job(name=f"k3f9x2abqd.{text}"), a_job(options={"name": text})):
            label = dialect.label(job)
            assert label.partition(".")[0] == "k3f9x2abqd"
            assert len(label) <= dialect.longest_name
            assert label.isascii()
            assert not set(label) & set(" \t\n/:*@%|,[]{}")

    @pytest.mark.parametrize("slots", [1, 2, 1000])
    @pytest.mark.parametrize("throttle", [None, 1, 7])
    def test_arrays_of_every_size(self, slots: int, throttle: int | None) -> None:
        assert self.words(slots=slots, throttle=throttle) != self.words()

    def test_mail_for_each_element_is_refused(self) -> None:
        for name in ("mail_user", "mail_type"):
            with pytest.raises(UsageError):
                self.words(slots=2, options={name: "END"})

    # -- what it reads --------------------------------------------------------

    @pytest.mark.parametrize("text", NOISE)
    def test_noise_is_no_answer(self, text: str) -> None:
        assert self.rows(text) == []
        assert self.rows(text, follow_up=True) == []

    @_quiet
    @given(st.text(max_size=400))
    def test_no_text_is_a_crash_or_an_end(self, text: str) -> None:
        for follow_up in (False, True):
            assert not any(row.status.state.ended for row in self.rows(text, follow_up=follow_up))

    def test_recorded_outputs_tell_what_they_told(self) -> None:
        if self.recorded is None:
            pytest.skip("nothing further was recorded")
        for name, follow_up, text in self.outputs():
            if name not in ("live", "follow_up"):
                expected = (self.recorded / f"{name}.expected.txt").read_text(encoding="utf-8")
                assert self.told(text, follow_up=follow_up) == expected, name

    def test_cut_short_it_says_nothing_else(self) -> None:
        for name, follow_up, text in self.outputs():
            whole: dict[tuple[str, int | None], set[JobState]] = {}
            for row in self.rows(text, follow_up=follow_up):
                whole.setdefault((row.id, row.index), set()).add(row.status.state)
            assert whole, name
            step = max(1, len(text) // 500)
            for end in range(0, len(text), step):
                for row in self.rows(text[:end], follow_up=follow_up):
                    if row.status.state.ended:
                        assert row.status.state in whole.get((row.id, row.index), ()), text[:end][-200:]

    # -- answers that are not whole ---------------------------------------------

    @pytest.mark.parametrize("text", [*NOISE, "garbled \u2603\n"])
    def test_an_answer_that_proves_nothing_is_no_evidence(self, text: str) -> None:
        """Code 0 or not, whatever does not look like the scheduler's own answer tells of no job that it is gone."""
        executor = self.executor(runner=Replay({"": text}), **self.settings)
        said = re.escape("; ".join(line.strip() for line in text.splitlines() if line.strip()))
        for ask in (lambda: executor.query([JobRef("12")]), lambda: executor.find(["k3f9x2abqd"])):
            with pytest.raises(ExecutorError, match=said or "it is empty") as caught:
                ask()
            assert caught.value.transient
        if executor.speaks.known:
            with pytest.raises(ExecutorError, match="not whole"):
                executor.cancel([JobRef("12")])

    def test_an_answer_cut_after_any_line_ends_nothing(self) -> None:
        for name, follow_up, text in self.outputs():
            if follow_up:
                continue
            whole = {(row.id, row.index, row.status.state.ended) for row in self.rows(text)}
            ids = sorted({id for id, _, _ in whole})
            base = self.dialect().limits.array_base
            lines = text.splitlines(keepends=True)
            for count in range(0, len(lines), max(1, len(lines) // 60)):
                executor = self.executor(runner=Replay({"": "".join(lines[:count])}), **self.settings)
                try:
                    answers = executor.query([JobRef(id) for id in ids])
                except ExecutorError:
                    continue
                for ref, status in answers.items():
                    index = None if ref.slot is None else ref.slot + base
                    assert not status.state.ended or (ref.id, index, True) in whole, (name, count, ref)
                    assert status.state is not JobState.UNKNOWN or status.failure_class is None, (name, count, ref)

    # -- scripts --------------------------------------------------------------

    def test_script_as_submitted(self, tmp_path: Path) -> None:
        script = a_script(tmp_path)
        executor = self.made()
        job = a_job(script=script, slots=3, cwd=str(tmp_path))
        preview = executor.preview(job)
        head, _, body = preview.script.partition(f"{MARK}\n")
        assert preview.script.startswith("#!/bin/bash\n")
        assert "REFLOW_SLOT" in head
        assert "true" in body
        # Done twice, it is the same.
        Path(script).write_text(preview.script)
        assert executor.preview(job).script == preview.script
        assert str(script) in preview.command or preview.call.stdin == preview.script

    def test_an_mpi_job_runs_its_command_once_and_keeps_what_the_scheduler_says(self, tmp_path: Path) -> None:
        """Whatever a job asks for, its script starts one process; that one starts the others."""
        resources = Resources(nodes=2, tasks=8, cpus=2)
        if self.refuses("nodes") or self.refuses("tasks"):
            with pytest.raises(UsageError):
                self.words(resources=resources)
            resources = Resources(nodes=1, cpus=2)
        said, script = tmp_path / "said", tmp_path / "k3f9x2abqd.sh"
        command = ("/bin/sh", "-c", f'echo "$SITE_NODES $REFLOW_SLOT" >> {said}; exit 3')
        script.write_text(render(Body(command=command, cwd=str(tmp_path))))
        executor = self.executor(**{**self.settings, **self.mpi})
        job = a_job(script=str(script), cwd=str(tmp_path), resources=resources)
        script.write_text(executor.preview(job).script)
        script.chmod(0o700)
        environ = {"PATH": "/usr/bin:/bin", "SITE_NODES": "n1,n2"}
        done = subprocess.run(["bash", str(script)], env=environ, stdin=subprocess.DEVNULL, timeout=60, check=False)
        assert done.returncode == 3
        assert said.read_text() == "n1,n2 0\n"

    def test_settings_make_the_same_executor(self) -> None:
        made = self.executor(max_submitted=7, timeout=5.0, **self.settings)
        again = self.executor(**dict(made.settings))
        assert again.settings == made.settings
        assert (again.name, again.limits.max_submitted) == (made.name, 7)

    def test_without_a_runner(self, tmp_path: Path) -> None:
        with pytest.raises(ExecutorError, match="nothing to run its commands with"):
            self.made().submit(a_job(script=a_script(tmp_path)))


def a_site() -> Site:
    """Somebody, now."""
    return Site(user="alice", now=time.time(), since=time.time() - 3600)


def a_job(**fields: Any) -> Job:
    """A small job."""
    return Job(**{"tag": "k3f9x2abqd", "name": "k3f9x2abqd.compute", "script": "/run/scripts/k3f9x2abqd.sh", **fields})


def a_script(directory: Path) -> str:
    """A script that does nothing."""
    path = directory / "k3f9x2abqd.sh"
    path.write_text(render(Body(command=("true",), cwd=str(directory))))
    os.chmod(path, 0o700)
    return str(path)
