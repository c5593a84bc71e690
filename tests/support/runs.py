"""Real runs of the small pipeline, made once for all tests, or stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from restore_hub import run
from restore_hub.model.manifest import METADATA_KEY
from restore_hub.train import checkpoint, loop
from restore_hub.train.recording.folder import RunFolder
from restore_hub.train.run import Result
from support import LOWLIGHT, SMALL

FEW_STEPS = ("stages.0.steps=3", "stages.1.steps=2", "stages.1.lower.steps=2")
_SEEN = "inputs: {prediction: enhanced, target: data.rgb}"
NO_EXPORT = ("export={}", f"metrics={{psnr: {{metric: psnr, {_SEEN}}}, ssim: {{metric: ssim, {_SEEN}}}}}")


@pytest.fixture(scope="session")
def small(pairs: Path) -> list[str]:
    """Return overrides for a run of a second, which exports nothing: that would take most of the time."""
    return [
        *SMALL,
        *FEW_STEPS,
        *NO_EXPORT,
        *(f"data.{split}.root={pairs / split}" for split in ("train", "upper", "holdout")),
    ]


@pytest.fixture(scope="session")
def finished(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Return the result of the shipped pipeline, run small; it exports its blocks and its chain."""
    overrides = [*small, "export={blocks: [generate, enhance], chain: enhanced}"]
    return run(LOWLIGHT, overrides=overrides, out=tmp_path_factory.mktemp("run") / "r")


@pytest.fixture(scope="session")
def frequent(small: list[str]) -> list[str]:
    """Return overrides for one that saves its state after every step and measures in between."""
    return [*small, "checkpoint_seconds=0", "validate_every=2"]


@pytest.fixture(scope="session")
def whole(frequent: list[str], tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Return what the run `frequent` gives when it is left alone."""
    return run(LOWLIGHT, overrides=frequent, out=tmp_path_factory.mktemp("whole") / "r")


def same(one: Path, other: Path) -> None:
    """Compare all that two finished runs leave, but for times."""
    assert weights(one).keys() == weights(other).keys()
    for name, left in weights(one).items():
        right = torch.load(other / "checkpoints" / name)
        assert left["about"] == right["about"]
        for block, tensors in left["blocks"].items():
            for key, tensor in tensors.items():
                assert torch.equal(tensor, right["blocks"][block][key]), (name, block, key)
    for pattern in ("metrics.jsonl", "pictures/*", "export/*"):
        files = sorted(path.relative_to(one) for path in one.glob(pattern))
        assert files == sorted(path.relative_to(other) for path in other.glob(pattern))
        for path in files:
            assert content(one / path) == content(other / path), path
    stages = [json.loads((folder / "stages.json").read_text()) for folder in (one, other)]
    assert [{**stage, "seconds": 0} for stage in stages[0]] == [{**stage, "seconds": 0} for stage in stages[1]]
    assert RunFolder(one).read_status() == RunFolder(other).read_status() == "FINISHED"


def content(path: Path) -> bytes:
    """Return the bytes of a file; of a model without the memory that it takes, which is measured each time."""
    if path.suffix != ".onnx":
        return path.read_bytes()
    model = onnx.load(path)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    manifest = json.loads(entries[METADATA_KEY])
    assert manifest.pop("memory")["per_pixel"] > 0
    onnx.helper.set_model_props(model, {**entries, METADATA_KEY: json.dumps(manifest)})
    return model.SerializeToString(deterministic=True)


def weights(folder: Path) -> dict[str, Any]:
    """Load every checkpoint of a run, which fails where one is not whole."""
    return {path.name: torch.load(path) for path in sorted((folder / "checkpoints").glob("*.pt"))}


def journal(folder: Path) -> list[dict[str, float]]:
    """Return the lines of a run's metrics."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def sets(*overrides: str) -> list[str]:
    """Return overrides as arguments of the command."""
    return [part for override in overrides for part in ("--set", override)]


class Stopped(BaseException):
    """What ends a run here: nothing in the run may catch it, as nothing catches SIGKILL."""


def stop_after(saves: int, spec: Path = LOWLIGHT, **given: Any) -> None:
    """Run a spec, by default the shipped pipeline, until it has saved its state so many times."""
    made = 0

    def save(*arguments: Any) -> None:
        nonlocal made
        checkpoint.save_state(*arguments)
        made += 1
        if made == saves:
            raise Stopped

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "save_state", save)
        with pytest.raises(Stopped):
            run(spec, **given)
