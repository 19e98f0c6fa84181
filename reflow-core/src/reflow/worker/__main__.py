"""What a worker's interpreter imports, by the command of `reflow.model.python.program`.

Each element of a batch job pays for the start: with ``-m``, a tenth of it would be spent on finding this file.
"""

import gc
import sys

gc.disable()  # what is imported is no garbage; looking for some takes as long again
if sys.argv[0] == "-c":
    sys.argv[0] = __file__

from .main import main  # noqa: E402

main(sys.argv[1:])
