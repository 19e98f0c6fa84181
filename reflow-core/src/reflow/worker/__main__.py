"""``python -m reflow.worker``, or, in scripts, ``python -c 'import reflow.worker.__main__'``.

Each element of a batch job pays for the start: with ``-m``, a tenth of it would be spent on finding this file.
"""

import gc
import os
import sys

gc.disable()  # what is imported is no garbage; looking for some takes as long again
if sys.argv[0] == "-c":
    sys.argv[0] = __file__
    if sys.path[0] == "":
        sys.path[0] = os.getcwd()  # and not where a task may go

from .main import main  # noqa: E402

main(sys.argv[1:])
