"""One optimizer step along a given gradient."""

from __future__ import annotations

import torch
from torch import optim
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from restore_hub.bilevel.vectors import Tensors


def apply(optimizer: optim.Optimizer, variables: Tensors, gradient: Tensors) -> None:
    """Put gradients into the variables' `.grad` and step the optimizer, in place."""
    taken: set[int] = set()
    for variable, g in zip(variables, gradient, strict=True):
        # Autograd gives variables that are added the same gradient tensor, and a sum's gradient is one number expanded.
        # Clipping or Nesterov momentum would then write to the same memory several times.
        place = g.data_ptr()
        variable.grad = g.clone() if place in taken or 0 in g.stride() else g
        taken.add(place)
    if _is_bare_sgd(optimizer):
        _descend(optimizer)
    else:
        optimizer.step()
    # Autocast caches cast copies of the leaves; they are stale now.
    torch.clear_autocast_cache()


def release(variables: Tensors) -> None:
    """Free the variables' `.grad`, which nothing reads after the last lower step."""
    for variable in variables:
        variable.grad = None


def has_hooks(optimizer: optim.Optimizer) -> bool:
    """Whether hooks run around the steps of this optimizer, or of all optimizers."""
    own = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    return bool(own or _global_optimizer_pre_hooks or _global_optimizer_post_hooks)


def _is_bare_sgd(optimizer: optim.Optimizer) -> bool:
    """Whether a step is w -= lr g and nothing else, so we can skip the optimizer's bookkeeping."""
    if not optimizer.param_groups[0]["params"][0].is_cpu:  # elsewhere torch steps all tensors at once
        return False
    if type(optimizer) is not optim.SGD or "step" in vars(optimizer):  # torch's schedulers replace `step`
        return False
    if has_hooks(optimizer):
        return False
    options = ("momentum", "weight_decay", "maximize", "differentiable")
    return not any(group[option] for group in optimizer.param_groups for option in options)


@torch.no_grad()
def _descend(optimizer: optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        rate = float(group["lr"])
        for w in group["params"]:
            if w.grad is not None:
                w.add_(w.grad, alpha=-rate)
