"""Fixtures that `reflow.testing` brings."""

from __future__ import annotations

import pytest

from .cluster import MemoryCluster


@pytest.fixture
def memory_cluster() -> MemoryCluster:
    """An in-memory cluster of four places that plays the suite's own scripts."""
    return MemoryCluster(places=4)
