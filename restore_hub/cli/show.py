"""`restore-hub show`: one component in full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore_hub.cli.options import plugin_option

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
    elif component.kind == "task":
        yield from _brought(target)
    elif component.kind in ("loss", "metric"):
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
    network = target if hasattr(target, "inputs") else _by_default(target)
    if network is None:
        yield "  ports: depend on the options"
        return
    for side in ("inputs", "outputs"):
        yield from _side(side, getattr(network, side))


def _brought(target: Any) -> Iterator[str]:
    """Yield what a task brings to a spec."""
    task = _by_default(target)
    if task is None:
        yield "  what it brings depends on the options"
        return
    network = task.network()
    yield from _side("inputs", network.inputs)
    yield from _side("outputs", network.outputs)
    yield from _side("targets", task.targets)
    yield from _side("predictions", getattr(task, "predictions", {}))
    yield f"  losses: {', '.join(task.losses)}"
    yield f"  metrics: {', '.join(getattr(task, 'metrics', {})) or 'none'}"


def _by_default(target: Any) -> Any:
    """Return what a target makes without options; `None` if it needs some."""
    from restore_hub.options import options_of

    return None if any(option.required for option in options_of(target)) else target()


def _side(side: str, ports: Mapping[str, Port]) -> Iterator[str]:
    if ports:
        yield f"  {side}:"
    for name, port in ports.items():
        yield f"    {name}: {port.describe()}"
