"""`restore-hub plugins`: what is installed, and why a plugin failed."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.cli.options import plugin_option


@click.command(name="plugins")
@plugin_option
@click.pass_context
def command(context: click.Context, plugins: tuple[Path, ...]) -> None:
    """List plugins; the exit code is 1 where one failed to load."""
    from restore_hub.cli.table import table
    from restore_hub.plugins import allowed_namespaces, load_plugins

    found = load_plugins(plugins, allowed_namespaces())
    rows = [(p.namespace, "FAILED" if p.error else "ok", str(len(p.components)), p.version, p.origin) for p in found]
    click.echo(table(("PLUGIN", "STATUS", "PARTS", "VERSION", "FROM"), rows))
    failed = [plugin for plugin in found if plugin.error]
    for plugin in failed:
        click.echo(f"\n{plugin.namespace}: {plugin.error}")
    if failed:
        context.exit(1)
