"""The illumination networks: equations and stages."""

from __future__ import annotations

import pytest
import torch

from restore_hub.errors import OptionError
from restore_hub_retinex.cascade import Cascade
from restore_hub_retinex.networks import DARKEST, Illumination
from support import refused


def _picture(n: int = 2, h: int = 12, w: int = 9) -> torch.Tensor:
    return torch.rand((n, 3, h, w), generator=torch.Generator().manual_seed(0)) * 0.4


def test_evaluation_has_one_stage_and_divides_by_its_illumination() -> None:
    x = _picture()
    enhanced, stages = Illumination().eval()(x)
    assert stages.shape == (2, 6, 12, 9)
    source, illumination = stages.chunk(2, dim=1)
    assert torch.equal(source, x)
    assert illumination.min() >= DARKEST
    assert illumination.max() <= 1
    torch.testing.assert_close(enhanced, (x / illumination).clamp(0, 1))
    assert (enhanced >= x).all()


def test_training_stages_are_calibrated_inputs_and_their_illuminations() -> None:
    torch.manual_seed(0)
    network = Illumination(stages=3).train()
    for norm in network.modules():  # fixed statistics make the stages repeatable one by one
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.eval()
    x = _picture()
    enhanced, stages = network(x)
    assert stages.shape == (2, 18, 12, 9)
    result = enhanced
    for t in range(1, 3):
        v, i = stages[:, 6 * t : 6 * t + 3], stages[:, 6 * t + 3 : 6 * t + 6]
        torch.testing.assert_close(v, x + network.calibrate(result))
        torch.testing.assert_close(i, network.enhance(v))
        result = (x / i).clamp(0, 1)
    assert (stages[:, 6:9] - x).abs().max() > 0.01


def test_enhanced_is_the_first_stage_in_training_too() -> None:
    x = _picture()
    enhanced, stages = Illumination(stages=2).train()(x)
    torch.testing.assert_close(enhanced, (x / stages[:, 3:6]).clamp(0, 1))


def test_one_stage_has_no_calibration_and_a_repeated_block_is_one_module() -> None:
    network = Illumination(stages=1).train()
    assert all(name.startswith("enhance") for name, _ in network.named_parameters())
    assert network(_picture())[1].shape[1] == 6
    network = Illumination(layers=4)
    assert sum(p.numel() for p in network.enhance.parameters()) == 3 * (9 * 3 * 3 + 3) + 2 * 3
    assert len(network.enhance.blocks) == 4
    assert network.enhance.blocks[3] is network.enhance.conv


def test_illumination_never_reaches_zero() -> None:
    network = Illumination().eval()
    torch.nn.init.constant_(network.enhance.out_conv[0].bias, -100.0)
    with torch.no_grad():
        enhanced, stages = network(torch.zeros(1, 3, 4, 4))
    assert float(stages[:, 3:].min()) == pytest.approx(DARKEST)
    assert torch.isfinite(enhanced).all()


@pytest.mark.parametrize(
    ("network", "option"),
    [
        *((Illumination, name) for name in ("channels", "layers", "stages")),
        *((Illumination, f"calibration_{name}") for name in ("channels", "layers")),
        (Cascade, "width"),
    ],
)
def test_options_below_one_are_refused(network: type[torch.nn.Module], option: str) -> None:
    with refused("retinex.not-a-count", option, OptionError, got=0):
        network(**{option: 0})


def test_cascade_multiplies_by_a_gain_within_four_stops() -> None:
    torch.manual_seed(0)
    network = Cascade().eval()
    x = _picture()
    enhanced, stages = network(x)
    source, illumination = stages.chunk(2, dim=1)
    assert torch.equal(source, x)
    torch.testing.assert_close(enhanced * illumination, x)
    torch.nn.init.constant_(network.third.bias, 100.0)
    torch.testing.assert_close(network(x)[0], 16 * x)
    torch.nn.init.constant_(network.third.bias, -100.0)
    torch.testing.assert_close(network(x)[0], x / 16)
    torch.nn.init.zeros_(network.third.weight)
    torch.nn.init.zeros_(network.third.bias)
    assert torch.equal(network(x)[0], x)


def test_cascade_keeps_channels_last() -> None:
    network, x = Cascade().to(memory_format=torch.channels_last), torch.rand(2, 3, 5, 7)
    for output in network(x.contiguous(memory_format=torch.channels_last)):
        assert output.is_contiguous(memory_format=torch.channels_last)
