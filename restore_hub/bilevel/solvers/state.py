"""What a solver carries from step to step."""

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
        optimizers: one a level, upper first.
        history: norms of past responses, `restore_hub.bilevel.norm_cap`; empty where there is no cap.
    """

    optimizers: tuple[optim.Optimizer, ...]
    history: deque[float] = field(default_factory=norm_cap.new_history)

    def state_dict(self) -> dict[str, Any]:
        """Return plain containers of tensors and numbers, for `torch.save`."""
        return {"optimizers": [o.state_dict() for o in self.optimizers], "history": list(self.history)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; the run continues as if it had not stopped."""
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.history = norm_cap.new_history(saved["history"])


def new_state(optimizers: Sequence[optim.Optimizer], variables: Sequence[tuple[Tensor, ...]]) -> State:
    """Pair optimizers with levels, upper first.

    Raises:
        BilevelError: another number of optimizers, one that does not hold exactly the variables of its level, a
            variable of both levels, one that is twice in omega, or one that is not of real numbers.
    """
    if len(optimizers) != len(variables):
        raise BilevelError(f"the solver takes {len(variables)} optimizers, one a level, got {len(optimizers)}")
    if len(variables) == 2 and any(_overlap(a, b) for a in variables[0] for b in variables[1]):
        raise BilevelError("a variable belongs to both levels, theta and omega; leave it in one, or give each its own")
    if len(variables) == 2 and len({id(w) for w in variables[1]}) < len(variables[1]):
        raise BilevelError(
            "a variable is twice in omega: energies would be handed two tensors, and a step follow the gradient of "
            "one; leave it in once, and let the energies use it in both places"
        )
    for tensor in (t for tensors in variables for t in tensors):
        if not tensor.is_floating_point():
            raise BilevelError(
                f"variables are tensors of real numbers, got {tensor.dtype}; for complex ones take "
                "`torch.view_as_real` of them, and `torch.view_as_complex` in the energies"
            )
    for optimizer in optimizers:
        if isinstance(optimizer, optim.LBFGS):
            raise BilevelError("LBFGS evaluates the energy itself, which no solver lets it; use SGD, Adam or another")
    for level, (optimizer, tensors) in enumerate(zip(optimizers, variables, strict=True)):
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if held != {id(t) for t in tensors}:
            raise BilevelError(
                f"optimizer {level} does not hold exactly the variables of its level; build it from them"
            )
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


def report(problem: Any, lower_loss: Tensor, g_l: Tensors, above: Gradients, *responses: Tensors) -> Logs:
    """Return what every solver with a response logs: losses, |g_l|, its angle to g_u, |dF_upper/dx|, |R| if given."""
    lengths, size = (norm(g_l), norm(above.omega)), reduction_of(problem).norm
    logs: Logs = {
        "loss/upper": above.value,
        "loss/lower": lower_loss,
        "g_lower": lengths[0],
        "cosine": cosine(g_l, above.omega, lengths),
        "direct_norm": size(above.x),
    }
    return {**logs, "response_norm": size(*responses)} if responses else logs
