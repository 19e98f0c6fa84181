"""Every pattern has a line that its scheduler says, and every line is read as what it means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reflow.plugin import Dialect
from reflow_flux.dialect import Flux
from reflow_lsf.dialect import LSF
from reflow_pbs.dialect import PBS, Torque
from reflow_sge.dialect import GridEngine
from reflow_slurm.dialect import Slurm

#: kinds of words, by the attribute of a dialect that knows them; those of a submission first
SUBMISSION = ("passing", "uncertain", "closed", "full", "large", "definite", "vanished", "elsewhere")
KINDS = (*SUBMISSION, "gone", "off", "absent", "lives")

#: whose words are in which files
FILES = {
    Slurm: ("slurm",),
    PBS: ("pbs", "torque"),
    Torque: ("torque",),
    GridEngine: ("sge",),
    LSF: ("lsf",),
    Flux: ("flux",),
}


def words(name: str) -> Iterator[tuple[frozenset[str], str]]:
    """Yield the kinds and the text of each line of a file."""
    for line in Path(__file__).with_name("words").joinpath(f"{name}.txt").read_text().splitlines():
        if not line.startswith("#"):
            kinds, _, text = line.split("| ", 2)
            yield frozenset(kinds.split()), text


def alternatives(pattern: str) -> list[str]:
    """Return the alternatives of a regular expression, each with the flags at its head."""
    flags = (re.match(r"\(\?[a-z]+\)", pattern) or [""])[0]
    parts, depth = [""], 0
    for piece in re.findall(r"\\.|\[(?:\\.|[^]\\])*\]|.", pattern[len(flags) :], re.DOTALL):
        depth += (piece == "(") - (piece == ")")
        if piece == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += piece
    return [flags + part for part in parts]


@pytest.mark.parametrize(
    ("kind", "dialect", "part"),
    [
        (kind, dialect, part)
        for dialect in FILES
        for kind in KINDS
        if getattr(dialect, kind) not in ("", "(?!)", getattr(Dialect, kind)) and dialect is not Torque
        for part in alternatives(getattr(dialect, kind))
    ],
)
def test_what_is_looked_for_is_said(dialect: type[Dialect], kind: str, part: str) -> None:
    texts = [text for name in FILES[dialect] for kinds, text in words(name) if kind in kinds]
    generic = part in alternatives(Dialect.elsewhere)
    assert generic or any(re.search(part, text) for text in texts)


@pytest.mark.parametrize(
    ("dialect", "kinds", "text"),
    [(dialect, kinds, text) for dialect, names in FILES.items() for kinds, text in words(names[0])],
)
def test_what_is_said_is_read_as_what_it_means(dialect: type[Dialect], kinds: frozenset[str], text: str) -> None:
    found = {kind for kind in SUBMISSION if re.search(getattr(dialect, kind), text)}
    assert found == kinds.intersection(SUBMISSION)
    assert all(re.search(getattr(dialect, kind), text) for kind in kinds)


def test_a_refusal_of_torque_with_several_meanings_is_none_for_good() -> None:
    """It says the same of a request that is too large, and while it reads its list of nodes."""
    (text,) = (text for kinds, text in words("torque") if "nodes file is empty" in text)
    assert not any(re.search(pattern, text) for pattern in Torque.hints), "so it is tried three times"
