"""The one place that chooses between a chain of blocks and a plugin's problem."""

from __future__ import annotations

import torch

from restore_hub.plan.metrics import make_metrics
from restore_hub.plan.plan import Plan
from restore_hub.plan.problems import check_problem, make_problem
from restore_hub.train.problems.chain import make_chain
from restore_hub.train.problems.plugin import TrainableProblem
from restore_hub.train.problems.plugin_on_data import ProblemOnData
from restore_hub.train.problems.spec_data import make_data
from restore_hub.train.problems.trainable import Trainable


def make_trainable(plan: Plan, device: torch.device) -> Trainable:
    """Make what a spec trains, with its first weights, on a device.

    Raises:
        SpecError: anything that its components, data or weights lack, with the place in the file.
        DataError: data that can't be used.
    """
    if plan.problem is None:
        return make_chain(plan, device)
    problem = make_problem(plan)
    check_problem(plan, problem)
    problem.blocks.to(device)
    if not plan.spec.data:
        return TrainableProblem(problem, {name: problem.metrics[name] for name in plan.spec.metrics})
    wired = make_metrics(plan)
    directions = {name: metric.metric.higher_is_better for name, metric in wired.items()}
    return ProblemOnData(problem, directions, plan, make_data(plan), wired)
