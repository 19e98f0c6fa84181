"""The engine's decisions on the logger ``reflow``, at level DEBUG, for whoever has configured that.

`logging` is not imported here: where no other code has imported it, nobody can have asked for its messages.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from .record import Event


def debug(text: str, *values: object) -> None:
    """Log a message; `values` are formatted into it with ``%`` where somebody reads it."""
    logging = sys.modules.get("logging")
    if logging is not None:
        logging.getLogger("reflow").debug(text, *values)


def event_tracer() -> Callable[[Event], None] | None:
    """Return a function that logs an event as a sentence; None where nobody reads the messages."""
    logging = sys.modules.get("logging")
    if logging is None or not logging.getLogger("reflow").isEnabledFor(logging.DEBUG):
        return None
    from .story import Subjects, named, sentence

    subjects = Subjects()

    def trace(event: Event) -> None:
        about = " ".join(named(task, elements) for task, elements in subjects.of(event))
        debug("%s%s%s", about, ": " if about else "", sentence(event))

    return trace
