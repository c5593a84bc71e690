"""The conformance check of tasks finds what a run would meet later."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restore_hub.contracts import Port
from restore_hub.ragged import Ragged
from restore_hub.testing import check_task

COUNT = 3


class Net(nn.Module):
    inputs, outputs, size_multiple = {"image": Port(3)}, {"logits": Port(COUNT, "map", -10, 10)}, 1

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, COUNT, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        made: Tensor = self.conv(image)
        return made


def cross_entropy(logits: Tensor, classes: Tensor) -> tuple[Tensor, int]:
    return nn.functional.cross_entropy(logits, classes, reduction="sum"), classes.numel()


def spread(logits: Tensor, boxes: Ragged) -> tuple[Tensor, int]:
    return (logits.square().mean((1, 2, 3)) * torch.tensor(boxes.lengths)).sum(), len(boxes)


class Share:
    higher_is_better = True

    def __call__(self, found: Any, classes: Any) -> float:
        return float((found == classes).mean())


class Segment:
    """A sound task; those below change one thing."""

    targets = {"classes": Port.classes(COUNT), "boxes": Port.several("box", coordinate=4)}
    predictions = {"found": Port.classes(COUNT), "corners": Port.several("box", coordinate=4)}
    losses: Any = {"loss": cross_entropy, "spread": spread}
    metrics: Any = {"share": Share()}

    def network(self) -> Any:
        return Net()

    def decode(self, logits: Tensor) -> Any:
        boxes = [torch.zeros(int(sample.argmax() % 3), 4) for sample in logits]
        return {"found": logits.argmax(1), "corners": Ragged.of(boxes)}


def test_a_sound_task_passes() -> None:
    check_task(Segment)
    check_task(Segment())


class Plain:
    """Neither metrics nor predictions."""

    targets = {"classes": Port.classes(COUNT)}
    losses = {"loss": cross_entropy}
    network = Segment.network


def test_metrics_and_predictions_are_optional() -> None:
    check_task(Plain)


def _means(logits: Tensor, classes: Tensor) -> tuple[Tensor, int]:
    return nn.functional.cross_entropy(logits, classes), 1


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda: {"network": cache(Net)}, "returns the same weights again"),
        (lambda: {"losses": {"loss": _means}}, "return sums and counts"),
        (lambda: {"losses": {"loss": lambda logit: logit}}, "takes 'logit', which isn't one of"),
        (lambda: {"metrics": {"share": lambda hit: hit}}, "takes 'hit', which isn't one of"),
        (lambda: {"metrics": {"share": lambda found: found}}, "higher_is_better"),
        (lambda: {"decode": lambda logits: {"found": logits}}, "not a mapping with found, corners"),
        (
            lambda: {"decode": lambda logits: {**Segment().decode(logits), "found": logits}},
            "'found' is float32, declared as int64",
        ),
        (
            lambda: {"decode": lambda logits: {**Segment().decode(logits), "corners": logits}},
            "returns Tensor for 'corners'",
        ),
        (
            lambda: {"decode": lambda logits: Segment().decode(logits - logits.mean((0, 2, 3), keepdim=True))},
            "depends on the others in its batch",
        ),
    ],
)
def test_a_broken_task_is_found(change: Callable[[], dict[str, Any]], found: str) -> None:
    task = Segment()
    for name, value in change().items():
        setattr(task, name, value)
    with pytest.raises(AssertionError, match=found):
        check_task(task)


def test_a_task_without_losses_is_found() -> None:
    with pytest.raises(AssertionError, match="Bare has no losses"):
        check_task(type("Bare", (), {"targets": {}, "network": Segment.network}))
