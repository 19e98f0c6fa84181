"""Extract, transform, load: the smallest useful pipeline, with nothing but reflow and the standard library.

    extract ─► transform[file] ─► load

``python etl.py run --run-dir etl-run`` runs it, a second time from the cache; ``python etl.py run --run-dir etl-run
--days 9`` computes the two new days and what depends on them.
"""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Annotated

from reflow import Param, Result, RunDir, Workflow

wf = Workflow("etl")


@wf.job()
def extract(
    run_dir: RunDir,
    days: Annotated[int, Param(help="how many days of sales to fetch", short="-d")] = 7,
) -> list[Path]:
    """Fetch the sales, one CSV file a day (here they are made up, the same on every machine)."""
    files: list[Path] = []
    for day in range(1, days + 1):
        path = run_dir / f"sales-{day:02}.csv"
        dice = random.Random(day)
        rows = [(dice.choice(["tea", "coffee", "cake"]), dice.randint(1, 5)) for _ in range(100)]
        if not path.exists():  # an unchanged file keeps its time stamp, and what was made from it stays valid
            with path.open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows([("product", "pieces"), *rows])
        files.append(path)
    return files


@wf.array_job(retries=1)
def transform(file: Annotated[Path, Result(step="extract")]) -> dict[str, int]:
    """Add up one day."""
    total: dict[str, int] = {}
    with file.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            total[row["product"]] = total.get(row["product"], 0) + int(row["pieces"])
    return total


@wf.job()
def load(days: Annotated[list[dict[str, int]], Result(step="transform")], run_dir: RunDir) -> Path:
    """Store the sum of all days."""
    products = sorted({product for day in days for product in day})
    path = run_dir / "totals.json"
    path.write_text(json.dumps({product: sum(day.get(product, 0) for day in days) for product in products}, indent=2))
    print(f"totals of {len(days)} days: {path}")
    return path


if __name__ == "__main__":
    wf.cli()
