"""The state that a solver carries from step to step."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, optim

from restore_hub.bilevel import norm_cap
from restore_hub.bilevel.gradients import Gradients
from restore_hub.bilevel.reduction import reduction_of
from restore_hub.bilevel.vectors import Tensors, cosine, norm
from restore_hub.errors import BilevelError

Logs = dict[str, Tensor | float]


@dataclass
class State:
    """All that a solver carries from step to step.

    Attributes:
        optimizers: one per level, upper first.
        history: norms of past responses, for `restore_hub.bilevel.norm_cap`; empty without a cap.
    """

    optimizers: tuple[optim.Optimizer, ...]
    history: deque[float] = field(default_factory=norm_cap.new_history)

    def state_dict(self) -> dict[str, Any]:
        """Return plain containers of tensors and numbers, for `torch.save`."""
        return {"optimizers": [o.state_dict() for o in self.optimizers], "history": list(self.history)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; the run continues as if it hadn't stopped."""
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.history = norm_cap.new_history(saved["history"])


def new_state(optimizers: Sequence[optim.Optimizer], variables: Sequence[tuple[Tensor, ...]]) -> State:
    """Pair optimizers with levels, upper first.

    Raises:
        BilevelError: the number of optimizers is wrong; one doesn't hold exactly the variables of its level or is
            LBFGS; a variable is in both levels, twice in omega, or not of real numbers.
    """
    if len(optimizers) != len(variables):
        raise BilevelError("bilevel.optimizer-count", "optimizers", got=len(optimizers), levels=len(variables))
    if len(variables) == 2 and any(_overlap(a, b) for a in variables[0] for b in variables[1]):
        raise BilevelError("bilevel.shared-variable")
    if len(variables) == 2 and len({id(w) for w in variables[1]}) < len(variables[1]):
        raise BilevelError("bilevel.repeated-variable", "omega")
    for tensor in (t for tensors in variables for t in tensors):
        if not tensor.is_floating_point():
            raise BilevelError("bilevel.variable-not-real", got=str(tensor.dtype))
    for level, (optimizer, tensors) in enumerate(zip(optimizers, variables, strict=True)):
        if isinstance(optimizer, optim.LBFGS):
            raise BilevelError("bilevel.lbfgs", f"optimizers[{level}]")
        its_own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if its_own != {id(t) for t in tensors}:
            raise BilevelError("bilevel.other-variables", f"optimizers[{level}]")
    return State(tuple(optimizers))


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors may share memory."""
    if a.untyped_storage().data_ptr() != b.untyped_storage().data_ptr() or not (a.numel() and b.numel()):
        return False
    (first, last), (other_first, other_last) = _bytes(a), _bytes(b)
    return bool(first <= other_last and other_first <= last)


def _bytes(t: Tensor) -> tuple[Any, Any]:
    """Return the first and the last byte of a tensor in its storage."""
    reach = sum((size - 1) * stride for size, stride in zip(t.shape, t.stride(), strict=True))
    return t.storage_offset() * t.itemsize, (t.storage_offset() + reach + 1) * t.itemsize - 1


def report(pair: Any, lower_loss: Tensor, g_l: Tensors, above: Gradients, *responses: Tensors) -> Logs:
    """Return what every solver with a response logs: losses, |g_l|, its cosine to g_u, |dF_upper/dx|, |R| if given."""
    lengths, size = (norm(g_l), norm(above.omega)), reduction_of(pair).norm
    logs: Logs = {
        "loss/upper": above.value,
        "loss/lower": lower_loss,
        "g_lower": lengths[0],
        "cosine": cosine(g_l, above.omega, lengths),
        "direct_norm": size(above.x),
    }
    return {**logs, "response_norm": size(*responses)} if responses else logs
