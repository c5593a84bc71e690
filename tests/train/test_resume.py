"""Runs that were stopped go on to the same bits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from restore_hub import run
from restore_hub.errors import TrainingError
from restore_hub.train import Result, checkpoint, loop
from restore_hub.train.folder import RunFolder

PIPELINE = Path(__file__).resolve().parents[2] / "pipelines" / "raw_lowlight.yaml"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def same(one: Path, other: Path) -> None:
    """Compare all that two runs leave, but for times."""
    for name in ("last", "best", "stage-1", "stage-2"):
        left, right = (torch.load(folder / "checkpoints" / f"{name}.pt") for folder in (one, other))
        assert left["about"] == right["about"]
        for block, weights in left["blocks"].items():
            for key, tensor in weights.items():
                assert torch.equal(tensor, right["blocks"][block][key]), (name, block, key)
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    for path in sorted((one / "pictures").iterdir()):
        assert path.read_bytes() == (other / "pictures" / path.name).read_bytes()


@pytest.fixture(scope="module")
def frequent(small: list[str]) -> list[str]:
    """A run that saves its state after every step and measures in between."""
    return [*small, "checkpoint_seconds=0", "validate_every=2"]


@pytest.fixture(scope="module")
def whole(frequent: list[str], tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(PIPELINE, overrides=frequent, out=tmp_path_factory.mktemp("whole") / "r")


class Stopped(BaseException):
    """What ends a run in these tests: nothing in the run may catch it, as nothing catches SIGKILL."""


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_a_run_killed_after_a_step_goes_on_to_the_same_bits(
    frequent: list[str], whole: Result, tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = 0

    def save(*arguments: Any) -> None:
        nonlocal saves
        checkpoint.save_state(*arguments)
        saves += 1
        if saves == steps:
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(loop, "save_state", save)
        with pytest.raises(Stopped):
            run(PIPELINE, overrides=frequent, out=tmp_path / "r")
    assert (tmp_path / "r" / "checkpoints" / "state.pt").is_file()
    with (tmp_path / "r" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "loss"')  # what the process was writing when it died
    result = run(PIPELINE, overrides=frequent, out=tmp_path / "r", resume=True)
    same(tmp_path / "r", whole.folder)
    assert [stage.steps for stage in result.stages] == [3, 2]
    assert result.metrics == whole.metrics
    assert not (tmp_path / "r" / "checkpoints" / "state.pt").exists()


LEVELS = (
    "upper: {blocks: [generate], objective: fidelity, data: upper}, "
    "lower: {blocks: [enhance], objective: fidelity, data: train, lr: 1e-2, steps: 2, restart: RESTART}"
)


@pytest.mark.long
@pytest.mark.parametrize(("solver", "restart"), [("f2sa", "warm"), ("f2sa", "cold"), ("rhg", "cold")])
def test_the_lower_level_goes_on_to_the_same_bits_warm_or_cold(
    frequent: list[str], tmp_path: Path, solver: str, restart: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cold restart goes back to where the stage began, not to where the run went on; f2sa keeps a second copy."""
    stage = f"{{solver: {solver}, steps: 3, {LEVELS.replace('RESTART', restart)}}}"
    overrides = [*frequent, "stages.0.steps=1", f"stages.1={stage}"]
    run(PIPELINE, overrides=overrides, out=tmp_path / "whole")
    saves = 0

    def save(*arguments: Any) -> None:
        nonlocal saves
        checkpoint.save_state(*arguments)
        saves += 1
        if saves == 4:  # one step of the first stage and its end, two steps of the second
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(loop, "save_state", save)
        with pytest.raises(Stopped):
            run(PIPELINE, overrides=overrides, out=tmp_path / "r")
    run(PIPELINE, overrides=overrides, out=tmp_path / "r", resume=True)
    same(tmp_path / "r", tmp_path / "whole")


DROPPING = """
import torch
from torch import nn
from restore_hub import hookimpl
from restore_hub.contracts import Port

class Dropping(nn.Module):
    inputs = {"image": Port(3)}
    outputs = {"image": Port(3)}
    size_multiple = 1

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout2d(0.5))
        self.head = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, image):
        return image + self.head(self.body(image))

@hookimpl
def register_networks(register):
    register("dropping", "dropping:Dropping", summary="Batch normalisation and dropout")
"""


def test_dropout_and_running_statistics_go_on_to_the_same_bits(
    frequent: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both depend on what was drawn and seen before: the run that is left alone differs where either is forgotten."""
    (tmp_path / "dropping.py").write_text(DROPPING)
    overrides = [
        *frequent,
        "precision=bf16",
        "blocks.enhance={network: dropping/dropping, inputs: {image: rgb}, outputs: [enhanced]}",
        "objectives={fidelity: {loss: l1, inputs: {prediction: enhanced, target: data.rgb}}}",
        "stages.0.objective=fidelity",
        "stages.1.lower.objective=fidelity",
    ]
    plugins = [tmp_path / "dropping.py"]
    run(PIPELINE, overrides=overrides, plugins=plugins, out=tmp_path / "whole")
    saves = 0

    def save(*arguments: Any) -> None:
        nonlocal saves
        checkpoint.save_state(*arguments)
        saves += 1
        if saves in (2, 5):
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(loop, "save_state", save)
        for resume in (False, True):
            with pytest.raises(Stopped):
                run(PIPELINE, overrides=overrides, plugins=plugins, out=tmp_path / "r", resume=resume)
    torch.manual_seed(99)  # what the process drew meanwhile
    run(PIPELINE, overrides=overrides, plugins=plugins, out=tmp_path / "r", resume=True)
    same(tmp_path / "r", tmp_path / "whole")


def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any) -> None:
        raise Stopped

    overrides = [*small, "validate_every=2"]
    with monkeypatch.context() as patched:
        patched.setattr(loop, "_measure", kill)
        with pytest.raises(Stopped):
            run(PIPELINE, overrides=overrides, out=tmp_path / "r")
    assert (tmp_path / "r" / "metrics.jsonl").is_file()
    run(PIPELINE, overrides=overrides, out=tmp_path / "r", resume=True)
    same(tmp_path / "r", run(PIPELINE, overrides=overrides, out=tmp_path / "other").folder)


def test_resume_finds_the_newest_unfinished_run_of_the_same_spec(frequent: list[str], tmp_path: Path) -> None:
    def begin(name: str, *more: str) -> None:
        folder = run(PIPELINE, overrides=[*frequent, *more], out=tmp_path / name).folder
        (folder / "status.json").write_text('{"status": "KILLED"}')

    begin("raw_lowlight-1")
    begin("raw_lowlight-2", "seed=1")
    before = (tmp_path / "raw_lowlight-2" / "metrics.jsonl").read_bytes()
    assert run(PIPELINE, overrides=frequent, runs=tmp_path, resume=True).folder == tmp_path / "raw_lowlight-1"
    assert (tmp_path / "raw_lowlight-2" / "metrics.jsonl").read_bytes() == before
    fresh = run(PIPELINE, overrides=frequent, runs=tmp_path, resume=True).folder
    assert fresh not in (tmp_path / "raw_lowlight-1", tmp_path / "raw_lowlight-2"), "both others are no match"


def test_what_cannot_be_resumed_is_refused(frequent: list[str], whole: Result, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is finished"):
        run(PIPELINE, overrides=frequent, out=whole.folder, resume=True)
    with pytest.raises(TrainingError, match=r"another spec, spec\.seed was 0 and is 1"):
        run(PIPELINE, overrides=[*frequent, "seed=1"], out=whole.folder, resume=True)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "spec.json").write_text("{")
    with pytest.raises(TrainingError, match="no readable spec"):
        run(PIPELINE, overrides=frequent, out=tmp_path / "odd", resume=True)


def test_two_processes_do_not_run_in_one_folder(frequent: list[str], tmp_path: Path) -> None:
    from restore_hub.train.folder import create_run_folder

    with create_run_folder(tmp_path, "raw_lowlight", tmp_path / "r").hold():
        other = subprocess.run(command(frequent, tmp_path / "r"), capture_output=True, text=True, check=False)
    assert other.returncode == 2
    assert "another process is running in" in other.stderr
    assert (tmp_path / "r").is_dir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda state: state["machine"].update(threads=99), "threads was 99 and is"),
        (lambda state: state["machine"].update(torch="1.0"), "torch was 1.0"),
        (lambda state: state.update(version=1), "version 1"),
        (lambda state: state.clear(), "cannot be read"),
    ],
)
def test_states_that_would_not_give_the_same_bits(
    frequent: list[str], whole: Result, tmp_path: Path, spoil: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*arguments: Any) -> None:
        checkpoint.save_state(*arguments)
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(loop, "save_state", kill)
        with pytest.raises(Stopped):
            run(PIPELINE, overrides=frequent, out=tmp_path / "r")
    path = tmp_path / "r" / "checkpoints" / "state.pt"
    state = torch.load(path)
    spoil(state)
    torch.save(state, path)
    before = path.read_bytes()
    with pytest.raises(TrainingError, match=words):
        run(PIPELINE, overrides=frequent, out=tmp_path / "r", resume=True)
    assert path.read_bytes() == before
    if "was" in words:
        run(PIPELINE, overrides=frequent, out=tmp_path / "r", resume=True, inexact=True)
        same(tmp_path / "r", whole.folder)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before_whole(
    frequent: list[str], whole: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, saves = torch.save, 0

    def full(content: Any, file: Any) -> None:
        nonlocal saves
        if "position" in content:
            saves += 1
            if saves == 3:
                file.write(b"half")
                raise OSError(28, "No space left on device")
        real(content, file)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        with pytest.raises(TrainingError, match=r"No space left.*--resume"):
            run(PIPELINE, overrides=frequent, out=tmp_path / "r")
    assert not list((tmp_path / "r" / "checkpoints").glob("*.part"))
    assert RunFolder(tmp_path / "r").read_status() == "FAILED"
    assert torch.load(tmp_path / "r" / "checkpoints" / "state.pt")["step"] == 2
    run(PIPELINE, overrides=frequent, out=tmp_path / "r", resume=True)
    same(tmp_path / "r", whole.folder)


def command(overrides: list[str], out: Path) -> list[str]:
    sets = [part for override in overrides for part in ("--set", override)]
    return [sys.executable, "-m", "restore_hub", "run", str(PIPELINE), "--out", str(out), "--resume", *sets]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state_and_prints_the_line_that_goes_on(
    frequent: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    overrides = [*frequent, "stages.0.steps=100000", "checkpoint_seconds=60"]
    process = subprocess.Popen(command(overrides, tmp_path / "r"), stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "r" / "metrics.jsonl"
    while not journal.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert f"restore-hub run {tmp_path / 'r' / 'spec.json'} --out {tmp_path / 'r'} --resume" in said
    state = torch.load(tmp_path / "r" / "checkpoints" / "state.pt")
    last = [json.loads(line)["step"] for line in journal.read_text().splitlines()][-1]
    assert state["step"] == last
    assert RunFolder(tmp_path / "r").read_status() == "KILLED"
    assert "stopping after this step; once more stops at once" in said
    assert (torch.load(tmp_path / "r" / "checkpoints" / "last.pt")["about"]["step"]) == last


def test_a_quiet_run_that_is_stopped_still_says_how_to_go_on_with_its_plugins(
    frequent: list[str], tmp_path: Path
) -> None:
    (tmp_path / "dropping.py").write_text(DROPPING)
    plugin = ("--plugin", str(tmp_path / "dropping.py"))
    process = subprocess.Popen(
        [*command([*frequent, "stages.0.steps=100000"], tmp_path / "r"), "--quiet", *plugin],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "r" / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert f"--resume {' '.join(plugin)}" in said


@pytest.mark.parametrize("weights", ["last", "best"])
def test_an_export_that_is_interrupted_leaves_the_weights_of_the_run(
    frequent: list[str], whole: Result, tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_plan: Any, chain: Any, *_: Any) -> None:
        for parameter in chain.parameters():
            parameter.data.zero_()  # as when other weights were loaded for the export
        raise KeyboardInterrupt

    overrides = [*frequent, f"export.weights={weights}"]
    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["restore_hub.train.run"], "publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(PIPELINE, overrides=overrides, out=tmp_path / "r")
    result = run(PIPELINE, overrides=overrides, out=tmp_path / "r", resume=True)
    same(tmp_path / "r", whole.folder)
    assert result.metrics


def test_the_state_goes_with_the_best_weights(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run that does not repeat to the bit could keep weights that no measurement of its journal stands for."""

    def save(*arguments: Any) -> None:
        checkpoint.save_state(*arguments)
        raise Stopped

    monkeypatch.setattr(loop, "save_state", save)
    with pytest.raises(Stopped):
        run(PIPELINE, overrides=[*small, "validate_every=2"], out=tmp_path / "r")
    saved = {name: torch.load(tmp_path / "r" / "checkpoints" / f"{name}.pt") for name in ("state", "best")}
    assert saved["state"]["step"] == saved["best"]["about"]["step"] == 2


HUNG = 300.0  # seconds in which a run of some ends on any machine, however busy it has become


@pytest.mark.long
def test_a_hundred_kills_at_random_moments(frequent: list[str], tmp_path: Path) -> None:
    """Real processes are killed again and again, wherever they are, until they come through; the bits are the same."""
    more = ["stages.0.steps=40", "stages.1.steps=20", "validate_every=7", "export={chain: enhanced}"]
    overrides = [*frequent, *more]
    began = time.monotonic()
    whole = subprocess.run(command(overrides, tmp_path / "whole"), env=ONE_THREAD, check=False, capture_output=True)
    assert whole.returncode == 0, whole.stderr
    took = time.monotonic() - began

    def kill_fifty(seed: int) -> int:
        draw, kills, runs = random.Random(seed), 0, 0
        while kills < 50:
            runs += 1
            out = tmp_path / f"{seed}-{runs}"
            kills += kill_until_done(command(overrides, out), took, draw, 50 - kills)
            same(out, tmp_path / "whole")
        return runs

    with ThreadPoolExecutor(2) as pool:
        runs = sum(pool.map(kill_fifty, range(2)))
    print(f"100 kills in {runs} runs; {took:.1f} s a run left alone, {time.monotonic() - began:.0f} s in all")


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
        assert process.returncode == 0 or b"is finished" in said, said
        return kills
    pytest.fail(f"hung after {most} kills: {said!r}")
