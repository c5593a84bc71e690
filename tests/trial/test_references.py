"""The exact hypergradients: against closed forms and differences of whole runs, and apart from what they check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from restore_hub.errors import TrainingError
from restore_hub.plan import chain as chain_module
from restore_hub.trial import hypergradient_check
from restore_hub.trial.at_optimum import at_optimum
from restore_hub.trial.hypergradient_check import Comparison, check_hypergradients
from restore_hub.trial.live import Live, upper_gradients
from restore_hub.trial.through_steps import through_steps
from support import LOWLIGHT, refused
from support.plugin_files import WritePlugin, network_plugin, through


def _drawn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def _problem(seed: int = 0) -> Live:
    """Return two energies without a closed form."""
    torch.manual_seed(seed)
    theta, omega = _drawn(3).requires_grad_(), _drawn(4).requires_grad_()
    A, b = _drawn(4, 3), _drawn(4)
    return Live(
        (theta,),
        (omega,),
        lambda: (torch.sin(omega) * b).sum() + (theta**3).sum() + theta[0] * omega[1] ** 2,
        lambda: torch.cosh(omega - A @ torch.tanh(theta)).sum() + 0.1 * (omega[0] * omega[2]) ** 2,
    )


OPTIMIZERS: Mapping[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda w: torch.optim.SGD(w, lr=0.05),
    "momentum": lambda w: torch.optim.SGD(w, lr=0.03, momentum=0.8, weight_decay=0.1, nesterov=True),
    "adam": lambda w: torch.optim.Adam(w, lr=0.05, weight_decay=0.1),
    "adamw": lambda w: torch.optim.AdamW(w, lr=0.05),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_through_steps_is_the_difference_of_whole_runs(kind: str) -> None:
    """Four steps of the optimizer itself, after two that give it a state."""
    live = _problem()
    (theta,), (omega,) = live.theta, live.omega
    optimizer = OPTIMIZERS[kind](live.omega)

    def step() -> None:
        omega.grad = torch.autograd.grad(live.lower(), omega)[0]
        optimizer.step()

    step()
    step()
    start, state = omega.detach().clone(), deepcopy(optimizer.state_dict())
    found = through_steps(live, optimizer, 4)
    assert torch.equal(omega, start)

    def run(at: Tensor) -> float:
        with torch.no_grad():
            theta.copy_(at)
            omega.copy_(start)
        optimizer.load_state_dict(deepcopy(state))
        for _ in range(4):
            step()
        return live.upper().item()

    at, eps = theta.detach().clone(), 1e-5
    exact = [(run(at + eps * e) - run(at - eps * e)) / (2 * eps) for e in torch.eye(3, dtype=torch.float64)]
    torch.testing.assert_close(found[0], torch.tensor(exact, dtype=torch.float64), rtol=1e-7, atol=1e-8)


def test_at_the_optimum_of_a_quadratic_it_is_the_closed_form() -> None:
    """omega* = A theta, so G = d + A^T b at every theta, whatever the curvature is."""
    torch.manual_seed(1)
    theta, omega = _drawn(3).requires_grad_(), _drawn(4).requires_grad_()
    A, b, d, root = _drawn(4, 3), _drawn(4), _drawn(3), _drawn(4, 4)
    C = root @ root.T + torch.eye(4, dtype=torch.float64)
    gap = lambda: omega - A @ theta  # noqa: E731
    live = Live((theta,), (omega,), lambda: b @ omega + d @ theta, lambda: 0.5 * gap() @ C @ gap())
    before = omega.detach().clone()
    found = at_optimum(live, 100)
    torch.testing.assert_close(found.whole[0], d + A.T @ b, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.direct[0], d)
    torch.testing.assert_close(upper_gradients(live)[1][0], b)
    assert found.damping == 0
    assert torch.equal(omega, before)


def _swapped(block: nn.Module, tensors: Mapping[Tensor, Tensor], own_buffers: bool) -> Callable[..., Any]:
    """Swap tensors for the time of the forward pass only, so that recomputation sees the live ones."""
    assert not (own_buffers and list(block.buffers()))
    replaced = {name: tensors[p] for name, p in block.named_parameters() if p in tensors}
    return lambda *inputs: functional_call(block, replaced, inputs)


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypergradient_check, "ITERATIONS", 2)  # of the search for the optimum


def _steps(small: list[str], plugin: Path, stem: str, solver: str) -> Comparison:
    overrides = [*small, *through(f"{stem}/net"), f"stages.1.solver={solver}", "stages.1.lower.optimizer=sgd"]
    overrides += [
        "stages.1.lower.lr=0.5",
        "stages.1.lower.restart=cold",
        f"stages.1.lower.steps={1 if solver == 'tbgl' else 3}",
    ]
    (found,) = check_hypergradients(LOWLIGHT, overrides=overrides, plugins=[plugin])
    (comparison, *_) = [c for c in found.comparisons if c.reference == "steps"]
    return comparison


@pytest.mark.parametrize("solver", ["rhg", "tbgl"])
def test_a_wrong_recomputation_in_the_trained_path_disagrees(
    small: list[str], write_plugin: WritePlugin, monkeypatch: pytest.MonkeyPatch, solver: str
) -> None:
    """The references never swap tensors: the same block, right and wrong in the path that trains."""
    body = "image = torch.utils.checkpoint.checkpoint(lambda x: self.head(x).square(), image, use_reentrant=False)"
    plugin = write_plugin("again", "import torch.utils.checkpoint\n" + network_plugin("pass", body))
    right = _steps(small, plugin, "again", solver)
    monkeypatch.setattr(chain_module, "twin", _swapped)
    with refused("train.second-reference", f"stage 2/2 {solver}, hypergradient: enhance.head.weight", TrainingError):
        _steps(small, plugin, "again", solver)
    monkeypatch.setattr(hypergradient_check, "check_pure", lambda *_: None)
    wrong = _steps(small, plugin, "again", solver)
    assert (*right.whole, *right.response) == pytest.approx((1, 1, 1, 1), abs=1e-6 if solver == "rhg" else 0.03)
    assert abs(wrong.response.ratio - 1) > 0.2


def test_values_read_past_the_trained_path_disagree(
    small: list[str], write_plugin: WritePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parameter that an object of its own holds has its live value wherever the energy is taken."""
    body = "image = image * (1 + self.of_its_own.weight.sum())"
    init = "self.of_its_own = type('Holder', (), {})()\n        self.of_its_own.weight = self.head.weight"
    plugin = write_plugin("aside", network_plugin(init, body))
    with refused("train.second-reference", "enhance.head.weight", TrainingError):
        _steps(small, plugin, "aside", "rhg")
    monkeypatch.setattr(hypergradient_check, "check_pure", lambda *_: None)
    found = _steps(small, plugin, "aside", "rhg")
    assert found.whole.cosine < 0.9
