"""What steps the variables of a level: which optimizer, how fast at each moment, how far at most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from restore_hub.errors import TrainingError
from restore_hub.spec import Level

# torch imports its compiler, for seconds, to exempt this method from it when the first optimizer is made.
_add_group = getattr(torch.optim.Optimizer.add_param_group, "__wrapped__", None)
if _add_group is not None:
    _add_group.__dynamo_disable = _add_group

OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def make_optimizer(level: Level, tensors: Sequence[Tensor]) -> torch.optim.Optimizer:
    """Return the optimizer of a level's variables.

    With `clip`, the gradient of the whole level is shortened to that norm before each step. The gradient itself is
    left alone, because solvers go on using it.

    Raises:
        TrainingError: the level has no variables.
    """
    if not tensors:
        raise TrainingError(f"the blocks {', '.join(level.blocks)} have no parameters to train")
    optimizer: torch.optim.Optimizer = OPTIMIZERS[level.optimizer](tensors, lr=level.lr)
    if level.clip is not None:
        for group in optimizer.param_groups:
            group["clip"] = level.clip  # seen by solvers that have to know how a gradient becomes a step
        optimizer.register_step_pre_hook(_clip)
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, level: Level, step: int, done: float) -> None:
    """Set the learning rate of a step.

    Args:
        optimizer: of the level.
        level: its settings.
        step: outer steps taken before.
        done: the part of the stage that is done, 0 to 1.
    """
    for group in optimizer.param_groups:
        group["lr"] = level.lr * rate(level.schedule, level.warmup, step, done)


def rate(schedule: str, warmup: int, step: int, done: float) -> float:
    r"""Return the learning rate as a part of the level's own, 0 to 1.

    .. math::
        \min\left(1, \frac{t + 1}{w}\right) \cdot
        \begin{cases} 1 & constant \\ 1 - p & linear \\ \frac{1 + \cos \pi p}{2} & cosine \end{cases}

    with t steps taken before, w those of the warm-up, and p the part of the stage that is done.
    """
    fall = {"constant": 1.0, "linear": 1.0 - done, "cosine": (1.0 + math.cos(math.pi * done)) / 2.0}[schedule]
    return min(1.0, (step + 1) / warmup) * fall if warmup else fall


def _clip(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        given = [tensor for tensor in group["params"] if tensor.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(t.grad) for t in given]))
        factor = (group["clip"] / (norm + 1e-12)).clamp(max=1.0)
        for tensor in given:
            tensor.grad = tensor.grad * factor
