"""Finding plugins, keeping a broken one from harming the rest, and looking things up by name."""

from __future__ import annotations

from .lookup import Problem, Registry, UnknownName, registry
from .rival import refuse_rival

__all__ = ["Problem", "Registry", "UnknownName", "refuse_rival", "registry"]
