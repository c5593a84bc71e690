"""Every benchmark runs, on the smallest sizes, and writes its tables: no figure is judged here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

BENCHMARKS = ROOT / "benchmarks"
SMALLEST = {
    "cleaning": ["--steps", "2", "--seeds", "1", "--repeats", "1", "--count", "1", "--solvers", "lwcl groups=100,rhg"],
    "groups": ["--steps", "2", "--lower", "1,2", "--seeds", "1"],
    "levels": ["--seeds", "2", "--steps", "2", "--seconds", "0.5"],
    "peers": ["--sizes", "10", "--samples", "20", "--repeats", "1", "--lower", "2", "--peers", ""],
    "response": ["--lower", "1", "--steps", "1", "--trained", "1"],
    "runtime": ["--sides", "256", "--repeats", "1"],
    "startup": ["--repeats", "1"],
    "step_cost": ["--size", "16", "--repeats", "1", "--solvers", "alternating"],
    "toy": ["--sizes", "10", "--large", "20", "--lower", "2", "--repeats", "1", "--work", "1", "--solvers", "lwcl,rhg"],
    "tracking": ["--steps", "2", "--repeats", "1"],
}
FIGURE = r"-|[+-]?\d+(\.\d+)?(e[+-]?\d+)?( (/|±) \d+(\.\d+)?)?"


def test_there_is_none_that_no_test_runs() -> None:
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == set(SMALLEST)


def _run(name: str, arguments: list[str], results: Path) -> str:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments, "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (results / f"{name}.md").read_text()
    assert done.stdout.strip() in text
    assert f"`python benchmarks/{name}.py {arguments[0]}" in text
    assert re.search(r"on \d{4}-\d\d-\d\d \d\d:\d\d UTC, revision", text)
    assert re.search(r"torch \d", text)
    return done.stdout


@pytest.mark.parametrize(
    "name", [name if name == "toy" else pytest.param(name, marks=pytest.mark.long) for name in SMALLEST]
)
def test_it_writes_tables_of_figures_with_what_made_them(name: str, tmp_path: Path) -> None:
    _check_tables(_run(name, SMALLEST[name], tmp_path))


def test_a_solver_that_is_not_there_is_an_error_before_anything_runs() -> None:
    command = [sys.executable, str(BENCHMARKS / "toy.py"), "--solvers", "rhg,bogus"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no 'bogus'; there are alternating, tbgl, lwcl" in " ".join(done.stderr.split())


@pytest.mark.long
def test_compiled_steps_have_a_column_of_their_own(tmp_path: Path) -> None:
    if not any(shutil.which(compiler) for compiler in (os.environ.get("CXX"), "g++", "clang++") if compiler):
        pytest.skip("torch.compile needs a C++ compiler, and there is none here")
    printed = _run("step_cost", [*SMALLEST["step_cost"], "--compiled"], tmp_path)
    _check_tables(printed)
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith(("| solver", "| alt"))]
    assert rows[0][-1] == "compiled"
    assert len(rows) == 6
    assert all(row[-1] != "-" for row in rows)


def _check_tables(printed: str) -> None:
    blocks = re.findall(r"(?:^\|.*\n?)+", printed, re.M)
    assert blocks
    for block in blocks:
        head, _, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines())
        assert rows
        for row in rows:
            assert len(row) == len(head)
            assert all(re.fullmatch(FIGURE, cell) for cell in row[1:]), row
            assert any(cell != "-" for cell in row[1:]), row


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_peers_compute_the_same_gradients(tmp_path: Path) -> None:
    """In environments made anew, from the package index."""
    arguments = ["--sizes", "100", "--samples", "50", "--repeats", "1", "--environments", str(tmp_path / "peers")]
    printed = _run("peers", arguments, tmp_path)
    missing = re.findall(r"^- (BOAT|Betty|higher|TorchOpt) is not here: (.*)", printed, re.M)
    if missing:
        pytest.skip(f"not installed here: {missing}")
    same = ("| outer product", "| reverse mode", "| neumann")
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith(same)]
    assert len(rows) > 12
    assert all(float(row[-1]) < 1e-5 for row in rows), rows


def test_figures_in_the_documents_are_those_of_the_committed_tables() -> None:
    text = (BENCHMARKS.parent / "docs" / "how-to" / "solvers.md").read_text()
    named = re.findall(r"\]\(\.\./\.\./benchmarks/results/(\w+)\.md\)", text)
    assert {"toy", "cleaning", "step_cost", "peers", "groups", "response"} <= set(named)
    tables = {name: (BENCHMARKS / "results" / f"{name}.md").read_text().splitlines() for name in named}
    for heading, sources in (("Which one", ["cleaning"]), ("Groups", ["groups", "response"])):
        section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
        blocks = re.findall(r"(?:^\|.*\n)+", section, re.M)
        for block, name in zip(blocks, sources, strict=True):
            assert len(block.splitlines()) > 5
            assert set(block.splitlines()) <= set(tables[name]), heading
