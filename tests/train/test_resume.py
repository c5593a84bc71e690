"""Runs that were stopped go on to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from restore_hub import run
from restore_hub.export.written import written
from restore_hub.train import loop
from restore_hub.train.recording.folder import RunFolder
from restore_hub.train.run import Result
from support import LOWLIGHT, refused
from support.plugin_files import WritePlugin, network_plugin, through
from support.runs import same, stop_after


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_a_killed_run_gives_the_same_bits(frequent: list[str], whole: Result, tmp_path: Path, steps: int) -> None:
    stop_after(steps, overrides=frequent, out=tmp_path / "r")
    assert (tmp_path / "r" / "checkpoints" / "state.pt").is_file()
    with (tmp_path / "r" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "loss"')  # what the process was writing when it died
    result = run(LOWLIGHT, overrides=frequent, out=tmp_path / "r", resume=True)
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
def test_restarts_give_the_same_bits(frequent: list[str], tmp_path: Path, solver: str, restart: str) -> None:
    """A cold restart goes back to where the stage began, not to where the run went on; f2sa keeps a second copy."""
    stage = f"{{solver: {solver}, steps: 3, {LEVELS.replace('RESTART', restart)}}}"
    overrides = [*frequent, "stages.0.steps=1", f"stages.1={stage}"]
    run(LOWLIGHT, overrides=overrides, out=tmp_path / "whole")
    # One step of the first stage and its end, two steps of the second.
    stop_after(4, overrides=overrides, out=tmp_path / "r")
    run(LOWLIGHT, overrides=overrides, out=tmp_path / "r", resume=True)
    same(tmp_path / "r", tmp_path / "whole")


def test_dropout_and_running_statistics(frequent: list[str], tmp_path: Path, write_plugin: WritePlugin) -> None:
    """Both depend on what was drawn and seen before: the run that is left alone differs where either is forgotten."""
    body = "nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout2d(0.5), nn.Conv2d(8, 3, 3, padding=1)"
    plugin = write_plugin("dropping", network_plugin(f"self.body = nn.Sequential({body})", "image = self.body(image)"))
    overrides = [*frequent, "precision=bf16", *through("dropping/net")]
    given: dict[str, Any] = {"overrides": overrides, "plugins": [plugin]}
    run(LOWLIGHT, **given, out=tmp_path / "whole")
    stop_after(2, **given, out=tmp_path / "r")
    stop_after(3, **given, out=tmp_path / "r", resume=True)
    torch.manual_seed(99)  # what the process drew meanwhile
    run(LOWLIGHT, **given, out=tmp_path / "r", resume=True)
    same(tmp_path / "r", tmp_path / "whole")


def test_a_run_without_checkpoint_begins_anew(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any) -> None:
        raise Killed

    overrides = [*small, "validate_every=2"]
    with monkeypatch.context() as patched:
        patched.setattr(loop, "_evaluate", kill)
        with pytest.raises(Killed):
            run(LOWLIGHT, overrides=overrides, out=tmp_path / "r")
    assert (tmp_path / "r" / "metrics.jsonl").is_file()
    run(LOWLIGHT, overrides=overrides, out=tmp_path / "r", resume=True)
    same(tmp_path / "r", run(LOWLIGHT, overrides=overrides, out=tmp_path / "other").folder)


def test_a_checkpoint_on_a_full_disk(
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
        with refused("train.disk-full", cause="No space left on device"):
            run(LOWLIGHT, overrides=frequent, out=tmp_path / "r")
    assert not list((tmp_path / "r" / "checkpoints").glob("*.part"))
    assert RunFolder(tmp_path / "r").read_status() == "FAILED"
    assert torch.load(tmp_path / "r" / "checkpoints" / "state.pt")["step"] == 2
    run(LOWLIGHT, overrides=frequent, out=tmp_path / "r", resume=True)
    same(tmp_path / "r", whole.folder)


def test_an_export_to_a_full_disk_is_a_run_to_resume(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_plan: Any, _chain: Any, _weights: Path, folder: Path, *_: Any) -> None:
        with written(folder / "chain.onnx"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("restore_hub.train.problems.chain.export_checkpoint", full)
    with refused("train.disk-full", tmp_path / "r" / "export" / "chain.onnx", cause="No space left on device"):
        run(LOWLIGHT, overrides=small, out=tmp_path / "r")
    assert RunFolder(tmp_path / "r").read_status() == "FAILED"


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
        patched.setattr("restore_hub.train.problems.chain.export_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(LOWLIGHT, overrides=overrides, out=tmp_path / "r")
    result = run(LOWLIGHT, overrides=overrides, out=tmp_path / "r", resume=True)
    same(tmp_path / "r", whole.folder)
    assert result.metrics


def test_the_state_goes_with_the_best_weights(small: list[str], tmp_path: Path) -> None:
    """Else a run that does not repeat to the bit could keep weights that no measurement of its journal stands for."""
    stop_after(1, overrides=[*small, "validate_every=2"], out=tmp_path / "r")
    saved = {name: torch.load(tmp_path / "r" / "checkpoints" / f"{name}.pt") for name in ("state", "best")}
    assert saved["state"]["step"] == saved["best"]["about"]["step"] == 2
