"""The diagonal P by which a torch optimizer turned the lower gradient into its last step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, optim

from restore_hub.bilevel.apply import has_hooks
from restore_hub.bilevel.vectors import Tensors
from restore_hub.errors import BilevelError


def preconditioner(optimizer: optim.Optimizer, omega: Tensors) -> Tensors:
    r"""Return P of the step t that the optimizer has just taken: d omega' / d g_l = -P.

    .. math::
        P = \eta \quad (SGD), \qquad
        P = \frac{\eta}{\sqrt{\hat v} + \epsilon} \cdot \frac{1 - \beta_1}{1 - \beta_1^t} \quad (Adam, AdamW)

    The last factor is the weight of the last gradient in Adam's first moment; without it the response would be
    1 / (1 - beta1) times too large. Read Adam's P after the step, when v_hat includes the last gradient. P is then held
    fixed, that is, d v_hat / dx is dropped. Once Adam is warm the error is about (1 - beta2) / (1 - beta1), 1 % at its
    defaults (3 % after 100 steps). A cold Adam is wrong: its first step is lr * sign(g_l), which doesn't respond to x
    at all, so warm it up. Weight decay moves omega but doesn't depend on x, so it needs no term.

    Args:
        optimizer: `torch.optim.SGD` without momentum, `Adam` or `AdamW`, after `step()`.
        omega: its parameters.

    Returns:
        one tensor for each of omega: 0-dim for SGD, shaped like the parameter for Adam.

    Raises:
        BilevelError: another optimizer, an unsupported setting, hooks, or no step taken yet.
    """
    check_supported(optimizer)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    return tuple(_diagonal(optimizer, groups[id(w)], w) for w in omega)


def check_supported(optimizer: optim.Optimizer) -> None:
    """Raise BilevelError if P isn't known for an optimizer, its settings or its hooks."""
    kind = type(optimizer).__name__
    if not isinstance(optimizer, optim.SGD | optim.Adam | optim.AdamW):
        raise BilevelError("bilevel.lower-optimizer", kind, method="tbgl", known="SGD without momentum, Adam or AdamW")
    for group in optimizer.param_groups:
        for setting in _unsupported(group):
            raise BilevelError("bilevel.lower-setting", kind, method="tbgl", setting=setting, got=group[setting])
    if has_hooks(optimizer):
        raise BilevelError("bilevel.lower-hooks", kind, method="tbgl")


def _unsupported(group: dict[str, Any]) -> Iterator[str]:
    return (name for name in ("momentum", "nesterov", "amsgrad", "maximize", "clip") if group.get(name))


def _diagonal(optimizer: optim.Optimizer, group: dict[str, Any], w: Tensor) -> Tensor:
    if isinstance(optimizer, optim.SGD):
        return torch.as_tensor(group["lr"], dtype=w.dtype, device=w.device)
    state = optimizer.state.get(w, {})
    if "exp_avg_sq" not in state:
        raise BilevelError("bilevel.no-step-yet", type(optimizer).__name__)
    beta1, beta2 = group["betas"]
    t = torch.as_tensor(state["step"], dtype=torch.float64)
    # P = lr (1 - beta1) / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
    rate = group["lr"] * (1 - beta1) / (1 - beta1**t)
    diagonal: Tensor = rate / ((state["exp_avg_sq"] / (1 - beta2**t)).sqrt() + group["eps"])
    return diagonal
