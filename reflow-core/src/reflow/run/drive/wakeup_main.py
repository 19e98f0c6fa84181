"""What a wake-up job runs, and what a last worker becomes, with ``[--last] ROOT TAG...`` as arguments.

Nothing is imported before it is known to be needed: most wake-ups find that their work has been done.
"""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

from ...errors import ReflowError
from ...model import layout
from ...worker.tags import VOID, read

#: signals with which schedulers end a job, or warn it
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)

#: seconds after which a wake-up that the file system has stopped tries again: else nobody would go on with the run
_AGAIN = (5.0, 30.0, 120.0)


def main(argv: list[str]) -> int:
    """Advance the run; errors are said in the job's log.

    A worker that has become this has done its own work: its job does not fail for anything that goes wrong here.
    """
    last = argv[0] == "--last"
    root, *tags = argv[last:]
    if not last and read(layout.tag(root, tags[0])) == VOID:
        return 0
    for number in _ENDS:
        signal.signal(number, _leave)
    from ..definition.load import load_definition
    from ..definition.open import executor_of
    from .advance import relay, wake

    for pause in (None,) if last else (*_AGAIN, None):
        try:
            executor = executor_of(load_definition(root), root)
            if last:
                relay(root, tags, executor)
            else:
                wake(root, tags[0], executor)
            return 0
        except ReflowError as error:
            print(f"reflow: {error}", file=sys.stderr)
            return 0 if last else error.exit_code
        except OSError as error:  # a full disk, a quota, a file server that is away
            print(f"reflow: {error.filename or root}: {error.strerror or error}", file=sys.stderr, flush=True)
            if pause is not None:
                time.sleep(pause)
    return 0 if last else 1


def _leave(number: int, frame: FrameType | None) -> None:
    """End in good order: the lease is given back, so that nobody has to wait until it expires."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
