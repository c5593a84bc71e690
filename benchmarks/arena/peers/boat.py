"""BOAT: `boat_torch.Problem.run_iter`, its file of losses switched off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boat_torch

from arena.peers.tasks import RADIUS, Task

OPERATIONS = {"outer product": "IGA", "cheapest": "IGA", "reverse mode": "RAD", "cg": "CG", "neumann": "NS"}
OPERATIONS["finite difference"] = "FD"
_task: Any = None


def upper(_: Any, theta: Any, omega: Any, **__: Any) -> Any:
    """Return F_upper; named in BOAT's configuration."""
    return _task.upper(theta.values(), omega(tuple))


def lower(_: Any, theta: Any, omega: Any, **__: Any) -> Any:
    """Return F_lower; named in BOAT's configuration."""
    return _task.lower(theta.values(), omega(tuple))


def make(task: Task, method: str, steps: int) -> Callable[[], object]:
    """Return one outer step."""
    global _task
    _task = task
    above, below = task.optimizers()
    operation = OPERATIONS[method]
    products = task.products[0] if method == "cg" else task.products[1] - 1  # of the series, beside b
    config = {
        "fo_op": None,
        "gm_op": ["NGD"],
        "na_op": [operation],
        "lower_level_model": task.omega,
        "upper_level_model": task.theta,
        "lower_level_var": list(task.omega.parameters()),
        "upper_level_var": list(task.theta.parameters()),
        "lower_level_opt": below,
        "upper_level_opt": above,
        "lower_iters": steps,
        "device": "cpu",
        "loss_log_path": "",
        "GDA": {"alpha_init": 0.0, "alpha_decay": 1.0},
        "RGT": {"truncate_iter": 0},
        "FD": {"r": RADIUS},
        "CG": {"k": products, "tolerance": 0.0},
        "accumulate_grad": False,
        "copy_last_param": True,  # a warm lower level, as everywhere
        "return_grad": False,
    }
    losses = {f"{level}_level_loss": {"function": f"{__name__}.{level}", "params": {}} for level in ("upper", "lower")}
    problem = boat_torch.Problem(config, losses)
    problem.save_losses = lambda **_: None
    problem.build_ll_solver()
    problem.build_ul_solver()
    return lambda: problem.run_iter({}, {}, 0)
