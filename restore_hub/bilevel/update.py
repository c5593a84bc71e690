"""A lower optimizer's step written as a formula that derivatives pass through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, optim

from restore_hub.bilevel.apply import has_hooks
from restore_hub.bilevel.vectors import Tensors
from restore_hub.errors import BilevelError

# The optimizer's state of each variable, under the names of `torch.optim`.
Memory: TypeAlias = tuple[dict[str, Tensor], ...]


def check_differentiable(optimizer: optim.Optimizer) -> None:
    """Raise BilevelError if `update` can't reproduce the steps of an optimizer, its settings or its hooks."""
    kind = type(optimizer)
    if kind not in (optim.SGD, optim.Adam, optim.AdamW):  # a subclass may step differently
        raise BilevelError("bilevel.lower-optimizer", kind.__name__, method="reverse mode", known="SGD, Adam or AdamW")
    for group in optimizer.param_groups:
        for setting in _unsupported(group):
            raise BilevelError(
                "bilevel.lower-setting", kind.__name__, method="reverse mode", setting=setting, got=group[setting]
            )
    if has_hooks(optimizer):  # such as clipping, which `update` would leave out
        raise BilevelError("bilevel.lower-hooks", kind.__name__, method="reverse mode")


def recall(optimizer: optim.Optimizer, variables: Tensors) -> Memory:
    """Return an optimizer's state of each variable; empty before its first step."""
    return tuple(
        {name: value for name, value in optimizer.state.get(w, {}).items() if isinstance(value, Tensor)}
        for w in variables
    )


def keep(optimizer: optim.Optimizer, variables: Tensors, memory: Memory) -> None:
    """Set an optimizer's state of each variable, detached from any graph."""
    for w, remembered in zip(variables, memory, strict=True):
        optimizer.state[w] = {name: value.detach() for name, value in remembered.items()}
    optimizer._opt_called = True  # type: ignore[attr-defined]  # or torch's schedulers warn that no step was taken


def update(
    optimizer: optim.Optimizer, variables: Tensors, omega: Tensors, gradient: Tensors, memory: Memory
) -> tuple[Tensors, Memory]:
    r"""Return omega and the memory after one step, as functions of omega, the gradient g and the memory before.

    .. math::
        SGD:\quad & b' = \mu b + (1 - d) g, \quad \omega' = \omega - \eta b' \\
        Adam:\quad & m' = \beta_1 m + (1 - \beta_1) g, \quad v' = \beta_2 v + (1 - \beta_2) g^2, \quad
            \omega' = \omega - \eta \frac{m' / (1 - \beta_1^t)}{\sqrt{v' / (1 - \beta_2^t)} + \epsilon}

    The same step as the optimizer's own, up to rounding, but nothing changes in place. `torch.optim` with
    `differentiable=True` changes tensors that the gradient's graph holds, so it needs copies around each step, is no
    faster with them (0.97 to 1.06 times), and detaches the first gradient in SGD's momentum.

    If v' is zero, as for a unit that has been dead on all data so far, the root has no derivative; v' is then held
    fixed.

    Args:
        optimizer: one that `check_differentiable` accepts; only its settings are read.
        variables: its parameters, to find the settings of each.
        omega, gradient: shaped like the variables, with or without graphs.
        memory: from `recall` or the step before.
    """
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    step = _sgd if isinstance(optimizer, optim.SGD) else _adam
    each = zip(variables, omega, gradient, memory, strict=True)
    stepped: Sequence[Any] = [step(groups[id(own)], w, g, m) for own, w, g, m in each]
    return tuple(w for w, _ in stepped), tuple(m for _, m in stepped)


def _sgd(group: dict[str, Any], w: Tensor, g: Tensor, memory: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    rate, decay, momentum = float(group["lr"]), group["weight_decay"], group["momentum"]
    g = torch.add(g, w, alpha=decay) if decay else g
    if not momentum:
        return torch.add(w, g, alpha=-rate), {}
    # b' = mu b + (1 - d) g, from b' = g at the first step
    before = memory.get("momentum_buffer")
    b = g if before is None else torch.add(momentum * before, g, alpha=1 - group["dampening"])
    direction = torch.add(g, b, alpha=momentum) if group["nesterov"] else b
    return torch.add(w, direction, alpha=-rate), {"momentum_buffer": b}


def _adam(group: dict[str, Any], w: Tensor, g: Tensor, memory: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    rate, decay, (beta1, beta2) = float(group["lr"]), group["weight_decay"], map(float, group["betas"])
    if decay and group["decoupled_weight_decay"]:
        w = (1 - rate * decay) * w
    elif decay:
        g = torch.add(g, w, alpha=decay)
    step = memory.get("step", torch.zeros(())) + 1
    t = float(step)
    # m' = beta1 m + (1 - beta1) g, v' = beta2 v + (1 - beta2) g^2, both from zero
    m, v = (1 - beta1) * g, (1 - beta2) * g.square()
    if t > 1:
        m = torch.add(m, memory["exp_avg"], alpha=beta1)
        v = torch.add(v, memory["exp_avg_sq"], alpha=beta2)
    root = v.clamp_min(torch.finfo(v.dtype).tiny).sqrt()
    # omega' = omega - eta (m' / (1 - beta1^t)) / (sqrt(v' / (1 - beta2^t)) + eps)
    denominator = root / (1 - beta2**t) ** 0.5 + group["eps"]
    w = torch.addcdiv(w, m, denominator, value=-rate / (1 - beta1**t))
    return w, {"step": step, "exp_avg": m, "exp_avg_sq": v}


def _unsupported(group: dict[str, Any]) -> Iterator[str]:
    return (name for name in ("amsgrad", "maximize", "clip") if group.get(name))
