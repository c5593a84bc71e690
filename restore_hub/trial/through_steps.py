"""The exact hypergradient of a few lower steps, for small problems."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, optim

from restore_hub.bilevel import Start, Tensors, check_differentiable, check_finite, fill, pull_back, recall, update
from restore_hub.bilevel.apply import apply
from restore_hub.trial.live import Live, lower_gradient, put, upper_gradients

Memories = Sequence[dict[str, Tensor]]


def through_steps(live: Live, optimizer: optim.Optimizer, steps: int) -> Tensors:
    r"""Return the hypergradient of the next lower steps, with the optimizer's state before them constant.

    .. math::
        v_K = \frac{\partial F_{upper}}{\partial s}(s_K), \qquad
        v_k = \Big(\frac{\partial s_{k+1}}{\partial s_k}\Big)^T v_{k+1}, \qquad
        G = \frac{dF_{upper}}{d\theta} + \sum_k \Big(\frac{\partial s_{k+1}}{\partial\theta}\Big)^T v_{k+1}

    where s is omega with the optimizer's memory. The optimizer itself takes the steps; on the way back each one is
    taken again at its own omega, in place. Omega and the optimizer's state are restored.

    Raises:
        BilevelError: as `check_differentiable`; a level doesn't depend on omega, or a value isn't finite.
    """
    check_differentiable(optimizer)
    start, points = Start(optimizer), []
    try:
        for _ in range(steps):
            memory = [{name: value.clone() for name, value in m.items()} for m in recall(optimizer, live.omega)]
            points.append((tuple(w.detach().clone() for w in live.omega), memory))
            apply(optimizer, live.omega, lower_gradient(live)[1])
        whole, v = upper_gradients(live)
        later: Memories = [{} for _ in live.omega]
        for omega, memory in reversed(points):
            put(live.omega, omega)
            by_theta, v, later = _back(live, optimizer, memory, v, later)
            whole = tuple(g + d for g, d in zip(whole, by_theta, strict=True))
    finally:
        start.restore()
    check_finite(whole, [f"gradient through the lower steps by theta[{i}]" for i in range(len(whole))])
    return whole


def _back(
    live: Live,
    optimizer: optim.Optimizer,
    memory: Memories,
    v: Tensors,
    later: Memories,
) -> tuple[Tensors, Tensors, list[dict[str, Tensor]]]:
    """Pull v and the memory's cotangents back through one step; return what reaches theta, omega and the memory."""
    before = tuple(
        {name: t.requires_grad_() if name != "step" else t for name, t in remembered.items()} for remembered in memory
    )
    omega, after = update(optimizer, live.omega, live.omega, lower_gradient(live, graph=True)[1], before)
    outputs = [*omega, *(after[i][name] for i, wanted in enumerate(later) for name in wanted)]
    cotangents = [*v, *(g for wanted in later for g in wanted.values())]
    places = [(i, name) for i, remembered in enumerate(before) for name, t in remembered.items() if t.requires_grad]
    inputs = (*live.theta, *live.omega, *(before[i][name] for i, name in places))
    found = fill(pull_back(outputs, cotangents, inputs), inputs, "omega", "a lower step")
    earlier: list[dict[str, Tensor]] = [{} for _ in before]
    for (i, name), g in zip(places, found[len(live.theta) + len(live.omega) :], strict=True):
        earlier[i][name] = g
    return found[: len(live.theta)], found[len(live.theta) :][: len(live.omega)], earlier
