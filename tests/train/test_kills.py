"""Runs in processes of their own: signals, kills at any moment, two at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from restore_hub import run
from restore_hub.train.recording.find_run import create_run_folder
from restore_hub.train.recording.folder import RunFolder
from support import LOWLIGHT, refused
from support.runs import journal, same, sets
from support.sampling import generator, share

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(overrides: list[str], out: Path) -> list[str]:
    return [sys.executable, "-m", "restore_hub", "run", str(LOWLIGHT), "--out", str(out), "--resume", *sets(*overrides)]


def interrupted(arguments: list[str], out: Path, number: signal.Signals) -> str:
    """Start a run and send it a signal once it has taken a step; return what it prints."""
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    while not (out / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=240)
    assert process.returncode not in (0, None)
    return said


def test_two_processes_do_not_run_in_one_folder(frequent: list[str], tmp_path: Path) -> None:
    """A lock of this process keeps this process out, too."""
    held = create_run_folder(tmp_path, "raw_lowlight", tmp_path / "r")
    with held.hold(), refused("train.folder-busy", held.path):
        run(LOWLIGHT, overrides=frequent, out=held.path, resume=True)
    assert held.path.is_dir()


def test_a_signal_saves_the_state_and_says_resume(frequent: list[str], tmp_path: Path) -> None:
    overrides = [*frequent, "stages.0.steps=100000", "checkpoint_seconds=60"]
    said = interrupted(command(overrides, tmp_path / "r"), tmp_path / "r", signal.SIGTERM)
    assert f"restore-hub run {tmp_path / 'r' / 'spec.json'} --out {tmp_path / 'r'} --resume" in said
    state = torch.load(tmp_path / "r" / "checkpoints" / "state.pt")
    last = journal(tmp_path / "r")[-1]["step"]
    assert state["step"] == last
    assert RunFolder(tmp_path / "r").read_status() == "KILLED"
    assert "stopping after this step" in said
    assert (torch.load(tmp_path / "r" / "checkpoints" / "last.pt")["about"]["step"]) == last


IDLE = """
from restore_hub import hookimpl

@hookimpl
def register_losses(register):
    register("idle", "idle:Idle", summary="A plugin that the run does not use")
"""


def test_a_quiet_run_that_is_stopped_says_how_to_resume(frequent: list[str], tmp_path: Path) -> None:
    (tmp_path / "idle.py").write_text(IDLE)
    plugin = ("--plugin", str(tmp_path / "idle.py"))
    again = command([*frequent, "stages.0.steps=100000"], tmp_path / "r")
    said = interrupted([*again, "--quiet", *plugin], tmp_path / "r", signal.SIGINT)
    assert RunFolder(tmp_path / "r").read_status() == "KILLED"
    assert f"--resume {' '.join(plugin)}" in said


HUNG = 300.0  # seconds in which a run of some ends on any machine, however busy it has become


@pytest.mark.long
def test_kills_at_random_moments(frequent: list[str], tmp_path: Path) -> None:
    """Real processes are killed again and again, at any moment, until they finish: 100 times, or a tenth of that."""
    more = ["stages.0.steps=40", "stages.1.steps=20", "validate_every=7", "export={chain: enhanced}"]
    overrides = [*frequent, *more]
    began = time.monotonic()
    whole = subprocess.run(command(overrides, tmp_path / "whole"), env=ONE_THREAD, check=False, capture_output=True)
    assert whole.returncode == 0, whole.stderr
    took = time.monotonic() - began

    each = share(100) // 2

    def kill_half(worker: int) -> int:
        draw, kills, runs = generator(f"kills {worker}"), 0, 0
        while kills < each:
            runs += 1
            out = tmp_path / f"{worker}-{runs}"
            kills += kill_until_done(command(overrides, out), took, draw, each - kills)
            same(out, tmp_path / "whole")
        return runs

    with ThreadPoolExecutor(2) as pool:
        runs = sum(pool.map(kill_half, range(2)))
    print(f"{2 * each} kills in {runs} runs; {took:.1f} s a run left alone, {time.monotonic() - began:.0f} s in all")


def kill_until_done(run_again: list[str], took: float, draw: random.Random, most: int) -> int:
    """Start a run again after each kill; return how many kills it took, at most `most`.

    The moments are parts of the time that the run takes when left alone, so that a slow machine gets as far between
    them as a fast one. After the last kill the run has as long as it needs, up to where it must be called hung.
    """
    for kills in range(most + 1):
        limit = draw.uniform(0.3, 1.1) * took if kills < most else max(10 * took, HUNG)
        process = subprocess.Popen(run_again, env=ONE_THREAD, stderr=subprocess.PIPE)
        try:
            _, said = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
            continue
        # Killed on its way out, after its last word, it has nothing left to do.
        assert process.returncode == 0 or b"the run is finished" in said, said
        return kills
    pytest.fail(f"hung after {most} kills: {said!r}")
