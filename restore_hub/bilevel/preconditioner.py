"""The diagonal P by which a torch optimizer turned the lower gradient into its step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, optim

from restore_hub.bilevel.apply import has_hooks
from restore_hub.bilevel.vectors import Tensors
from restore_hub.errors import BilevelError


def preconditioner(optimizer: optim.Optimizer, omega: Tensors) -> Tensors:
    r"""Return P of the step t that the optimizer has just taken: how far omega' moves with its last gradient.

    .. math::
        P = \eta \quad (SGD), \qquad
        P = \frac{\eta}{\sqrt{\hat v} + \epsilon} \cdot \frac{1 - \beta_1}{1 - \beta_1^t} \quad (Adam, AdamW)

    The last factor is the weight of the present gradient in Adam's first moment; without it the response would
    come out 1 / (1 - beta1) times too large. Adam's P is read after the step, since its v_hat already holds the
    present gradient. P is then held fixed, that is, d v_hat / dx is dropped: an error of some (1 - beta2) /
    (1 - beta1), 1 % at Adam's defaults, once it is warm (3 % after 100 steps), but wrong while it is cold: its
    first step is lr * sign(g_l), which answers to nothing. So warm up. Weight decay moves omega, but does not
    answer to x, and needs no term.

    Args:
        optimizer: `torch.optim.SGD` without momentum, `Adam` or `AdamW`, after `step()`.
        omega: its parameters.

    Returns:
        One tensor for each of omega: 0-dim for SGD, shaped like the parameter for Adam.

    Raises:
        BilevelError: another optimizer, an unsupported setting, or no step taken yet.
    """
    check_supported(optimizer)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    return tuple(_diagonal(optimizer, groups[id(w)], w) for w in omega)


def check_supported(optimizer: optim.Optimizer) -> None:
    """Raise BilevelError where P of an optimizer is not known, naming the setting; hooks may change its step."""
    if not isinstance(optimizer, optim.SGD | optim.Adam | optim.AdamW):
        raise BilevelError(
            f"tbgl needs the diagonal of the lower optimizer, and knows none for {type(optimizer).__name__}; "
            "use SGD without momentum, Adam or AdamW at the lower level"
        )
    for group in optimizer.param_groups:
        for setting in _unsupported(group):
            raise BilevelError(
                f"tbgl cannot differentiate a lower step of {type(optimizer).__name__} with "
                f"{setting}={group[setting]}; leave {setting} at its default"
            )
    if has_hooks(optimizer):
        raise BilevelError(
            f"tbgl does not know what the hooks on a step of the lower {type(optimizer).__name__} make of it; remove "
            "them, or use another solver"
        )


def _unsupported(group: dict[str, Any]) -> Iterator[str]:
    return (name for name in ("momentum", "nesterov", "amsgrad", "maximize", "clip") if group.get(name))


def _diagonal(optimizer: optim.Optimizer, group: dict[str, Any], w: Tensor) -> Tensor:
    if isinstance(optimizer, optim.SGD):
        return torch.as_tensor(group["lr"], dtype=w.dtype, device=w.device)
    state = optimizer.state.get(w, {})
    if "exp_avg_sq" not in state:
        raise BilevelError("Adam has no second moments yet; read its diagonal after `optimizer.step()`")
    beta1, beta2 = group["betas"]
    t = torch.as_tensor(state["step"], dtype=torch.float64)
    # P = lr (1 - beta1) / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
    rate = group["lr"] * (1 - beta1) / (1 - beta1**t)
    diagonal: Tensor = rate / ((state["exp_avg_sq"] / (1 - beta2**t)).sqrt() + group["eps"])
    return diagonal
