"""What a component must be once it's made: the attributes of its contract, and a home for the weights it is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from restore_hub.plan.modules import is_module, is_module_dict

if TYPE_CHECKING:
    from restore_hub.plan.lookup import Part

PROMISED = {
    "network": ("inputs", "outputs", "size_multiple"),
    "task": ("targets", "network", "losses"),
    "problem": ("blocks", "energies"),
}


def check_promises(part: Part, made: Any) -> None:
    """Compare what was made with what its contract promises.

    Raises:
        SpecError: an attribute is missing, or the wrong kind of object.
    """
    kind, name, owner = part.kind, part.component.name, part.component.owner
    if kind == "network" and not is_module(made):
        raise part.error("spec.not-a-module", kind, component=name, owner=owner)
    for attribute in PROMISED.get(kind, ()):
        if not hasattr(made, attribute):
            facts = {"component": name, "owner": owner, "attribute": attribute, "contract": kind.capitalize()}
            raise part.error("spec.promise-missing", kind, **facts)
    if kind == "problem" and not is_module_dict(made.blocks):
        raise part.error("spec.promise-module-dict", kind, component=name, got=type(made.blocks).__name__)


def check_registered(outer: Part, made: Any, part: Part, inner: Any) -> None:
    """Refuse weights that a network or a loss was given and keeps where PyTorch doesn't find them.

    They'd neither move to the device, nor be saved, nor train in a network, nor be frozen in a loss.

    Raises:
        SpecError: at the nested component.
    """
    if outer.component.kind not in ("network", "loss") or not _has_weights(inner):
        return
    registered = list(made.modules()) if is_module(made) else []
    if any(module is inner for module in registered):
        return
    # A module may hold a copy of what it was given; an object that is no module can't hold weights at all.
    if not registered or any(value is inner for module in registered for value in _held(module)):
        facts = {"component": outer.component.name, "inner": part.component.name}
        raise part.error("spec.hidden-module", part.component.kind, **facts)


def _has_weights(made: Any) -> bool:
    return is_module(made) and any(True for _ in (*made.parameters(), *made.buffers()))


def _held(holder: Any) -> Iterator[Any]:
    """Yield what an object holds in its attributes, and in their lists and mappings."""
    for value in vars(holder).values():
        yield value
        yield from value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
