"""``--debug``: the engine's decisions on stderr, while one command runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from .render import complain


def log_decisions() -> Callable[[], None]:
    """Print messages of the logger ``reflow`` from here on; return what ends that."""
    import logging

    class Printer(logging.Handler):
        """Prints each message as other messages are printed: control sequences are escaped."""

        def emit(self, record: logging.LogRecord) -> None:
            moment = time.strftime("%H:%M:%S", time.localtime(record.created))
            complain(record.levelname.lower(), f"{moment} {record.getMessage()}")

    logger, handler = logging.getLogger("reflow"), Printer()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)

    def stop() -> None:
        logger.removeHandler(handler)
        logger.setLevel(level)

    return stop
