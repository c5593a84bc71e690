"""Every line of a run is in its log file, whatever the terminal shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from restore_hub import run
from restore_hub.train import progress
from restore_hub.train.progress import Progress, logging_to, note
from support import LOWLIGHT, Capture


def test_a_quiet_run_logs_everything(small: list[str], tmp_path: Path, capfd: Capture) -> None:
    run(LOWLIGHT, overrides=small, out=tmp_path / "r", quiet=True)
    assert capfd.readouterr().err == ""
    log = (tmp_path / "r" / "log.txt").read_text()
    for part in ("stage 1/2 joint: 3/3 steps", "step 3: holdout psnr", "stage 2/2 ibgl: 2/2 steps", "step 5: holdout"):
        assert part in log
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \S", line) for line in log.splitlines())


def test_a_verbose_run_prints_every_value(small: list[str], tmp_path: Path, capfd: Capture) -> None:
    run(LOWLIGHT, overrides=small, out=tmp_path / "r", verbose=True)
    said = capfd.readouterr().err
    assert len(re.findall(r"stage 1/2 joint: step [123]  loss \d", said)) == 3
    values = r"loss/upper \S+  loss/lower \S+ .*cosine \S+ .*\(data \d+\.\d{3} s\)"
    assert len(re.findall(rf"stage 2/2 ibgl: step [12]  .*{values}", said)) == 2
    assert "stage 2/2 ibgl: step 2  " in (tmp_path / "r" / "log.txt").read_text()


def test_what_is_printed_is_logged_too(tmp_path: Path, capsys: Capture) -> None:
    with logging_to(tmp_path / "log.txt"):
        note("one")
        with logging_to(tmp_path / "inner.txt", quiet=True):
            note("two")
        note("three")
    note("four")
    assert capsys.readouterr().err.split() == ["one", "three", "four"]
    assert [line.split("  ")[1] for line in (tmp_path / "log.txt").read_text().splitlines()] == ["one", "three"]
    assert "two" in (tmp_path / "inner.txt").read_text()


def test_lines_are_logged_beside_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "has_bar", lambda: True)
    with logging_to(tmp_path / "log.txt"), Progress("stage", 2) as bar:
        bar.update(1, {"loss": 0.5})
        bar.update(2, {"loss": 0.25})
    last = (tmp_path / "log.txt").read_text().splitlines()[-1]
    assert re.search(r"stage: 2/2 steps, \S+ steps/s, 0 s left  loss 0\.25$", last)


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "log.txt").mkdir()
    with logging_to(tmp_path / "log.txt"):
        note("said all the same")
    assert "said all the same" in capsys.readouterr().err
