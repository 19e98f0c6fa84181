"""What a workflow's author writes with, and what becomes of it: signatures in, a checked graph out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .flow import Flow
from .markers import Param, Result, RunDir

if TYPE_CHECKING:
    from .compile import Compiled, Parameter

__all__ = ["Compiled", "Flow", "Param", "Parameter", "Result", "RunDir"]


def __getattr__(name: str) -> object:
    # A worker needs the markers and Flow, never the compiler.
    if name in ("Compiled", "Parameter"):
        from . import compile as compiler

        return getattr(compiler, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
