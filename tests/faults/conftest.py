"""Faults are tested unmeasured: a child that is about to be killed at a step must not write coverage's files first."""

from __future__ import annotations

import os
import posix

import pytest


@pytest.fixture(autouse=True)
def _unmeasured(no_cover: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of forked children each saved what their parent had measured: ten times the time of the tests."""
    monkeypatch.setattr(os, "_exit", posix._exit)  # coverage has put itself before it
