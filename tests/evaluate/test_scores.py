"""Scores of a chain: evaluation mode, whole pictures, 8 bits; what is left out, and what fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from restore_hub.errors import UnreadableFileError
from restore_hub.evaluate.chain import ChainPredictor
from restore_hub.evaluate.scores import Scores, score
from restore_hub.plan import Chain, Plan, build_chain
from restore_hub.plan.metrics import WiredMetric
from restore_hub.plan.samples import Samples
from restore_hub.train.loop import better
from support import refused
from support.chains import Make


class Seen:
    """A metric that keeps what it is given."""

    higher_is_better = True

    def __init__(self) -> None:
        self.given: list[np.ndarray] = []

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> float:
        self.given.append(prediction)
        return float(target.mean())

    def __deepcopy__(self, memo: object) -> Seen:
        return self


def _score(chain: Chain, plan: Plan, samples: Samples, **metrics: Any) -> Scores:
    wired = {name: WiredMetric(metric, plan.metrics[name].inputs) for name, metric in metrics.items()}
    return score(ChainPredictor(chain), samples, wired, pictures=3)


def test_metrics_see_whole_pictures_of_the_chain_in_evaluation_mode_at_8_bits(make: Make) -> None:
    network = "{network: retinex/illumination, inputs: {image: rgb}, outputs: [enhanced, stages]}"
    plan = make(f"blocks.enhance={network}", "metrics=[psnr]")
    torch.manual_seed(0)
    chain = build_chain(plan)
    with torch.no_grad():  # statistics that differ from those of any batch
        chain.blocks["enhance"].enhance.conv[1].running_mean.fill_(0.3)
    chain.train()
    holdout, metric = plan.datasets["holdout"].make(), Seen()
    found = _score(chain, plan, Samples(holdout, "holdout"), psnr=metric)
    assert all(block.training for block in chain.blocks.values()), "the mode of training is put back"
    sample = holdout.sample(0, None)
    with torch.no_grad():
        wires = {f"data.{name}": torch.from_numpy(array)[None] for name, array in sample.items()}
        expected = chain.eval()(wires)["enhanced"][0].permute(1, 2, 0).numpy()
    (given,) = metric.given
    assert given.shape == expected.shape == (48, 64, 3)
    assert np.array_equal(given * 255, np.round(given * 255)), "multiples of 1/255"
    np.testing.assert_allclose(given, np.clip(expected, 0, 1), atol=0.5 / 255 + 1e-6)
    assert list(found.pictures) == ["0-p4-input", "0-p4-output", "0-p4-reference"]
    assert {picture.shape for picture in found.pictures.values()} == {(48, 64, 3)}
    np.testing.assert_array_equal(found.pictures["0-p4-output"], np.round(given * 255))
    planes = np.clip(sample["raw"], 0, 1)
    light = np.stack([planes[0], planes[1:3].mean(0), planes[3]], axis=2)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(found.pictures["0-p4-input"][::2, 1::2], curve * 255, atol=0.51)
    assert found.means["psnr"] == pytest.approx(float(np.round(np.clip(sample["rgb"], 0, 1) * 255).mean() / 255))


def test_better_follows_the_metric_s_direction() -> None:
    assert better(2.0, 1.0, True)
    assert not better(1.0, 2.0, True)
    assert better(1.0, 2.0, False)
    assert better(1.0, None, True)
    assert not better(float("nan"), None, True)


class Holed:
    """A dataset of which some samples cannot be read."""

    def __init__(self, dataset: Any, bad: Sequence[int]) -> None:
        self.dataset, self.bad, self.ports = dataset, bad, dataset.ports

    def __len__(self) -> int:
        return 4

    def files(self, index: int) -> Sequence[Path]:
        return (Path(f"p{index}.dng"),)

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        if index in self.bad:
            raise UnreadableFileError("mine.cut", f"p{index}.dng", what="cut off")
        sample = self.dataset.sample(0, rng)
        return {**sample, "rgb": np.full_like(sample["rgb"], index / 5)}


class InMemory(Holed):
    """A dataset that reads no files."""

    def files(self, index: int) -> Sequence[Path]:
        return ()


def _evaluate(make: Make, kind: type[Holed], bad: Sequence[int], strict: bool = False) -> tuple[Scores, Samples]:
    plan = make("metrics=[psnr]")
    samples = Samples(kind(plan.datasets["holdout"].make(), bad), "holdout", strict=strict)
    return _score(build_chain(plan), plan, samples, psnr=Seen()), samples


@pytest.mark.parametrize(
    ("kind", "bad", "names", "mean"),
    [(Holed, (0, 2), ["1-p1", "3-p3"], (1 / 5 + 3 / 5) / 2), (InMemory, (1,), ["0", "2", "3"], (2 / 5 + 3 / 5) / 3)],
)
def test_unreadable_pictures_count_in_no_mean(make: Make, kind: Any, bad: Any, names: list[str], mean: float) -> None:
    """Pictures of data in memory are named by their index."""
    found, samples = _evaluate(make, kind, bad)
    assert found.means["psnr"] == pytest.approx(mean)
    assert [name for name in found.pictures if name.endswith("output")] == [f"{name}-output" for name in names]
    assert tuple(samples.left_out) == bad


def test_a_holdout_without_a_readable_picture_is_an_error(make: Make) -> None:
    with refused("data.none-readable", "data.holdout", count=4, first="p0.dng: cut off"):
        _evaluate(make, Holed, range(4))
    with refused("mine.cut", "p2.dng"):
        _evaluate(make, Holed, (2,), strict=True)


@pytest.mark.parametrize("error", [ValueError("bad picture"), MemoryError()], ids=repr)
def test_a_metric_that_raises(make: Make, error: Exception) -> None:
    """It is named; where memory lacks, the run gives the advice."""

    class Raises(Seen):
        def __call__(self, prediction: np.ndarray, target: np.ndarray) -> float:
            raise error

    plan = make("metrics=[psnr, ssim]")
    holdout = Samples(plan.datasets["holdout"].make(), "holdout")
    if isinstance(error, MemoryError):
        with pytest.raises(MemoryError):
            _score(build_chain(plan), plan, holdout, psnr=Seen(), ssim=Raises())
    else:
        with refused("train.metric-failed", "metric 'ssim'", cause="ValueError: bad picture"):
            _score(build_chain(plan), plan, holdout, psnr=Seen(), ssim=Raises())
