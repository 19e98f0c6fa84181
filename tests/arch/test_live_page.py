"""The page that the live suite ends with."""

from __future__ import annotations

from proof import INTERRUPTED, Outcome, Proof, interrupted


def proof(*outcomes: Outcome) -> Proof:
    return Proof("Slurm", "24.11.5", "0.1.0", "3.13.5", "Debian", "2026-12-01", list(outcomes))


def test_it_says_what_passed_what_failed_and_what_is_missing() -> None:
    page = proof(
        Outcome("test_live_runs", "test_memory", "passed", "", 60.0),
        Outcome("test_live_runs", "test_job_names[a|b]", "failed", "in its setup"),
        Outcome("test_live_kills", "test_random_kills[3]", "missing", "only with --full"),
    ).page()
    assert page.splitlines()[0] == "# reflow on Slurm 24.11.5"
    assert "**1 passed, 1 failed, 1 not run** (1 minutes)" in page
    assert "## Whole runs\n\n| what | result |\n|---|---|\n| memory | passed |\n" in page
    assert "| job names[a\\|b] | **failed**: in its setup |" in page
    assert "## Random kills" in page
    assert "| random kills[3] | not run: only with --full |" in page


def test_what_the_end_came_before_is_named() -> None:
    rest = Outcome("test_live_runs", "test_walltime")
    assert interrupted([Outcome("test_live_runs", "test_memory", "passed", ""), rest]) == ["test_walltime"]
    assert f"| walltime | not run: {INTERRUPTED} |" in proof(rest).page()
