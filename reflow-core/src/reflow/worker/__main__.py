"""``python -m reflow.worker``."""

import gc
import sys

gc.disable()  # what is imported is no garbage; looking for some takes a tenth of the start

from .main import main  # noqa: E402

main(sys.argv[1:])
