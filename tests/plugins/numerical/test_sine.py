"""The toy problem of LwCL Eq. 9: its corrected optimum, and that solvers find it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from restore_hub import run
from restore_hub.errors import OptionError, SpecError
from restore_hub.testing import check_problem
from restore_hub.train.setup import set_up
from restore_hub.train.stepper import Stepper
from restore_hub_numerical.sine import Sine
from support import refused


@pytest.mark.parametrize(("n", "a", "c"), [(1, 2.0, 2.0), (10, 2.0, 2.0), (3, -1.3, 0.4), (7, 0.1, -1.0)])
def test_no_point_of_the_lower_solution_is_better_than_the_stated_optimum(n: int, a: float, c: float) -> None:
    """F_upper along omega(theta) = C + c - theta for every phase C, on a fine grid of theta."""
    problem = Sine(n=n, a=a, c=c)
    theta = torch.linspace(-15, 15, 300_001, dtype=torch.float64)
    best = []
    for k in range(-6, 7):
        C = -math.pi / 2 + 2 * math.pi * k
        values = (theta - a) ** 2 + n * (C - theta - a) ** 2
        best.append((values.min().item(), theta[values.argmin()].item()))
    value, place = min(best)
    assert problem.theta_star == pytest.approx(place, abs=2e-4)
    assert problem.value_star == pytest.approx(value, rel=1e-6, abs=1e-7)


def test_the_optimum_of_one_component_is_the_corrected_one() -> None:
    assert Sine(n=1).theta_star == pytest.approx(0.75 * math.pi, rel=1e-14)
    C = 1.5 * math.pi
    assert Sine(n=100).theta_star == pytest.approx((-99 * 2 + 100 * C) / 101, rel=1e-14)
    assert Sine(n=100).value_star == pytest.approx((C - 4) ** 2 - (C - 4) ** 2 / 101, rel=1e-13)


def test_energies_are_those_of_eq_9_and_errors_are_zero_at_the_optimum_alone() -> None:
    problem = Sine(n=5, theta=1.5, omega=3.6, spread=0.7)
    check_problem(problem)
    theta, omega = torch.tensor(1.5, dtype=torch.float64), torch.linspace(2.9, 4.3, 5, dtype=torch.float64)
    torch.testing.assert_close(problem.blocks["omega"].value.detach(), omega)
    variables = {name: {"value": block.value} for name, block in problem.blocks.items()}
    batch = problem.batch("components", 0, 0)
    for name, expected in (
        ("upper", (theta - 2) ** 2 + (omega - 4).square().sum()),
        ("lower", torch.sin(theta + omega - 2).sum()),
    ):
        total, count = problem.energies[name](variables, batch)
        assert (total / count).item() == pytest.approx(expected.item(), rel=1e-13)
    assert problem.measure()["theta_error"] == pytest.approx(abs(1.5 / problem.theta_star - 1))
    with torch.no_grad():
        problem.blocks["theta"].value.fill_(problem.theta_star)
        problem.blocks["omega"].value.fill_(1.5 * math.pi + 2 - problem.theta_star)
    assert max(problem.measure().values()) < 1e-14


def test_options_out_of_range_are_refused() -> None:
    with refused("numerical.optimum-at-zero", "a", OptionError):
        Sine(n=1, a=0.75 * math.pi, c=0.0)
    with refused("numerical.not-a-count", "problem.n", SpecError, got=0):
        set_up("numerical", ["problem.n=0"], [], "cpu")


def _theta_error(*overrides: str, steps: int = 80) -> float:
    setup = set_up("numerical", ["tracker=", *overrides], [], "cpu")
    stepper = Stepper(setup, 0)
    for taken in range(steps):
        stepper.step(taken, taken / steps)
    return setup.trainable.evaluate().means["theta_error"]


# All components within the basin of one optimum.
WIDE = ["problem.omega=3.7", "problem.spread=2.2", "problem.n=40", "stages.0.upper.lr=5e-3"]


@pytest.mark.parametrize("steps", [1, 20])
def test_groups_of_components_are_exact_from_wide_starts_where_one_ratio_is_not(steps: int) -> None:
    """dF_upper/dtheta = 2 (theta - a) - sum_i 2 (omega_i - a - c), since domega_i/dtheta = -1 everywhere."""
    errors = {}
    for groups in ("sample", None):
        setup = set_up("numerical", ["tracker=", *WIDE, f"stages.0.lower.steps={steps}"], [], "cpu")
        setup.plan.solvers[0][0].options["groups"] = groups
        Stepper(setup, 0).step(0, 0.0)
        theta, omega = (setup.blocks[name].value for name in ("theta", "omega"))
        exact = 2 * (3.0 - 2) - (2 * (omega.detach() - 4)).sum()
        errors[groups] = abs(theta.grad.item() / exact.item() - 1)
    assert errors["sample"] < 1e-12
    assert errors[None] > 0.2


def test_groups_reach_the_optimum_that_alternating_misses() -> None:
    assert _theta_error(*WIDE, "stages.0.groups=sample") < 1e-6
    assert _theta_error(*WIDE, "stages.0.groups=8") < 1e-3
    assert _theta_error(*WIDE, "stages.0.solver=alternating") > 0.05


def test_the_pipeline_reaches_the_optimum(tmp_path: Path) -> None:
    overrides = ["tracker=", "problem.n=10", "stages.0.upper.lr=0.02", "stages.0.steps=60", "problem.spread=0.3"]
    whole = run("numerical", overrides=overrides, out=tmp_path / "whole", quiet=True)
    assert whole.metrics["theta_error"] < 1e-3
    assert (whole.step, whole.exported) == (60, ())
    assert "theta_error" in (tmp_path / "whole" / "report.html").read_text()
