"""A spec and its data as what a solver works on, before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from restore_hub.contracts import Metric
from restore_hub.errors import OptionError, TrainingError
from restore_hub.plan.chain import Chain, build_chain
from restore_hub.plan.objectives import Objectives
from restore_hub.plan.parts import Part, Plan, make_plan
from restore_hub.plan.shipped import find_spec
from restore_hub.plan.splits import check_splits_apart, make_dataset
from restore_hub.plan.weights import load_block_weights
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.data import Samples


@dataclass
class Setup:
    """What training works on. The chain lies on `device`, channels last, with its first weights."""

    plan: Plan
    chain: Chain
    objectives: Objectives
    data: Mapping[str, Samples]
    metrics: Mapping[str, Metric]
    device: torch.device
    plugins: Sequence[Path] = ()


def set_up(spec: str | Path, overrides: Sequence[str], plugins: Sequence[Path], device: str) -> Setup:
    """Read a spec and make all of its parts but the tracker.

    Sets torch's random seed, and flushing of denormal numbers, for the whole process.

    Raises:
        RestoreHubError: anything that the spec, its data or its weights lack, or a device that is not there.
    """
    plan = make_plan(read_spec(find_spec(Path(spec)), overrides), default_registry(plugins))
    require_stages(plan)
    where = _device(device)
    torch.manual_seed(plan.spec.seed)
    torch.set_flush_denormal(True)  # exp(-x) of edge weights is full of denormals, which are slow
    chain = build_chain(plan).to(where).to(memory_format=torch.channels_last)  # what convolutions like best
    load_block_weights(plan, chain)
    datasets = {name: make_dataset(plan, name) for name in plan.datasets}
    check_splits_apart(datasets)
    losses = {name: _make(plan, "objectives", name, part) for name, part in plan.losses.items()}
    return Setup(
        plan=plan,
        chain=chain,
        objectives=Objectives(losses, {name: part.inputs for name, part in plan.losses.items()}),
        data={name: Samples(dataset, name, plan.spec.data[name].strict) for name, dataset in datasets.items()},
        metrics={name: _make(plan, "metrics", name, part) for name, part in plan.metrics.items()},
        device=where,
        plugins=plugins,
    )


def require_stages(plan: Plan) -> None:
    """Refuse a spec that trains nothing.

    Raises:
        SpecError: it has no stages.
    """
    if not plan.spec.stages:
        raise plan.document.error(
            "it has no `stages`, so there is nothing to train; `restore-hub export` makes ONNX of blocks with `weights`"
        )


def _make(plan: Plan, kind: str, name: str, part: Part) -> Any:
    """Make a component; where it refuses an option, say which one of the spec that is."""
    try:
        return part.make()
    except OptionError as error:
        raise plan.document.error(str(error), kind, name, error.option) from error


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except Exception as error:  # torch raises RuntimeError, AssertionError or its own, by backend
        reason = str(error).splitlines()[0]
        raise TrainingError(
            f"the device {name!r} cannot be used: {reason}; give cpu, or cuda on a machine with one"
        ) from None
    return device
