"""A spec and its data, ready for the first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from restore_hub.errors import SpecError
from restore_hub.plan.device import usable_device
from restore_hub.plan.plan import Plan, make_plan
from restore_hub.plan.shipped import find_spec
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.problems.fit import check_fit
from restore_hub.train.problems.make import make_trainable
from restore_hub.train.problems.trainable import BatchStream, Trainable
from restore_hub.train.ranks import Ranks


@dataclass
class Setup:
    """What training works on.

    Attributes:
        trainable: with its first weights, on `device`.
        plugins: unpackaged plugin files.
        ranks: the processes that share each batch.
    """

    plan: Plan
    trainable: Trainable
    device: torch.device
    plugins: Sequence[Path] = ()
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def blocks(self) -> nn.ModuleDict:
        """What trains, by block."""
        return self.trainable.blocks

    def stream(self, split: str, key: str) -> BatchStream:
        """Return this process's batches of a split; streams with different keys are independent.

        Raises:
            SpecError: a batch has fewer samples than there are processes.
        """
        return self.trainable.stream(split, self.plan.spec.seed, key, self.ranks)


def set_up(
    spec: str | Path, overrides: Sequence[str], plugins: Sequence[Path], device: str, ranks: Ranks | None = None
) -> Setup:
    """Read a spec and make everything it names except the tracker.

    Sets torch's random seed, and flushing of denormal numbers, for the whole process. All processes of a run begin with
    the same weights, and draw different numbers from then on.

    Raises:
        RestoreHubError: anything that the spec, its data or its weights lack, or a device that can't be used.
    """
    plan = make_plan(read_spec(find_spec(Path(spec)), overrides), default_registry(plugins))
    require_stages(plan)
    where = usable_device(device)
    torch.manual_seed(plan.spec.seed)
    torch.set_flush_denormal(True)  # exp(-x) of edge weights is full of denormals, which are slow
    setup = Setup(plan, make_trainable(plan, where), where, plugins)
    if ranks is not None:
        setup.ranks = ranks
        ranks.check_same(setup.trainable.state_dict())
        if not ranks.first:
            torch.manual_seed(int(np.random.SeedSequence((plan.spec.seed, ranks.rank)).generate_state(1)[0]))
    check_fit(plan, setup.trainable.batch_size, setup.ranks.size)
    return setup


def require_stages(plan: Plan) -> None:
    """Refuse a spec that trains nothing.

    Raises:
        SpecError: it has no stages.
    """
    if not plan.spec.stages:
        raise SpecError("train.no-stages", plan.document.at())
