"""``run``: start a run and wait for its end."""

from __future__ import annotations

from ..launch import launcher

command = launcher("run", "Start a run, show its progress and wait for its end.", wait=True)
