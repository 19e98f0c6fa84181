"""The background executor is an executor."""

from __future__ import annotations

from pathlib import Path

import pytest
from reflow_example.executor import BackgroundExecutor

from reflow.testing import ExecutorConformance


class TestBackgroundExecutor(ExecutorConformance):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> BackgroundExecutor:
        return BackgroundExecutor(str(tmp_path / "jobs"))
