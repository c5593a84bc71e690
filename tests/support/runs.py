"""Real runs of the small pipeline, made once for all tests, or stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from restore_hub import run
from restore_hub.train import checkpoint, loop
from restore_hub.train.run import Result
from support import LOWLIGHT

SMALL = (
    "blocks.generate.width=2",
    "blocks.generate.depth=1",
    "blocks.enhance.width=4",
    "data.train.crop=16",
    "data.upper.crop=16",
    "tracker=",
    "stages.0.steps=3",
    "stages.1.steps=2",
    "stages.1.lower.steps=2",
)
_SEEN = "inputs: {prediction: enhanced, target: data.rgb}"
NO_EXPORT = ("export={}", f"metrics={{psnr: {{metric: psnr, {_SEEN}}}, ssim: {{metric: ssim, {_SEEN}}}}}")


@pytest.fixture(scope="session")
def small(pairs: Path) -> list[str]:
    """Return overrides for a run of a second, which exports nothing: that would take most of the time."""
    return [*SMALL, *NO_EXPORT, *(f"data.{split}.root={pairs / split}" for split in ("train", "upper", "holdout"))]


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


@pytest.fixture(scope="session")
def same() -> Callable[[Path, Path], None]:
    """Return a function that compares all that two such runs leave, but for times."""

    def compare(one: Path, other: Path) -> None:
        for name in ("last", "best", "stage-1", "stage-2"):
            left, right = (torch.load(folder / "checkpoints" / f"{name}.pt") for folder in (one, other))
            assert left["about"] == right["about"]
            for block, weights in left["blocks"].items():
                for key, tensor in weights.items():
                    assert torch.equal(tensor, right["blocks"][block][key]), (name, block, key)
        assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
        for path in sorted((one / "pictures").iterdir()):
            assert path.read_bytes() == (other / "pictures" / path.name).read_bytes()

    return compare


class Stopped(BaseException):
    """What ends a run here: nothing in the run may catch it, as nothing catches SIGKILL."""


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that runs the shipped pipeline until it has saved its state so many times."""

    def begin(saves: int, **given: Any) -> None:
        made = 0

        def save(*arguments: Any) -> None:
            nonlocal made
            checkpoint.save_state(*arguments)
            made += 1
            if made == saves:
                raise Stopped

        with monkeypatch.context() as patched:
            patched.setattr(loop, "save_state", save)
            with pytest.raises(Stopped):
                run(LOWLIGHT, **given)

    return begin
