"""Random numbers of elements: those after import where the script seeds them, else fresh for each."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow import LocalExecutor
from reflow.worker.randomness import _continues

DRAWS = """
import random
{seeds}

@wf.job()
def make() -> list[int]:
    return [0, 1, 2, 3]

@wf.array_job()
def draw(n: Annotated[int, Result(step="make")]) -> list[float]:
    drawn = {draws}
    random.seed(1)
    return drawn
"""


@pytest.mark.parametrize("executor", ["local", "inline"])
@pytest.mark.parametrize("seeds", ["random.seed(7)", "random.random()", ""])
def test_elements_draw_as_after_import_or_afresh(lab: Any, executor: str, seeds: str) -> None:
    lab.write(DRAWS.format(seeds=seeds, draws="[random.random(), random.gauss(0, 1)]"))
    state = random.getstate()
    run = lab.good(LocalExecutor(max_workers=2) if executor == "local" else "inline")
    assert random.getstate() == state, "the process that runs it keeps its own"
    drawn = {tuple(each) for each in run.results("draw")}
    if "seed" in seeds:
        generator = random.Random(7)
        assert drawn == {(generator.random(), generator.gauss(0, 1))}
    else:
        assert len(drawn) == 4


@pytest.mark.parametrize("executor", ["local", "inline"])
def test_generators_that_modules_keep_draw_so_too(lab: Any, executor: str) -> None:
    lab.write(
        DRAWS.format(
            seeds="fixed = random.Random(42)\nfree: random.Random = random.Random()",
            draws="[fixed.random(), free.random()]",
        )
    )
    run = lab.good(LocalExecutor(max_workers=1) if executor == "local" else "inline")
    fixed, free = map(set, zip(*run.results("draw"), strict=True))
    assert fixed == {random.Random(42).random()}
    assert len(free) == 4


NUMPY = """
import numpy as np
{seeds}
fixed = np.random.default_rng(42)
free = np.random.default_rng()
old = np.random.RandomState(3)
"""


@pytest.mark.parametrize("seeds", ["np.random.seed(7)", ""])
def test_so_they_do_with_numpy(lab: Any, seeds: str) -> None:
    numpy = pytest.importorskip("numpy")
    draws = "[float(one.random()) for one in (np.random, fixed, free, old)]; np.random.seed(1)"
    lab.write(DRAWS.format(seeds=NUMPY.format(seeds=seeds), draws=draws))
    shared, fixed, free, old = map(set, zip(*lab.good(LocalExecutor(max_workers=2)).results("draw"), strict=True))
    assert fixed == {float(numpy.random.default_rng(42).random())}
    assert old == {float(numpy.random.RandomState(3).random())}
    assert len(free) == 4
    assert len(shared) == 4 if not seeds else shared == {float(numpy.random.RandomState(7).random())}


def test_a_module_that_is_imported_within_an_element_may_seed(lab: Any) -> None:
    (lab.path / f"{lab.module}_seeding.py").write_text("import random\nrandom.seed(7)\n")
    draws = f"(__import__('{lab.module}_seeding'), [random.random()])[1]"
    lab.write(DRAWS.format(seeds="", draws=draws))
    run = lab.good(LocalExecutor(max_workers=1))
    assert run.results("draw") == [[random.Random(7).random()]] * 4


@given(st.integers(), st.integers(0, 3000), st.booleans())
def test_drawing_is_told_from_seeding(seed: int, count: int, seeded: bool) -> None:
    generator = random.Random(seed)
    first = generator.getstate()[1]
    for _ in range(count):
        generator.random()
    if seeded:
        generator.seed(seed + 1)
    assert _continues(first, generator.getstate()[1]) is not seeded
