"""The self-supervised loss against its equation written pixel by pixel."""

from __future__ import annotations

import math

import pytest
import torch

from restore_hub_retinex.losses import SelfSupervised
from restore_hub_retinex.networks import Illumination
from support import refused

DOUBLE = torch.float64
YUV = torch.tensor([[0.299, 0.587, 0.114], [-0.147, -0.289, 0.436], [0.615, -0.515, -0.100]], dtype=DOUBLE)


def _stages(n: int, t: int, h: int, w: int) -> torch.Tensor:
    return torch.rand((n, 6 * t, h, w), generator=torch.Generator().manual_seed(1), dtype=DOUBLE) * 0.3


def _by_pixels(stages: torch.Tensor, smoothness: float, fidelity: float) -> float:
    """The equation with loops over pictures, stages, pixels and the 24 neighbours."""
    _, channels, h, w = stages.shape
    total = 0.0
    for picture in stages:
        for t in range(channels // 6):
            v, i = picture[6 * t : 6 * t + 3], picture[6 * t + 3 : 6 * t + 6]
            total += fidelity * float((i - v).square().mean(0).sum())
            for y in range(h):
                for x in range(w):
                    for q in range(max(y - 2, 0), min(y + 3, h)):
                        for p in range(max(x - 2, 0), min(x + 3, w)):
                            edge = YUV @ (v[:, y, x] - v[:, q, p])
                            weight = math.exp(-float(edge.square().sum()) / (2 * 0.1**2))
                            total += smoothness * weight * float((i[:, y, x] - i[:, q, p]).abs().sum())
    return total


@pytest.mark.parametrize("size", [(6, 5), (1, 1), (1, 4), (2, 2), (3, 1)])
def test_loss_is_its_equation(size: tuple[int, int]) -> None:
    stages = _stages(2, 2, *size)
    total, count = SelfSupervised(smoothness=0.7, fidelity=1.3)(stages)
    # The coefficients of U and V are rounded in the matrix above.
    assert float(total) == pytest.approx(_by_pixels(stages, 0.7, 1.3), rel=2e-3)
    assert count == 2 * size[0] * size[1]


def test_a_flat_input_costs_nothing_and_edges_of_the_input_free_the_illumination() -> None:
    assert float(SelfSupervised()(torch.full((1, 6, 8, 8), 0.3))[0]) == 0
    step = torch.zeros(1, 3, 8, 8)
    step[..., 4:] = 1.0
    flat = torch.full((1, 3, 8, 8), 0.5)
    loss = SelfSupervised(fidelity=0.0)
    on_edge, _ = loss(torch.cat([step, step], dim=1))
    off_edge, _ = loss(torch.cat([flat, step], dim=1))
    assert float(on_edge) < 1e-6 * float(off_edge)


def test_weights_see_chroma_and_not_only_luma() -> None:
    red, grey = torch.zeros(1, 3, 4, 8), torch.zeros(1, 3, 4, 8)
    red[:, 0, :, 4:], grey[:, :, :, 4:] = 0.3, 0.3 * 0.299  # the same luma
    illumination = torch.zeros(1, 3, 4, 8)
    illumination[..., 4:] = 1.0
    loss = SelfSupervised(fidelity=0.0)
    assert float(loss(torch.cat([red, illumination], 1))[0]) < float(loss(torch.cat([grey, illumination], 1))[0])


@pytest.mark.parametrize("shape", [(1, 5, 4, 4), (1, 0, 4, 4), (6, 4, 4)])
def test_other_tensors_are_refused(shape: tuple[int, ...]) -> None:
    with refused("retinex.not-stages", got=shape):
        SelfSupervised()(torch.zeros(shape))


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 24, 24) * 0.3
    network = Illumination().train()
    loss = SelfSupervised()
    values = []
    for _ in range(15):
        total, count = loss(network(x)[1])
        parameters = list(network.parameters())
        grads = torch.autograd.grad(total / count, parameters)
        with torch.no_grad():
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter -= 0.05 * grad
        values.append(float(total.detach()) / count)
    assert values[-1] < 0.85 * values[0]
