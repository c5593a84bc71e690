"""`restore-hub show`: one component in full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore_hub.cli.options import plugin_option

if TYPE_CHECKING:
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
    click.echo("\n\n".join("\n".join(_lines(component, registry)) for component in registry.find_all(name)))


def _lines(component: Component, registry: Registry) -> Iterator[str]:
    yield f"{component.kind} {component.name}"
    yield f"  {component.summary}"
    yield f"  from {component.owner} {component.version}, {component.target}"
    for reference in component.references:
        yield f"  reference: {reference}"
    target = component.load()
    if component.kind == "command":
        from restore_hub.cli.plugin_commands import call_of

        yield f"  run: {call_of(registry, component)} --help"
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
            yield f"    {name}: {port.describe()}"
