"""The holdout: evaluation mode, whole pictures, 8 bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from restore_hub.plan import Plan, build_chain
from restore_hub.train.validate import better, validate


class Seen:
    """A metric that keeps what it is given."""

    higher_is_better = True

    def __init__(self) -> None:
        self.given: list[np.ndarray] = []

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> float:
        self.given.append(prediction)
        return float(target.mean())


def test_metrics_see_whole_pictures_of_the_chain_in_evaluation_mode_at_8_bits(make: Callable[..., Plan]) -> None:
    network = "{network: retinex/illumination, inputs: {image: rgb}, outputs: [enhanced, stages]}"
    plan = make(f"blocks.enhance={network}", "metrics=[psnr]")
    torch.manual_seed(0)
    chain = build_chain(plan)
    with torch.no_grad():  # statistics that differ from those of any batch
        chain.blocks["enhance"].enhance.conv[1].running_mean.fill_(0.3)
    chain.train()
    holdout, metric = plan.datasets["holdout"].make(), Seen()
    found = validate(chain, plan.metrics, {"psnr": metric}, holdout)
    assert all(block.training for block in chain.blocks.values()), "the mode of training is put back"
    sample = holdout.sample(0, None)
    with torch.no_grad():
        wires = {f"data.{name}": torch.from_numpy(array)[None] for name, array in sample.items()}
        expected = chain.eval()(wires)["enhanced"][0].permute(1, 2, 0).numpy()
    (given,) = metric.given
    assert given.shape == expected.shape == (48, 64, 3)
    assert np.array_equal(given * 255, np.round(given * 255)), "multiples of 1/255"
    np.testing.assert_allclose(given, np.clip(expected, 0, 1), atol=0.5 / 255 + 1e-6)
    (picture,) = found.pictures.values()
    assert picture.shape == (48, 128, 3)
    assert found.means["psnr"] == pytest.approx(float(np.round(np.clip(sample["rgb"], 0, 1) * 255).mean() / 255))


def test_better_follows_the_metric_s_direction() -> None:
    up, down = Seen(), Seen()
    down.higher_is_better = False
    assert better(up, 2.0, 1.0)
    assert not better(up, 1.0, 2.0)
    assert better(down, 1.0, 2.0)
    assert better(up, 1.0, None)
    assert not better(up, float("nan"), None)
