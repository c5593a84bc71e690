"""What a solver carries from step to step."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, optim

from restore_hub.bilevel import cap
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
        history: norms of past responses, `restore_hub.bilevel.cap`; empty where there is no cap.
    """

    optimizers: tuple[optim.Optimizer, ...]
    history: deque[float] = field(default_factory=cap.new_history)

    def state_dict(self) -> dict[str, Any]:
        """Return plain containers of tensors and numbers, for `torch.save`."""
        return {"optimizers": [o.state_dict() for o in self.optimizers], "history": list(self.history)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; the run continues as if it had not stopped."""
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.history = cap.new_history(saved["history"])


def new_state(optimizers: Sequence[optim.Optimizer], variables: Sequence[tuple[Tensor, ...]]) -> State:
    """Pair optimizers with levels, upper first.

    Raises:
        BilevelError: another number of optimizers, one that does not hold exactly the variables of its level, or a
            variable of both levels.
    """
    if len(optimizers) != len(variables):
        raise BilevelError(f"the solver takes {len(variables)} optimizers, one a level, got {len(optimizers)}")
    owned = [{t.data_ptr() for t in tensors if t.numel()} for tensors in variables]
    if len(owned) == 2 and owned[0] & owned[1]:
        raise BilevelError("a variable belongs to both levels, theta and omega; leave it in one, or give each its own")
    for level, (optimizer, tensors) in enumerate(zip(optimizers, variables, strict=True)):
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if held != {id(t) for t in tensors}:
            raise BilevelError(
                f"optimizer {level} does not hold exactly the variables of its level; build it from them"
            )
    return State(tuple(optimizers))


def report(problem: Any, lower_loss: Tensor, g_l: Tensors, above: Gradients, *responses: Tensors) -> Logs:
    """Return what every solver with a response logs: both losses, |g_l|, its angle to g_u, |R| and |dF_upper/dx|."""
    lengths, size = (norm(g_l), norm(above.omega)), reduction_of(problem).norm
    return {
        "loss/upper": above.value,
        "loss/lower": lower_loss,
        "g_lower": lengths[0],
        "cosine": cosine(g_l, above.omega, lengths),
        "response_norm": size(*responses),
        "direct_norm": size(above.x),
    }
