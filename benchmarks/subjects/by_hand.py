"""The work of flow.py as one writes it by hand for a batch job. Usage: ``by_hand.py numbers|noop|total ELEMENTS``."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main(stage: str, elements: int) -> None:
    """Run one stage, or one element of it, in the working directory."""
    if stage == "numbers":
        Path("numbers.json").write_text(json.dumps(list(range(elements))))
    elif stage == "noop":
        index = int(os.environ["SLURM_ARRAY_TASK_ID"])
        Path(f"noop.{index}.json").write_text(json.dumps(json.loads(Path("numbers.json").read_text())[index]))
    else:
        answer = sum(json.loads(Path(f"noop.{index}.json").read_text()) for index in range(elements))
        draft = Path("total.new")
        draft.write_text(json.dumps({"answer": answer, "at": time.time()}))
        draft.rename("total.json")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
