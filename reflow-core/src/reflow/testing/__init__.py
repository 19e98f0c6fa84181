"""The definition of "executor": a conformance suite, and an in-memory cluster with a fake clock that passes it.

Load it in the top-level ``conftest.py`` with ``pytest_plugins = ["reflow.testing"]``
and subclass `ExecutorConformance` with one fixture, ``executor``.
"""

from __future__ import annotations

from .cluster import Died, MemoryCluster, Program, Start
from .conformance import ExecutorConformance
from .fixtures import memory_cluster
from .probe import Probe, act

__all__ = ["Died", "ExecutorConformance", "MemoryCluster", "Probe", "Program", "Start", "act", "memory_cluster"]
