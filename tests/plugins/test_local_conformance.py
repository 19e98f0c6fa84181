"""The local and the inline executor pass the suite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from reflow.local.inline import InlineExecutor
from reflow.local.pool import LocalExecutor
from reflow.testing import ExecutorConformance

pytestmark = pytest.mark.slow


class TestLocalExecutor(ExecutorConformance):
    shared: ClassVar[bool] = False

    @pytest.fixture
    def executor(self) -> Iterator[LocalExecutor]:
        executor = LocalExecutor(max_workers=4)
        yield executor
        executor.close()


class TestInlineExecutor(ExecutorConformance):
    shared: ClassVar[bool] = False
    concurrent: ClassVar[bool] = False
    long: ClassVar[int] = 1

    @pytest.fixture
    def executor(self) -> InlineExecutor:
        return InlineExecutor()
