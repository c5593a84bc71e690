from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from restore_hub_raw.unet import Denoiser, UNet
from support import refused


@pytest.mark.parametrize(("depth", "step"), [(1, 8), (2, 4), (4, 1)])
def test_every_size_gives_a_picture_twice_as_large(depth: int, step: int) -> None:
    net = UNet(width=2, depth=depth).eval()
    with torch.no_grad():
        for size in range(1, 34, step):
            out = net(torch.rand(1, 4, size, 34 - size))
            assert out.shape == (1, 3, 2 * size, 2 * (34 - size))
            assert torch.isfinite(out).all()


def test_padding_changes_nothing_where_none_is_needed() -> None:
    net = UNet(width=4, depth=2).eval()
    raw = torch.rand(2, 4, 14, 11)
    assert [UNet(width=2, depth=depth).size_multiple for depth in (4, 1)] == [32, 4]
    padded = torch.nn.functional.pad(raw, (0, 1, 0, 2), mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(net(raw), net(padded)[..., :28, :22])


def test_ports_and_published_size() -> None:
    net = UNet()
    assert (net.inputs["raw"].channels, net.inputs["raw"].scale, net.outputs["rgb"].channels) == (4, 0.5, 3)
    # 32, 64, 128, 256, 512 channels: the parameters counted by hand from the paper's figure.
    widths = [32, 64, 128, 256, 512]
    down = sum(9 * i * o + o + 9 * o * o + o for i, o in zip([4, *widths], widths, strict=False))
    up = sum(4 * 2 * w * w + 9 * 2 * w * w + w + 9 * w * w + w for w in widths[:-1])
    assert sum(p.numel() for p in net.parameters()) == down + up + 32 * 12 + 12


def test_shifting_the_input_by_the_multiple_shifts_the_output() -> None:
    net = UNet(width=4, depth=1).eval()
    raw = torch.rand(1, 4, 40, 40)
    with torch.no_grad():
        whole, part = net(raw), net(raw[..., 4:, 4:])
    torch.testing.assert_close(whole[..., 28:72, 28:72], part[..., 20:64, 20:64])


def _trained(net: torch.nn.Module, loss_of: Callable[[], torch.Tensor]) -> list[float]:
    optimizer, losses = torch.optim.Adam(net.parameters(), lr=3e-3), []
    for _ in range(60):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_it_learns_quickly_and_uses_every_weight() -> None:
    torch.manual_seed(0)
    net = UNet(width=8, depth=2)
    raw = torch.rand(2, 4, 3, 3).repeat_interleave(4, 2).repeat_interleave(4, 3)
    target = raw[:, [3, 1, 0]].repeat_interleave(2, 2).repeat_interleave(2, 3) ** 0.5
    losses = _trained(net, lambda: (net(raw) - target).abs().mean())
    assert losses[0] < 0.4  # begins near grey
    assert losses[-1] < 0.3 * losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("option", ["width", "depth"])
def test_options_below_one_are_refused(option: str) -> None:
    with refused("raw-network.below-one", option):
        UNet(**{option: 0})


def test_the_denoiser_begins_by_changing_nothing_and_learns() -> None:
    torch.manual_seed(0)
    net = Denoiser(width=8, depth=1)
    clean = torch.rand(2, 4, 3, 3).repeat_interleave(6, 2).repeat_interleave(6, 3)
    noisy = clean + 0.1 * torch.randn_like(clean)
    torch.testing.assert_close(net(noisy), noisy)
    assert net(noisy[..., :5, :7]).shape == (2, 4, 5, 7)
    losses = _trained(net, lambda: (net(noisy) - clean).square().mean())
    assert losses[-1] < 0.005  # the noise has 0.01
