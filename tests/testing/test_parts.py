"""The conformance kit on losses and datasets."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restore_hub.contracts import Port
from restore_hub.errors import DataError
from restore_hub.testing import check_dataset, check_loss


def _loss(forward: Callable[[Tensor, Tensor], Any]) -> type:
    """Return a class of losses that compute this."""
    return type("Loss", (), {"__call__": lambda _, prediction, target: forward(prediction, target)})


class Square(torch.autograd.Function):
    """x^2 with a gradient that has no graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0].detach() * grad


class OnceSquare(Square):
    """Torch accepts it if the incoming gradient has no graph, as that of an energy."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * grad


class RefusingSquare(Square):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("no second derivatives")
        return 2 * ctx.saved_tensors[0] * grad


class SilentLoss:
    square = Square

    def __call__(self, prediction: Tensor, target: Tensor) -> Any:
        return self.square.apply(prediction - target).sum(), prediction.numel()


class CubeBesideSilentLoss(SilentLoss):
    """Has a part of the second derivatives."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Any:
        total, count = super().__call__(prediction, target)
        return total + prediction.pow(3).sum(), count


class OnceLoss(SilentLoss):
    square = OnceSquare


class RefusingLoss(SilentLoss):
    square = RefusingSquare


class SinglePrecisionLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, prediction: Tensor, target: Tensor) -> Any:
        return (self.conv(prediction) - self.conv(target)).abs().sum(), prediction.numel()


class FeatureLoss(nn.Module):
    """In a run, its batch normalisation and dropout are in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))

    def forward(self, prediction: Tensor, target: Tensor) -> Any:
        gap = (self.net(prediction) - self.net(target)).square()
        return gap.sum(), gap.numel()


class FixedReferenceLoss(FeatureLoss):
    def forward(self, prediction: Tensor, target: Tensor) -> Any:
        with torch.no_grad():
            wanted = self.net(target)
        gap = (self.net(prediction) - wanted).square()
        return gap.sum(), gap.numel()


class LazyLoss(FeatureLoss):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.LazyConv2d(4, 3))


class DeepLoss(nn.Module):
    """Deep and with kinks: one unit that crosses its kink changes every entry that it sees."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 64, 64, 128, 128)
        convolutions = (nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths))
        self.net = nn.Sequential(*(layer for conv in convolutions for layer in (conv, nn.ReLU())))

    def forward(self, prediction: Tensor, target: Tensor) -> Any:
        gap = (self.net(prediction) - self.net(target)).abs()
        return gap.sum(), gap.numel()


class TwoChannelLoss:
    def __call__(self, flow: Tensor) -> Any:
        if flow.shape[1] != 2:
            raise DataError("mine.channels", what="two channels, please")
        return flow.square().sum(), flow.numel()


def test_losses_that_keep_the_contract_pass() -> None:
    check_loss(_loss(lambda a, b: ((a - b).square().sum(), a.numel())))
    check_loss(_loss(lambda a, b: ((a.float() - b.float()).square().sum(), a.numel())))
    check_loss(TwoChannelLoss(), inputs={"flow": torch.rand(2, 2, 4, 4)})
    check_loss(SinglePrecisionLoss)
    check_loss(RefusingLoss)


def test_a_loss_with_weights_is_checked_as_a_run_has_it() -> None:
    check_loss(FeatureLoss)
    check_loss(FixedReferenceLoss)
    loss = FeatureLoss()
    check_loss(loss)
    assert loss.training
    assert all(p.requires_grad and p.grad is None for p in loss.parameters()), "the given loss stays as it was"


@pytest.mark.parametrize("seed", range(4))
def test_a_deep_loss_with_kinks_raises_no_alarm(seed: int) -> None:
    torch.manual_seed(seed)
    check_loss(DeepLoss())


def test_a_loss_that_was_handed_in_keeps_its_precision() -> None:
    loss = SinglePrecisionLoss()
    check_loss(loss)
    assert loss.conv.weight.dtype == torch.float32


@pytest.mark.long
@pytest.mark.skipif(not any(shutil.which(c) for c in ("g++", "clang++")), reason="torch.compile needs a C++ compiler")
def test_a_compiled_loss_is_told_that_its_second_derivatives_are_missing() -> None:
    """They raise or, with the setting that torch's own error names, are silently zero."""
    import torch._functorch.config as functorch

    class Compiled(nn.Module):
        def forward(self, prediction: Tensor, target: Tensor) -> Any:
            return self.total(prediction, target), prediction.numel()

        @torch.compile
        def total(self, prediction: Tensor, target: Tensor) -> Tensor:
            return ((prediction - target) ** 2).sum()

    check_loss(Compiled)
    torch.compiler.reset()
    with functorch.patch(donated_buffer=False), pytest.raises(AssertionError, match="second derivatives differ"):
        check_loss(Compiled)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (_loss(lambda a, b: ((a - b).square().mean(), 1)), "its pictures add up to"),
        (_loss(lambda a, b: (a - b).square().mean()), r"not \(sum, count\)"),
        (_loss(lambda a, b: ((a - b).detach().square().sum(), a.numel())), "has no gradient"),
        (_loss(lambda a, b: ((0 * (a - b)).sqrt().sum(), a.numel())), "a gradient is not finite"),
        (SilentLoss, "second derivatives differ from differences of the gradient"),
        (CubeBesideSilentLoss, "second derivatives differ"),
        (OnceLoss, "second derivatives differ"),
        (LazyLoss, r"its net\.0\.weight has no size yet"),
        (TwoChannelLoss, "two channels, please.*pass `inputs`"),
    ],
)
def test_broken_loss_is_told_what_it_broke(loss: type, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_loss(loss)


class Pictures:
    ports: ClassVar[Mapping[str, Port]] = {"rgb": Port(3), "raw": Port(4, "raw", scale=0.5)}

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return 1

    def files(self, index: int) -> list[Path]:
        return [self.path][index:]

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, Any]:
        rng = rng or np.random.default_rng(index)
        return {
            "rgb": rng.random((3, 8, 6), dtype=np.float32),
            "raw": rng.random((4, 4, 3), dtype=np.float32),
            "_black": np.zeros(4),
        }


class Drawn:
    """Samples that no file holds."""

    ports: ClassVar[Mapping[str, Port]] = {"rgb": Port(3), "sigma": Port.number(0, 0.5)}

    def __init__(self, sigma: float = 0.5) -> None:
        self.sigma = np.float32(sigma)

    def __len__(self) -> int:
        return 2

    def files(self, index: int) -> tuple[Path, ...]:
        return ()

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, Any]:
        return {"rgb": np.full((3, 4, 5), index, np.float32), "sigma": self.sigma}


def test_a_dataset_without_files_passes_and_its_numbers_have_a_range() -> None:
    check_dataset(Drawn())
    with pytest.raises(AssertionError, match=r"'sigma' is 0\.75, not a number, 0 to 0\.5"):
        check_dataset(Drawn(0.75))


def test_dataset_checks(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(AssertionError, match="files that exist"):
        check_dataset(Pictures(path))
    path.touch()
    check_dataset(Pictures(path))
    for change, message in (
        (lambda sample: {**sample, "rgb": sample["rgb"] * np.float32(np.random.random())}, "global generator"),
        (lambda sample: {**sample, "raw": sample["raw"][:, :3]}, "pictures of different sizes"),
        (lambda sample: {key: value.astype(np.float64) for key, value in sample.items()}, "not float32"),
        (lambda sample: {"rgb": sample["rgb"]}, r"its ports are \['rgb', 'raw'\]"),
    ):
        changed = {"sample": lambda own, index, rng, change=change: change(Pictures.sample(own, index, rng))}
        with pytest.raises(AssertionError, match=message):
            check_dataset(type("Broken", (Pictures,), changed)(path))
