"""Every benchmark runs, on the smallest sizes, and prints its table: no figure is judged here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SMALLEST = {
    "groups": ["--steps", "2", "--lower", "1,2", "--seeds", "1"],
    "runtime": ["--sides", "256", "--repeats", "1"],
    "step_cost": ["--size", "16", "--repeats", "1"],
    "tracking": ["--steps", "2", "--repeats", "1"],
}


def test_there_is_none_that_no_test_runs() -> None:
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == set(SMALLEST)


@pytest.mark.parametrize("name", SMALLEST)
def test_it_prints_a_table_of_positive_figures(name: str) -> None:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *SMALLEST[name]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(rows) > 4
    for row in rows[2:]:
        assert len(row) == len(rows[2])
        assert all(re.fullmatch(r"\d+(\.\d+)?", cell) for cell in row[1:])
