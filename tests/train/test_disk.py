"""Disks that are full or become read-only: one line says so, what was saved stays whole, and the run can go on."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from restore_hub.train.recording.folder import RunFolder
from support import LOWLIGHT
from support.runs import same, sets, weights
from support.sampling import WHOLE, tenth

ROOM = "size=64m,nr_inodes=10000"
SHORT = ("checkpoint_seconds=0", "validate_every=2")
# Long enough for a test to step in, without what takes most of a short run.
STEADY = (
    "checkpoint_seconds=0",
    "validate_every=20",
    "stages.0.steps=60",
    "export={}",
    "metrics={psnr: {metric: psnr, inputs: {prediction: enhanced, target: data.rgb}}}",
)

Call = Callable[..., tuple[int, str]]


def fail_and_go_on(call: Call, disk: Any, limit: str, arguments: list[str], whole: Path) -> str:
    """Run on a disk that is too small, then resume with room; return what could not be written, or nothing."""
    disk.remount(limit)
    code, said = call("full", "run", LOWLIGHT, "--out", disk.path / "r", *arguments, on=disk)
    seen = disk.seen / "r"
    assert "Traceback" not in said, said
    *_, last = said.splitlines()
    assert not [path for path in disk.seen.rglob("*") if path.suffix in (".part", ".tmp")]
    weights(seen)
    disk.remount(ROOM)
    if code == 0:
        same(seen, whole)
        return "report.html" if "no report was written: " in said else ""
    assert code == 2, said
    assert last.startswith("error: "), said
    place = re.search(r"/([^/:]+): .*No space left on device", last)
    assert place, said
    assert "--resume" in last or not seen.exists()
    code, resumed = call("resumed", "run", LOWLIGHT, "--out", disk.path / "r", *arguments, "--resume", on=disk)
    assert code == 0, resumed
    same(seen, whole)
    return place[1]


@pytest.fixture
def steady(small: list[str]) -> list[str]:
    """Arguments of a run that makes 62 steps and saves its state after each."""
    return sets(*small, *STEADY)


@pytest.fixture
def whole(call: Call, steady: list[str], tmp_path: Path) -> Path:
    code, said = call("whole", "run", LOWLIGHT, "--out", tmp_path / "whole", *steady)
    assert code == 0, said
    return tmp_path / "whole"


@pytest.mark.long
def test_a_full_or_read_only_disk_ends_a_run_with_one_line_and_the_rest_comes_to_the_same_bits(
    call: Call, start: Callable[..., Any], disk: Any, steady: list[str], whole: Path, tmp_path: Path
) -> None:
    """One test, so that the run left alone is made once."""
    limits = ("size=24k", "size=128k", "nr_inodes=14")
    failed = []
    for limit in limits:
        failed.append(fail_and_go_on(call, disk, limit, steady, whole))
        disk.clear()
    assert "" not in failed, "each of these is too small"
    assert len(set(failed)) > 1, failed

    journal = disk.seen / "r" / "metrics.jsonl"
    last = cut_off(start("cut", "run", LOWLIGHT, "--out", disk.path / "r", *steady, on=disk), disk, tmp_path)
    assert "Read-only file system" in last
    assert "--resume" in last
    weights(disk.seen / "r")
    before = journal.read_bytes()
    code, said = call("refused", "run", LOWLIGHT, "--out", disk.path / "r", *steady, "--resume", on=disk)
    assert (code, len(said.splitlines())) == (2, 1), said
    assert f"error: {disk.path / 'r'}: the run folder cannot be written: Read-only file system" in said
    assert journal.read_bytes() == before
    disk.writable()
    code, said = call("resumed", "run", LOWLIGHT, "--out", disk.path / "r", *steady, "--resume", on=disk)
    assert code == 0, said
    same(disk.seen / "r", whole)


@pytest.mark.parametrize("where", ["--runs", "--out"])
def test_a_disk_that_is_read_only_from_the_start(call: Call, disk: Any, steady: list[str], where: str) -> None:
    disk.read_only()
    code, said = call("refused", "run", LOWLIGHT, where, disk.path / "r", *steady, on=disk)
    assert (code, len(said.splitlines())) == (2, 1), said
    assert f"error: {disk.path / 'r'}" in said
    assert (
        "the run folder cannot be written: Read-only file system; fix that, or choose another --runs or --out" in said
    )
    assert not list(disk.seen.iterdir())


@pytest.mark.long
def test_a_disk_read_only(call: Call, start: Callable[..., Any], disk: Any, small: list[str], tmp_path: Path) -> None:
    arguments = sets(*small, *STEADY, "checkpoint_seconds=3600", "validate_every=1000")
    assert call("whole", "run", LOWLIGHT, "--out", tmp_path / "whole", *arguments)[0] == 0
    last = cut_off(start("cut", "run", LOWLIGHT, "--out", disk.path / "r", *arguments, on=disk), disk, tmp_path)
    assert "metrics.jsonl: cannot be written: Read-only file system" in last
    disk.writable()
    code, said = call("resumed", "run", LOWLIGHT, "--out", disk.path / "r", *arguments, "--resume", on=disk)
    assert code == 0, said
    same(disk.seen / "r", tmp_path / "whole")


@pytest.mark.long
def test_a_disk_that_is_full_at_any_write(call: Call, disk: Any, small: list[str], tmp_path: Path) -> None:
    wide = ("blocks.enhance.width=12", "export={blocks: [generate, enhance], chain: enhanced}")
    arguments = sets(*small, *SHORT, *wide)
    assert call("whole", "run", LOWLIGHT, "--out", tmp_path / "whole", *arguments)[0] == 0
    sizes = [*range(8, 44, 8), *range(100, 208, 12), *range(220, 490, 30)]  # KiB; a run takes about 270
    counts = [*range(4, 29, 5), *range(25, 29)]  # files; the last ones are the exports
    limits = [*(f"size={size}k" for size in sizes), *(f"nr_inodes={count}" for count in counts)]
    failed = {}
    for limit in (*tenth("disks", limits), "size=490k"):
        failed[limit] = fail_and_go_on(call, disk, limit, arguments, tmp_path / "whole")
        disk.clear()
    print(failed)
    assert failed["size=490k"] == ""
    if not WHOLE:
        return
    assert {Path(name).suffix for name in failed.values()} >= {".json", ".pt", ".png", ".onnx"}
    assert len(set(failed.values())) > 8, "the moments differ"


@pytest.mark.long
@pytest.mark.parametrize("more", [-400, 8, 1000])
def test_a_tracker_whose_disk_is_full(call: Call, disk: Any, small: list[str], tmp_path: Path, more: int) -> None:
    """It has room for so many KiB more, or less, than an empty store needs."""
    pytest.importorskip("mlflow", reason="MLflow, of the extra `train`, is not installed")
    from restore_hub_mlflow.database import make_database

    make_database(tmp_path / "empty.db")
    store = f"sqlite:///{disk.path / 'm.db'}"
    arguments = sets(*small, *STEADY, f"tracker={{tracker: mlflow/tracking, uri: '{store}'}}")
    disk.remount(f"size={(tmp_path / 'empty.db').stat().st_size + more * 1024}")
    code, said = call("full", "run", LOWLIGHT, "--out", tmp_path / "r", *arguments, on=disk)
    assert (code, "Traceback" in said) == (0, False), said
    assert RunFolder(tmp_path / "r").read_status() == "FINISHED"
    if more < 1000:
        # Where a call takes half a minute, the run may end before it fails.
        assert any(reason in said for reason in ("full", "No space left", "no answer")), said
        assert f"`restore-hub track {tmp_path / 'r'}` sends the rest" in said
        assert "restore-hub track" not in call("still", "track", tmp_path / "r", on=disk)[1], "it is no success"
        disk.remount(ROOM)
        code, said = call("track", "track", tmp_path / "r", on=disk)
        assert (code, said.startswith("tracker   ")) == (0, True), said
    assert "nothing to send" in call("again", "track", tmp_path / "r", on=disk)[1]
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    recorded = sorted((name, line["step"]) for line in lines for name in line if name != "step")
    (tmp_path / "copy.db").write_bytes((disk.seen / "m.db").read_bytes())
    with sqlite3.connect(tmp_path / "copy.db") as database:
        assert database.execute("select key, step from metrics order by key, step").fetchall() == recorded
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)]


def cut_off(process: Any, disk: Any, folder: Path) -> str:
    """Make the disk read-only after a run's first 5 steps; return the last line that the run prints."""
    journal = disk.seen / "r" / "metrics.jsonl"
    while not journal.exists() or journal.read_bytes().count(b"\n") < 5:
        assert process.is_alive()
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGSTOP)
    disk.read_only()
    os.kill(process.pid, signal.SIGCONT)
    process.join()
    said = (folder / "cut.txt").read_text()
    assert (process.exitcode, "Traceback" in said) == (2, False), said
    return said.splitlines()[-1]
