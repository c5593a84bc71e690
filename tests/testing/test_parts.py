"""The conformance kit on losses, metrics and datasets."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restore_hub.contracts import Port
from restore_hub.errors import DataError
from restore_hub.testing import check_dataset, check_loss, check_metric


class SumLoss:
    def __call__(self, prediction: Tensor, target: Tensor) -> Any:
        return (prediction - target).square().sum(), prediction.numel()


class MeanLoss:
    def __call__(self, prediction: Tensor, target: Tensor) -> Any:
        return (prediction - target).square().mean(), 1


class ScalarLoss:
    def __call__(self, prediction: Tensor, target: Tensor) -> Any:
        return (prediction - target).square().mean()


class DetachedLoss:
    def __call__(self, prediction: Tensor, target: Tensor) -> Any:
        return (prediction - target).detach().square().sum(), prediction.numel()


class RootLoss:
    def __call__(self, prediction: Tensor, target: Tensor) -> Any:
        return (0 * (prediction - target)).sqrt().sum(), prediction.numel()


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


class NarrowLoss:
    def __call__(self, prediction: Tensor, target: Tensor) -> Any:
        return (prediction.float() - target.float()).square().sum(), prediction.numel()


class TwoChannelLoss:
    def __call__(self, flow: Tensor) -> Any:
        if flow.shape[1] != 2:
            raise DataError("mine.channels", what="two channels, please")
        return flow.square().sum(), flow.numel()


def test_loss_that_returns_sums_passes() -> None:
    check_loss(SumLoss)
    check_loss(TwoChannelLoss(), inputs={"flow": torch.rand(2, 2, 4, 4)})
    check_loss(SinglePrecisionLoss)


def test_loss_that_refuses_second_derivatives_passes() -> None:
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


def test_a_loss_that_computes_in_float32_raises_no_alarm() -> None:
    check_loss(NarrowLoss)


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
        (MeanLoss, "its pictures add up to"),
        (ScalarLoss, r"not \(sum, count\)"),
        (DetachedLoss, "has no gradient"),
        (RootLoss, "a gradient is not finite"),
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


class Distance:
    higher_is_better = False

    def __call__(self, prediction: Any, target: Any) -> Any:
        if prediction.shape != target.shape:
            raise DataError("mine.sizes", what="sizes differ")
        return float(np.mean(np.abs(prediction - target)))


class WrongWay(Distance):
    higher_is_better = True


class Tolerant(Distance):
    def __call__(self, prediction: Any, target: Any) -> Any:
        return super().__call__(prediction[:31], target[:31])


class Greedy(Distance):
    def __call__(self, prediction: Any, target: Any) -> Any:
        prediction *= 0.5
        return super().__call__(prediction * 2, target)


def test_metric_checks() -> None:
    check_metric(Distance)
    for metric, message in (
        (WrongWay, "equal, near and far"),
        (Tolerant, "different sizes"),
        (Greedy, "input pictures"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_metric(metric)


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


class Global(Pictures):
    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, Any]:
        np.random.random()
        return super().sample(index, rng)


class Unequal(Pictures):
    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, Any]:
        sample = super().sample(index, rng)
        return {**sample, "raw": sample["raw"][:, :3]}


class Double(Pictures):
    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, Any]:
        return {key: value.astype(np.float64) for key, value in super().sample(index, rng).items()}


class Unnamed(Pictures):
    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, Any]:
        return {"rgb": super().sample(index, rng)["rgb"]}


def test_dataset_checks(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(AssertionError, match="files that exist"):
        check_dataset(Pictures(path))
    path.touch()
    check_dataset(Pictures(path))
    broken: dict[type[Pictures], str] = {
        Global: "global generator",
        Unequal: "pictures of different sizes",
        Double: "not float32",
        Unnamed: r"its ports are \['rgb', 'raw'\]",
    }
    for dataset, message in broken.items():
        with pytest.raises(AssertionError, match=message):
            check_dataset(dataset(path))
