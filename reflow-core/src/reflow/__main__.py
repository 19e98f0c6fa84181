"""``python -m reflow``: the same as ``reflow``."""

from __future__ import annotations

import sys

from reflow.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
