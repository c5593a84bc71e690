"""`restore-hub show`: one component in full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore_hub.cli.options import plugin_option
from restore_hub.errors import UnknownComponentError

if TYPE_CHECKING:
    from restore_hub.contracts import Port
    from restore_hub.registry import Component, Registry


@click.command(name="show")
@click.argument("name")
@plugin_option
def command(name: str, plugins: tuple[Path, ...]) -> None:
    """Show what NAME is, its options with types and defaults, and the ports of a network.

    A name that several kinds share (a loss and a metric, say) shows them all.
    """
    from restore_hub.plugins import default_registry

    registry = default_registry(plugins)
    click.echo("\n\n".join("\n".join(_lines(component, registry)) for component in _find(registry, name)))


def _find(registry: Registry, name: str) -> list[Component]:
    from restore_hub.registry import RESERVED_NAMESPACE, name_hint

    qualified = name if "/" in name else f"{RESERVED_NAMESPACE}/{name}"
    found = [component for component in registry.of_kind() if component.name == qualified]
    if found:
        return found
    failure = registry.failure_of(qualified)
    if failure is not None:
        raise UnknownComponentError(f"{name!r} needs {failure}")
    known = registry.names()
    raise UnknownComponentError(
        f"nothing is called {name!r}{name_hint(name, known)}; `restore-hub list` shows all {len(known)} names"
    )


def _lines(component: Component, registry: Registry) -> Iterator[str]:
    yield f"{component.kind} {component.name}"
    yield f"  {component.summary}"
    yield f"  from {component.owner} {component.version}, {component.target}"
    for reference in component.references:
        yield f"  reference: {reference}"
    target = component.load()
    if component.kind == "command":
        from restore_hub.cli.data import commands_of

        typed = next(name for name, other in commands_of(registry).items() if other is component)
        yield f"  run: restore-hub data {typed} --help"
        return
    yield from _options(target, component.kind)
    if component.kind == "network":
        yield from _ports(target)
    elif component.kind == "loss":
        from restore_hub.options import tensors_of

        yield f"  tensors: {', '.join(p.name for p in tensors_of(target))}"


def _options(target: Any, kind: str) -> Iterator[str]:
    from restore_hub.contracts import INJECTED
    from restore_hub.options import options_of

    options = options_of(target, skip=INJECTED.get(kind, frozenset()))
    yield "  options:" if options else "  no options"
    for option in options:
        yield f"    {option.name}: {option.type}" + (" (required)" if option.required else f" = {option.default!r}")


def _ports(target: Any) -> Iterator[str]:
    network = target
    if not hasattr(target, "inputs"):
        from restore_hub.options import options_of

        if any(option.required for option in options_of(target)):
            yield "  ports: depend on the options"
            return
        network = target()
    for side in ("inputs", "outputs"):
        yield f"  {side}:"
        for name, port in getattr(network, side).items():
            yield f"    {name}: {_port(port)}"


def _port(port: Port) -> str:
    channels = "differing channels" if port.channels is None else f"{port.channels} channels"
    scale = "" if port.scale == 1 else f", {port.scale:g} of the picture's size"
    return f"{channels}, {port.space}, {port.low:g} to {port.high:g}{scale}"
