"""``python -m reflow.run.dispatch ROOT TAG``: what a wake-up job runs."""

from __future__ import annotations

import sys

from ..errors import ReflowError
from .chain import wake
from .drive import executor_of
from .engine import load_definition


def main(argv: list[str]) -> int:
    """Advance the run; errors are said in the job's log."""
    root, tag = argv
    try:
        wake(root, tag, executor_of(load_definition(root), root))
    except ReflowError as error:
        print(f"reflow: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
