"""``submit``: start a run and leave it to the scheduler."""

from __future__ import annotations

from ..launch import launcher

command = launcher(
    "submit", "Start a run and leave it to the scheduler; with a local executor it runs here, to its end.", wait=False
)
