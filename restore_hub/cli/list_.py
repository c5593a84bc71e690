"""`restore-hub list`: every registered component."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.cli.options import plugin_option
from restore_hub.errors import UnknownComponentError, did_you_mean


@click.command(name="list")
@click.argument("kind", required=False)
@plugin_option
def command(kind: str | None, plugins: tuple[Path, ...]) -> None:
    """List components, of one KIND (network, loss, metric, ...) or of all."""
    from restore_hub.cli.table import table
    from restore_hub.plugins import default_registry
    from restore_hub.registry import KINDS

    if kind is not None and kind not in KINDS:
        raise UnknownComponentError(f"no kind {kind!r}{did_you_mean(kind, KINDS)}; kinds are {', '.join(KINDS)}")
    registry = default_registry(plugins)
    rows = [(c.kind, c.name, c.summary) for c in registry.of_kind(kind)]
    click.echo(table(("KIND", "NAME", "SUMMARY"), rows))
    for namespace in sorted(registry.failures):
        click.echo(f"the plugin {namespace} failed to load; `restore-hub plugins` says why", err=True)
