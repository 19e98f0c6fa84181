"""The in-memory cluster passes the suite, in each of its shapes."""

from __future__ import annotations

from typing import ClassVar

import pytest

from reflow.plugin import Executor, Limits
from reflow.testing import ExecutorConformance, MemoryCluster


class _OnFakeClock(ExecutorConformance):
    interval: ClassVar[float] = 0.25

    def advance(self, executor: Executor, seconds: float) -> None:
        assert isinstance(executor, MemoryCluster)
        executor.advance(seconds)

    def calls(self, executor: Executor) -> int | None:
        assert isinstance(executor, MemoryCluster)
        return executor.calls.total()


class TestMemoryCluster(_OnFakeClock):
    @pytest.fixture
    def executor(self) -> MemoryCluster:
        return MemoryCluster()


class TestSeparateJobsAndLag(_OnFakeClock):
    @pytest.fixture
    def executor(self) -> MemoryCluster:
        return MemoryCluster(places=8, separate=True, limits=Limits(visibility_lag=3.0))


class TestWithoutExtras(_OnFakeClock):
    @pytest.fixture
    def executor(self) -> MemoryCluster:
        return MemoryCluster(limits=Limits(throttle=False, dependencies=False, begin=False, visibility_lag=0.0))
