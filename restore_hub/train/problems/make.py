"""The one place that chooses between a chain of blocks and a plugin's problem."""

from __future__ import annotations

import torch

from restore_hub.plan.plan import Plan
from restore_hub.train.problems.chain import make_chain
from restore_hub.train.problems.plugin import make_plugin_problem
from restore_hub.train.problems.trainable import Trainable


def make_trainable(plan: Plan, device: torch.device) -> Trainable:
    """Make what a spec trains, with its first weights, on a device.

    Raises:
        SpecError: anything that its components, data or weights lack, with the place in the file.
        DataError: data that can't be used.
    """
    return make_chain(plan, device) if plan.problem is None else make_plugin_problem(plan, device)
