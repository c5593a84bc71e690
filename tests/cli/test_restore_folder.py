"""`restore-hub restore` for a folder, as people see it: a bar or lines, a table, what failed, and Ctrl-C."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restore_hub.cli import progress
from restore_hub.photo.picture_writer import write_picture
from support.commands import invoke, output
from support.models import Write

COMMAND = [sys.executable, "-m", "restore_hub", "restore"]


@pytest.fixture
def photos(tmp_path: Path, write_raw: Write) -> Path:
    for seed in range(5):
        write_raw(tmp_path / "photos" / f"p{seed}.dng", seed, gain=4.0 + seed)
    return tmp_path / "photos"


def _rows(output: str) -> dict[str, str]:
    """Return the table's cells by its head."""
    head, row, *_ = output.splitlines()
    return dict(zip(re.split(r" {2,}", head), re.split(r" {2,}", row), strict=True))


def test_a_table_at_the_end(models: Path, photos: Path, tmp_path: Path) -> None:
    arguments = ("restore", models / "chain.onnx", photos, "-o", tmp_path / "out", "--balance", "2,1,1.7")
    done = invoke(*arguments, "--jobs", 2)
    assert done.exit_code == 0, done.output
    row = _rows(done.stdout)
    assert float(row.pop("MP/s")) > 0
    expected = {"done": "5", "skipped": "0", "failed": "0", "gain": "4 to 8", "red": "2", "green": "1", "blue": "1.7"}
    assert row == expected
    assert done.stdout.splitlines()[-1] == f"results in {tmp_path / 'out'}"
    assert re.fullmatch(r"restore: 5/5 photographs, \S+ MP/s, 0 s left  5 done\n", done.stderr)
    assert _rows(invoke(*arguments).stdout) == {**expected, "done": "0", "skipped": "5", "MP/s": "-"}


def test_failures_end_with_1_and_a_list(models: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "empty.dng").write_bytes(b"")
    (photos / "text.dng").write_text("hello\n")
    done = invoke("restore", models / "chain.onnx", photos, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert (_rows(done.stdout)["done"], _rows(done.stdout)["failed"]) == ("5", "2")
    _, first, second = done.stderr.splitlines()
    assert first.startswith("failed: empty.dng: ")
    assert second.startswith("failed: text.dng: ")


def test_a_damaged_line_of_the_journal_is_reported(models: Path, photos: Path, tmp_path: Path) -> None:
    invoke("restore", models / "chain.onnx", photos, "-o", tmp_path / "out")
    journal = tmp_path / "out" / ".restore_hub" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'\n{"out": "p0.png"\n\xff\xfe')
    done = invoke("restore", models / "chain.onnx", photos, "-o", tmp_path / "out")
    assert (done.exit_code, _rows(done.stdout)["skipped"]) == (0, "5")
    assert f"note: {journal}: skipped 2 damaged lines; " in done.stdout


def test_pictures_have_no_gain(models: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_picture(tmp_path / "in" / "a.png", np.full((8, 8, 3), 0.25))
    more = ("--format", "tif", "--bits", "16")
    done = invoke("restore", models / "enhance.onnx", tmp_path / "in", "-o", tmp_path / "out", *more)
    row = _rows(done.stdout)
    assert [row[name] for name in ("gain", "red", "blue")] == ["-"] * 3
    assert (tmp_path / "out" / "a.tif").is_file()


def test_balance_of_one_photograph(models: Path, photos: Path, tmp_path: Path) -> None:
    factors_of = {"3,1.5,3": "2, green 1, blue 2 (given)", "camera": "2, green 1, blue 1.5 (camera)"}
    for balance, factors in factors_of.items():
        out = tmp_path / f"{balance[0]}.png"
        arguments = (models / "chain.onnx", photos / "p0.dng", "-o", out, "--balance", balance)
        assert f"white balance red {factors}\n" in output("restore", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--balance", "flash"], "'flash' isn't camera, daylight, or three numbers such as 2,1,1.5"),
        (["--balance", "2,1"], "'2,1' isn't camera, daylight"),
        (["--jobs", "0"], "0 is not in the range x>=1"),
        (["--format", "gif"], "'gif' is not one of 'png', 'tif', 'jpg', 'dng'"),
        (["--format", "png"], "--format and --jobs are for a folder"),
        (["--jobs", "2"], "--format and --jobs are for a folder"),
    ],
)
def test_invalid_options(models: Path, photos: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    call = ("restore", models / "chain.onnx", photos / "p0.dng", "-o", tmp_path / "a.png")
    assert message in " ".join(output(*call, *arguments, exit_code=2).split())
    assert not (tmp_path / "a.png").exists()


STOPS = """
import os, signal, sys, time
replace = os.replace
def stopping(source, target):
    if target.name == "p1.png":
        os.kill(os.getpid(), signal.SIGINT)
        while signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
            time.sleep(0.001)
    replace(source, target)
os.replace = stopping
from restore_hub.cli import main
main(sys.argv[1:])
"""


def test_ctrl_c_finishes_what_runs_and_the_same_command_continues(models: Path, photos: Path, tmp_path: Path) -> None:
    arguments = ["restore", models / "chain.onnx", photos, "-o", tmp_path / "out"]
    stopped = subprocess.run([sys.executable, "-c", STOPS, *arguments], capture_output=True, text=True, check=False)
    assert stopped.returncode == 130, stopped.stderr
    assert "stopping after the photographs in progress" in stopped.stderr
    assert stopped.stderr.splitlines()[-1] == "interrupted"
    made = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert {"p0.png", "p1.png"} <= made < {f"p{n}.png" for n in range(5)}
    assert not list((tmp_path / "out").rglob("*.part"))
    row = _rows(invoke(*arguments).stdout)
    assert (row["done"], row["skipped"], row["failed"]) == (str(5 - len(made)), str(len(made)), "0")


def test_a_read_only_folder(models: Path, photos: Path, tmp_path: Path) -> None:
    """In a mount namespace, because root may write into every folder."""
    (tmp_path / "out").mkdir()
    how = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--mount", "sh", "-c"]
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"'
    try:
        able = subprocess.run([*how, mount, tmp_path / "out"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("nothing can be mounted here: there is no unshare")
    if able.returncode:
        pytest.skip(f"nothing can be mounted here: {able.stderr.strip()}")
    command = [*COMMAND, models / "chain.onnx", photos, "-o", tmp_path / "out"]
    done = subprocess.run(
        [*how, f'{mount} && exec "$@"', tmp_path / "out", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'out'}: ")
    assert "Read-only file system" in done.stderr


def test_a_bar_on_a_terminal(models: Path, photos: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 100))
    command = [*COMMAND, models / "chain.onnx", photos, "-o", tmp_path / "out"]
    process = subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # how a terminal ends
        pass
    process.communicate()
    os.close(ours)
    assert process.returncode == 0
    text = shown.decode()
    assert re.search(r"restore   0%\|[ ]+\| 0/5 ", text)
    assert re.search(r"restore 100%\|█+\| 5/5 .*, \S+ MP/s  5 done", text)
    assert "photographs" not in text


def test_progress_lines_are_seconds_apart(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from restore_hub.runtime.folder_result import Result as Outcome

    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    facts: dict[str, Any] = {"height": 1000, "width": 2000}
    with progress.Progress("restore") as shown:
        shown.update(None, 4)
        for state in ("done", "skipped", "failed"):
            now += 10
            shown.update(Outcome(Path("a"), Path("b"), state, facts=facts if state == "done" else None), 4)
        now += 10
        shown.update(Outcome(Path("a"), Path("b"), "done", facts=facts), 4)
    assert capsys.readouterr().err.splitlines() == [
        "restore: 2/4 photographs, 0.1 MP/s, 20 s left  1 done, 1 skipped",
        "restore: 4/4 photographs, 0.1 MP/s, 0 s left  2 done, 1 skipped, 1 failed",
    ]


def test_signal_handlers_are_restored(models: Path, photos: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert invoke("restore", models / "chain.onnx", photos, "-o", tmp_path / "out").exit_code == 0
    assert signal.getsignal(signal.SIGINT) is before
