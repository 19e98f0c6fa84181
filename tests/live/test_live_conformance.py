"""The executor passes the conformance suite on its real scheduler."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reflow.config import load_config
from reflow.plugin import Context, Executor, Job
from reflow.process.runner import Runner
from reflow.testing import ExecutorConformance


class _Counting(Runner):
    """Counts the commands that it runs."""

    calls = 0

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Any:
        self.calls += 1
        return super().run(argv, stdin=stdin, timeout=timeout, env=env, cwd=cwd)


@pytest.fixture(scope="module")
def learned(site: Any) -> Executor:
    """The executor, which has asked for the site's limits already: the suite counts what comes after."""
    executor: Executor = site.create().bind(_Counting(site.environ))
    assert executor.limits
    return executor


class TestScheduler(ExecutorConformance):
    timeout: ClassVar[float] = 180.0
    interval: ClassVar[float] = 0.5
    short: ClassVar[int] = 2

    @pytest.fixture
    def directory(self, site: Any, request: pytest.FixtureRequest) -> Path:
        folder: Path = site.fresh("kit")
        return folder

    @pytest.fixture
    def executor(self, learned: Executor) -> Executor:
        return learned

    @pytest.fixture(autouse=True)
    def _everywhere(self, site: Any) -> None:
        self._site = site

    def job(self, probe: Any, *, tag: str | None = None, **changes: Any) -> Job:
        """A job with the settings of all jobs, as wake-ups have them."""
        if self._site.settings:
            asked = load_config(environ=self._site.environ).dispatch()
            changes = {"options": asked.options, "resources": asked.resources} | changes
        return super().job(probe, tag=tag, **changes)

    def calls(self, executor: Executor) -> int | None:
        calls: int = executor._runner.calls  # type: ignore[attr-defined]
        return calls

    def context(self) -> Context:
        return Context(environ=dict(os.environ), runner=Runner(), cwd=os.getcwd())
