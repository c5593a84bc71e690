"""Whole runs on two processes under torchrun: equal to one, killed, restarted, refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from restore_hub import run
from support import LOWLIGHT, refused
from support.plugin_files import WritePlugin, network_plugin, through
from support.runs import journal, sets

pytestmark = pytest.mark.long


class Launched:
    """`torchrun` with two processes of `restore-hub run`, and all that they say."""

    def __init__(
        self, folder: Path, overrides: list[str], *more: str, restarts: int = 0, spec: Path = LOWLIGHT
    ) -> None:
        how = ["--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts), "-m", "restore_hub"]
        command = [sys.executable, "-m", "torch.distributed.run", *how]
        command += ["run", str(spec), "--out", str(folder), *sets(*overrides), *more]
        self.folder, self._said = folder, folder.with_name(f"{folder.name}.txt")
        with self._said.open("w") as said:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)

    def end(self) -> tuple[int, str]:
        """Wait; return the exit status and what was said."""
        return self.process.wait(timeout=240), self._said.read_text()

    def errors(self) -> list[str]:
        """Wait; return the lines that say an error."""
        return [line for line in self.end()[1].splitlines() if line.startswith("error: ")]

    def kill(self, rank: int) -> None:
        """Kill one process once there is a checkpoint."""
        while not (self.folder / "checkpoints" / "state.pt").exists():
            assert self.process.poll() is None, self._said.read_text()
            time.sleep(0.05)
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                environment = (entry / "environ").read_bytes().split(b"\0") if parent == self.process.pid else []
            except OSError:  # it ended meanwhile
                continue
            if b"RANK=%d" % rank in environment:
                os.kill(int(entry.name), signal.SIGKILL)
                return
        raise AssertionError(f"no process of rank {rank}")


Launch = Callable[..., Launched]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    started: list[Launched] = []

    def begin(name: str, overrides: list[str], *more: str, **how: Any) -> Launched:
        started.append(Launched(tmp_path / name, overrides, *more, **how))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.process.kill()


@pytest.fixture(scope="module")
def slow(frequent: list[str]) -> list[str]:
    """One that takes long enough to be killed in the middle."""
    return [*frequent, "stages.0.steps=150", "stages.1.steps=20", "validate_every=1000"]


@pytest.fixture(scope="module")
def whole(slow: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of such a run on two processes, left alone."""
    made = Launched(tmp_path_factory.mktemp("whole") / "r", slow)
    status, said = made.end()
    assert status == 0, said
    return made.folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    blocks = torch.load(folder / "checkpoints" / "last.pt")["blocks"]
    return {f"{block}.{name}": tensor for block, state in blocks.items() for name, tensor in state.items()}


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["precision=bf16"],
        ["stages.0.accumulate=2", "stages.1.upper.accumulate=2", "stages.1.lower.accumulate=2"],
        ["stages.1.solver=tbgl", "stages.1.lower.steps=1"],
        ["stages.1.solver=rhg"],
        ["stages.1.solver=cg"],
        ["stages.1.solver=neumann", "stages.1.rate=0.01"],
        ["stages.1.solver=f2sa"],
        ["stages.1.groups=sample"],
    ],
    ids=["ibgl", "bf16", "accumulate", "tbgl", "rhg", "cg", "neumann", "f2sa", "groups"],
)
def test_two_processes_equal_one(frequent: list[str], launch: Launch, tmp_path: Path, changes: list[str]) -> None:
    """The same spec: in float32 to rounding, which Adam's first steps magnify where a gradient is near zero."""
    overrides = [*frequent, *changes]
    status, said = launch("two", overrides).end()
    assert status == 0, said
    assert said.count("run       ") == 1
    assert said.count("stage 2/2") == 1
    run(LOWLIGHT, overrides=overrides, out=tmp_path / "one", quiet=True)
    files = [{p.relative_to(tmp_path / name) for p in (tmp_path / name).rglob("*")} for name in ("one", "two")]
    assert files[0] == files[1]
    loose = 2e-2 if "precision=bf16" in changes else 1e-3
    for ours, theirs in zip(journal(tmp_path / "two"), journal(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=loose, abs=1e-4)
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, rtol=0, atol=5e-3 if loose > 1e-2 else 5e-4)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_lost_process_ends_the_run(slow: list[str], launch: Launch, tmp_path: Path, whole: Path, rank: int) -> None:
    made = launch("r", slow)
    made.kill(rank)
    (error,) = made.errors()
    assert "lost a process of the run" in error
    assert "--resume" in error
    with refused("train.conditions-differ", "state.pt") as caught:
        run(LOWLIGHT, overrides=slow, out=tmp_path / "r", resume=True)
    assert "processes was 2 and is 1" in caught.value.what
    status, said = launch("r", slow, "--resume").end()
    assert status == 0, said
    assert f"resuming {tmp_path / 'r'} at step" in said
    assert (tmp_path / "r" / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(tmp_path / "r")[name], tensor)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_restart_gives_the_same_bits(slow: list[str], launch: Launch, tmp_path: Path, whole: Path, rank: int) -> None:
    made = launch("r", slow, restarts=1)
    made.kill(rank)
    status, said = made.end()
    assert status == 0, said
    assert f"resuming {tmp_path / 'r'} at step" in said
    assert (tmp_path / "r" / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_a_run_of_two_resumes_with_one(slow: list[str], launch: Launch, tmp_path: Path, whole: Path) -> None:
    """The batches stay the same; only the bits differ."""
    made = launch("r", slow)
    made.kill(1)
    made.end()
    result = run(LOWLIGHT, overrides=slow, out=tmp_path / "r", resume=True, inexact=True, quiet=True)
    assert [stage.steps for stage in result.stages] == [150, 20]
    assert journal(tmp_path / "r")[-1] == pytest.approx(journal(whole)[-1], rel=2e-2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state(slow: list[str], launch: Launch, tmp_path: Path, number: signal.Signals) -> None:
    made = launch("r", [*slow, "stages.0.steps=100000", "checkpoint_seconds=600"])
    while not (tmp_path / "r" / "metrics.jsonl").exists():
        time.sleep(0.05)
    made.process.send_signal(number)
    _, said = made.end()
    assert said.count("to resume: torchrun --nproc-per-node 2 -m restore_hub run") == 1
    assert "error: " not in said
    assert torch.load(tmp_path / "r" / "checkpoints" / "state.pt")["step"] == journal(tmp_path / "r")[-1]["step"]
    assert json.loads((tmp_path / "r" / "status.json").read_text())["status"] == "KILLED"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["stages.1.solver=bda"], "stages.1.solver: std/bda runs on one process only"),
        (["data.train.batch_size=1"], "2 processes can't share a batch of 1"),
        (["stages.1.lower.lr=1e30"], "is not finite"),
        (["stages.0.objective=nothing"], "nothing"),
    ],
)
def test_an_error_is_printed_once(frequent: list[str], launch: Launch, changes: list[str], words: str) -> None:
    made = launch("r", [*frequent, *changes])
    (error,) = made.errors()
    assert words in error


def test_a_file_that_one_process_cannot_read(frequent: list[str], launch: Launch, tmp_path: Path, pairs: Path) -> None:
    shutil.copytree(pairs / "train", tmp_path / "train")
    damaged = sorted((tmp_path / "train").rglob("*.dng"))[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    overrides = [*frequent, f"data.train.root={tmp_path / 'train'}", "stages.0.steps=1"]
    (error,) = launch("strict", [*overrides, "data.train.strict=true"]).errors()
    assert damaged.name in error
    status, said = launch("loose", overrides).end()
    assert status == 0, said
    assert said.count("left out of 'train'") == 1
    (line,) = (tmp_path / "loose" / "left_out.jsonl").read_text().splitlines()
    assert damaged.name in line


def test_problems_train_on_two_processes_too(launch: Launch, tmp_path: Path) -> None:
    spec, overrides = LOWLIGHT.with_name("numerical.yaml"), ["stages.0.steps=20", "tracker="]
    status, said = launch("two", overrides, spec=spec).end()
    assert status == 0, said
    run(spec, overrides=overrides, out=tmp_path / "one", quiet=True)
    for ours, theirs in zip(journal(tmp_path / "two"), journal(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_statistics_that_differ(frequent: list[str], launch: Launch, write_plugin: WritePlugin) -> None:
    forward = "if self.training:\n    self.mean.lerp_(image.detach().mean(), 0.1)"
    plugin = write_plugin("running", network_plugin('self.register_buffer("mean", torch.zeros(()))', forward))
    (error,) = launch("r", [*frequent, *through("running/net")], "--plugin", str(plugin)).errors()
    assert "stage 1/2 joint, step 1: enhance.mean: it differs among the 2 processes" in error


DRAWN = """
import os
import torch
from torch import nn
from restore_hub import hookimpl

class Drawn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(float(int(os.environ["RANK"]) + 1)))

    def forward(self, prediction, target):
        return (self.weight * (prediction - target)).abs().sum(), prediction.numel()

@hookimpl
def register_losses(register):
    register("l1", "drawn:Drawn", summary="Its weight is another one in each process")
"""


def test_weights_of_a_loss_that_differ(frequent: list[str], launch: Launch, write_plugin: WritePlugin) -> None:
    plugin = write_plugin("drawn", DRAWN)
    (error,) = launch("r", [*frequent, "objectives.fidelity.loss=drawn/l1"], "--plugin", str(plugin)).errors()
    assert "error: objectives.fidelity.weight: it differs among the 2 processes" in error
