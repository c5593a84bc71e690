"""The check of problems, for models that aren't a chain of blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from restore_hub.batch import Batch, wrong
from restore_hub.contracts import Port
from restore_hub.errors import reason_of
from restore_hub.plan.problems import example, initial_of
from restore_hub.ragged import Ragged
from restore_hub.testing.require import finite, made, require

SAMPLES, EXTENT = 3, {"z": 4, "y": 16, "x": 20}  # of the examples that stand for data


def check_problem(target: Any, /, data: Mapping[str, Port] | None = None, **options: Any) -> None:
    """Check a problem: energies that are pure and add up over samples, and what it measures or restores.

    Of a problem with data of its own, batches must be repeatable and metrics numbers. One that trains on registered
    data sets gets examples of `data`; if it has `restore`, that must return its `outputs`.

    Args:
        target: a class (made with `options`) or a problem.
        data: the ports of the data sets that it is meant for; only without data of its own.
        options: options of the class.

    Raises:
        AssertionError: what failed.
    """
    problem, name = made(target, options)
    require(
        isinstance(problem.blocks, nn.ModuleDict), f"{name}.blocks is {type(problem.blocks).__name__}, not a ModuleDict"
    )
    require(len(problem.energies) > 0, f"{name} has no energies")
    own = hasattr(problem, "batch")
    require(own or data is not None, f"{name} has no data of its own: pass the ports of its data sets as `data`")
    if own:
        _check_splits(name, problem)
    batches = (
        {split: problem.batch(split, 0, 0) for split in problem.splits} if own else {"data": _examples(data or {})}
    )
    for energy in problem.energies:
        _check_energy(name, problem, energy, batches)
    if own:
        _check_measure(name, problem)
    elif hasattr(problem, "restore"):
        _check_restore(name, problem, batches["data"])


def _examples(data: Mapping[str, Port]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {name: example(port, SAMPLES, EXTENT, rng) for name, port in data.items()}


def _check_splits(name: str, problem: Any) -> None:
    require(len(problem.splits) > 0, f"{name} has no splits")
    for split, size in problem.splits.items():
        require(isinstance(size, int) and size > 0, f"{name}.splits[{split!r}] is {size!r}, not a number of samples")
        _check_batches(name, problem, split)


def _check_restore(name: str, problem: Any, batch: Mapping[str, Any]) -> None:
    sample = Batch(batch).split([1, SAMPLES - 1])[0].tensors
    with torch.no_grad():
        made = problem.restore(sample)
    require(isinstance(made, Mapping), f"{name}.restore returns {type(made).__name__}, not a mapping")
    for output, port in problem.outputs.items():
        found = wrong(made.get(output), port)
        require(
            found is None, f"{name}.restore: {output!r} is {found and found[0]}; its port says {found and found[1]}"
        )


def _check_measure(name: str, problem: Any) -> None:
    found = problem.measure()
    require(set(found) == set(problem.metrics), f"{name}.measure returns {list(found)}, not {list(problem.metrics)}")
    for metric, value in found.items():
        good = isinstance(value, float) and math.isfinite(value) and isinstance(problem.metrics[metric], bool)
        require(good, f"{name}: metric {metric!r} is {value!r}, {problem.metrics[metric]!r}; not a float and a bool")


def _check_batches(name: str, problem: Any, split: str) -> None:
    before = repr(np.random.get_state()), torch.get_rng_state()
    batch, again = (problem.batch(split, 5, 3) for _ in range(2))
    untouched = repr(np.random.get_state()) == before[0] and torch.equal(torch.get_rng_state(), before[1])
    require(untouched, f"{name}.batch draws from a global generator")
    same = batch.keys() == again.keys() and all(_equal(batch[key], again[key]) for key in batch)
    require(same, f"{name}.batch({split!r}, 5, 3) differs between two calls")
    sizes = {len(tensor) for tensor in batch.values()}
    require(len(sizes) == 1, f"{name}: the tensors of a batch of {split!r} differ in samples: {sorted(sizes)}")


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Ragged) and isinstance(other, Ragged):
        return one.lengths == other.lengths and torch.equal(one.values, other.values)
    return torch.equal(one, other)


def _check_energy(name: str, problem: Any, energy: str, batches: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare an energy on a batch with the sum over its samples, on a split that it accepts."""
    function = problem.energies[energy]

    def variables(batch: Mapping[str, Any]) -> dict[str, Any]:
        kept = {block: dict(module.named_parameters()) for block, module in problem.blocks.items()}
        made = {block: make(batch) for block, make in initial_of(problem).items()}
        renewed = {block: {key: v.detach().requires_grad_() for key, v in each.items()} for block, each in made.items()}
        return {**kept, **renewed}

    kept = {key: value.clone() for key, value in problem.blocks.state_dict().items()}
    batch = _batch_for(name, problem, energy, variables, batches)
    total, count = _terms(name, energy, function, variables(batch), batch)
    require(total.requires_grad, f"{name}: the energy {energy!r} has no gradient")
    parts = [part.tensors for part in Batch(batch).split([1] * len(Batch(batch)))]
    terms = [_terms(name, energy, function, variables(part), part) for part in parts]
    sums, counts = sum(float(s.detach()) for s, _ in terms), sum(float(c) for _, c in terms)
    close = math.isclose(sums, float(total.detach()), rel_tol=1e-4, abs_tol=1e-6) and math.isclose(counts, float(count))
    require(
        close,
        f"{name}: the energy {energy!r} is ({float(total.detach()):.6g}, {float(count):g}) on a batch, but its samples "
        f"add up to ({sums:.6g}, {counts:g}); return sums and counts, not means",
    )
    _check_given(name, problem, energy, variables(batch), batch)
    unchanged = all(torch.equal(value, kept[key]) for key, value in problem.blocks.state_dict().items())
    require(unchanged, f"{name}: the energy {energy!r} changes the variables")


def _check_given(
    name: str, problem: Any, energy: str, variables: Mapping[str, Mapping[str, Tensor]], batch: Mapping[str, Any]
) -> None:
    """Check that an energy uses the variables that it is given, by NaN in the problem's own."""
    own = list(problem.blocks.parameters())
    given = {
        block: {key: tensor.detach().clone().requires_grad_() for key, tensor in each.items()}
        for block, each in variables.items()
    }
    leaves = [tensor for each in given.values() for tensor in each.values()]
    values = [tensor.detach().clone() for tensor in own]
    with torch.no_grad():
        for tensor in own:
            tensor.fill_(math.nan)
    total, _ = problem.energies[energy](given, batch)
    found = torch.autograd.grad(total, [*leaves, *own], allow_unused=True)
    with torch.no_grad():
        for tensor, value in zip(own, values, strict=True):
            tensor.copy_(value)
    seen = any(g is not None for g in found[len(leaves) :])
    good = not seen and all(finite(t) for t in (total, *found) if t is not None)
    require(good, f"{name}: the energy {energy!r} reads the problem's own variables: use those that it is given")


def _batch_for(
    name: str,
    problem: Any,
    energy: str,
    variables: Callable[[Mapping[str, Any]], Any],
    batches: Mapping[str, Mapping[str, Any]],
) -> Mapping[str, Any]:
    """Return a batch of the first split that the energy accepts."""
    refused = []
    for split, batch in batches.items():
        try:
            problem.energies[energy](variables(batch), batch)
        except Exception as error:  # such as for other names or shapes
            refused.append(f"{split!r}: {reason_of(error)}")
        else:
            return batch
    raise AssertionError(f"{name}: the energy {energy!r} accepts no split's batches ({'; '.join(refused)})")


def _terms(
    name: str, energy: str, function: Any, variables: Mapping[str, Any], batch: Mapping[str, Any]
) -> tuple[Tensor, Any]:
    result = function(variables, batch)
    good = isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor) and result[0].ndim == 0
    require(good, f"{name}: the energy {energy!r} must return (sum, count)")
    require(finite(result[0]) and float(result[1]) > 0, f"{name}: the energy {energy!r} is {result}")
    total: Tensor = result[0]
    return total, result[1]
