"""`make demo`, with fewer steps: photographs to a report."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.long
def test_the_demo_runs_and_reports_every_way(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "pipelines" / "demo"), "--out", str(tmp_path / "d"), "--steps", "4", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| ([\w ,+()-]+?) +\| +([\d.]+) \| ([\d.]+) \|", done.stdout, re.M)
    names = [name for name, _, _ in rows]
    assert names == [
        "rawpy, same gain",
        "with tone curve",
        "with non-local means",
        "warm start (joint)",
        "then bilevel (ibgl)",
        "then alternating",
        "then joint",
    ]
    assert all(0 < float(psnr) < 60 for _, psnr, _ in rows)
    assert (tmp_path / "d" / "sheet.png").is_file()
    assert (tmp_path / "d" / "mlflow.db").is_file()
    report = (tmp_path / "d" / "report.md").read_text()
    assert all(name in report for name in names)
