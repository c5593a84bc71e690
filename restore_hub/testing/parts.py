"""Checks of losses and datasets."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from restore_hub.batch import Value
from restore_hub.errors import RestoreHubError
from restore_hub.options import tensors_of
from restore_hub.plan.modules import lazy_tensor
from restore_hub.ragged import Ragged
from restore_hub.testing.require import finite, made, require

STEP = 1e-8  # step of the differences, in float64


def check_loss(target: Any, /, inputs: Mapping[str, Value] | None = None, **options: Any) -> None:
    """Check a loss: its (sum, count) adds up over the pictures of a batch, is finite and has a gradient.

    If the loss runs in float64, its second derivatives, which some solvers take, are compared with differences of the
    gradient: they must be correct, or raise.

    Args:
        target: a class (made with `options`) or a loss.
        inputs: named tensors, or `Ragged` values, with at least two pictures along the first axis; by default random
            tensors with three channels, or with twelve if the loss refuses three.
        options: options of the class.

    Raises:
        AssertionError: what failed.
    """
    loss, name = made(target, options)
    lazy = lazy_tensor(loss)
    require(not lazy, f"{name}: its {lazy} has no size yet; give its layer the number of channels")
    if isinstance(loss, nn.Module):  # as in a run
        loss = copy.deepcopy(loss).requires_grad_(False).eval()
    tensors = dict(inputs) if inputs is not None else _loss_inputs(name, loss)
    leaves = {k: _leaf(v) for k, v in tensors.items()}
    total, count = _sum_and_count(name, loss(**leaves))
    require(total.requires_grad, f"{name}: the sum has no gradient")
    torch.autograd.backward(total)
    total = total.detach()
    moved = {k: x.grad for k, x in leaves.items() if isinstance(x, Tensor) and x.grad is not None}
    grads = list(moved.values())
    require(any(bool(g.any()) for g in grads), f"{name}: no gradient reaches an input")
    require(all(finite(g) for g in grads), f"{name}: a gradient is not finite")
    pictures = min(len(x) for x in tensors.values())
    require(pictures >= 2, f"{name}: give the check at least two pictures")
    each = {k: v.split([1] * len(v)) for k, v in tensors.items()}
    parts = [_sum_and_count(name, loss(**{k: v[i] for k, v in each.items()})) for i in range(pictures)]
    sums, counts = sum(float(s.detach()) for s, _ in parts), sum(float(c) for _, c in parts)
    close = math.isclose(sums, float(total), rel_tol=1e-4, abs_tol=1e-6) and math.isclose(counts, float(count))
    require(
        close,
        f"{name}: (sum, count) is ({float(total):.6g}, {float(count):g}) on a batch, but its pictures add up to "
        f"({sums:.6g}, {counts:g}); return sums and counts, not means",
    )
    _check_second_derivatives(name, loss, tensors, list(moved))


def _leaf(value: Value) -> Value:
    return value if isinstance(value, Ragged) else value.detach().clone().requires_grad_(value.is_floating_point())


def _check_second_derivatives(name: str, loss: Any, tensors: Mapping[str, Value], moved: Sequence[str]) -> None:
    """Compare d^2 F v with a difference of dF along a random v.

    Inputs that aren't `moved` have no gradient, such as a reference whose features are computed without a graph. A kink
    (of |x| or a ReLU, say) between the ends of a difference spoils some entries, but rarely for two different v.
    """
    loss = copy.deepcopy(loss).double() if isinstance(loss, nn.Module) else loss
    at = {k: _double(v) for k, v in tensors.items()}
    generator = torch.Generator().manual_seed(0)
    try:
        off = min(_share_off(loss, at, moved, generator) for _ in range(2))
    except (RuntimeError, TypeError, RestoreHubError):
        return  # the loss raises, or only runs in float32
    require(
        off <= 0.01,
        f"{name}: {off:.0%} of the second derivatives differ from differences of the gradient; use operations that "
        "torch differentiates twice (not compiled code, once_differentiable, detach or item), or a backward that "
        "raises if torch.is_grad_enabled()",
    )


def _double(value: Value) -> Value:
    content = value.values if isinstance(value, Ragged) else value
    return value.to(torch.float64) if content.is_floating_point() else value


def _share_off(loss: Any, at: Mapping[str, Any], moved: Sequence[str], generator: torch.Generator) -> float:
    """Return the share of entries of d^2 F v that a difference doesn't confirm; TypeError if F isn't in float64."""
    along = {k: torch.randn(at[k].shape, generator=generator, dtype=torch.float64) for k in moved}

    def gradient(step: float, again: bool = False) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        leaves = {k: (at[k] + step * v).requires_grad_() for k, v in along.items()}
        inputs = list(leaves.values())
        total = loss(**{**at, **leaves})[0]
        if total.dtype != torch.float64:
            raise TypeError("computed in another precision")
        return inputs, torch.autograd.grad(total, inputs, create_graph=again, materialize_grads=True)

    (_, ahead), (_, behind), (inputs, here) = gradient(STEP), gradient(-STEP), gradient(0.0, again=True)
    product = torch.stack([(g * v).sum() for g, v in zip(here, along.values(), strict=True)]).sum()
    graph = product if product.requires_grad else torch.zeros((), dtype=torch.float64, requires_grad=True)
    second = torch.cat([h.flatten() for h in torch.autograd.grad(graph, inputs, materialize_grads=True)])
    wanted = torch.cat([(a - b).flatten() / (2 * STEP) for a, b in zip(ahead, behind, strict=True)])
    largest = max(float(g.detach().abs().max()) for g in here)
    # The difference has a rounding error of about 1e-8 of the gradient.
    off = (second - wanted).abs() > 1e-3 * second.abs().mean() + 1e-5 * largest
    return float(off.double().mean())


def _loss_inputs(name: str, loss: Any) -> dict[str, Value]:
    generator = torch.Generator().manual_seed(0)
    names = [p.name for p in tensors_of(loss)]
    refused = ""
    for channels in (3, 12):
        tensors: dict[str, Value] = {key: torch.rand((2, channels, 24, 20), generator=generator) for key in names}
        try:
            loss(**tensors)
        except RestoreHubError as error:
            refused = str(error)
        else:
            return tensors
    raise AssertionError(f"{name} refuses random pictures ({refused}); pass `inputs` to the check")


def _sum_and_count(name: str, result: Any) -> tuple[Tensor, Any]:
    good = isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor)
    require(good, f"{name} returns {type(result).__name__}, not (sum, count)")
    total, count = result
    require(total.ndim == 0 and finite(total), f"{name}: the sum isn't a finite scalar: {total}")
    require(float(count) >= 0 and not getattr(count, "requires_grad", False), f"{name}: the count is {count}")
    return total, count


def check_dataset(dataset: Any, /) -> None:
    """Check a dataset: arrays that match its ports, named files, and randomness only from the given generator.

    Args:
        dataset: an instance with at least one sample.

    Raises:
        AssertionError: what failed, in which sample.
    """
    name = type(dataset).__name__
    require(len(dataset) > 0, f"{name} is empty")
    for index in range(min(len(dataset), 3)):
        files = dataset.files(index)
        good = isinstance(files, Sequence) and all(isinstance(f, Path) and f.exists() for f in files)
        require(good, f"{name}.files({index}) is {files!r}, not paths of files that exist")
        _check_sample(name, dataset, index, lambda: None)
        _check_sample(name, dataset, index, lambda: np.random.default_rng(7))


def _check_sample(name: str, dataset: Any, index: int, rng: Callable[[], np.random.Generator | None]) -> None:
    before = repr(np.random.get_state())
    sample, again = dataset.sample(index, rng()), dataset.sample(index, rng())
    untouched = repr(np.random.get_state()) == before
    require(untouched, f"{name}.sample draws from numpy's global generator, not from `rng`")
    ports = [key for key in sample if not key.startswith("_")]
    where = f"{name}: sample {index}"
    require(set(ports) == set(dataset.ports), f"{where} has {ports}, its ports are {list(dataset.ports)}")
    extents: dict[str, set[float]] = {}
    for key in ports:
        array, port = sample[key], dataset.ports[key]
        wrong = port.wrong(array.shape, str(array.dtype))
        require(wrong is None, f"{where}: {key!r} is {wrong and wrong[0]}, not {wrong and wrong[1]}")
        require(bool(np.isfinite(array).all()), f"{where}: {key!r} is not finite")
        if not port.axes:
            require(port.admits(array.item()), f"{where}: {key!r} is {array.item()}, not {port.describe()}")
        require(np.array_equal(array, again[key]), f"{where}: {key!r} differs between two calls with the same `rng`")
        for axis, size in port.extent(array.shape).items():
            extents.setdefault(axis, set()).add(size)
    same = all(len(sizes) == 1 for sizes in extents.values())
    require(same, f"{where}: its arrays belong to pictures of different sizes, {extents}")
