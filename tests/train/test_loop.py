"""The stage loop: which batches a solver gets, when the holdout is measured, what becomes of an interruption."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from restore_hub import load, run
from restore_hub.errors import SpecError, TrainingError
from restore_hub.train.error_place import SMALLER_PICTURES
from restore_hub.train.problems.chain import TrainableChain
from restore_hub.train.recording.folder import RunFolder
from support import LOWLIGHT, Capture, refused
from support.plugin_files import WritePlugin
from support.runs import journal


def test_the_holdout_is_measured_every_so_many_steps(small: list[str], tmp_path: Path) -> None:
    result = run(LOWLIGHT, overrides=[*small, "validate_every=1"], out=tmp_path / "r")
    lines = journal(result.folder)
    assert [line["step"] for line in lines if "holdout/psnr" in line] == [1, 2, 3, 4, 5]


def test_the_best_weights_are_exported_on_request(small: list[str], tmp_path: Path) -> None:
    """An upper learning rate that ruins the last stage makes the end of the first one the best."""
    ruin = ["stages.1.upper.lr=10", "stages.1.upper.optimizer=sgd", "export={chain: enhanced, weights: best}"]
    result = run(LOWLIGHT, overrides=[*small, *ruin], out=tmp_path / "r")
    assert result.step == 3
    assert result.metrics == result.stages[0].metrics
    assert load(result.exported[0]).manifest.provenance["weights"] == "best"
    assert load(result.exported[0]).manifest.metrics["psnr"] == pytest.approx(result.metrics["psnr"])


@pytest.mark.parametrize(("signals", "kept"), [(1, 3), (2, 2)])
def test_ctrl_c_ends_after_the_step_and_a_second_one_at_once_with_the_weights_of_the_last_whole_one(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture, signals: int, kept: int
) -> None:
    from restore_hub.bilevel.solvers import Joint

    step, calls = Joint.step, []

    def interrupted(self, problem, state, batches):
        calls.append(1)
        for _ in range(signals if len(calls) == 3 else 0):
            signal.raise_signal(signal.SIGINT)
        return step(self, problem, state, batches)

    monkeypatch.setattr(Joint, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(LOWLIGHT, overrides=[*small, "stages.0.steps=9", "validate_every=2"], out=tmp_path / "r")
    assert torch.load(tmp_path / "r" / "checkpoints" / "last.pt")["about"]["step"] == kept
    said = capfd.readouterr().err
    assert "stopping after this step" in said
    assert f"stopped at step {kept}; to resume: restore-hub run" in said


def test_ctrl_c_on_a_full_disk(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from restore_hub.bilevel.solvers import Joint

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def full(*_: object) -> None:
        raise TrainingError("train.disk-full", cause="No space left on device")

    monkeypatch.setattr(Joint, "step", interrupted)
    monkeypatch.setattr(RunFolder, "save_weights", full)
    monkeypatch.setattr(RunFolder, "write_status", lambda _, status: full() if status == "KILLED" else None)
    with pytest.raises(KeyboardInterrupt):
        run(LOWLIGHT, overrides=small, out=tmp_path / "r")
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "to resume: restore-hub run" in said


LOSS = """
from restore_hub import hookimpl
from restore_hub.errors import OptionError

class Loss:
    def __init__(self, k: int = 2) -> None:
        if k % 2:
            raise OptionError("picky.odd", "k", what="k must be even")

    def __call__(self, prediction, target):
        BODY

@hookimpl
def register_losses(register):
    register("x", "{stem}:Loss", summary="faulty or picky")
"""


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return undefined_name", "spec.loss-fails"),
        ("raise MemoryError", "train.out-of-memory"),
        ("return (prediction - target).abs().mean()", "spec.loss-result"),
        ("return (prediction - target).abs(), 3", "spec.loss-result"),
    ],
)
def test_a_loss_that_fails_is_named(
    small: list[str], tmp_path: Path, write_plugin: WritePlugin, body: str, code: str
) -> None:
    plugin = write_plugin("faulty", LOSS.replace("BODY", body))
    with refused(code, "stage 2/2 ibgl"):  # no stage trains before all have been looked at
        run(LOWLIGHT, overrides=[*small, "objectives.fidelity.loss=faulty/x"], plugins=[plugin], out=tmp_path / "r")


def test_an_option_that_a_loss_refuses(small: list[str], tmp_path: Path, write_plugin: WritePlugin) -> None:
    plugin = write_plugin("picky", LOSS.replace("BODY", "return None"))
    objective = "objectives.fidelity={loss: picky/x, k: 3, inputs: {prediction: enhanced, target: data.rgb}}"
    with refused("picky.odd", "objectives.fidelity", SpecError):
        run(LOWLIGHT, overrides=[*small, objective], plugins=[plugin], out=tmp_path / "r")


def test_a_device_that_is_not_there_is_one_error(small: list[str], tmp_path: Path) -> None:
    with refused("train.device-unusable", "device 'nonsense'"):
        run(LOWLIGHT, overrides=small, out=tmp_path / "r", device="nonsense")


def test_a_tracker_that_cannot_be_opened_ends_the_run_before_it_begins(small: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    tracker = f"tracker={{tracker: mlflow/tracking, uri: 'sqlite:///{tmp_path}/file/x.db'}}"
    with refused("mlflow.cannot-open"):
        run(LOWLIGHT, overrides=[*small, tracker], out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_an_error_in_the_holdout_says_so(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(TrainableChain, "evaluate", fail)
    with refused("train.out-of-memory", "stage 1/2 joint, holdout") as caught:
        run(LOWLIGHT, overrides=small, out=tmp_path / "r")
    assert caught.value.mend == SMALLER_PICTURES
