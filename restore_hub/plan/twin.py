"""A block that computes with other tensors in place of some of its parameters, now and whenever it is called again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

_PLAIN = frozenset({type(None), bool, int, float, str})
_CONTAINERS = frozenset({dict, OrderedDict, list, tuple, set})
_Rebuild = Callable[[Sequence[Any]], Any]


def twin(block: nn.Module, tensors: Mapping[Tensor, Tensor], own_buffers: bool = False) -> nn.Module:
    """Return a copy of a block that holds other tensors in place of some of its parameters.

    What an autograd graph calls later then computes with the same tensors as the forward pass: checkpoints that
    recompute, hooks, and functions that read their module in the backward pass. Tensors swapped in the block itself, as
    `torch.func.functional_call` does, are gone by then.

    Modules are copied, and whatever in their attributes leads to one of them or to a replaced tensor: containers, bound
    methods, partial functions and closures. A tensor is replaced wherever it is found, so parameters may be tied. All
    else is shared with the block. Attributes that `forward` assigns stay with the copy; what must last is a buffer.

    Args:
        block: left as it is, but for its buffers.
        tensors: what replaces which parameter.
        own_buffers: give the copy buffers of its own, so that running statistics stay as they are.
    """
    known: dict[int, Any] = {id(parameter): tensor for parameter, tensor in tensors.items()}
    if own_buffers:
        known.update((id(buffer), buffer.clone()) for buffer in block.buffers())
    modules = list(block.modules())
    for module in modules:
        known[id(module)] = module.__class__.__new__(module.__class__)
    for module in modules:
        attributes = known[id(module)].__dict__
        attributes.update(module.__dict__)
        for name, value in module.__dict__.items():
            kind = type(value)
            if kind not in _PLAIN and (kind not in _CONTAINERS or (value and _leads_on(value))):
                attributes[name] = _copied(value, known)
    found: nn.Module = known[id(block)]
    return found


def _leads_on(container: Any) -> bool:
    """Whether there is more than numbers and names in a container: false for most attributes, at little cost."""
    return not _PLAIN.issuperset(map(type, container.values() if isinstance(container, dict) else container))


def _copied(value: Any, known: dict[int, Any]) -> Any:
    """Return what stands for a value in the copy, which is the value itself unless something known is inside."""
    if type(value) in _PLAIN:
        return value
    if id(value) in known:
        return known[id(value)]
    parts, rebuild = _apart(value)
    if parts:
        known[id(value)] = value  # where it contains itself
        copies = [_copied(part, known) for part in parts]
        if any(copied is not part for copied, part in zip(copies, parts, strict=True)):
            known[id(value)] = rebuild(copies)
        return known[id(value)]
    return value


def _apart(value: Any) -> tuple[Sequence[Any], _Rebuild]:
    """Return what is inside a value, and how to make another one of such parts; nothing for other types."""
    kind: Any = type(value)
    if kind is OrderedDict or kind is dict:
        return tuple(value.values()), lambda parts: kind(zip(value, parts, strict=True))
    if kind is list or kind is tuple or kind is set:
        return tuple(value), kind
    if kind is MethodType:
        return (value.__self__,), lambda parts: MethodType(value.__func__, *parts)
    if kind is partial:
        return (value.func, value.args, value.keywords), lambda parts: partial(parts[0], *parts[1], **parts[2])
    if kind is FunctionType:
        return _parts_of(value), lambda parts: _function(value, *parts)
    return (), kind


def _parts_of(function: FunctionType) -> tuple[Any, ...]:
    """Return what a function has seen of its surroundings, cell by cell, then its defaults and attributes."""
    cells = function.__closure__ or ()
    seen = [cell.cell_contents for cell in cells] if all(map(_filled, cells)) else []
    return *seen, function.__defaults__, function.__kwdefaults__, function.__dict__


def _filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # of a name that isn't assigned yet
        return False


def _function(like: FunctionType, *parts: Any) -> FunctionType:
    *seen, defaults, named, attributes = parts
    cells = tuple(map(CellType, seen)) or like.__closure__
    found = FunctionType(like.__code__, like.__globals__, like.__name__, defaults, cells)
    found.__kwdefaults__ = named
    found.__dict__.update(attributes)
    return found
