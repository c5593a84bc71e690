"""Optimizers of a level: their kind, learning rate at each step, and gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from restore_hub.errors import TrainingError
from restore_hub.spec import Level
from restore_hub.spec.models import OptimizerUse

# torch imports its compiler, for seconds, to exempt this method from it when the first optimizer is made.
_add_group = getattr(torch.optim.Optimizer.add_param_group, "__wrapped__", None)
if _add_group is not None:
    _add_group.__dynamo_disable = _add_group

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def make_optimizer(level: Level, tensors: Sequence[Tensor]) -> torch.optim.Optimizer:
    """Return the optimizer of a level's variables.

    With `clip`, each step uses the gradient of the whole level scaled down to at most that norm. The gradient tensors
    themselves are left alone, because solvers go on using them.

    Raises:
        TrainingError: the level has no variables.
    """
    if not tensors:
        raise TrainingError("train.no-parameters", f"blocks {', '.join(level.blocks)}")
    use = OptimizerUse(optimizer=level.optimizer) if isinstance(level.optimizer, str) else level.optimizer
    optimizer: torch.optim.Optimizer = OPTIMIZERS[use.optimizer](tensors, lr=level.lr, **use.options)
    if level.clip is not None:
        for group in optimizer.param_groups:
            group["clip"] = level.clip  # for solvers that must know how a gradient becomes a step
        optimizer.register_step_pre_hook(_clip)
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, level: Level, step: int, done: float) -> None:
    """Set the learning rate of a step.

    Args:
        optimizer: of the level.
        level: its settings.
        step: outer steps taken before.
        done: fraction of the stage that is done, 0 to 1.
    """
    for group in optimizer.param_groups:
        group["lr"] = level.lr * rate(level.schedule, level.warmup, step, done)


def rate(schedule: str, warmup: int, step: int, done: float) -> float:
    r"""Return the learning rate as a fraction of the level's own, 0 to 1.

    .. math::
        \min\left(1, \frac{t + 1}{w}\right) \cdot
        \begin{cases} 1 & constant \\ 1 - p & linear \\ \frac{1 + \cos \pi p}{2} & cosine \end{cases}

    with t steps taken before, w steps of warm-up, and p the fraction of the stage that is done.
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
