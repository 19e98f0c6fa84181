"""Mistakes are collected, each with its place, and told together."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from reflow.errors import WorkflowError
from reflow.model.names import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reflow.errors import ReflowError
    from reflow.model.task import Where


class Mistake(Exception):  # caught where its place is known
    """What is wrong, and what to write instead."""


@contextmanager
def told(tell: Callable[[str], None], prefix: str = "") -> Iterator[None]:
    """Hand a Mistake made inside to `tell`, and go on after it."""
    try:
        yield
    except Mistake as mistake:
        tell(f"{prefix}{mistake}")


class Problems:
    """Every mistake found so far, each once."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, int]] = {}

    def add(self, where: Where, about: str, text: str) -> None:
        """Note one: `about` says what it is of (``"task 'a'"``), `text` what is wrong and what to write."""
        self._found.setdefault(f"{where}: {about}: {text}", (where.file, where.line))

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_for(self, workflow: str) -> None:
        """Raise WorkflowError where there are any, in the order of the source."""
        if self._found:
            raise WorkflowError(workflow, sorted(self._found, key=lambda text: self._found[text]))


def sentence(error: ReflowError) -> str:
    """An error's message and hint on one line."""
    return f"{error.message}; {error.hint}" if error.hint else error.message


def fingerprint_of(given: object) -> Fingerprint | None:
    """Read a ``fingerprint=``; None stays None."""
    if given is None:
        return None
    try:
        return Fingerprint(given)
    except ValueError:
        raise Mistake(f"fingerprint={given!r}; write 'stat', 'content' or 'name'") from None
