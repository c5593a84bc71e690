"""`make demo`: from photographs to a report."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT


@pytest.mark.long
def test_the_demo_beats_methods_without_training(tmp_path: Path) -> None:
    """The whole demo reports every method, and the bilevel result is above the best classical one."""
    command = [sys.executable, str(ROOT / "pipelines" / "demo"), "--out", str(tmp_path / "d")]
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MLFLOW_TRACKING_URI")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| ([\w ,+()-]+?) +\| +([\d.]+) \| ([\d.]+) \|", done.stdout, re.M)
    psnr = {name: float(value) for name, value, _ in rows}
    ssim = {name: float(value) for name, _, value in rows}
    classical = ["rawpy, same gain", "with tone curve", "with non-local means"]
    assert list(psnr)[:3] == classical
    assert list(psnr)[3:] == ["warm start (joint)", "then bilevel (ibgl)", "then alternating", "then joint"]
    assert psnr["then bilevel (ibgl)"] > max(psnr[name] for name in classical)
    assert ssim["then bilevel (ibgl)"] > 0.5
    assert (tmp_path / "d" / "sheet.png").is_file()
    assert (tmp_path / "d" / "mlflow.db").is_file()
    report = (tmp_path / "d" / "report.md").read_text()
    assert all(name in report for name in psnr)
