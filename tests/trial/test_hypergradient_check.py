"""The comparison of a solver's hypergradient with exact ones, on problems with known answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from restore_hub.cli import group
from restore_hub.errors import TrainingError
from restore_hub.trial.hypergradient_check import Agreement, Comparison, check_hypergradients
from support import LOWLIGHT, check, refused

RATE = 0.1
# F_lower = sum_i c_i (omega_i - theta_i)^2 / 2, F_upper = <b, omega> + <d, theta>: with its lower level solved, the
# gradient by theta is b + d, and its response is b, at any theta and omega.
PLUGIN = """
import torch
from torch import nn
from restore_hub import hookimpl

class Follow:
    metrics = {}

    def __init__(self, curvature: float = 1.0, along: bool = False, hole: bool = False, narrow: bool = False) -> None:
        def block(*values):
            module = nn.Module()
            module.register_parameter("w", nn.Parameter(torch.tensor(values)))
            return module
        theta = (2.0, 1.5) if along else (1.0, 2.0)
        self.blocks = nn.ModuleDict({"theta": block(*theta), "omega": block(0.0, 0.5)})
        self.energies = {"upper": self.upper, "lower": self.lower}
        self.splits = {"all": 1}
        self._c, self._hole, self._narrow = (1.0, curvature), hole, narrow

    def batch(self, split, seed, index):
        return {"one": torch.ones(1)}

    def measure(self):
        return {}

    def upper(self, v, batch):
        omega, theta = v["omega"]["w"], v["theta"]["w"]
        value = 2.0 * omega[0] + 1.0 * omega[1] + 0.5 * theta[0] - 3.0 * theta[1]
        return (value / torch.zeros(()) if self._hole else value) * batch["one"].sum(), 1

    def lower(self, v, batch):
        gap = v["omega"]["w"] - v["theta"]["w"]
        gap = (torch.eye(2) @ gap if self._narrow else gap).square()
        return 0.5 * (self._c[0] * gap[0] + self._c[1] * gap[1]), 1

@hookimpl
def register_problems(register):
    register("follow", "following:Follow", summary="omega follows theta")
"""
SPEC = """
name: follow
problem: {{problem: following/follow, curvature: {curvature}, along: {along}}}
stages:
  - solver: {solver}
    steps: 3
    share_batch: true
    upper: {{blocks: [theta], objective: upper, data: all, optimizer: sgd}}
    lower: {{blocks: [omega], objective: lower, data: all, optimizer: sgd, lr: {rate}, steps: 2, batches: one}}
"""
DIRECT, RESPONSE = torch.tensor([0.5, -3.0]).double(), torch.tensor([2.0, 1.0]).double()


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the plugin file; a module is loaded once in a process."""
    file = tmp_path_factory.mktemp("agreement") / "following.py"
    file.write_text(PLUGIN)
    yield file
    sys.modules.pop("following", None)


def _check(plugin: Path, solver: str, curvature: float = 1.0, along: bool = False, *overrides: str) -> Agreement:
    spec = plugin.with_name("spec.yaml")
    spec.write_text(SPEC.format(solver=solver, curvature=curvature, along=str(along).lower(), rate=RATE))
    (found,) = check_hypergradients(spec, overrides=overrides, plugins=[plugin])
    return found


def _angle(a: torch.Tensor, b: torch.Tensor) -> tuple[float, float]:
    return (a @ b / (a.norm() * b.norm())).item(), (a.norm() / b.norm()).item()


def _of(found: Agreement, reference: str) -> list[Comparison]:
    return [comparison for comparison in found.comparisons if comparison.reference == reference]


@pytest.mark.parametrize("solver", ["cg", "lwcl"])
def test_an_exact_solver_has_cosine_and_ratio_of_one(plugin: Path, solver: str) -> None:
    """`lwcl` is exact here where the gaps omega - theta are parallel to what F_upper pulls omega along."""
    found = _check(plugin, solver, along=True)
    assert (found.stage, found.solver, found.dtype, found.notes) == (1, solver, "float64", ())
    assert [(c.reference, c.lower_steps) for c in found.comparisons] == [
        ("optimum", 2), ("steps", 2), ("optimum", 50), ("steps", 50)
    ]  # fmt: skip
    for comparison in _of(found, "optimum"):
        assert (*comparison.whole, *comparison.response) == pytest.approx((1, 1, 1, 1), abs=1e-6)
        assert comparison.share == pytest.approx(float(RESPONSE.norm() / (RESPONSE + DIRECT).norm()))
        assert comparison.sound
    answered = 1 - (1 - RATE) ** 2  # the part of the response that two lower steps have
    for comparison in _of(found, "steps"):
        assert tuple(comparison.response) == pytest.approx((1, 1 / answered), rel=1e-6)
        assert tuple(comparison.whole) == pytest.approx(_angle(DIRECT + RESPONSE, DIRECT + answered * RESPONSE))


@pytest.mark.parametrize("curvature", [1.0, 4.0])
def test_the_outer_product_is_off_by_what_it_projects_away(plugin: Path, curvature: float) -> None:
    found = _of(_check(plugin, "lwcl", curvature), "optimum")
    c = torch.tensor([1.0, curvature]).double()
    for comparison in found:
        g_l = c * (1 - RATE * c) ** comparison.lower_steps * torch.tensor([-1.0, -1.5]).double()
        response = (g_l @ RESPONSE) / (g_l @ g_l) * g_l  # dF_lower/dtheta = -g_l
        assert tuple(comparison.response) == pytest.approx(_angle(response, RESPONSE), rel=1e-5)
        assert tuple(comparison.whole) == pytest.approx(_angle(DIRECT + response, DIRECT + RESPONSE), rel=1e-5)
        assert comparison.response.cosine < 0.99


def test_a_solver_without_a_response_shows_what_it_drops(plugin: Path) -> None:
    for comparison in _check(plugin, "alternating").comparisons:
        assert tuple(comparison.response) == (0, 0)
    whole = comparison.whole
    assert tuple(whole) == pytest.approx(_angle(DIRECT, DIRECT + (1 - (1 - RATE) ** 2) * RESPONSE))


def test_a_flat_lower_level_is_not_a_sound_reference(plugin: Path) -> None:
    found = _check(plugin, "cg", -1.0)
    assert not any(c.sound for c in _of(found, "optimum")), found
    assert any("search for the lower optimum" in note or "flat or not convex" in note for note in found.notes)


def test_an_optimizer_without_a_known_derivative_leaves_one_reference(plugin: Path) -> None:
    found = _check(plugin, "lwcl", 1.0, True, "stages.0.lower.clip=1.0")
    assert {c.reference for c in found.comparisons} == {"optimum"}
    assert any(note.startswith("no reference through the lower steps: ") for note in found.notes)


def test_blocks_that_cannot_run_in_float64_are_compared_in_float32(plugin: Path) -> None:
    found = _check(plugin, "cg", 1.0, False, "problem.narrow=true")
    assert found.dtype == "float32"
    for comparison in _of(found, "optimum"):
        assert (*comparison.whole, *comparison.response) == pytest.approx((1, 1, 1, 1), abs=1e-5)


def test_cold_restarts_have_no_later_comparison(plugin: Path) -> None:
    found = _check(plugin, "lwcl", 1.0, False, "stages.0.lower.restart=cold")
    assert {c.lower_steps for c in found.comparisons} == {2}


def test_an_energy_that_is_not_finite_fails(plugin: Path) -> None:
    with refused("bilevel.not-finite", "stage 1/1 lwcl, hypergradient: value of F_upper", TrainingError):
        _check(plugin, "lwcl", 1.0, False, "problem.hole=true")


def test_a_chain_is_cut_to_small_pictures(small: list[str]) -> None:
    (found,) = check_hypergradients(LOWLIGHT, overrides=[*small, "stages.1.solver=rhg"])
    assert (found.stage, found.solver, found.dtype) == (2, "rhg", "float64")
    assert found.comparisons[0].reference in ("optimum", "steps")
    for comparison in _of(found, "steps"):
        assert (*comparison.whole, *comparison.response) == pytest.approx((1, 1, 1, 1), abs=1e-6)


def test_the_command_explains_the_numbers_and_succeeds(plugin: Path) -> None:
    _check(plugin, "lwcl", 4.0)  # writes the spec
    arguments = ["check", str(plugin.with_name("spec.yaml")), "--plugin", str(plugin), "--hypergradient"]
    done = CliRunner().invoke(group, arguments)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    (place,) = [i for i, line in enumerate(lines) if line.startswith("hypergradient of stage 1, lwcl")]
    assert lines[place + 2].split()[:3] == ["optimum", "2", "0.97"]
    assert "against `optimum`, lwcl steps theta in the right direction" in done.output
    assert "cosine: 1 is the right direction" in done.output
    assert lines[-1] == "follow: ok"
    failed = CliRunner().invoke(group, [*arguments, "--set", "problem.hole=true"])
    assert failed.exit_code != 0
    check(failed.exception, "bilevel.not-finite", "value of F_upper")
